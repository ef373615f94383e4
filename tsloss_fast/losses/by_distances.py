"""Both formulations of TSLoss on given distances, for metrics that the engine does not fuse."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast.persistence.rips import rips_persistence
from tsloss_fast.persistence.summaries import lifetime_variance, total_persistence

# L_H0 and L_H1 of each cloud, [...].
Terms = tuple[Tensor, Tensor]


def divided_by_mean(D: Tensor, missing_edges: bool = False) -> Tensor:
    """Distances [..., n, n] divided by their mean over all n^2 pairs, which has no gradient.

    Where there may be `missing_edges`, infinite entries have no part in it.
    """
    values = D.detach()
    if missing_edges:
        mean = values.where(values != torch.inf, torch.nan).nanmean((-2, -1), keepdim=True)
    else:
        mean = values.mean((-2, -1), keepdim=True)
    return D / mean.where(mean != 0, 1)


def persistence_terms(D: Tensor, h1_power: float) -> Terms:
    """The variance of the H0 lifetimes, and the powers of the H1 lifetimes over n."""
    h0, h1 = rips_persistence(D, metric="precomputed")
    return lifetime_variance(h0), total_persistence(h1, h1_power) / D.shape[-1]


def surrogate_terms(
    D: Tensor,
    tau: float,
    alpha: float,
    lambda_repel: float,
    lambda_attract: float,
    self_pairs: bool,
    detach_scales: bool,
) -> Terms:
    """The paper's Eq. 1 to 6."""
    n = D.shape[-1]
    if n == 1:
        # No pair is left to sum over; the sum keeps the graph, with gradient 0.
        zero = D.sum((-2, -1))
        return zero, zero
    counts = torch.ones(n, n, dtype=torch.bool, device=D.device)
    if not self_pairs:
        counts = ~torch.eye(n, dtype=torch.bool, device=D.device)
    s = -tau * (-D / tau).where(counts, -torch.inf).logsumexp(-1)  # [..., n]
    h0 = (s - s.mean(-1, keepdim=True)).square().sum(-1) / n

    def soft_extreme(sharpness: float) -> Tensor:
        """The mean of D weighted by the softmax of sharpness * D, [..., 1, 1]."""
        weights = (sharpness * D).where(counts, -torch.inf).flatten(-2).softmax(-1)
        extreme = (weights * D.flatten(-2)).sum(-1)[..., None, None]
        return extreme.detach() if detach_scales else extreme

    repel = lambda_repel * (soft_extreme(-alpha) - D).clamp(min=0).square()
    attract = lambda_attract * (D - soft_extreme(alpha)).clamp(min=0).square()
    h1 = (repel + attract).where(counts, 0).sum((-2, -1)) / n**2
    return h0, h1
