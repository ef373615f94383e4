"""Cascade distortion, the loss of TopoAE++: loops are kept with the triangles that fill them."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast.losses.cascades import cascade_skeleton, critical_skeleton
from tsloss_fast.losses.paired import PairedLoss, paired
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.rips import rips_persistence


def cascade_distortion(
    a: Tensor,
    b: Tensor,
    metric: Metric = "euclidean",
    *,
    scale: str | None = None,
    detach_scale: bool = False,
) -> Tensor:
    r"""Cascade distortion of data `a` and an embedding `b` with the same points.

    .. math::
        \lVert A[S(a)] - B[S(a)] \rVert^2 + \lVert A[\pi(b)] - B[\pi(b)] \rVert^2

    where :math:`S(a)` are the edges of a's spanning tree and of the cascades of its loops, the
    triangles by which the boundary matrix, reduced, fills them, and :math:`\pi(b)` the critical
    edges of H0 and H1 of b; each edge counts once in each set. So the loops of the data are
    embedded with what is inside, and what the embedding adds to them is pulled away.

    Parameters
    ----------
    a, b : Tensor, shape [..., n, d_a] and [..., n, d_b]
        Points, or distances [..., n, n] where `metric` is ``"precomputed"``.
    metric : str or callable
        Of both clouds, as `rips_persistence` has it.
    scale : {None, "max", "quantile"}
    detach_scale : bool
        As `rtd` has them; the paper has no scale.

    Returns
    -------
    Tensor, shape [...]
        One number a pair of clouds.

    Raises
    ------
    TypeError, ValueError
        As `rtd` does.

    Notes
    -----
    Differentiable twice; the gradient at coincident points is 0. Cascades are found on the host,
    in Python.

    Source: Clémot, Digne and Tierny, arXiv 2502.20215, Eq. 9. Its code has means over the tree,
    births, deaths and the rest of the cascades of a, and over the first three of b, in place of the
    sums, and leaves out what a cascade shares with the loop around it.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> tsl.losses.cascade_distortion(square, square.flip(-1))
    tensor(0.)
    """
    first, second = paired(a, b, scale, detach_scale, metric)
    n = first.D.shape[-1]
    i, j = torch.triu_indices(n, n, 1, device=first.D.device)
    in_a, in_b = (cloud.lengths(torch.stack((i, j), -1))[0] for cloud in (first, second))
    critical = critical_skeleton(second.D, rips_persistence(second.D, metric="precomputed"))
    counts = cascade_skeleton(first.D)[..., i, j].to(in_a.dtype) + critical[..., i, j]
    loss: Tensor = ((in_a - in_b).square() * counts).sum(-1)
    return loss


class CascadeDistortionLoss(PairedLoss):
    """`cascade_distortion` as a module.

    Parameters
    ----------
    metric, scale, detach_scale
        As `cascade_distortion` has them.
    reduction : {"mean", "none"}
        Over the pairs of a batch.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> data, embedded = torch.eye(5), torch.eye(5)[:, :2].requires_grad_()
    >>> tsl.losses.CascadeDistortionLoss()(data, embedded).backward()
    """

    def __init__(
        self,
        metric: Metric = "euclidean",
        scale: str | None = None,
        detach_scale: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(metric, scale, detach_scale, reduction)

    def _losses(self, a: Tensor, b: Tensor) -> Tensor:
        scale, detach_scale = self.scale, self.detach_scale
        return cascade_distortion(a, b, self.metric, scale=scale, detach_scale=detach_scale)
