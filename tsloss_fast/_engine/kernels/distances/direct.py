"""Distances by direct differences, in tiles; few tiles share out their coordinates."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import check_programs
from tsloss_fast._engine.kernels.launching import ceiling, form_of, launch

# A tile is BLOCK_N x BLOCK_N pairs. Each thread keeps HELD x HELD of them in registers, for one of
# every LANES coordinates, so that a coordinate of a pair costs a subtraction and an fma, and
# nothing crosses lanes until all coordinates are summed.
TILES = {
    torch.float32: {"BLOCK_N": 16, "HELD": 8, "LANES": 8},
    torch.float64: {"BLOCK_N": 16, "HELD": 4, "LANES": 8},
}
# Such a tile takes (BLOCK_N / HELD)^2 * LANES threads.
WARPS = {torch.float32: 1, torch.float64: 4}
# A sum of squares is off by (5 + d / LANES) half units of rounding in the worst case, in float32 a
# length by 1e-5 at d = 2560: 2 roundings of a difference, one for each fma, 3 to join the lanes.

# Coordinates that one step of a sum takes: each thread reads 4 next to each other at once.
BLOCK_D = 4 * 8
# Steps whose loads are under way together.
STAGES = 3

# Programs that fill a large GPU (132 multiprocessors, 4 tiles each). Where a cloud has fewer tiles,
# each tile is summed by up to MAX_SHARES programs, of at least MIN_SHARE coordinates.
ENOUGH_PROGRAMS = 528
MIN_SHARE = 128
MAX_SHARES = 16

# By dtype of the sums: a sum of squares below SMALLEST has lost digits, and is computed again with
# differences times ENLARGE; one that overflowed, with REDUCE. Powers of two change no digit.
SMALLEST = {torch.float32: 2.0**-103, torch.float64: 2.0**-970}
ENLARGE = {torch.float32: 2.0**100, torch.float64: 2.0**600}
REDUCE = {torch.float32: 2.0**-80, torch.float64: 2.0**-600}


@triton.jit
def _tile_of(pair, tiles):
    """The row and the column of a tile on or above the diagonal, by its number among these.

    Row q is put beside row `tiles - q` (if `tiles` is odd) or `tiles - 1 - q` (if even): every such
    pair has the same number of tiles, so that the pairs are the rows of a rectangle.
    """
    even = 1 - tiles % 2
    q, s = pair // (tiles + even), pair % (tiles + even)
    upper = s - even >= q
    row = tl.where(upper, q, tiles - even - q)
    return row, tl.where(upper, s - even, row + s)


@triton.jit
def _place(n, BLOCK_N: tl.constexpr):
    """Of this program: the cloud, counted over shares too; row and column of its tile; of how many.

    The tiles on or above the diagonal follow each other, then come those of the next cloud.
    """
    tiles = tl.cdiv(n, BLOCK_N)
    pairs = tiles * (tiles + 1) // 2
    row, column = _tile_of(tl.program_id(0) % pairs, tiles)
    return tl.program_id(0) // pairs, row, column, tiles


@triton.jit
def _quarters(a, HELD: tl.constexpr, APART: tl.constexpr, LANES: tl.constexpr):
    """The four coordinates of a thread: [HELD, APART, 4 * LANES] -> 4 x [HELD, APART, LANES]."""
    even, odd = tl.split(tl.reshape(a, [HELD, APART, LANES, 2, 2]))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def _add_one(squares, a, b, factor, HAS_FACTOR: tl.constexpr):
    difference = a[:, None, :, None, :] - b[None, :, None, :, :]
    if HAS_FACTOR:
        difference *= factor
    return tl.fma(difference, difference, squares)


@triton.jit
def _add_step(
    squares,  # [HELD, HELD, APART, APART, LANES]
    a,  # [HELD, APART, 4 * LANES]
    b,  # [HELD, APART, 4 * LANES]
    factor,
    HAS_FACTOR: tl.constexpr,
    HELD: tl.constexpr,
    APART: tl.constexpr,
    LANES: tl.constexpr,
):
    a0, a1, a2, a3 = _quarters(a.to(squares.dtype), HELD, APART, LANES)
    b0, b1, b2, b3 = _quarters(b.to(squares.dtype), HELD, APART, LANES)
    squares = _add_one(squares, a0, b0, factor, HAS_FACTOR)
    squares = _add_one(squares, a1, b1, factor, HAS_FACTOR)
    squares = _add_one(squares, a2, b2, factor, HAS_FACTOR)
    return _add_one(squares, a3, b3, factor, HAS_FACTOR)


@triton.jit
def _sum_squares(
    x,  # [n, d]
    row,  # of the tile
    column,
    factor,  # of the differences, if HAS_FACTOR
    first,  # the coordinates first <= k < last are summed
    last,
    n,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    HAS_FACTOR: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HELD: tl.constexpr,
    LANES: tl.constexpr,
):
    """The sums of squared differences of a tile: [BLOCK_N, BLOCK_N].

    Triton deals the last axes of a tensor out to lanes, then to warps, and leaves the first in the
    registers of a thread. Hence the order of axes: the thread's rows, its columns, the rows and
    the columns of different threads, coordinates.
    """
    APART: tl.constexpr = BLOCK_N // HELD
    BLOCK_D: tl.constexpr = 4 * LANES
    offsets = tl.arange(0, HELD)[:, None] * APART + tl.arange(0, APART)[None, :]
    # Indices past the last row read the last row again: no load needs a mask, none of it is stored.
    i = tl.minimum(row * BLOCK_N + offsets, n - 1).to(tl.int64)
    j = tl.minimum(column * BLOCK_N + offsets, n - 1).to(tl.int64)
    rows = x + i[:, :, None] * stride_n
    columns = x + j[:, :, None] * stride_n
    squares = tl.zeros([HELD, HELD, APART, APART, LANES], ACCUMULATOR)
    whole = first + (last - first) // BLOCK_D * BLOCK_D
    for start in tl.range(first, whole, BLOCK_D, num_stages=STAGES):
        k = (start + tl.arange(0, BLOCK_D)).to(tl.int64)[None, None, :]
        a, b = tl.load(rows + k * stride_d), tl.load(columns + k * stride_d)
        squares = _add_step(squares, a, b, factor, HAS_FACTOR, HELD, APART, LANES)
    if whole < last:
        k = (whole + tl.arange(0, BLOCK_D)).to(tl.int64)[None, None, :]
        a = tl.load(rows + k * stride_d, mask=k < last, other=0)
        b = tl.load(columns + k * stride_d, mask=k < last, other=0)
        squares = _add_step(squares, a, b, factor, HAS_FACTOR, HELD, APART, LANES)
    sums = tl.permute(tl.sum(squares, axis=4), (0, 2, 1, 3))
    return tl.reshape(sums, [BLOCK_N, BLOCK_N])


@triton.jit
def _root(squares):
    # tl.sqrt is rounded for float64, but approximate for float32.
    return tl.sqrt_rn(squares) if squares.dtype == tl.float32 else tl.sqrt(squares)


@triton.jit
def _store_lengths(
    squares,  # [BLOCK_N, BLOCK_N]
    x,  # [n, d]
    D,  # [n, n], contiguous
    row,  # of the tile
    column,
    n,
    d,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    STAGES: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HELD: tl.constexpr,
    LANES: tl.constexpr,
):
    """Store the roots of a tile, of squares summed anew where they left the range."""
    i = (row * BLOCK_N + tl.arange(0, BLOCK_N))[:, None]
    j = (column * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    inside = (i < n) & (j < n)
    above = inside & (i < j)
    lengths = _root(squares)
    # Equal rows are computed again too: a sum of 0 may also be an underflow.
    small, large = squares < SMALLEST, squares == float("inf")
    for reduced in range(2):
        wanted = above & tl.where(reduced == 1, large, small)
        if tl.max(wanted.to(tl.int32)) > 0:
            # The whole tile with one factor; only the pairs that want it are kept. A thread takes a
            # quarter of the pairs at a time, since the lengths so far fill its registers.
            one = tl.full([], 1.0, ACCUMULATOR)
            factor = tl.where(reduced == 1, one * REDUCE, one * ENLARGE)
            inverse = tl.where(reduced == 1, one * (1 / REDUCE), one * (1 / ENLARGE))
            anew = _sum_squares(
                x, row, column, factor, 0, d, n, stride_n, stride_d, ACCUMULATOR, True, STAGES,
                BLOCK_N, HELD // 2, LANES // 4,
            )  # fmt: skip
            lengths = tl.where(wanted, _root(anew) * inverse, lengths)

    # Each pair is computed once and stored twice, so that D is symmetric to the bit.
    i, j = i.to(tl.int64), j.to(tl.int64)
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
    STAGES: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HELD: tl.constexpr,
    LANES: tl.constexpr,
):
    cloud, row, column, _tiles = _place(n, BLOCK_N)
    b = cloud.to(tl.int64)
    x += b * stride_b
    squares = _sum_squares(
        x, row, column, 1.0, 0, d, n, stride_n, stride_d, ACCUMULATOR, False, STAGES, BLOCK_N, HELD,
        LANES,
    )  # fmt: skip
    _store_lengths(
        squares, x, D + b * n * n, row, column, n, d, stride_n, stride_d, ACCUMULATOR, STAGES,
        SMALLEST, ENLARGE, REDUCE, BLOCK_N, HELD, LANES,
    )  # fmt: skip


@triton.jit
def _share_kernel(
    x,  # [B, n, d]
    partial,  # [B, shares, pairs, BLOCK_N, BLOCK_N]: each share's squares of each pair of tiles
    n,
    d,
    shares,
    width,  # coordinates of a share, a multiple of BLOCK_D
    stride_b,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HELD: tl.constexpr,
    LANES: tl.constexpr,
):
    share, row, column, _tiles = _place(n, BLOCK_N)
    first = share % shares * width
    squares = _sum_squares(
        x + (share // shares).to(tl.int64) * stride_b, row, column, 1.0, first,
        tl.minimum(first + width, d), n, stride_n, stride_d, ACCUMULATOR, False, STAGES, BLOCK_N,
        HELD, LANES,
    )  # fmt: skip
    at = tl.arange(0, BLOCK_N)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    tl.store(partial + tl.program_id(0).to(tl.int64) * BLOCK_N * BLOCK_N + at, squares)


@triton.jit
def _join_kernel(
    x,  # [B, n, d]
    partial,  # [B, shares, pairs, BLOCK_N, BLOCK_N]
    D,  # [B, n, n], contiguous
    n,
    d,
    shares,
    stride_b,
    stride_n,
    stride_d,
    ACCUMULATOR: tl.constexpr,
    STAGES: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HELD: tl.constexpr,
    LANES: tl.constexpr,
):
    cloud, row, column, tiles = _place(n, BLOCK_N)
    b = cloud.to(tl.int64)
    pairs = tiles * (tiles + 1) // 2
    pair = tl.program_id(0) % pairs
    at = tl.arange(0, BLOCK_N)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    partial += (b * shares * pairs + pair) * BLOCK_N * BLOCK_N + at
    squares = tl.zeros([BLOCK_N, BLOCK_N], ACCUMULATOR)
    for _ in tl.range(0, shares, loop_unroll_factor=8):
        squares += tl.load(partial)
        partial += pairs * BLOCK_N * BLOCK_N
    _store_lengths(
        squares, x + b * stride_b, D + b * n * n, row, column, n, d, stride_n, stride_d,
        ACCUMULATOR, STAGES, SMALLEST, ENLARGE, REDUCE, BLOCK_N, HELD, LANES,
    )  # fmt: skip


def fill_direct(x: Tensor, D: Tensor) -> None:
    """Write the distances of `x` [B, n, d] into `D` [B, n, n], contiguous, one tile a program.

    Few tiles leave most of a GPU idle, so several programs share the coordinates of each. How many
    depends on n and d alone, so that a cloud has the same bits in every batch.
    """
    B, n, d = x.shape
    block = TILES[D.dtype]["BLOCK_N"]
    tiles = ceiling(n, block)
    pairs = tiles * (tiles + 1) // 2
    shares, width = shares_of(pairs, d)
    check_programs(B * pairs * shares, x, "x")
    strides = x.stride()
    form = form_of((x,), n, d, shares, width, *strides)
    options, warps = direct_options(D.dtype), WARPS[D.dtype]
    if shares == 1:
        launch(_direct_kernel, form, B * pairs, (x, D, n, d, *strides), options, warps)
        return
    partial = torch.empty((B, shares, pairs, block, block), dtype=D.dtype, device=D.device)
    arguments = (x, partial, n, d, shares, width, *strides)
    launch(_share_kernel, form, B * pairs * shares, arguments, sum_options(D.dtype), warps)
    arguments = (x, partial, D, n, d, shares, *strides)
    launch(_join_kernel, form, B * pairs, arguments, options, warps)


def shares_of(pairs: int, d: int) -> tuple[int, int]:
    """How many programs share each of `pairs` tiles, and how many coordinates each takes."""
    most = max(1, min(ENOUGH_PROGRAMS // pairs, d // MIN_SHARE, MAX_SHARES))
    width = ceiling(ceiling(d, most), BLOCK_D) * BLOCK_D
    return ceiling(d, width), width


def sum_options(dtype: torch.dtype) -> dict[str, object]:
    """The compile-time arguments of a kernel that sums squares in this dtype."""
    accumulator = tl.float64 if dtype == torch.float64 else tl.float32
    return {"ACCUMULATOR": accumulator, "STAGES": STAGES, **TILES[dtype]}


def direct_options(dtype: torch.dtype) -> dict[str, object]:
    """The compile-time arguments of a kernel that stores lengths of this dtype."""
    ranges = {"SMALLEST": SMALLEST[dtype], "ENLARGE": ENLARGE[dtype], "REDUCE": REDUCE[dtype]}
    return sum_options(dtype) | ranges
