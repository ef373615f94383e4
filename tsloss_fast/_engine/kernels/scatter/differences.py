"""The gradient of a function of all distances, summed over differences in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._checks import FLOATING, describe
from tsloss_fast._engine.kernels.checks import (
    check_device,
    check_programs,
    check_same_device,
    check_tensor,
)
from tsloss_fast._engine.kernels.launching import ceiling, form_of, launch

# Rows and coordinates of a program, and rows that one step of its sums takes.
BLOCK_I = 8
BLOCK_J = 8
BLOCK_D = 128


@triton.jit
def _scatter_differences_kernel(
    x,  # [B, n, d]
    weights,  # [B, n, n]
    out,  # [B, n, d], contiguous
    n,
    d,
    x_b,
    x_n,
    x_d,
    weights_b,
    weights_i,
    weights_j,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    blocks, groups = tl.cdiv(d, BLOCK_D), tl.cdiv(n, BLOCK_I)
    program = tl.program_id(0)
    b = (program // blocks // groups).to(tl.int64)
    i = (program // blocks % groups * BLOCK_I + tl.arange(0, BLOCK_I)).to(tl.int64)
    at = (program % blocks * BLOCK_D + tl.arange(0, BLOCK_D)).to(tl.int64)
    x += b * x_b
    weights += b * weights_b
    total = out.dtype.element_ty
    inside = (i < n)[:, None] & (at < d)[None, :]
    here = tl.load(x + i[:, None] * x_n + at[None, :] * x_d, mask=inside, other=0).to(total)
    sums = tl.zeros([BLOCK_I, BLOCK_D], total)
    for start in range(0, n, BLOCK_J):
        j = (start + tl.arange(0, BLOCK_J)).to(tl.int64)
        read = (j < n)[:, None] & (at < d)[None, :]
        there = tl.load(x + j[:, None] * x_n + at[None, :] * x_d, mask=read, other=0).to(total)
        pairs = (i < n)[:, None] & (j < n)[None, :]
        at_pair = i[:, None] * weights_i + j[None, :] * weights_j
        weight = tl.load(weights + at_pair, mask=pairs, other=0)
        steps = weight[:, :, None] * (here[:, None, :] - there[None, :, :])
        sums += tl.sum(steps, axis=1)
    tl.store(out + (b * n + i[:, None]) * d + at[None, :], sums, mask=inside)


def scatter_differences(x: Tensor, weights: Tensor) -> Tensor:
    """``out_i = sum_j weights_ij (x_i - x_j)``: the gradient of a function of the distances.

    Differences are taken before they are weighted and summed, so that near-duplicate rows lose no
    digits, as they would in ``sum_j weights_ij x_i - weights @ x``. No float is added atomically:
    two runs give the same bits. The work is n^2 d.

    Parameters
    ----------
    x : Tensor [B, n, d]
        float16, bfloat16, float32 or float64, any strides. CUDA, or CPU under Triton's
        interpreter.
    weights : Tensor [B, n, n]
        float64 for float64 `x`, else float32; any strides, need not be symmetric.

    Returns
    -------
    Tensor [B, n, d]
        In the dtype of `weights`. Equal rows add exactly 0 to each other. A NaN or an infinity in a
        row of `x` makes that coordinate of every row NaN or infinite; one in `weights` its whole
        row. The result carries no gradient of its own.

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
    >>> from tsloss_fast._engine.kernels.scatter.differences import scatter_differences
    >>> x = torch.tensor([[[0.0], [3.0]]])
    >>> scatter_differences(x, torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]))
    tensor([[[-3.],
             [ 6.]]])
    """
    check_tensor(x, "x", "points [B, n, d]", 3, FLOATING)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    check_tensor(weights, "weights", "[B, n, n]", 3, (dtype,))
    B, n, _ = x.shape
    if weights.shape != (B, n, n):
        raise ValueError(
            f"weights: expected [{B}, {n}, {n}], one per pair, got {describe(weights)}"
        )
    check_device(x, "x", _scatter_differences_kernel)
    check_same_device(weights, "weights", x, "x")
    return unchecked_scatter_differences(x, weights)


def unchecked_scatter_differences(x: Tensor, weights: Tensor) -> Tensor:
    """`scatter_differences` of arguments that were checked."""
    B, n, d = x.shape
    programs = B * ceiling(n, BLOCK_I) * ceiling(d, BLOCK_D)
    check_programs(programs, x, "x")
    out = torch.empty((B, n, d), dtype=weights.dtype, device=x.device)
    if programs:
        strides = (*x.stride(), *weights.stride())
        form = form_of((x, weights), n, d, *strides)
        with torch.cuda.device_of(x):
            launch(
                _scatter_differences_kernel, form, programs, (x, weights, out, n, d, *strides),
                difference_options(),
            )  # fmt: skip
    return out


def difference_options() -> dict[str, object]:
    """The compile-time arguments of the kernel."""
    return {"BLOCK_I": BLOCK_I, "BLOCK_J": BLOCK_J, "BLOCK_D": BLOCK_D}
