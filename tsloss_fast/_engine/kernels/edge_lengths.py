"""Lengths of edges between the rows of a batch of clouds, by direct differences."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.checks import (
    check_device,
    check_points_and_edges,
    check_programs,
    check_same_device,
)
from tsloss_fast._engine.kernels.distances.direct import ENLARGE, REDUCE, SMALLEST
from tsloss_fast._engine.kernels.launching import form_of, launch

# Coordinates that one step of a sum takes.
BLOCK_D = 512


@triton.jit
def _sum_of_squares(
    a,  # [d]
    b,  # [d]
    factor,
    d,
    x_d,
    ACCUMULATOR: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    sums = tl.zeros([BLOCK_D], ACCUMULATOR)
    for start in range(0, d, BLOCK_D):
        at = (start + tl.arange(0, BLOCK_D)).to(tl.int64)
        here = tl.load(a + at * x_d, mask=at < d, other=0).to(ACCUMULATOR)
        there = tl.load(b + at * x_d, mask=at < d, other=0).to(ACCUMULATOR)
        difference = (here - there) * factor
        sums += difference * difference
    return tl.sum(sums)


@triton.jit
def _edge_lengths_kernel(
    x,  # [B, n, d]
    edges,  # [B, K, 2]
    lengths,  # [B, K], contiguous
    n,
    d,
    K,
    x_b,
    x_n,
    x_d,
    edges_b,
    edges_k,
    edges_end,
    ACCUMULATOR: tl.constexpr,
    SMALLEST: tl.constexpr,
    ENLARGE: tl.constexpr,
    REDUCE: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    program = tl.program_id(0)
    b, k = (program // K).to(tl.int64), (program % K).to(tl.int64)
    edges += b * edges_b + k * edges_k
    i, j = tl.load(edges), tl.load(edges + edges_end)
    one = tl.full([], 1.0, ACCUMULATOR)
    length = one * 0
    if (i >= 0) & (j >= 0):
        if (i >= n) | (j >= n):
            # No row of x has this number: NaN rather than a length that is wrong.
            length = one * float("nan")
        elif i != j:
            first, second = x + b * x_b + i * x_n, x + b * x_b + j * x_n
            square = _sum_of_squares(first, second, one, d, x_d, ACCUMULATOR, BLOCK_D)
            small, large = square < SMALLEST, square == float("inf")
            factor = tl.where(small, one * ENLARGE, tl.where(large, one * REDUCE, one))
            inverse = tl.where(small, one * (1 / ENLARGE), tl.where(large, one * (1 / REDUCE), one))
            if small | large:
                square = _sum_of_squares(first, second, factor, d, x_d, ACCUMULATOR, BLOCK_D)
            # tl.sqrt is rounded for float64, but approximate for float32.
            root = tl.sqrt_rn(square) if square.dtype == tl.float32 else tl.sqrt(square)
            length = root * inverse
    tl.store(lengths + program, length)


def edge_lengths(x: Tensor, edges: Tensor) -> Tensor:
    """``||x_i - x_j||`` for the edges (i, j), by direct differences, in one launch.

    Parameters
    ----------
    x : Tensor [B, n, d]
        float16, bfloat16, float32 or float64, any strides. CUDA, or CPU under Triton's
        interpreter.
    edges : Tensor [B, K, 2]
        int64 vertex pairs (i, j), any strides.

    Returns
    -------
    Tensor [B, K]
        float64 for float64 `x`, else float32. 0 for a loop and for padding, a pair with a negative
        vertex. Squares may leave the range of the dtype: such edges are summed a second time with
        scaled differences. A vertex of n or more gives NaN, since it cannot be refused without
        waiting for the device; a row with a NaN or an infinity gives NaN or infinity. The result
        carries no gradient of its own.

    Raises
    ------
    TypeError
        If an argument is no tensor or of another dtype.
    ValueError
        If shapes or devices do not fit together.

    Examples
    --------
    In Triton's interpreter; on a GPU the tensors must be there.

    >>> import torch
    >>> from tsloss_fast._engine.kernels.edge_lengths import edge_lengths
    >>> x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    >>> edge_lengths(x, torch.tensor([[[0, 1], [-1, -1]]]))
    tensor([[5., 0.]])
    """
    check_points_and_edges(x, edges)
    B, n, d = x.shape
    K = edges.shape[1]
    check_device(x, "x", _edge_lengths_kernel)
    check_same_device(edges, "edges", x, "x")
    check_programs(B * K, edges, "edges")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    lengths = torch.empty(B, K, dtype=dtype, device=x.device)
    if B * K:
        integers = (n, d, K, *x.stride(), *edges.stride())
        form = form_of((x, edges), *integers)
        with torch.cuda.device_of(x):
            arguments = (x, edges, lengths, *integers)
            launch(_edge_lengths_kernel, form, B * K, arguments, edge_options(dtype))
    return lengths


def edge_options(dtype: torch.dtype) -> dict[str, object]:
    """The compile-time arguments of the kernel for lengths of this dtype."""
    return {
        "ACCUMULATOR": tl.float64 if dtype == torch.float64 else tl.float32,
        "SMALLEST": SMALLEST[dtype],
        "ENLARGE": ENLARGE[dtype],
        "REDUCE": REDUCE[dtype],
        "BLOCK_D": BLOCK_D,
    }
