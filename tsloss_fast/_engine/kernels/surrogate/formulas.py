"""The surrogate loss on one tile of D, as both of its kernels compute it.

Lengths enter as their distance above the shortest pair and below the longest, which float32 holds
to its last digit however alike all lengths are. The thresholds delta and zeta are such distances
too, delta - shortest and longest - zeta, so that one formula serves both halves of L_H1.
"""

# Triton takes no annotation of what a function returns.

from __future__ import annotations

import triton
import triton.language as tl

# exp(-FADED) is 0 in float64 too, and FADED times 0 is still a number.
FADED = tl.constexpr(1e4)
# Factors are cut off here, in float32 and in float64: an infinite one times 0 would be NaN.
LARGEST = tl.constexpr(3e38)


def pitch(n: int) -> int:
    """The largest of 1, 2 and 4 that divides n: a thread may load so many lengths at once."""
    return min(4, n & -n)


@triton.jit
def pitched(n, PITCH: tl.constexpr):
    """n, so written that the compiler sees PITCH divide it; by itself it looks for 16 alone."""
    return n // PITCH * PITCH


@triton.jit
def tile(
    D,  # [n, n], contiguous
    i,  # [ROWS]
    j,  # [COLUMNS]
    n,
    SELF_PAIRS: tl.constexpr,
):
    """The lengths, which of them lie in D, and which of those count [ROWS, COLUMNS]."""
    inside = (i < n)[:, None] & (j < n)[None, :]
    lengths = tl.load(D + i[:, None] * n + j[None, :], mask=inside, other=0)
    counted = inside if SELF_PAIRS else inside & (i[:, None] != j[None, :])
    return lengths, inside, counted


@triton.jit
def row_means(lengths, n):
    """The mean of each row over all n."""
    # Divided first, so that finite lengths never add up to infinity.
    share = (1 / n.to(tl.float64)).to(lengths.dtype)
    return tl.sum(lengths * share, axis=1)


@triton.jit
def extents(lengths, counted, n):
    """The shortest and longest length that counts, and the mean over all n, of each row."""
    shortest = tl.min(tl.where(counted, lengths, float("inf")), axis=1)
    longest = tl.max(tl.where(counted, lengths, 0.0), axis=1)
    return shortest, longest, row_means(lengths, n)


@triton.jit
def rate(value, dtype: tl.constexpr):
    """A float64 factor in the dtype of the lengths, kept finite."""
    return tl.minimum(value, LARGEST).to(dtype)


@triton.jit
def fade(z):
    """exp(-z), for z >= 0 or nearly so."""
    return tl.exp(-tl.minimum(tl.maximum(z, 0.0), FADED))


@triton.jit
def softmax_sums(lengths, counted, shortest, low, high, scale, by_tau, by_alpha):
    """Of each row: the sum of exp(-D / tau), relative to its shortest length; then, for delta and
    for zeta, the sum of the softmax weights and that of the weighted lengths, relative to `low` and
    `high`, of the cloud or of each row [ROWS, 1]."""
    soft = tl.where(counted, fade((lengths - shortest[:, None]) * by_tau), 0.0)
    above, below = lengths - low, high - lengths
    near = tl.where(counted, fade(above * by_alpha), 0.0)
    far = tl.where(counted, fade(below * by_alpha), 0.0)
    return (
        tl.sum(soft, axis=1),
        tl.sum(near, axis=1),
        tl.sum(near * (above * scale), axis=1),
        tl.sum(far, axis=1),
        tl.sum(far * (below * scale), axis=1),
    )


@triton.jit
def soft_minima(shortest, soft, low, scale64, tau, inside):
    """s_i of each row above the shortest length `low`, float64; 0 for rows not inside."""
    above = tl.where(inside, shortest - low, 0.0).to(tl.float64)
    # The sum has the error of its dtype already, so the logarithm needs no more digits.
    return above * scale64 - tau * tl.log(tl.where(inside, soft, 1.0)).to(tl.float64)


@triton.jit
def shortfall(distance, threshold, counted):
    """max(0, threshold - distance) where the pair counts."""
    return tl.where(counted, tl.maximum(threshold - distance, 0.0), 0.0)


