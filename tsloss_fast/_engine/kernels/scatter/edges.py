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
from tsloss_fast._engine.kernels.launching import ceiling, form_of, launch

# Edges that one step takes, and coordinates of a program.
BLOCK_K = 32
BLOCK_D = 128

# Up to so many pairs of a row and an edge every row looks at every edge; above, sorting pays.
MAX_UNSORTED = 2**20


@triton.jit
def _place(
    x,  # [B, n, d]
    n,
    d,
    x_b,
    x_n,
    x_d,
    total: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The cloud and the row of this program, its coordinates, and their values [BLOCK_D]."""
    blocks = tl.cdiv(d, BLOCK_D)
    program = tl.program_id(0)
    b = (program // blocks // n).to(tl.int64)
    row = (program // blocks % n).to(tl.int64)
    at = (program % blocks * BLOCK_D + tl.arange(0, BLOCK_D)).to(tl.int64)
    here = tl.load(x + b * x_b + row * x_n + at * x_d, mask=at < d, other=0)
    return b, row, at, here.to(total)


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
def _times(sums, grad, scales, b, grad_b):
    """The sums times the gradient and the scale of their cloud, where these are given.

    At the end, since the product of a scale and a weight may leave the range of float32.
    """
    if grad is not None:
        factor = tl.load(grad + b * grad_b)
        if scales is not None:
            factor = (factor.to(tl.float64) * tl.load(scales + b)).to(sums.dtype)
        sums *= factor
    return sums


@triton.jit
def _scatter_kernel(
    x,  # [B, n, d]
    edges,  # [B, K, 2]
    weights,  # [B, K]
    grad,  # [B], or None
    scales,  # [B], contiguous, or None
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
    grad_b,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    total: tl.constexpr = out.dtype.element_ty
    b, row, at, here = _place(x, n, d, x_b, x_n, x_d, total, BLOCK_D)
    x += b * x_b
    edges += b * edges_b
    weights += b * weights_b
    sums = tl.zeros([BLOCK_D], total)
    for start in range(0, K, BLOCK_K):
        sums += _sum_edges(
            start, here, row, at, x, edges, weights, n, d, K, x_n, x_d, edges_k, edges_end,
            weights_k, BLOCK_K,
        )  # fmt: skip
    sums = _times(sums, grad, scales, b, grad_b)
    tl.store(out + (b * n + row) * d + at, sums, mask=at < d)


@triton.jit
def _scatter_sorted_kernel(
    x,  # [B, n, d]
    edges,  # [B, K, 2]
    weights,  # [B, K]
    grad,  # [B], or None
    scales,  # [B], contiguous, or None
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
    grad_b,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    total: tl.constexpr = out.dtype.element_ty
    b, row, at, here = _place(x, n, d, x_b, x_n, x_d, total, BLOCK_D)
    x += b * x_b
    edges += b * edges_b
    weights += b * weights_b
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
    sums = _times(sums, grad, scales, b, grad_b)
    tl.store(out + (b * n + row) * d + at, sums, mask=at < d)


def scatter_edges(
    x: Tensor,
    edges: Tensor,
    weights: Tensor,
    factors: tuple[Tensor, Tensor | None] | None = None,
) -> Tensor:
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
    factors : (Tensor [B], Tensor [B] or None), optional
        What the sums of each cloud are multiplied by: the gradient of a loss, in the dtype of
        `weights`, and a scale in float64, contiguous.

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
    grad, scales = factors or (None, None)
    for factor, k, its_dtype in ((grad, 0, dtype), (scales, 1, torch.float64)):
        if factor is not None:
            check_tensor(factor, f"factors[{k}]", f"[{B}]", 1, (its_dtype,))
            if len(factor) != B:
                raise ValueError(f"factors[{k}]: expected [{B}], got {describe(factor)}")
    check_device(x, "x", _scatter_kernel)
    named = {"edges": edges, "weights": weights, "factors[0]": grad, "factors[1]": scales}
    given = {name: tensor for name, tensor in named.items() if tensor is not None}
    for name, tensor in given.items():
        check_same_device(tensor, name, x, "x")
    programs = B * n * ceiling(d, BLOCK_D)
    check_programs(programs, x, "x")
    out = torch.empty(B, n, d, dtype=dtype, device=x.device)
    if programs:
        grad_b = 0 if grad is None else grad.stride(0)
        integers = (n, d, K, *x.stride(), *edges.stride(), *weights.stride(), grad_b)
        form = (len(given), *form_of((x, *given.values()), *integers))
        blocks = {"BLOCK_K": BLOCK_K, "BLOCK_D": BLOCK_D}
        with torch.cuda.device_of(x):
            if n * K <= MAX_UNSORTED:
                arguments = (x, edges, weights, grad, scales, out, *integers)
                launch(_scatter_kernel, form, programs, arguments, blocks)
            else:
                ends = _sorted_ends(edges, n)
                arguments = (x, edges, weights, grad, scales, *ends, out, *integers)
                launch(_scatter_sorted_kernel, form, programs, arguments, blocks)
    return out


def _sorted_ends(edges: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The ends of the edges by vertex, then edge [B, 2 K], and where each vertex's start [B, n+1].

    Padding sorts before vertex 0, and what is no vertex after the last.
    """
    vertices, order = torch.sort(edges.flatten(1), dim=1, stable=True)
    rows = torch.arange(n + 1, device=edges.device).repeat(len(edges), 1)
    return order, torch.searchsorted(vertices, rows)
