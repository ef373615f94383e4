"""The surrogate loss of clouds too large for one program: passes over D, each of many programs.

Each pass leaves float64 values of the rows, and a kernel adds them up before the next one starts.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import check_programs
from tsloss_fast._engine.kernels.surrogate import formulas

# Rows of a program, columns of one step of its loop, and rows that one step of a total takes.
ROWS = 16
COLUMNS = {torch.float32: 64, torch.float64: 32}
BLOCK = 1024

# The values of a row, and of a cloud: the smallest of the first, the largest of the second, and
# the sums of all others.
SHORTEST = tl.constexpr(0)
LONGEST = tl.constexpr(1)
MEAN = tl.constexpr(2)
SOFT = tl.constexpr(3)  # sum of exp(-D / tau), relative to the shortest length of the row
MINIMUM = tl.constexpr(4)  # s_i, above the shortest length of the cloud
NEAR_TOTAL = tl.constexpr(5)
NEAR_LENGTHS = tl.constexpr(6)
FAR_TOTAL = tl.constexpr(7)
FAR_LENGTHS = tl.constexpr(8)
FACTOR = tl.constexpr(9)  # what exp(-D / tau) is multiplied by in the slope
VARIANCE = tl.constexpr(10)  # the row's part of L_H0
NEAR = tl.constexpr(11)
NEAR_SQUARES = tl.constexpr(12)
FAR = tl.constexpr(13)
FAR_SQUARES = tl.constexpr(14)
VALUES = tl.constexpr(15)

# The values, first and last, that are added up after the first pass, the second and the third.
TOTALS = ((0, 2), (4, 8), (10, 14))


@triton.jit
def _place(n, ROWS: tl.constexpr):
    """The cloud of this program and its rows."""
    blocks = tl.cdiv(n, ROWS)
    program = tl.program_id(0)
    return (program // blocks).to(tl.int64), program % blocks * ROWS + tl.arange(0, ROWS)


@triton.jit
def _put(rows, value: tl.constexpr, i, n, numbers):
    """Store one value of the rows i."""
    tl.store(rows + value * n + i, numbers.to(tl.float64), mask=i < n)


@triton.jit
def _get(rows, value: tl.constexpr, i, n):
    """One value of the rows i; 0 behind the last."""
    return tl.load(rows + value * n + i, mask=i < n, other=0.0)


@triton.jit
def _rates(totals, n, tau, alpha, dtype: tl.constexpr, SCALE_BY_MEAN: tl.constexpr):
    """Shortest and longest length of the cloud, and what lengths are multiplied by."""
    low = tl.load(totals + SHORTEST).to(dtype)
    high = tl.load(totals + LONGEST).to(dtype)
    mean = tl.load(totals + MEAN) / n.to(tl.float64)
    unit = formulas.mean_scale(mean, SCALE_BY_MEAN)
    by_tau, by_alpha = formulas.rate(unit / tau, dtype), formulas.rate(unit * alpha, dtype)
    return low, high, unit, formulas.rate(unit, dtype), by_tau, by_alpha


@triton.jit
def _edges(totals):
    """delta above the shortest length, and zeta below the longest; float64."""
    delta = tl.load(totals + NEAR_LENGTHS) / tl.load(totals + NEAR_TOTAL)
    return delta, tl.load(totals + FAR_LENGTHS) / tl.load(totals + FAR_TOTAL)


@triton.jit
def _extents_kernel(
    D,  # [B, n, n]
    rows,  # [B, VALUES, n]
    n,
    stride_b,
    stride_i,
    stride_j,
    SELF_PAIRS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    b, i = _place(n, ROWS)
    D += b * stride_b
    rows += b * n * VALUES
    dtype: tl.constexpr = D.dtype.element_ty
    shortest = tl.full([ROWS], float("inf"), dtype)
    longest = tl.zeros([ROWS], dtype)
    mean = tl.zeros([ROWS], dtype)
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, counted = formulas.tile(D, i, j, n, stride_i, stride_j, SELF_PAIRS)
        least, most, part = formulas.extents(lengths, counted, n)
        shortest, longest = tl.minimum(shortest, least), tl.maximum(longest, most)
        mean += part
    _put(rows, SHORTEST, i, n, shortest)
    _put(rows, LONGEST, i, n, longest)
    _put(rows, MEAN, i, n, mean)


@triton.jit
def _totals_kernel(
    rows,  # [B, VALUES, n]
    totals,  # [B, VALUES]
    n,
    FIRST: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b = (tl.program_id(0) // COUNT).to(tl.int64)
    value = FIRST + tl.program_id(0) % COUNT
    rows += (b * VALUES + value) * n
    fill = tl.where(value == SHORTEST, float("inf"), 0.0).to(tl.float64)
    found = tl.zeros([BLOCK], tl.float64) + fill
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        part = tl.load(rows + i, mask=i < n, other=0.0)
        if value == SHORTEST:
            found = tl.minimum(found, tl.where(i < n, part, float("inf")))
        elif value == LONGEST:
            found = tl.maximum(found, part)
        else:
            found += part
    if value == SHORTEST:
        total = tl.min(found)
    elif value == LONGEST:
        total = tl.max(found)
    else:
        total = tl.sum(found)
    tl.store(totals + b * VALUES + value, total)


@triton.jit
def _softmax_kernel(
    D,  # [B, n, n]
    rows,  # [B, VALUES, n]
    totals,  # [B, VALUES]
    n,
    stride_b,
    stride_i,
    stride_j,
    tau: tl.float64,
    alpha: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    b, i = _place(n, ROWS)
    D += b * stride_b
    rows += b * n * VALUES
    dtype: tl.constexpr = D.dtype.element_ty
    low, high, unit, scale, by_tau, by_alpha = _rates(
        totals + b * VALUES, n, tau, alpha, dtype, SCALE_BY_MEAN
    )
    shortest = _get(rows, SHORTEST, i, n).to(dtype)
    soft = tl.zeros([ROWS], dtype)
    near_total, near_lengths, far_total, far_lengths = soft, soft, soft, soft
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, counted = formulas.tile(D, i, j, n, stride_i, stride_j, SELF_PAIRS)
        s, nt, nl, ft, fl = formulas.softmax_sums(
            lengths, counted, shortest, low, high, scale, by_tau, by_alpha
        )
        soft += s
        near_total += nt
        near_lengths += nl
        far_total += ft
        far_lengths += fl
    _put(rows, SOFT, i, n, soft)
    minima = formulas.soft_minima(shortest, soft, low, unit, tau, i < n)
    _put(rows, MINIMUM, i, n, minima)
    _put(rows, NEAR_TOTAL, i, n, near_total)
    _put(rows, NEAR_LENGTHS, i, n, near_lengths)
    _put(rows, FAR_TOTAL, i, n, far_total)
    _put(rows, FAR_LENGTHS, i, n, far_lengths)


@triton.jit
def _shortfalls_kernel(
    D,  # [B, n, n]
    rows,  # [B, VALUES, n]
    totals,  # [B, VALUES]
    n,
    stride_b,
    stride_i,
    stride_j,
    h0_weight: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    b, i = _place(n, ROWS)
    D += b * stride_b
    rows += b * n * VALUES
    totals += b * VALUES
    dtype: tl.constexpr = D.dtype.element_ty
    low, high, unit, scale, _, _ = _rates(totals, n, 1.0, 1.0, dtype, SCALE_BY_MEAN)
    delta, zeta = _edges(totals)
    near = tl.zeros([ROWS], dtype)
    near_squares, far, far_squares = near, near, near
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, _inside, counted = formulas.tile(D, i, j, n, stride_i, stride_j, SELF_PAIRS)
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

    points = n.to(tl.float64)
    deviations = _get(rows, MINIMUM, i, n) - tl.load(totals + MINIMUM) / points
    _put(rows, VARIANCE, i, n, deviations * deviations / points)
    soft = tl.where(i < n, _get(rows, SOFT, i, n), 1.0)
    _put(rows, FACTOR, i, n, unit * h0_weight * 2 / points * deviations / soft)


@triton.jit
def _slopes_kernel(
    D,  # [B, n, n]
    rows,  # [B, VALUES, n]
    totals,  # [B, VALUES]
    loss,  # [B]
    h0_term,  # [B]
    h1_term,  # [B]
    weights,  # [B, n, n], contiguous
    n,
    stride_b,
    stride_i,
    stride_j,
    h0_weight: tl.float64,
    h1_weight: tl.float64,
    tau: tl.float64,
    alpha: tl.float64,
    lambda_repel: tl.float64,
    lambda_attract: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    DETACH_SCALES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    b, i = _place(n, ROWS)
    D += b * stride_b
    rows += b * n * VALUES
    totals += b * VALUES
    weights += b * n * n
    dtype: tl.constexpr = D.dtype.element_ty
    low, high, unit, scale, by_tau, by_alpha = _rates(totals, n, tau, alpha, dtype, SCALE_BY_MEAN)
    delta, zeta = _edges(totals)
    mean = tl.load(totals + MEAN)
    # 0, or NaN if any length is NaN or infinite.
    poison = mean - mean
    if tl.program_id(0) % tl.cdiv(n, ROWS) == 0:
        h0 = tl.load(totals + VARIANCE) + poison
        h1 = lambda_repel * tl.load(totals + NEAR_SQUARES)
        h1 += lambda_attract * tl.load(totals + FAR_SQUARES) + poison
        tl.store(loss + b, (h0_weight * h0 + h1_weight * h1).to(dtype))
        tl.store(h0_term + b, h0.to(dtype))
        tl.store(h1_term + b, h1.to(dtype))

    points = n.to(tl.float64)
    both = unit * h1_weight * 4 / points / points
    repel, attract = both * lambda_repel, both * lambda_attract
    near, far = tl.load(totals + NEAR), tl.load(totals + FAR)
    near_total, far_total = tl.load(totals + NEAR_TOTAL), tl.load(totals + FAR_TOTAL)
    shortest_i = _get(rows, SHORTEST, i, n).to(dtype)
    factor_i = _get(rows, FACTOR, i, n).to(dtype)
    for start in range(0, n, COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        lengths, inside, counted = formulas.tile(D, i, j, n, stride_i, stride_j, SELF_PAIRS)
        shortest_j = _get(rows, SHORTEST, j, n).to(dtype)
        factor_j = _get(rows, FACTOR, j, n).to(dtype)
        result = formulas.tile_weights(
            lengths, counted, shortest_i, shortest_j, factor_i, factor_j, low, high, scale, by_tau,
            by_alpha, delta, zeta, near, far, near_total, far_total, alpha, repel, attract,
            DETACH_SCALES,
        )  # fmt: skip
        at = i.to(tl.int64)[:, None] * n + j[None, :]
        tl.store(weights + at, result + poison.to(dtype), mask=inside)


def launch_tiled(
    D: Tensor,
    loss: Tensor,
    h0: Tensor,
    h1: Tensor,
    weights: Tensor,
    numbers: tuple[float, ...],
    flags: dict[str, bool],
) -> None:
    """Fill the loss and its terms [B] and the weights [B, n, n] in seven launches."""
    B, n, _ = D.shape
    programs = B * triton.cdiv(n, ROWS)
    check_programs(programs, D, "D")
    if not programs:
        return
    rows = torch.empty(B, VALUES.value, n, dtype=torch.float64, device=D.device)
    totals = torch.empty(B, VALUES.value, dtype=torch.float64, device=D.device)
    h0_weight, _, tau, alpha, _, _ = numbers
    tiles = {"SELF_PAIRS": flags["SELF_PAIRS"], "ROWS": ROWS, "COLUMNS": COLUMNS[D.dtype]}
    by_mean = {"SCALE_BY_MEAN": flags["SCALE_BY_MEAN"], **tiles}
    grid = (programs,)

    def total(first: int, last: int) -> None:
        count = last - first + 1
        _totals_kernel[(B * count,)](rows, totals, n, first, count, BLOCK)

    _extents_kernel[grid](D, rows, n, *D.stride(), **tiles)
    total(*TOTALS[0])
    _softmax_kernel[grid](D, rows, totals, n, *D.stride(), tau, alpha, **by_mean)
    total(*TOTALS[1])
    _shortfalls_kernel[grid](D, rows, totals, n, *D.stride(), h0_weight, **by_mean)
    total(*TOTALS[2])
    _slopes_kernel[grid](
        D, rows, totals, loss, h0, h1, weights, n, *D.stride(), *numbers, **flags | tiles
    )
