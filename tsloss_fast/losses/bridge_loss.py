"""Alignment with the bridges of H0: where two clouds hang together, does one go that way?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_cloud, check_flag, describe
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import require_finite_points
from tsloss_fast.losses.base import show
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.rips import rips_persistence


def bridge_alignment(
    a: Tensor,
    b: Tensor,
    steps: Tensor,
    metric: Metric = "euclidean",
    *,
    p: float | None = None,
    detach_bridges: bool = True,
) -> Tensor:
    r"""How far steps from the points of one cloud are from the bridges to another.

    The points of both are one cloud. Of the edges at which its components of H0 join, those from
    a point i of `a` to a point j of `b` are its bridges, at least one. With the step :math:`s_i`
    that is taken from :math:`a_i`, the loss is the mean over all bridges of

    .. math:: 1 - \cos(s_i, b_j - a_i)

    A point without a bridge takes no part, and one with several counts once for each.

    Parameters
    ----------
    a, b : Tensor, shape [..., n, d] and [..., m, d]
        For fine-tuning, the states of n prompts, and those of their answers as they should be.
    steps : Tensor, shape [..., n, d]
        For fine-tuning, the model's states of the answers less those of the prompts.
    metric, p
        As `rips_persistence` has them, for points; of bridges it says which they are.
    detach_bridges : bool
        Whether the bridges are constants, so that gradients reach `steps` alone.

    Returns
    -------
    Tensor, shape [...]
        From 0 to 2, one number a pair of clouds.

    Raises
    ------
    TypeError, ValueError
        Not floating tensors of these shapes, or values that are not finite. On CUDA nothing waits
        for the device, and there NaN gives NaN.

    Notes
    -----
    Differentiable twice; a step or bridge of length 0 has cosine 0, and gradient 0.

    The idea is that of the Trajectory Topology Loss of Pan, Xu and Peng, arXiv 2605.07172, as its
    abstract tells it. This formula is ours and may differ from theirs.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> prompts, answers = torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    >>> steps = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    >>> tsl.losses.bridge_alignment(prompts, answers, steps)  # the first prompt's, at 90 degrees
    tensor(1.)
    """
    check_flag(detach_bridges, "detach_bridges")
    if metric == "precomputed":
        raise ValueError(
            "metric: expected one of points, whose differences bridges are, got 'precomputed'"
        )
    a, b, steps = (_checked(x, name) for x, name in ((a, "a"), (b, "b"), (steps, "steps")))
    if b.shape[:-2] != a.shape[:-2] or b.shape[-1] != a.shape[-1]:
        raise ValueError(
            f"b: expected as many clouds and coordinates as a has, {describe(a)}, got {describe(b)}"
        )
    if steps.shape != a.shape:
        raise ValueError(f"steps: expected the shape of a, {list(a.shape)}, got {describe(steps)}")
    n = a.shape[-2]
    (h0,) = rips_persistence(torch.cat((a, b), -2).detach(), 0, metric, p=p)
    i, j = h0.death_edges.unbind(-1)  # [..., K] each, i < j
    bridge = (i < n) & (j >= n)
    starts, ends = i.where(bridge, 0), (j - n).where(bridge, 0)
    along = _rows(b, ends) - _rows(a, starts)  # [..., K, d]
    if detach_bridges:
        along = along.detach()
    cosines = (_unit(along) * _rows(_unit(steps), starts)).sum(-1)
    return (1 - cosines).where(bridge, 0).sum(-1) / bridge.sum(-1)


class BridgeAlignmentLoss(nn.Module):
    """`bridge_alignment` as a module.

    Parameters
    ----------
    metric, p, detach_bridges
        As `bridge_alignment` has them.
    reduction : {"mean", "none"}
        Over the pairs of a batch.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> prompts, answers = torch.randn(2, 8, 64)
    >>> steps = torch.randn(8, 64, requires_grad=True)
    >>> tsl.losses.BridgeAlignmentLoss()(prompts, answers, steps).backward()
    """

    SHOWN = ("metric", "p", "detach_bridges", "reduction")

    def __init__(
        self,
        metric: Metric = "euclidean",
        p: float | None = None,
        detach_bridges: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.metric, self.p = metric, p
        self.detach_bridges = check_flag(detach_bridges, "detach_bridges")
        self.reduction = check_choice(reduction, "reduction", ("mean", "none"))

    def forward(self, a: Tensor, b: Tensor, steps: Tensor) -> Tensor:
        """The loss of one pair of clouds, or of a batch of them as `reduction` says."""
        found = bridge_alignment(
            a, b, steps, self.metric, p=self.p, detach_bridges=self.detach_bridges
        )
        return found.mean() if self.reduction == "mean" else found

    def extra_repr(self) -> str:
        """Name the options."""
        return show(self, self.SHOWN)


def _checked(x: Tensor, name: str) -> Tensor:
    x = ops.at_least_float32(check_cloud(x, name))
    if ops.shows_values(x):
        require_finite_points(x, name)
    return x


def _rows(x: Tensor, at: Tensor) -> Tensor:
    """The rows [..., K, d] of x [..., n, d] at [..., K]."""
    return x.gather(-2, at.unsqueeze(-1).expand(*at.shape, x.shape[-1]))


def _unit(x: Tensor) -> Tensor:
    """Vectors [..., d] at length 1; 0, without a gradient, where they are 0."""
    largest = x.detach().abs().amax(-1, keepdim=True)
    there = largest != 0
    # Divided by its largest coordinate first, no square of it vanishes or overflows.
    x = (x / largest.where(there, 1)).where(there, 1)
    unit: Tensor = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return unit.where(there, 0)
