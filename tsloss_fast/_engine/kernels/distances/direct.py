"""Distances by direct differences, in tiles; few tiles share out their coordinates."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import check_programs

# Rows of a tile, and coordinates that one step of its sum takes.
BLOCK_N = 16
BLOCK_D = {torch.float32: 32, torch.float64: 16}

# Programs that fill a large GPU (132 multiprocessors, 4 tiles each). Where a cloud has fewer tiles,
# each tile is summed by several programs, of at least MIN_SHARE coordinates.
ENOUGH_PROGRAMS = 528
MIN_SHARE = 128

# For each accumulator: below SMALLEST a sum of squares has lost digits, so that its differences
# are scaled by ENLARGE; where it overflowed, by REDUCE. Powers of two, so scaling is exact.
SMALLEST = {torch.float32: 2.0**-103, torch.float64: 2.0**-970}
ENLARGE = {torch.float32: 2.0**100, torch.float64: 2.0**600}
REDUCE = {torch.float32: 2.0**-80, torch.float64: 2.0**-600}


@triton.jit
def _sum_squares(
    x,  # [n, d]
    i,  # [BLOCK_N]
    j,  # [BLOCK_N]
    scale,  # [BLOCK_N, BLOCK_N]
    first,  # the coordinates first <= k < last are summed
    last,
    n,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    rows = x + i.to(tl.int64)[:, None] * stride_n
    columns = x + j.to(tl.int64)[:, None] * stride_n
    squares = tl.zeros([BLOCK_N, BLOCK_N], ACCUMULATOR)
    for start in range(first, last, BLOCK_D):
        k = start + tl.arange(0, BLOCK_D)
        at = k.to(tl.int64)[None, :] * stride_d
        a = tl.load(rows + at, mask=(i < n)[:, None] & (k < last)[None, :], other=0)
        b = tl.load(columns + at, mask=(j < n)[:, None] & (k < last)[None, :], other=0)
        difference = a.to(ACCUMULATOR)[:, None, :] - b.to(ACCUMULATOR)[None, :, :]
        if SCALED:
            difference *= scale[:, :, None]
        squares += tl.sum(difference * difference, axis=2)
    return squares


@triton.jit
def _store_lengths(
    squares,  # [BLOCK_N, BLOCK_N]
    x,  # [n, d]
    D,  # [n, n], contiguous
    i,  # [BLOCK_N]
    j,  # [BLOCK_N]
    n,
    d,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Store the roots of a tile, of squares summed anew where they left the range."""
    inside = (i < n)[:, None] & (j < n)[None, :]
    above = inside & (i[:, None] < j[None, :])
    one = tl.full([BLOCK_N, BLOCK_N], 1.0, ACCUMULATOR)
    small, large = squares < SMALLEST, squares == float("inf")
    scale = tl.where(small, one * ENLARGE, tl.where(large, one * REDUCE, one))
    # Equal rows are sent here too: that their sum is 0 does not tell them from an underflow.
    if tl.max((above & (small | large)).to(tl.int32)) > 0:
        squares = _sum_squares(
            x, i, j, scale, 0, d, n, stride_n, stride_d, ACCUMULATOR, True, BLOCK_N, BLOCK_D
        )
        inverse = tl.where(small, one * (1 / ENLARGE), tl.where(large, one * (1 / REDUCE), one))
    else:
        inverse = one
    # tl.sqrt is rounded for float64, but approximate for float32.
    root = tl.sqrt_rn(squares) if squares.dtype == tl.float32 else tl.sqrt(squares)
    lengths = root * inverse

    # Each pair is computed once and stored twice, so that D is symmetric to the bit.
    i, j = i.to(tl.int64)[:, None], j.to(tl.int64)[None, :]
    tl.store(D + i * n + j, lengths, mask=inside & (i <= j))
    tl.store(D + j * n + i, lengths, mask=above)


