"""Both formulations of TSLoss on given distances, for metrics that the engine does not fuse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine.padding import pairs_of
from tsloss_fast._engine.scaling import mean_of_powers
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.rips import rips_persistence
from tsloss_fast.persistence.summaries import lifetime_variance

# L_H0 and L_H1 of each cloud, [...].
Terms = tuple[Tensor, Tensor]


def divided_by_mean(
    D: Tensor, missing_edges: bool = False, lengths: Tensor | None = None
) -> Tensor:
    """Distances [..., n, n] divided by their mean over all n^2 pairs, which has no gradient.

    Where there may be `missing_edges`, infinite entries have no part in it. Here and below
    ``lengths`` [...] are the clouds' numbers of points, where not all have n; then ``D`` is 0
    behind them.
    """
    values = D.detach()
    if lengths is not None:
        counts = (values != torch.inf) & pairs_of(lengths, D.shape[-1])
        total = values.where(counts, 0).sum((-2, -1), keepdim=True)
        mean = total / counts.sum((-2, -1), keepdim=True).clamp(min=1)
    elif missing_edges:
        mean = values.where(values != torch.inf, torch.nan).nanmean((-2, -1), keepdim=True)
    else:
        mean = values.mean((-2, -1), keepdim=True)
    return D / mean.where(mean != 0, 1)


def persistence_terms(D: Tensor, h1_power: float, lengths: Tensor | None = None) -> Terms:
    """The variance of the H0 lifetimes, and the powers of the H1 lifetimes over n."""
    h0, h1 = map(_in_float64, rips_persistence(D, metric="precomputed", lengths=lengths))
    n = D.shape[-1] if lengths is None else lengths.clamp(min=1)
    terms = lifetime_variance(h0), mean_of_powers(h1.lifetimes.where(h1.mask, 0), h1_power, n)
    return terms[0].to(D.dtype), terms[1].to(D.dtype)


def _in_float64(dgm: PersistenceDiagram) -> PersistenceDiagram:
    """The bars of a diagram in float64, in which few numbers cost nothing.

    In float32 a power may overflow of which a part would not.
    """
    edges = dgm.birth_edges, dgm.death_edges
    return PersistenceDiagram(dgm.births.double(), dgm.deaths.double(), *edges, dgm.mask)


def surrogate_terms(
    D: Tensor,
    tau: float,
    alpha: float,
    lambda_repel: float,
    lambda_attract: float,
    self_pairs: bool,
    detach_scales: bool,
    lengths: Tensor | None = None,
) -> Terms:
    """The paper's Eq. 1 to 6."""
    n: Any = D.shape[-1]  # or [...], where clouds differ
    if n == 1:
        # No pair is left to sum over; the product keeps the graph, with gradient 0.
        zero = D.sum((-2, -1)) * 0
        return zero, zero
    counts = torch.ones(n, n, dtype=torch.bool, device=D.device)
    if not self_pairs:
        counts = ~torch.eye(n, dtype=torch.bool, device=D.device)
    if lengths is None:
        s = -tau * (-D / tau).where(counts, -torch.inf).logsumexp(-1)  # [..., n]
        above = s - s.mean(-1, keepdim=True)
    else:
        counts, n = counts & pairs_of(lengths, n), lengths.clamp(min=1)
        rows = counts.any(-1)  # [..., n]
        # A sum over no pair would be -inf, with a gradient of NaN.
        exponents = (-D / tau).where(counts, -torch.inf).where(rows.unsqueeze(-1), 0)
        s = -tau * exponents.logsumexp(-1).where(rows, 0)
        above = (s - (s.sum(-1) / n).unsqueeze(-1)).where(rows, 0)
    h0 = above.square().sum(-1) / n

    def soft_extreme(sharpness: float) -> Tensor:
        """The mean of D weighted by the softmax of sharpness * D, [..., 1, 1]."""
        exponents = (sharpness * D).where(counts, -torch.inf).flatten(-2)
        if lengths is not None:
            exponents = exponents.where(counts.flatten(-2).any(-1, keepdim=True), 0)
        weights = exponents.softmax(-1)
        extreme = (weights * D.flatten(-2)).sum(-1)[..., None, None]
        return extreme.detach() if detach_scales else extreme

    repel = lambda_repel * (soft_extreme(-alpha) - D).clamp(min=0).square()
    attract = lambda_attract * (D - soft_extreme(alpha)).clamp(min=0).square()
    h1 = (repel + attract).where(counts, 0).sum((-2, -1)) / n**2
    return h0, h1
