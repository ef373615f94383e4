"""RTD-lite: how much later one cloud joins what another has joined, from spanning trees."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast.losses.paired import PairedLoss, paired
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.rips import rips_persistence


def rtd_lite(
    a: Tensor,
    b: Tensor,
    metric: Metric = "euclidean",
    *,
    scale: str | None = "quantile",
    detach_scale: bool = False,
) -> Tensor:
    r"""RTD-lite of two clouds with the same points in the same order.

    With distances :math:`w, \tilde w` of the two and the length :math:`T` of a minimum spanning
    tree,

    .. math::
        \tfrac12 \bigl(T(w) + T(\tilde w)\bigr) - T(\min(w, \tilde w))

    which is the sum of the intervals of its two barcodes: each begins where the graph of the
    smaller distances joins two clusters, and ends where one cloud alone joins them. It sees
    clusters, not loops, and takes O(n^2) time and memory.

    Parameters
    ----------
    a, b : Tensor, shape [..., n, d_a] and [..., n, d_b]
    metric, scale, detach_scale
        As `rtd` has them.

    Returns
    -------
    Tensor, shape [...]
        One number a pair of clouds.

    Raises
    ------
    TypeError, ValueError
        As `rtd` does. On CUDA nothing waits for the device, and what would be an error is NaN.

    Notes
    -----
    Differentiable twice; the gradient at coincident points is 0, and at ties one valid
    subgradient. One point alone gives 0.

    Source: Tulchinskii et al., AISTATS 2025, arXiv 2503.11910.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> a, b = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [3.0], [1.0]])
    >>> tsl.losses.rtd_lite(a, b, scale=None)  # trees of 3 and 3; of the smaller distances, 1 + 1
    tensor(1.)
    """
    first, second = paired(a, b, scale, detach_scale, metric)
    w, other = first.scaled(), second.scaled()
    D = torch.stack((w, other, torch.minimum(w, other)))  # [3, ..., n, n]
    (h0,) = rips_persistence(D, max_dim=0, metric="precomputed")
    tree_a, tree_b, common = h0.death_edges.unbind(0)  # [..., n - 1, 2]
    in_a, common_a = first.lengths(tree_a, common)
    in_b, common_b = second.lengths(tree_b, common)
    return ((in_a + in_b) / 2 - torch.minimum(common_a, common_b)).sum(-1)


class RTDLiteLoss(PairedLoss):
    """`rtd_lite` as a module.

    Parameters
    ----------
    metric, scale, detach_scale
        As `rtd` has them.
    reduction : {"mean", "none"}
        Over the pairs of a batch.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> data, embedded = torch.eye(5), torch.eye(5)[:, :2].requires_grad_()
    >>> tsl.losses.RTDLiteLoss()(data, embedded).backward()
    """

    def __init__(
        self,
        metric: Metric = "euclidean",
        scale: str | None = "quantile",
        detach_scale: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(metric, scale, detach_scale, reduction)

    def _losses(self, a: Tensor, b: Tensor) -> Tensor:
        scale, detach_scale = self.scale, self.detach_scale
        return rtd_lite(a, b, self.metric, scale=scale, detach_scale=detach_scale)
