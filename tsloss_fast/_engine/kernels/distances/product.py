"""Distances by a product of the centred rows, and directly where a product loses digits.

With a and b the rows less the mean row, ``|a - b|^2 = |a|^2 + |b|^2 - 2ab``, where ab is a
three-term tf32 product on the tensor cores. Its error is absolute, of the size of
N = |a|^2 + |b|^2, so that a square far below N has lost digits. Every 16 x 16 tile that holds such
a pair is summed anew from the differences of the rows themselves.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import check_programs
from tsloss_fast._engine.kernels.distances.direct import (
    BLOCK_N,
    _store_lengths,
    _sum_squares,
    tile_options,
)

# Rows of a tile of the product, coordinates that one step of it takes, warps and stages: with steps
# of 32 the registers spill.
TILE = 128
BLOCK_K = 16
LAUNCH = {"num_warps": 8, "num_stages": 2}
# Coordinates of a row that one step of the centring takes.
BLOCK_ROW = 1024
# Rows that the mean is taken of at most: any row near the middle of the cloud serves as well.
MEAN_ROWS = 512
MEAN_BLOCKS = {"BLOCK_MEAN": 32, "BLOCK_D": 64}

# A square is kept if it is at least TRUSTED * N. With u = 2^-24, in the worst case:
# - tf32 keeps 11 bits, so that a = a1 + a2 + r with |a2| <= 2^-11 |a| and |r| <= 2^-22 |a|. The
#   product leaves out a2 b2, r b and a r: 3 * 2^-22 |a| |b| = 12 u |a| |b|.
# - A tensor core adds 8 products to its sum at a time and cuts each of the 9 terms at half an ulp
#   of the largest at the least, the result at one: 11 u |a| |b|. BLOCK_K / 8 = 2 of these make a
#   step (those of a1 b2 and a2 b1 are 2^-11 of it): 22 u |a| |b|, by Cauchy-Schwarz over all steps.
# - Steps are added in float32, rounded: d / BLOCK_K * u |a| |b|.
# - |a|^2 and |b|^2 are sums of 10 levels and d / BLOCK_ROW steps: 17 u N at d = 5120. The last two
#   additions: 4 u N.
# Since 2 |a| |b| <= N, the square is off by at most (55 + d / 16) u N, its root by half of that
# over TRUSTED, centring by 2 u: relative 6.3e-6 at d = 768, 1e-5 at d = 1770, 2.3e-5 at d = 5120.
# Errors that do not all point one way are some 20 times smaller.
TRUSTED = 0.5
# Where N is in this range no part of the product that matters under- or overflows.
SMALLEST_SUM = 2.0**-80
LARGEST_SUM = 2.0**126


@triton.jit
def _mean_kernel(
    x,  # [B, n, d]
    mean,  # [B, d], contiguous
    n,
    d,
    rows,  # the mean of so many rows is taken
    stride_b,
    stride_n,
    stride_d,
    BLOCK_MEAN: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    blocks = tl.cdiv(d, BLOCK_D)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    k = (tl.program_id(0) % blocks * BLOCK_D + tl.arange(0, BLOCK_D)).to(tl.int64)
    x += b * stride_b + k[None, :] * stride_d
    sums = tl.zeros([BLOCK_D], tl.float32)
    for start in range(0, rows, BLOCK_MEAN):
        row = start + tl.arange(0, BLOCK_MEAN)
        # Evenly over the cloud, whose order may mean something.
        at = (row.to(tl.int64) * n // rows)[:, None] * stride_n
        inside = (row < rows)[:, None] & (k < d)[None, :]
        sums += tl.sum(tl.load(x + at, mask=inside, other=0).to(tl.float32), axis=0)
    tl.store(mean + b * d + k, sums / rows, mask=k < d)


@triton.jit
def _centre_kernel(
    x,  # [B, n, d]
    mean,  # [B, d], contiguous
    centred,  # [B, n, width], contiguous: zeros from d on
    norms,  # [B, n]: the squared norms of the centred rows
    n,
    d,
    width,
    stride_b,
    stride_n,
    stride_d,
    BLOCK_ROW: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    b = row // n
    x += b * stride_b + row % n * stride_n
    sums = tl.zeros([BLOCK_ROW], tl.float32)
    for start in range(0, width, BLOCK_ROW):
        k = (start + tl.arange(0, BLOCK_ROW)).to(tl.int64)
        a = tl.load(x + k * stride_d, mask=k < d, other=0).to(tl.float32)
        a -= tl.load(mean + b * d + k, mask=k < d, other=0)
        tl.store(centred + row * width + k, a, mask=k < width)
        sums += a * a
    tl.store(norms + row, tl.sum(sums))


@triton.jit
def _product_kernel(
    centred,  # [B, n, width], contiguous
    norms,  # [B, n]
    D,  # [B, n, n], contiguous
    doubtful,  # [B, PARTS * tiles, PARTS * tiles]: 1 for a tile of BLOCK_N rows to be summed anew
    n,
    width,  # a multiple of BLOCK_K
    TRUSTED: tl.constexpr,
    SMALLEST_SUM: tl.constexpr,
    LARGEST_SUM: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    tiles = tl.cdiv(n, TILE)
    program = tl.program_id(0)
    b = (program // (tiles * tiles)).to(tl.int64)
    row, column = program // tiles % tiles, program % tiles
    if row > column:
        return
    centred += b * n * width
    i = row * TILE + tl.arange(0, TILE)
    j = column * TILE + tl.arange(0, TILE)
    # Behind the last row stands the last again: no load needs a mask, and nothing of it is stored.
    k = tl.arange(0, BLOCK_K)
    rows = centred + tl.minimum(i, n - 1).to(tl.int64)[:, None] * width + k[None, :]
    columns = centred + tl.minimum(j, n - 1).to(tl.int64)[None, :] * width + k[:, None]
    products = tl.zeros([TILE, TILE], tl.float32)
    for start in range(0, width, BLOCK_K):
        a_rows, b_rows = tl.load(rows + start), tl.load(columns + start)
        step = tl.dot(a_rows, b_rows, input_precision="tf32x3")
        # The factor keeps the compiler from summing all steps inside the tensor cores, which cut
        # digits off where this addition rounds.
        products += -2.0 * step

    a_norms = tl.load(norms + b * n + i, mask=i < n, other=0)
    b_norms = tl.load(norms + b * n + j, mask=j < n, other=0)
    sums = a_norms[:, None] + b_norms[None, :]
    squares = sums + products
    inside = (i < n)[:, None] & (j < n)[None, :]
    # A NaN fails every comparison; the diagonal's squares, about 0, the first or the second.
    kept = (squares >= TRUSTED * sums) & (sums >= SMALLEST_SUM) & (sums <= LARGEST_SUM)
    anew = (inside & (i[:, None] <= j[None, :]) & ~kept).to(tl.int8)
    PARTS: tl.constexpr = TILE // BLOCK_N
    anew = tl.max(tl.max(tl.reshape(anew, [PARTS, BLOCK_N, PARTS, BLOCK_N]), axis=3), axis=1)
    part = tl.arange(0, PARTS)
    at = (b * PARTS * tiles + (row * PARTS + part)[:, None]) * PARTS * tiles
    tl.store(doubtful + at + (column * PARTS + part)[None, :], anew.to(tl.int8))

    # Each pair is stored twice from one value, so that D is symmetric to the bit.
    lengths = tl.sqrt_rn(tl.maximum(squares, 0.0))
    # Offsets from the corner of a tile take 32 bits, and serve both, which spares registers.
    down, right = tl.arange(0, TILE)[:, None], tl.arange(0, TILE)[None, :]
    offsets = down * n + right
    corner = D + (b * n + row * TILE) * n + column * TILE
    tl.store(corner + offsets, lengths, mask=inside & (row * TILE + down <= column * TILE + right))
    corner = D + (b * n + column * TILE) * n + row * TILE
    below = (column * TILE + down < n) & (row * TILE + right < column * TILE + down)
    tl.store(corner + offsets, tl.trans(lengths), mask=below)


@triton.jit
def _anew_kernel(
    x,  # [B, n, d]
    doubtful,  # [B, PARTS * tiles, PARTS * tiles]
    D,  # [B, n, n], contiguous
    n,
    d,
    stride_b,
    stride_n,
    stride_d,
    TILE: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    PARTS: tl.constexpr = TILE // BLOCK_N
    tiles = tl.cdiv(n, TILE)
    program = tl.program_id(0)
    b = (program // (tiles * tiles)).to(tl.int64)
    if program // tiles % tiles > program % tiles:
        return
    x += b * stride_b
    D += b * n * n
    one = tl.full([BLOCK_N, BLOCK_N], 1.0, ACCUMULATOR)
    for part in range(PARTS * PARTS):
        row = program // tiles % tiles * PARTS + part // PARTS
        column = program % tiles * PARTS + part % PARTS
        at = (b * PARTS * tiles + row) * PARTS * tiles + column
        if tl.load(doubtful + at) != 0:
            i = row * BLOCK_N + tl.arange(0, BLOCK_N)
            j = column * BLOCK_N + tl.arange(0, BLOCK_N)
            squares = _sum_squares(
                x, i, j, one, 0, d, n, stride_n, stride_d, ACCUMULATOR, False, BLOCK_N, BLOCK_D
            )
            _store_lengths(
                squares, x, D, i, j, n, d, stride_n, stride_d, ACCUMULATOR, SMALLEST, ENLARGE,
                REDUCE, BLOCK_N, BLOCK_D,
            )  # fmt: skip


def fill_by_product(x: Tensor, D: Tensor) -> None:
    """Write the distances of `x` [B, n, d], not float64, into `D` [B, n, n], contiguous float32.

    Takes about n d + n + d floats and n^2 / 256 bytes beside D for each cloud.
    """
    B, n, d = x.shape
    tiles = triton.cdiv(n, TILE)
    check_programs(B * max(n, d, tiles**2), x, "x")
    mean = torch.empty(B, d, dtype=torch.float32, device=x.device)
    width = triton.cdiv(d, BLOCK_K) * BLOCK_K
    centred = torch.empty(B, n, width, dtype=torch.float32, device=x.device)
    norms = torch.empty(B, n, dtype=torch.float32, device=x.device)
    edge = tiles * (TILE // BLOCK_N)
    doubtful = torch.empty(B, edge, edge, dtype=torch.int8, device=x.device)
    blocks = triton.cdiv(d, MEAN_BLOCKS["BLOCK_D"])
    _mean_kernel[(B * blocks,)](x, mean, n, d, min(n, MEAN_ROWS), *x.stride(), **MEAN_BLOCKS)
    _centre_kernel[(B * n,)](x, mean, centred, norms, n, d, width, *x.stride(), BLOCK_ROW=BLOCK_ROW)
    grid = (B * tiles**2,)
    _product_kernel[grid](centred, norms, D, doubtful, n, width, **product_options(), **LAUNCH)
    _anew_kernel[grid](x, doubtful, D, n, d, *x.stride(), TILE=TILE, **tile_options(torch.float32))


def product_options() -> dict[str, object]:
    """The compile-time arguments of the product."""
    return {
        "TRUSTED": TRUSTED,
        "SMALLEST_SUM": SMALLEST_SUM,
        "LARGEST_SUM": LARGEST_SUM,
        "TILE": TILE,
        "BLOCK_K": BLOCK_K,
        "BLOCK_N": BLOCK_N,
    }