@triton.jit
def shortfall_sums(lengths, counted, low, high, scale, delta, zeta, n):
    """Of each row: the sums of max(0, delta - D), of its square / n^2, and those for zeta."""
    share = (1 / n.to(tl.float64)).to(lengths.dtype)
    near = shortfall((lengths - low) * scale, delta, counted)
    far = shortfall((high - lengths) * scale, zeta, counted)
    # Divided first, so that the squares overflow only where their mean does.
    near_share, far_share = near * share, far * share
    return (
        tl.sum(near, axis=1),
        tl.sum(near_share * near_share, axis=1),
        tl.sum(far, axis=1),
        tl.sum(far_share * far_share, axis=1),
    )


@triton.jit
def put_terms(
    loss,  # [B]
    h0_term,  # [B]
    h1_term,  # [B]
    b,
    h0,
    h1,
    h0_weight,
    h1_weight,
):
    """Store the loss of one cloud and its two terms."""
    dtype: tl.constexpr = loss.dtype.element_ty
    tl.store(loss + b, (h0_weight * h0 + h1_weight * h1).to(dtype))
    tl.store(h0_term + b, h0.to(dtype))
    tl.store(h1_term + b, h1.to(dtype))


@triton.jit
def mean_scale(mean, SCALE_BY_MEAN: tl.constexpr):
    """What lengths are multiplied by: 1 / mean, or 1 where all are 0; float64."""
    if SCALE_BY_MEAN:
        return tl.where(mean > 0, 1 / mean, 1.0)
    return mean * 0 + 1


@triton.jit
def pull(
    distance,  # [ROWS, COLUMNS], from the shortest length, or to the longest
    threshold,  # delta or zeta, as such a distance
    scale,
    by_alpha,
    mean_exponent,  # alpha * threshold
    push,  # factor of the gradient of max(0, threshold - distance)^2 / 2
    through,  # factor of the gradient of the threshold itself
    counted,
    DETACH_SCALES: tl.constexpr,
):
    """The gradient of one half of L_H1 by the distance, directly and through its threshold."""
    gradient = -push * shortfall(distance * scale, threshold, counted)
    if not DETACH_SCALES:
        z = tl.minimum(distance * by_alpha, FADED)
        gradient += tl.where(counted, through * fade(z) * (1 - (z - mean_exponent)), 0.0)
    return gradient


@triton.jit
def quotient(a, b):
    """a / b, rounded correctly in float32 too."""
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def tile_weights(
    lengths,  # [ROWS, COLUMNS]
    counted,  # [ROWS, COLUMNS]
    shortest_i,  # [ROWS], of D's rows
    shortest_j,  # [COLUMNS], of D's columns
    factor_i,  # [ROWS], what exp((shortest_i - D_ij) / tau) is multiplied by in the gradient
    factor_j,  # [COLUMNS]
    low,
    high,
    scale,
    by_tau,
    by_alpha,
    delta,  # float64, as all that follow
    zeta,
    near,  # sum of max(0, delta - D)
    far,  # sum of max(0, D - zeta)
    near_total,  # sum of delta's softmax weights
    far_total,
    alpha,
    repel,  # factor of the gradient of the repelling half
    attract,
    DETACH_SCALES: tl.constexpr,
):
    """(dL/dD_ij + dL/dD_ji) / D_ij, 0 where D_ij is; D symmetric."""
    dtype: tl.constexpr = lengths.dtype
    gradient = pull(
        lengths - low, delta.to(dtype), scale, by_alpha, (alpha * delta).to(dtype),
        repel.to(dtype), (repel * near / near_total).to(dtype), counted, DETACH_SCALES,
    )  # fmt: skip
    gradient -= pull(
        high - lengths, zeta.to(dtype), scale, by_alpha, (alpha * zeta).to(dtype),
        attract.to(dtype), (attract * far / far_total).to(dtype), counted, DETACH_SCALES,
    )  # fmt: skip
    gradient += factor_i[:, None] * fade((lengths - shortest_i[:, None]) * by_tau)
    gradient += factor_j[None, :] * fade((lengths - shortest_j[None, :]) * by_tau)
    apart = counted & (lengths > 0)
    return tl.where(apart, quotient(gradient, tl.where(apart, lengths, 1.0)), 0.0)
