"""Scatter of edge gradients to rows, summed in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast.kernels.checks import (
    check_device,
    check_programs,
    check_same_device,
    check_tensor,
)
from tsloss_fast.validation import FLOATING, describe

# Edges that one step takes, and coordinates of a program.
BLOCK_K = 32
BLOCK_D = 128


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
        k = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        i = tl.load(edges + k * edges_k, mask=k < K, other=-1)
        j = tl.load(edges + k * edges_k + edges_end, mask=k < K, other=-1)
        touches = ((i == row) | (j == row)) & (i != j) & (i >= 0) & (j >= 0)
        other = tl.where(i == row, j, i)
        weight = tl.load(weights + k * weights_k, mask=touches, other=0)
        # No row of x has this number: the sum is made NaN rather than left wrong.
        missing = float("nan")
        read = (touches & (other < n))[:, None] & inside[None, :]
        there = tl.load(x + other[:, None] * x_n + at[None, :] * x_d, mask=read, other=missing)
        steps = weight[:, None] * (here[None, :] - there.to(total))
        sums += tl.sum(tl.where(touches[:, None], steps, 0.0), axis=0)
    tl.store(out + (b * n + row) * d + at, sums, mask=inside)


def scatter_edges(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """``out_i = sum_k weights_k (x_i - x_j)`` over the edges k = {i, j} at row i.

    One program sums one row and one block of coordinates, over all edges in the order given: no
    float is added atomically, so that two runs give the same bits. The work grows with n * K,
    which suits prompts of some hundred rows and not a cloud of thousands.

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
    >>> from tsloss_fast.kernels.scatter import scatter_edges
    >>> x = torch.tensor([[[0.0], [3.0], [4.0]]])
    >>> scatter_edges(x, torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([[1.0, 2.0]]))
    tensor([[[-3.],
             [ 1.],
             [ 2.]]])
    """
    check_tensor(x, "x", "points [B, n, d]", 3, FLOATING)
    check_tensor(edges, "edges", "vertex pairs [B, K, 2]", 3, (torch.int64,))
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    check_tensor(weights, "weights", "[B, K]", 2, (dtype,))
    B, n, d = x.shape
    K = edges.shape[1]
    if edges.shape != (B, K, 2):
        raise ValueError(f"edges: expected [{B}, K, 2], as x has {B} clouds, got {describe(edges)}")
    if weights.shape != (B, K):
        raise ValueError(f"weights: expected [{B}, {K}], one per edge, got {describe(weights)}")
    check_device(x, "x", _scatter_kernel)
    check_same_device(edges, "edges", x, "x")
    check_same_device(weights, "weights", x, "x")
    programs = B * n * triton.cdiv(d, BLOCK_D)
    check_programs(programs, x, "x")
    out = torch.empty(B, n, d, dtype=dtype, device=x.device)
    if programs:
        strides = (*x.stride(), *edges.stride(), *weights.stride())
        with torch.cuda.device_of(x):
            _scatter_kernel[(programs,)](
                x, edges, weights, out, n, d, K, *strides, BLOCK_K=BLOCK_K, BLOCK_D=BLOCK_D
            )
    return out
