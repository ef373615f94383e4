"""The surrogate loss of clouds too large for one program: passes over D, each of many programs.

Each pass stores float64 values of the rows, and every program of the next one adds them up itself,
which takes less time than one more launch. A row's softmax sums are relative to its own shortest
and longest length, so that they need no pass for those of the cloud.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import check_programs
from tsloss_fast._engine.kernels.launching import ceiling, form_of, launch
from tsloss_fast._engine.kernels.surrogate import formulas

# A program is one warp, which needs no barrier. Columns of one step of its loop, and rows that one
# step of a sum over all of them takes.
WARPS = 1
COLUMNS = {torch.float32: 128, torch.float64: 64}
BLOCK = 128
# Rows of a program: few for prompts, which leave most of a GPU idle; of clouds above FEW_POINTS the
# sums over all rows are worth sharing.
ROWS = 2
ROWS_OF_MANY = 4
FEW_POINTS = 256

# The values of a row.
SHORTEST = tl.constexpr(0)
LONGEST = tl.constexpr(1)
MEAN = tl.constexpr(2)
SOFT = tl.constexpr(3)  # sum of exp(-D / tau), relative to the shortest length of the row
NEAR_TOTAL = tl.constexpr(4)  # sum of delta's softmax weights, relative to the row's shortest
NEAR_LENGTHS = tl.constexpr(5)  # sum of the lengths above that shortest, weighted
FAR_TOTAL = tl.constexpr(6)
FAR_LENGTHS = tl.constexpr(7)
FACTOR = tl.constexpr(8)  # what exp(-D / tau) is multiplied by in the gradient
VARIANCE = tl.constexpr(9)  # the row's part of L_H0
NEAR = tl.constexpr(10)
NEAR_SQUARES = tl.constexpr(11)
FAR = tl.constexpr(12)
FAR_SQUARES = tl.constexpr(13)
VALUES = tl.constexpr(14)

# The values of a cloud, which stand behind those of its rows.
LOW = tl.constexpr(0)  # the shortest length
HIGH = tl.constexpr(1)
SUM_OF_MEANS = tl.constexpr(2)
DELTA = tl.constexpr(3)  # above the shortest length
ZETA = tl.constexpr(4)  # below the longest
ALL_NEAR = tl.constexpr(5)  # sum of delta's softmax weights, relative to the shortest length
ALL_FAR = tl.constexpr(6)
TOTALS = tl.constexpr(7)


@triton.jit
def _place(D, scratch, n, PITCH: tl.constexpr, ROWS: tl.constexpr):
    """n as the compiler has to see it, the cloud of this program and its rows, the lengths of the
    cloud, and where the values of its rows begin, and its own."""
    n = formulas.pitched(n, PITCH)
    blocks = tl.cdiv(n, ROWS)
    program = tl.program_id(0)
    i = program % blocks * ROWS + tl.arange(0, ROWS)
    b = (program // blocks).to(tl.int64)
    rows = scratch + b * (n * VALUES + TOTALS)
    return n, b, i.to(tl.int64), D + b * n * n, rows, rows + n * VALUES


@triton.jit
def _put(rows, value: tl.constexpr, i, n, numbers):
    """Store one value of the rows i."""
    tl.store(rows + value * n + i, numbers.to(tl.float64), mask=i < n)


@triton.jit
def _get(rows, value: tl.constexpr, i, n):
    """One value of the rows i; 0 past the last."""
    return tl.load(rows + value * n + i, mask=i < n, other=0.0)


@triton.jit
def _sum_of(rows, value: tl.constexpr, n, BLOCK: tl.constexpr):
    """The sum of one value over all rows."""
    found = tl.zeros([BLOCK], tl.float64)
    for start in range(0, n, BLOCK):
        found += _get(rows, value, start + tl.arange(0, BLOCK), n)
    return tl.sum(found)


@triton.jit
def _minima(rows, i, n, low, scale64, tau, dtype: tl.constexpr):
    """s_i of the rows i above the shortest length of the cloud, and what they take the log of."""
    shortest, soft = _get(rows, SHORTEST, i, n).to(dtype), _get(rows, SOFT, i, n).to(dtype)
    return formulas.soft_minima(shortest, soft, low, scale64, tau, i < n), soft


@triton.jit
def _means_kernel(
    D,  # [B, n, n]
    scratch,  # [B, VALUES * n + TOTALS]
    n,
    PITCH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    n, _b, i, D, rows, _totals = _place(D, scratch, n, PITCH, ROWS)
    mean = tl.zeros([ROWS], D.dtype.element_ty)
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, _counted = formulas.tile(D, i, j, n, True)
        mean += formulas.row_means(lengths, n)
    _put(rows, MEAN, i, n, mean)


@triton.jit
def _softmax_kernel(
    D,  # [B, n, n]
    scratch,  # [B, VALUES * n + TOTALS]
    n,
    tau: tl.float64,
    alpha: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    PITCH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n, _b, i, D, rows, _totals = _place(D, scratch, n, PITCH, ROWS)
    dtype: tl.constexpr = D.dtype.element_ty
    shortest = tl.full([ROWS], float("inf"), dtype)
    longest = tl.zeros([ROWS], dtype)
    mean = tl.zeros([ROWS], dtype)
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, counted = formulas.tile(D, i, j, n, SELF_PAIRS)
        least, most, part = formulas.extents(lengths, counted, n)
        shortest, longest = tl.minimum(shortest, least), tl.maximum(longest, most)
        mean += part
    _put(rows, SHORTEST, i, n, shortest)
    _put(rows, LONGEST, i, n, longest)
    if SCALE_BY_MEAN:
        scale64 = formulas.mean_scale(_sum_of(rows, MEAN, n, BLOCK) / n.to(tl.float64), True)
    else:
        _put(rows, MEAN, i, n, mean)
        scale64 = formulas.mean_scale(tl.full([], 1.0, tl.float64), False)
    scale = formulas.rate(scale64, dtype)
    by_tau, by_alpha = formulas.rate(scale64 / tau, dtype), formulas.rate(scale64 * alpha, dtype)
    # Rows past the last have no shortest length.
    shortest = tl.where(i < n, shortest, 0.0)
    soft = tl.zeros([ROWS], dtype)
    near_total, near_lengths, far_total, far_lengths = soft, soft, soft, soft
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, counted = formulas.tile(D, i, j, n, SELF_PAIRS)
        s, nt, nl, ft, fl = formulas.softmax_sums(
            lengths, counted, shortest, shortest[:, None], longest[:, None], scale, by_tau, by_alpha
        )
        soft += s
        near_total += nt
        near_lengths += nl
        far_total += ft
        far_lengths += fl
    _put(rows, SOFT, i, n, soft)
    _put(rows, NEAR_TOTAL, i, n, near_total)
    _put(rows, NEAR_LENGTHS, i, n, near_lengths)
    _put(rows, FAR_TOTAL, i, n, far_total)
    _put(rows, FAR_LENGTHS, i, n, far_lengths)


@triton.jit
def _extents_of(rows, n, dtype: tl.constexpr, BLOCK: tl.constexpr):
    """Shortest and longest length of the cloud."""
    low, high = tl.full([BLOCK], float("inf"), tl.float64), tl.zeros([BLOCK], tl.float64)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        low = tl.minimum(low, tl.where(i < n, _get(rows, SHORTEST, i, n), float("inf")))
        high = tl.maximum(high, _get(rows, LONGEST, i, n))
    return tl.min(low).to(dtype), tl.max(high).to(dtype)


@triton.jit
def _threshold_sums(
    rows,
    total: tl.constexpr,
    lengths: tl.constexpr,
    i,
    n,
    behind,  # [BLOCK], how far the extreme length of each row is from that of the cloud
    scale64,
    by_alpha,
):
    """Of each row the sums of softmax weights and of weighted lengths, relative to the cloud."""
    fading = tl.where(i < n, formulas.fade(behind * by_alpha), 0.0).to(tl.float64)
    total_weight = fading * _get(rows, total, i, n)
    weighted = fading * _get(rows, lengths, i, n)
    return total_weight, weighted + total_weight * behind.to(tl.float64) * scale64


@triton.jit
def _shortfalls_kernel(
    D,  # [B, n, n]
    scratch,  # [B, VALUES * n + TOTALS]
    n,
    h0_weight: tl.float64,
    tau: tl.float64,
    alpha: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    PITCH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n, _b, i, D, rows, totals = _place(D, scratch, n, PITCH, ROWS)
    dtype: tl.constexpr = D.dtype.element_ty
    points = n.to(tl.float64)
    low, high = _extents_of(rows, n, dtype, BLOCK)
    means = _sum_of(rows, MEAN, n, BLOCK)
    scale64 = formulas.mean_scale(means / points, SCALE_BY_MEAN)
    scale, by_alpha = formulas.rate(scale64, dtype), formulas.rate(scale64 * alpha, dtype)

    minimum = tl.zeros([BLOCK], tl.float64)
    near_total, near_lengths, far_total, far_lengths = minimum, minimum, minimum, minimum
    for start in range(0, n, BLOCK):
        k = start + tl.arange(0, BLOCK)
        minima, _soft = _minima(rows, k, n, low, scale64, tau, dtype)
        minimum += minima
        above = tl.where(k < n, _get(rows, SHORTEST, k, n).to(dtype) - low, 0.0)
        below = tl.where(k < n, high - _get(rows, LONGEST, k, n).to(dtype), 0.0)
        nt, nl = _threshold_sums(rows, NEAR_TOTAL, NEAR_LENGTHS, k, n, above, scale64, by_alpha)
        ft, fl = _threshold_sums(rows, FAR_TOTAL, FAR_LENGTHS, k, n, below, scale64, by_alpha)
        near_total += nt
        near_lengths += nl
        far_total += ft
        far_lengths += fl
    all_near, all_far = tl.sum(near_total), tl.sum(far_total)
    delta, zeta = tl.sum(near_lengths) / all_near, tl.sum(far_lengths) / all_far
    if tl.program_id(0) % tl.cdiv(n, ROWS) == 0:
        tl.store(totals + LOW, low.to(tl.float64))
        tl.store(totals + HIGH, high.to(tl.float64))
        tl.store(totals + SUM_OF_MEANS, means)
        tl.store(totals + DELTA, delta)
        tl.store(totals + ZETA, zeta)
        tl.store(totals + ALL_NEAR, all_near)
        tl.store(totals + ALL_FAR, all_far)

    near = tl.zeros([ROWS], dtype)
    near_squares, far, far_squares = near, near, near
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, counted = formulas.tile(D, i, j, n, SELF_PAIRS)
        a, aa, c, cc = formulas.shortfall_sums(
            lengths, counted, low, high, scale, delta.to(dtype), zeta.to(dtype), n
        )
        near += a
        near_squares += aa
        far += c
        far_squares += cc
    _put(rows, NEAR, i, n, near)
    _put(rows, NEAR_SQUARES, i, n, near_squares)
    _put(rows, FAR, i, n, far)
    _put(rows, FAR_SQUARES, i, n, far_squares)

    minima, soft = _minima(rows, i, n, low, scale64, tau, dtype)
    deviations = minima - tl.sum(minimum) / points
    _put(rows, VARIANCE, i, n, deviations * deviations / points)
    factor = scale64 * h0_weight * 2 / points * deviations
    _put(rows, FACTOR, i, n, factor / tl.where(i < n, soft, 1.0).to(tl.float64))


@triton.jit
def _weights_kernel(
    D,  # [B, n, n]
    scratch,  # [B, VALUES * n + TOTALS]
    loss,  # [B]
    h0_term,  # [B]
    h1_term,  # [B]
    weights,  # [B, n, n]
    n,
    h0_weight: tl.float64,
    h1_weight: tl.float64,
    tau: tl.float64,
    alpha: tl.float64,
    lambda_repel: tl.float64,
    lambda_attract: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    DETACH_SCALES: tl.constexpr,
    PITCH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n, b, i, D, rows, totals = _place(D, scratch, n, PITCH, ROWS)
    weights += b * n * n
    dtype: tl.constexpr = D.dtype.element_ty
    points = n.to(tl.float64)
    means = tl.load(totals + SUM_OF_MEANS)
    scale64 = formulas.mean_scale(means / points, SCALE_BY_MEAN)
    by_tau, by_alpha = formulas.rate(scale64 / tau, dtype), formulas.rate(scale64 * alpha, dtype)
    scale = formulas.rate(scale64, dtype)
    # 0, or NaN if any length is NaN or infinite.
    poison = means - means
    if tl.program_id(0) % tl.cdiv(n, ROWS) == 0:
        h0 = _sum_of(rows, VARIANCE, n, BLOCK) + poison
        h1 = lambda_repel * _sum_of(rows, NEAR_SQUARES, n, BLOCK)
        h1 += lambda_attract * _sum_of(rows, FAR_SQUARES, n, BLOCK) + poison
        formulas.put_terms(loss, h0_term, h1_term, b, h0, h1, h0_weight, h1_weight)

    low, high = tl.load(totals + LOW).to(dtype), tl.load(totals + HIGH).to(dtype)
    delta, zeta = tl.load(totals + DELTA), tl.load(totals + ZETA)
    near_total, far_total = tl.load(totals + ALL_NEAR), tl.load(totals + ALL_FAR)
    near, far = _sum_of(rows, NEAR, n, BLOCK), _sum_of(rows, FAR, n, BLOCK)
    both = scale64 * h1_weight * 4 / points / points
    repel, attract = both * lambda_repel, both * lambda_attract
    shortest_i = _get(rows, SHORTEST, i, n).to(dtype)
    factor_i = _get(rows, FACTOR, i, n).to(dtype)
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, inside, counted = formulas.tile(D, i, j, n, SELF_PAIRS)
        shortest_j = _get(rows, SHORTEST, j, n).to(dtype)
        factor_j = _get(rows, FACTOR, j, n).to(dtype)
        result = formulas.tile_weights(
            lengths, counted, shortest_i, shortest_j, factor_i, factor_j, low, high, scale, by_tau,
            by_alpha, delta, zeta, near, far, near_total, far_total, alpha, repel, attract,
            DETACH_SCALES,
        )  # fmt: skip
        tl.store(weights + i[:, None] * n + j[None, :], result + poison.to(dtype), mask=inside)


def launch_tiled(
    D: Tensor,
    terms: tuple[Tensor, Tensor, Tensor],
    weights: Tensor,
    numbers: tuple[float, ...],
    flags: dict[str, bool],
) -> None:
    """Fill loss and terms [B] and the weights [B, n, n] in three launches, or four scaled by mean.

    All tensors contiguous and allocated here or by the caller, so that pointers are aligned.
    """
    B, n, _ = D.shape
    tiles = pass_options(D.dtype, n)
    programs = B * ceiling(n, tiles["ROWS"])
    check_programs(programs, D, "D")
    size = (B, VALUES.value * n + TOTALS.value)
    scratch = torch.empty(size, dtype=torch.float64, device=D.device)
    h0_weight, _, tau, alpha, _, _ = numbers
    scaled, self_pairs, _ = flags.values()
    form = form_of((D,), n)
    pairs = {"SCALE_BY_MEAN": scaled, "SELF_PAIRS": self_pairs, **tiles}
    if scaled:
        sizes = {key: tiles[key] for key in ("PITCH", "ROWS", "COLUMNS")}
        launch(_means_kernel, form, programs, (D, scratch, n), sizes, WARPS)
    launch(_softmax_kernel, form, programs, (D, scratch, n, tau, alpha), pairs, WARPS)
    launch(_shortfalls_kernel, form, programs, (D, scratch, n, h0_weight, tau, alpha), pairs, WARPS)
    arguments = (D, scratch, *terms, weights, n, *numbers)
    launch(_weights_kernel, form, programs, arguments, flags | tiles, WARPS)


def pass_options(dtype: torch.dtype, n: int) -> dict[str, int]:
    """The sizes of the blocks in the passes over clouds of n points."""
    return {
        "PITCH": formulas.pitch(n),
        "ROWS": ROWS if n <= FEW_POINTS else ROWS_OF_MANY,
        "COLUMNS": COLUMNS[dtype],
        "BLOCK": BLOCK,
    }
