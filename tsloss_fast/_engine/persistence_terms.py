"""The exact loss on the lengths of its critical edges, in torch: what the CUDA kernel computes."""

from __future__ import annotations

from torch import Tensor, cat

from tsloss_fast._engine.padding import rows_of


def persistence_terms(
    lengths: Tensor,
    n: int,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scales: Tensor,
    points: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, L_H0 and L_H1 [...] of `TSLoss` (there the formulas), and the weights of its gradient.

    ``lengths`` [..., n - 1 + 2 K] are the deaths of H0, the births of H1 and its deaths, 0 where
    padded, and ``scales`` [...], float64, what they are multiplied by first. The gradient on the
    points is ``scale * sum weight (x_i - x_j)`` over the edges, weights [..., n - 1 + 2 K].
    Where not all clouds have n, `points` [...] are their numbers.
    """
    K = (lengths.shape[-1] - (n - 1)) // 2
    # Few numbers, so float64 costs nothing, and the variance keeps its digits.
    scaled = lengths.double() * scales.unsqueeze(-1)
    h0_lifetimes, births, deaths = scaled.split((n - 1, K, K), dim=-1)
    # One point has no lifetime, and its term is 0.
    count: int | Tensor = max(n - 1, 1)
    size: int | Tensor = n
    if points is not None:
        # In float64, for a number divided by a whole one is float32.
        count, size = (least.clamp(min=1).double()[..., None] for least in (points - 1, points))
    above = h0_lifetimes - h0_lifetimes.sum(-1, keepdim=True) / count
    if points is not None:
        above = above.where(rows_of(points - 1, n - 1), 0)
    h0 = (above.square().sum(-1, keepdim=True) / count).squeeze(-1)
    # Lengths were computed again from the points: a death may be a rounding below its birth.
    lifetimes = (deaths - births).clamp(min=0)
    h1 = (lifetimes.pow(h1_power).sum(-1, keepdim=True) / size).squeeze(-1)

    of_lifetimes = h1_weight * h1_power / size * lifetimes.pow(h1_power - 1)
    gradient = cat((h0_weight * 2 / count * above, -of_lifetimes, of_lifetimes), dim=-1)
    # The gradient at coincident points is 0.
    coincident = lengths == 0
    weights = (gradient / lengths.masked_fill(coincident, 1)).masked_fill(coincident, 0)
    parts = (h0_weight * h0 + h1_weight * h1, h0, h1, weights)
    loss, h0, h1, weights = (part.to(lengths.dtype) for part in parts)
    return loss, h0, h1, weights
