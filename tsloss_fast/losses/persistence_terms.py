"""The two terms of TSLoss on critical edges that are known already, in differentiable torch."""

from __future__ import annotations

from torch import Tensor, cat

from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.scaling import unit_of


def persistence_terms(
    x: Tensor, D: Tensor, h0: Tensor, h1: Tensor, h1_power: float, scale_by_mean: bool
) -> tuple[Tensor, Tensor]:
    """L_H0 and L_H1 [...] of `TSLoss` (there the formulas) for the points ``x`` [..., n, d].

    ``D`` [..., n, n] are their distances, and ``h0`` [..., n-1, 3] and ``h1`` [..., K, 4] their
    bars, as `ops.h1_critical_edges` gives them. Nothing here waits for a device.
    """
    n, K = x.shape[-2], h1.shape[-2]
    edges = cat((h0[..., 1:], h1[..., :2], h1[..., 2:]), dim=-2)  # [..., n - 1 + 2 K, 2]
    if scale_by_mean:
        # The slope by a length, over the length, would leave the range of float32 for clouds that
        # are tiny or huge.
        unit = unit_of(D)  # [..., 1, 1]
        x, D = x / unit, D / unit
    # Few numbers, so float64 costs nothing, and the variance keeps its digits.
    lengths = ops.edge_lengths(x, edges).double()
    if scale_by_mean:
        mean = D.mean((-2, -1)).double()
        lengths = lengths / mean.where(mean > 0, 1).unsqueeze(-1)
    lifetimes, births, deaths = lengths.split((n - 1, K, K), dim=-1)
    # One point has no lifetime, and its term is 0.
    count = max(n - 1, 1)
    mean_lifetime = lifetimes.sum(-1, keepdim=True) / count
    h0_term = (lifetimes - mean_lifetime).square().sum(-1) / count
    h1_term = (deaths - births).pow(h1_power).where(h1[..., 0] >= 0, 0).sum(-1) / n
    return h0_term.to(x.dtype), h1_term.to(x.dtype)