@triton.jit
def _direct_kernel(
    x,  # [B, n, d]
    D,  # [B, n, n], contiguous
    n,
    d,
    stride_b,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    tiles = tl.cdiv(n, BLOCK_N)
    program = tl.program_id(0)
    b = (program // (tiles * tiles)).to(tl.int64)
    row, column = program // tiles % tiles, program % tiles
    if row > column:
        return
    x += b * stride_b
    D += b * n * n
    i = row * BLOCK_N + tl.arange(0, BLOCK_N)
    j = column * BLOCK_N + tl.arange(0, BLOCK_N)
    one = tl.full([BLOCK_N, BLOCK_N], 1.0, ACCUMULATOR)
    squares = _sum_squares(
        x, i, j, one, 0, d, n, stride_n, stride_d, ACCUMULATOR, False, BLOCK_N, BLOCK_D
    )
    _store_lengths(
        squares, x, D, i, j, n, d, stride_n, stride_d, ACCUMULATOR, SMALLEST, ENLARGE, REDUCE,
        BLOCK_N, BLOCK_D,
    )  # fmt: skip


@triton.jit
def _share_kernel(
    x,  # [B, n, d]
    partial,  # [B, shares, n, n]: the squares of each share of the coordinates, where i <= j
    n,
    d,
    shares,
    width,  # coordinates of a share
    stride_b,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    tiles = tl.cdiv(n, BLOCK_N)
    program = tl.program_id(0)
    row, column = program // tiles % tiles, program % tiles
    if row > column:
        return
    share = program // (tiles * tiles)  # counted over the batch
    x += (share // shares).to(tl.int64) * stride_b
    i = row * BLOCK_N + tl.arange(0, BLOCK_N)
    j = column * BLOCK_N + tl.arange(0, BLOCK_N)
    first = share % shares * width
    last = tl.minimum(first + width, d)
    one = tl.full([BLOCK_N, BLOCK_N], 1.0, ACCUMULATOR)
    squares = _sum_squares(
        x, i, j, one, first, last, n, stride_n, stride_d, ACCUMULATOR, False, BLOCK_N, BLOCK_D
    )
    inside = (i < n)[:, None] & (j < n)[None, :]
    at = (share.to(tl.int64) * n + i.to(tl.int64)[:, None]) * n + j[None, :]
    tl.store(partial + at, squares, mask=inside)


@triton.jit
def _join_kernel(
    x,  # [B, n, d]
    partial,  # [B, shares, n, n]
    D,  # [B, n, n], contiguous
    n,
    d,
    shares,
    stride_b,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    tiles = tl.cdiv(n, BLOCK_N)
    program = tl.program_id(0)
    b = (program // (tiles * tiles)).to(tl.int64)
    row, column = program // tiles % tiles, program % tiles
    if row > column:
        return
    x += b * stride_b
    D += b * n * n
    i = row * BLOCK_N + tl.arange(0, BLOCK_N)
    j = column * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (i < n)[:, None] & (j < n)[None, :]
    at = i.to(tl.int64)[:, None] * n + j[None, :]
    squares = tl.zeros([BLOCK_N, BLOCK_N], ACCUMULATOR)
    for share in range(shares):
        squares += tl.load(partial + (b * shares + share) * n * n + at, mask=inside, other=0)
    _store_lengths(
        squares, x, D, i, j, n, d, stride_n, stride_d, ACCUMULATOR, SMALLEST, ENLARGE, REDUCE,
        BLOCK_N, BLOCK_D,
    )  # fmt: skip


def fill_direct(x: Tensor, D: Tensor) -> None:
    """Write the distances of `x` [B, n, d] into `D` [B, n, n], contiguous, one tile a program.

    Few tiles leave most of a GPU idle, so that their coordinates are shared out: n and d alone
    choose how, so that a cloud has the same bits in every batch.
    """
    B, n, d = x.shape
    tiles = triton.cdiv(n, BLOCK_N)
    shares = _shares(tiles, d)
    check_programs(B * tiles**2 * shares, x, "x")
    grid = (B * tiles**2,)
    options = tile_options(D.dtype)
    if shares == 1:
        _direct_kernel[grid](x, D, n, d, *x.stride(), **options)
        return
    step = options["BLOCK_D"]
    width = triton.cdiv(triton.cdiv(d, shares), step) * step
    partial = torch.empty(B, shares, n, n, dtype=D.dtype, device=D.device)
    _share_kernel[(B * tiles**2 * shares,)](
        x, partial, n, d, shares, width, *x.stride(), **share_options(D.dtype)
    )
    _join_kernel[grid](x, partial, D, n, d, shares, *x.stride(), **options)


def _shares(tiles: int, d: int) -> int:
    """Programs that sum one tile."""
    return max(1, min(ENOUGH_PROGRAMS // (tiles * (tiles + 1) // 2), d // MIN_SHARE))


def share_options(dtype: torch.dtype) -> dict[str, object]:
    """The compile-time arguments of the kernel that sums a share."""
    return {
        "ACCUMULATOR": tl.float64 if dtype == torch.float64 else tl.float32,
        "BLOCK_N": BLOCK_N,
        "BLOCK_D": BLOCK_D[dtype],
    }


def tile_options(dtype: torch.dtype) -> dict[str, object]:
    """The compile-time arguments of a kernel that stores lengths of this dtype."""
    ranges = {"SMALLEST": SMALLEST[dtype], "ENLARGE": ENLARGE[dtype], "REDUCE": REDUCE[dtype]}
    return share_options(dtype) | ranges
