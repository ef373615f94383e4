"""Scatter of edge gradients to rows, summed in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._checks import describe
from tsloss_fast._engine.kernels.checks import (
    check_device,
    check_points_and_edges,
    check_programs,
    check_same_device,
    check_tensor,
)
from tsloss_fast._engine.kernels.launching import ceiling, kinds, launch

# Edges that one step takes, and coordinates of a program.
BLOCK_K = 32
BLOCK_D = 128

# Up to so many pairs of a row and an edge every row looks at every edge; above, sorting pays.
MAX_UNSORTED = 2**20


@triton.jit
def _sum_edges(
    start,  # the edges start <= k < start + BLOCK_K are summed
    here,  # [BLOCK_D]
    row,
    at,  # [BLOCK_D]
    x,  # [n, d]
    edges,  # [K, 2]
    weights,  # [K]
    n,
    d,
    K,
    x_n,
    x_d,
    edges_k,
    edges_end,
    weights_k,
    BLOCK_K: tl.constexpr,
):
    k = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
    i = tl.load(edges + k * edges_k, mask=k < K, other=-1)
    j = tl.load(edges + k * edges_k + edges_end, mask=k < K, other=-1)
    touches = ((i == row) | (j == row)) & (i != j) & (i >= 0) & (j >= 0)
    other = tl.where(i == row, j, i)
    weight = tl.load(weights + k * weights_k, mask=touches, other=0)
    # No row of x has this number: the sum is made NaN rather than left wrong.
    missing = float("nan")
    read = (touches & (other < n))[:, None] & (at < d)[None, :]
    there = tl.load(x + other[:, None] * x_n + at[None, :] * x_d, mask=read, other=missing)
    steps = weight[:, None] * (here[None, :] - there.to(here.dtype))
    return tl.sum(tl.where(touches[:, None], steps, 0.0), axis=0)


@triton.jit
def _scatter_kernel(
    x,  # [B, n, d]
    edges,  # [B, K, 2]
    weights,  # [B, K]
    out,  # [B, n, d], contiguous
    n,
    d,
    K,
    x_b,
    x_n,
    x_d,
    edges_b,
    edges_k,
    edges_end,
    weights_b,
    weights_k,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    blocks = tl.cdiv(d, BLOCK_D)
    program = tl.program_id(0)
    b = (program // blocks // n).to(tl.int64)
    row = (program // blocks % n).to(tl.int64)
    at = (program % blocks * BLOCK_D + tl.arange(0, BLOCK_D)).to(tl.int64)
    inside = at < d
    x += b * x_b
    edges += b * edges_b
    weights += b * weights_b
    total = out.dtype.element_ty
    here = tl.load(x + row * x_n + at * x_d, mask=inside, other=0).to(total)
    sums = tl.zeros([BLOCK_D], total)
    for start in range(0, K, BLOCK_K):
        sums += _sum_edges(
            start, here, row, at, x, edges, weights, n, d, K, x_n, x_d, edges_k, edges_end,
            weights_k, BLOCK_K,
        )  # fmt: skip
    tl.store(out + (b * n + row) * d + at, sums, mask=inside)


@triton.jit
def _scatter_sorted_kernel(
    x,  # [B, n, d]
    edges,  # [B, K, 2]
    weights,  # [B, K]
    order,  # [B, 2 * K]: the ends of the edges, sorted by vertex: end e of edge k is 2 * k + e
    starts,  # [B, n + 1]: where the ends at each vertex start in it
    out,  # [B, n, d], contiguous
    n,
    d,
    K,
    x_b,
    x_n,
    x_d,
    edges_b,
    edges_k,
    edges_end,
    weights_b,
    weights_k,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    blocks = tl.cdiv(d, BLOCK_D)
    program = tl.program_id(0)
    b = (program // blocks // n).to(tl.int64)
    row = (program // blocks % n).to(tl.int64)
    at = (program % blocks * BLOCK_D + tl.arange(0, BLOCK_D)).to(tl.int64)
    inside = at < d
    x += b * x_b
    edges += b * edges_b
    weights += b * weights_b
    total = out.dtype.element_ty
    here = tl.load(x + row * x_n + at * x_d, mask=inside, other=0).to(total)
    sums = tl.zeros([BLOCK_D], total)
    first = tl.load(starts + b * (n + 1) + row)
    last = tl.load(starts + b * (n + 1) + row + 1)
    done = tl.full([], -1, tl.int64)
    for end in range(first, last):
        start = tl.load(order + b * 2 * K + end) // 2 // BLOCK_K * BLOCK_K
        # Ends are in edge order, so that those of one block follow each other.
        if start != done:
            sums += _sum_edges(
                start, here, row, at, x, edges, weights, n, d, K, x_n, x_d, edges_k, edges_end,
                weights_k, BLOCK_K,
            )  # fmt: skip
            done = start
    tl.store(out + (b * n + row) * d + at, sums, mask=inside)


def scatter_edges(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """``out_i = sum_k weights_k (x_i - x_j)`` over the edges k = {i, j} at row i.

    One program sums one row and one block of coordinates, over the edges in the order given: no
    float is added atomically, so that two runs give the same bits. Where n * K is large, the ends
    of the edges are sorted by row first, so that a program reads only the blocks of edges that
    touch its row; the sums are the same to the bit.

    Parameters
    ----------
    x : Tensor [B, n, d]
        float16, bfloat16, float32 or float64, any strides. CUDA, or CPU under Triton's
        interpreter.
    edges : Tensor [B, K, 2]
        int64 vertex pairs (i, j). A pair with a negative vertex is padding, and a loop adds
        nothing.
    weights : Tensor [B, K]
        float64 for float64 `x`, else float32.

    Returns
    -------
    Tensor [B, n, d]
        In the dtype of `weights`. Equal rows get exactly 0 from the edge between them. A vertex of
        n or more cannot be refused without waiting for the device: the row at the other end of
        its edge becomes NaN. So does a row that an edge joins to a row holding a NaN. The result
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
    >>> from tsloss_fast._engine.kernels.scatter import scatter_edges
    >>> x = torch.tensor([[[0.0], [3.0], [4.0]]])
    >>> scatter_edges(x, torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([[1.0, 2.0]]))
    tensor([[[-3.],
             [ 1.],
             [ 2.]]])
    """
    check_points_and_edges(x, edges)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    check_tensor(weights, "weights", "[B, K]", 2, (dtype,))
    B, n, d = x.shape
    K = edges.shape[1]
    if weights.shape != (B, K):
        raise ValueError(f"weights: expected [{B}, {K}], one per edge, got {describe(weights)}")
    check_device(x, "x", _scatter_kernel)
    check_same_device(edges, "edges", x, "x")
    check_same_device(weights, "weights", x, "x")
    programs = B * n * ceiling(d, BLOCK_D)
    check_programs(programs, x, "x")
    out = torch.empty(B, n, d, dtype=dtype, device=x.device)
    if programs:
        integers = (n, d, K, *x.stride(), *edges.stride(), *weights.stride())
        alignment = tuple(given.data_ptr() % 16 for given in (x, edges, weights))
        form = (x.device.index, x.dtype, alignment, kinds(*integers))
        blocks = {"BLOCK_K": BLOCK_K, "BLOCK_D": BLOCK_D}
        with torch.cuda.device_of(x):
            if n * K <= MAX_UNSORTED:
                arguments = (x, edges, weights, out, *integers)
                launch(_scatter_kernel, form, programs, arguments, blocks)
            else:
                arguments = (x, edges, weights, *_sorted_ends(edges, n), out, *integers)
                launch(_scatter_sorted_kernel, form, programs, arguments, blocks)
    return out


def _sorted_ends(edges: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The ends of the edges by vertex, then edge [B, 2 K], and where each vertex's start [B, n+1].

    Padding sorts before vertex 0, and what is no vertex after the last.
    """
    vertices, order = torch.sort(edges.flatten(1), dim=1, stable=True)
    rows = torch.arange(n + 1, device=edges.device).repeat(len(edges), 1)
    return order, torch.searchsorted(vertices, rows)
