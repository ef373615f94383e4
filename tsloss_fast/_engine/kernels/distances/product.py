"""Distances by a product of the centred rows, and directly where a product loses digits.

With a and b the rows less the mean row, ``|a - b|^2 = |a|^2 + |b|^2 - 2ab``, where ab is a
three-term tf32 product on the tensor cores. Its error is absolute, of the size of
N = |a|^2 + |b|^2, so that a square far below N has lost digits. Every 32 x 32 tile that holds such
a pair is summed anew from the differences of the rows themselves.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import check_programs
from tsloss_fast._engine.kernels.distances.direct import (
    _place,
    _store_lengths,
    _sum_squares,
    direct_options,
)
from tsloss_fast._engine.kernels.launching import FUSING

# Rows of a tile of the product, coordinates that one step takes, warps and stages.
TILE = 64
BLOCK_K = 16
LAUNCH = {"num_warps": 4, "num_stages": 3}
# A part of it that is computed again from differences, as `direct.TILES` are, by 4 warps.
ANEW_TILE = {"BLOCK_N": 32, "HELD": 8, "LANES": 8}
BLOCK_N = ANEW_TILE["BLOCK_N"]
# Coordinates of a row that one step of the centring takes.
BLOCK_ROW = 1024
# The mean is taken over at most so many rows: any point near the middle of the cloud will do.
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
        # Rows spread evenly over the cloud, since neighbours in it may be alike.
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
def _tf32(a):
    """float32 rounded to the 11 bits that the tensor cores read; a NaN may become a number.

    The norms keep every NaN.
    """
    return ((a.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _product_kernel(
    centred,  # [B, n, width], contiguous
    norms,  # [B, n]
    D,  # [B, n, n], contiguous
    doubtful,  # [B, PARTS * tiles, PARTS * tiles]: 1 for a part, of BLOCK_N rows, to be summed anew
    n,
    width,  # a multiple of BLOCK_K
    TRUSTED: tl.constexpr,
    SMALLEST_SUM: tl.constexpr,
    LARGEST_SUM: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    cloud, row, column, tiles = _place(n, TILE)
    b = cloud.to(tl.int64)
    centred += b * n * width
    i = row * TILE + tl.arange(0, TILE)
    j = column * TILE + tl.arange(0, TILE)
    # Indices past the last row read the last row again: no load needs a mask, none of it is stored.
    k = tl.arange(0, BLOCK_K)
    rows = centred + tl.minimum(i, n - 1).to(tl.int64)[:, None] * width + k[None, :]
    columns = centred + tl.minimum(j, n - 1).to(tl.int64)[None, :] * width + k[:, None]
    products = tl.zeros([TILE, TILE], tl.float32)
    for start in range(0, width, BLOCK_K):
        a_rows, b_rows = tl.load(rows + start), tl.load(columns + start)
        a1, b1 = _tf32(a_rows), _tf32(b_rows)
        a2, b2 = _tf32(a_rows - a1), _tf32(b_rows - b1)
        step = tl.dot(a2, b1, input_precision="tf32")
        step = tl.dot(a1, b2, step, input_precision="tf32")
        step = tl.dot(a1, b1, step, input_precision="tf32")
        # The factor keeps the compiler from summing all steps inside the tensor cores, which cut
        # digits off where this addition rounds.
        products += -2.0 * step

    a_norms = tl.load(norms + b * n + i, mask=i < n, other=0)
    b_norms = tl.load(norms + b * n + j, mask=j < n, other=0)
    sums = a_norms[:, None] + b_norms[None, :]
    diagonal = i[:, None] == j[None, :]
    squares = tl.where(diagonal, 0.0, sums + products)
    inside = (i < n)[:, None] & (j < n)[None, :]
    # A NaN fails every comparison, on the diagonal too.
    kept = (squares >= TRUSTED * sums) & (sums >= SMALLEST_SUM) | diagonal
    kept &= sums <= LARGEST_SUM
    anew = (inside & (i[:, None] <= j[None, :]) & ~kept).to(tl.int8)
    PARTS: tl.constexpr = TILE // BLOCK_N
    anew = tl.max(tl.max(tl.reshape(anew, [PARTS, BLOCK_N, PARTS, BLOCK_N]), axis=3), axis=1)
    part = tl.arange(0, PARTS)
    at = (b * PARTS * tiles + (row * PARTS + part)[:, None]) * PARTS * tiles
    tl.store(doubtful + at + (column * PARTS + part)[None, :], anew.to(tl.int8))

    # Each pair is stored twice from one value, so that D is symmetric to the bit.
    lengths = tl.sqrt_rn(tl.maximum(squares, 0.0))
    # Offsets from a tile's corner fit in 32 bits and serve both stores, which saves registers.
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
    STAGES: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HELD: tl.constexpr,
    LANES: tl.constexpr,
):
    PARTS: tl.constexpr = TILE // BLOCK_N
    cloud, row, column, tiles = _place(n, TILE)
    b = cloud.to(tl.int64)
    x += b * stride_b
    D += b * n * n
    doubtful += ((b * tiles + row) * PARTS * tiles + column) * PARTS
    for part in range(PARTS * PARTS):
        down, right = part // PARTS, part % PARTS
        if tl.load(doubtful + down * PARTS * tiles + right) != 0:
            squares = _sum_squares(
                x, row * PARTS + down, column * PARTS + right, 1.0, 0, d, n, stride_n,
                stride_d, ACCUMULATOR, False, STAGES, BLOCK_N, HELD, LANES,
            )  # fmt: skip
            _store_lengths(
                squares, x, D, row * PARTS + down, column * PARTS + right, n, d, stride_n, stride_d,
                ACCUMULATOR, STAGES, SMALLEST, ENLARGE, REDUCE, BLOCK_N, HELD, LANES,
            )  # fmt: skip


def fill_by_product(x: Tensor, D: Tensor) -> None:
    """Write the distances of `x` [B, n, d], not float64, into `D` [B, n, n], contiguous float32.

    Takes about n d + n + d floats and n^2 / 1024 bytes beside D for each cloud.
    """
    B, n, d = x.shape
    tiles = triton.cdiv(n, TILE)
    pairs = tiles * (tiles + 1) // 2
    check_programs(B * max(n, d, pairs), x, "x")
    mean = torch.empty(B, d, dtype=torch.float32, device=x.device)
    width = triton.cdiv(d, BLOCK_K) * BLOCK_K
    centred = torch.empty(B, n, width, dtype=torch.float32, device=x.device)
    norms = torch.empty(B, n, dtype=torch.float32, device=x.device)
    edge = tiles * (TILE // BLOCK_N)
    doubtful = torch.empty(B, edge, edge, dtype=torch.int8, device=x.device)
    blocks = triton.cdiv(d, MEAN_BLOCKS["BLOCK_D"])
    grid = (B * pairs,)
    _mean_kernel[(B * blocks,)](
        x, mean, n, d, min(n, MEAN_ROWS), *x.stride(), **MEAN_BLOCKS, **FUSING
    )
    _centre_kernel[(B * n,)](
        x, mean, centred, norms, n, d, width, *x.stride(), BLOCK_ROW=BLOCK_ROW, **FUSING
    )
    _product_kernel[grid](
        centred, norms, D, doubtful, n, width, **product_options(), **LAUNCH, **FUSING
    )
    _anew_kernel[grid](x, doubtful, D, n, d, *x.stride(), **anew_options(), **FUSING)


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


def anew_options() -> dict[str, object]:
    """The compile-time arguments of the kernel that sums doubtful tiles anew."""
    return {"TILE": TILE, **direct_options(torch.float32), **ANEW_TILE}
