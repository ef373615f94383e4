"""Euclidean distances between the rows of a batch of clouds, by direct differences."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast.kernels.checks import check_device, check_programs, check_tensor
from tsloss_fast.validation import FLOATING, describe

# Rows of a tile, and coordinates that one step of its sum takes.
BLOCK_N = 16
BLOCK_D = {torch.float32: 32, torch.float64: 16}

# For each accumulator: below SMALLEST a sum of squares has lost digits, so that its differences
# are scaled by ENLARGE; where it overflowed, by REDUCE. Powers of two, so scaling is exact.
SMALLEST = {torch.float32: 2.0**-103, torch.float64: 2.0**-970}
ENLARGE = {torch.float32: 2.0**100, torch.float64: 2.0**600}
REDUCE = {torch.float32: 2.0**-80, torch.float64: 2.0**-600}


@triton.jit
def _square_distances(
    x,  # [n, d]
    i,  # [BLOCK_N]
    j,  # [BLOCK_N]
    scale,  # [BLOCK_N, BLOCK_N]
    n,
    d,
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
    for start in range(0, d, BLOCK_D):
        k = start + tl.arange(0, BLOCK_D)
        at = k.to(tl.int64)[None, :] * stride_d
        a = tl.load(rows + at, mask=(i < n)[:, None] & (k < d)[None, :], other=0)
        b = tl.load(columns + at, mask=(j < n)[:, None] & (k < d)[None, :], other=0)
        difference = a.to(ACCUMULATOR)[:, None, :] - b.to(ACCUMULATOR)[None, :, :]
        if SCALED:
            difference *= scale[:, :, None]
        squares += tl.sum(difference * difference, axis=2)
    return squares


@triton.jit
def _distances_kernel(
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
    squares = _square_distances(
        x, i, j, one, n, d, stride_n, stride_d, ACCUMULATOR, False, BLOCK_N, BLOCK_D
    )

    inside = (i < n)[:, None] & (j < n)[None, :]
    above = inside & (i[:, None] < j[None, :])
    small, large = squares < SMALLEST, squares == float("inf")
    scale = tl.where(small, one * ENLARGE, tl.where(large, one * REDUCE, one))
    # Equal rows are sent here too: that their sum is 0 does not tell them from an underflow.
    if tl.max((above & (small | large)).to(tl.int32)) > 0:
        squares = _square_distances(
            x, i, j, scale, n, d, stride_n, stride_d, ACCUMULATOR, True, BLOCK_N, BLOCK_D
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


def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances ``||x_i - x_j||`` by direct differences, in one launch.

    Every pair is summed over its coordinate differences, at every n: no product of matrices is
    used, so that near-duplicate rows lose no digits. The cost is n^2 d / 2 subtractions and
    multiply-adds outside the tensor cores; a product path for large n is not built.

    Parameters
    ----------
    x : Tensor [B, n, d]
        float16, bfloat16, float32 or float64, any strides. CUDA, or CPU under Triton's
        interpreter.

    Returns
    -------
    Tensor [B, n, n]
        float64 for float64 input, else float32. Symmetric to the bit, with a zero diagonal.
        Squares may leave the range of the dtype: such pairs, and equal rows, are summed a second
        time with scaled differences. A NaN or an infinity in a row makes all its distances NaN or
        infinite, its entry on the diagonal included; nothing is raised, since the device is not
        waited for. The result carries no gradient of its own.

    Raises
    ------
    TypeError
        If `x` is no tensor or of another dtype.
    ValueError
        If `x` has another rank, no point or no coordinate, or is on another device.

    Examples
    --------
    In Triton's interpreter; on a GPU the tensors must be there.

    >>> import torch
    >>> from tsloss_fast.kernels.distances import pairwise_distances
    >>> pairwise_distances(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]))
    tensor([[[0., 5.],
             [5., 0.]]])
    """
    check_tensor(x, "x", "points [B, n, d]", 3, FLOATING)
    B, n, d = x.shape
    if n == 0 or d == 0:
        raise ValueError(f"x: expected at least one point and coordinate, got {describe(x)}")
    check_device(x, "x", _distances_kernel)
    programs = B * triton.cdiv(n, BLOCK_N) ** 2
    check_programs(programs, x, "x")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    D = torch.empty(B, n, n, dtype=dtype, device=x.device)
    if programs:
        with torch.cuda.device_of(x):
            _distances_kernel[(programs,)](x, D, n, d, *x.stride(), **tile_options(dtype))
    return D


def tile_options(dtype: torch.dtype) -> dict[str, object]:
    """The compile-time arguments of the kernel for an accumulator of this dtype."""
    return {
        "ACCUMULATOR": tl.float64 if dtype == torch.float64 else tl.float32,
        "SMALLEST": SMALLEST[dtype],
        "ENLARGE": ENLARGE[dtype],
        "REDUCE": REDUCE[dtype],
        "BLOCK_N": BLOCK_N,
        "BLOCK_D": BLOCK_D[dtype],
    }
