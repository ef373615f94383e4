"""The surrogate loss of a batch of distance matrices, with the weights of its gradient."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._checks import check_flag, check_number, describe
from tsloss_fast._engine.kernels.checks import check_device, check_programs, check_tensor
from tsloss_fast._engine.kernels.launching import form_of, launch
from tsloss_fast._engine.kernels.surrogate import formulas
from tsloss_fast._engine.kernels.surrogate.tiled import launch_tiled

# The largest cloud whose lengths one program keeps in its registers, eight of them a thread. Beyond
# they spill: of 128 points, 32 lengths and more than a kilobyte a thread.
MAX_POINTS = {torch.float32: 64, torch.float64: 32}
WARPS = {16: 1, 32: 4, 64: 16}
# With a product fused into the addition of another lane's, lanes that should hold one sum round it
# differently, and which of them the other warps read is left to the device.
COMPILER = {"enable_fp_fusion": False}


@triton.jit
def _surrogate_kernel(
    D,  # [B, n, n], symmetric
    loss,  # [B]
    h0_term,  # [B]
    h1_term,  # [B]
    weights,  # [B, n, n]
    n,
    h0_weight: tl.float64,
    h1_weight: tl.float64,
    tau: tl.float64,
    alpha: tl.float64,
    lambda_repel: tl.float64,
    lambda_attract: tl.float64,
    SCALE_BY_MEAN: tl.constexpr,
    SELF_PAIRS: tl.constexpr,
    DETACH_SCALES: tl.constexpr,
    PITCH: tl.constexpr,
    SIZE: tl.constexpr,
):
    n = formulas.pitched(n, PITCH)
    b = tl.program_id(0).to(tl.int64)
    dtype: tl.constexpr = D.dtype.element_ty
    i = tl.arange(0, SIZE)
    lengths, inside, counted = formulas.tile(D + b * n * n, i, i, n, SELF_PAIRS)
    shortest, longest, means = formulas.extents(lengths, counted, n)
    low, high = tl.min(shortest), tl.max(longest)
    points = n.to(tl.float64)
    mean = tl.sum(means.to(tl.float64)) / points
    # 0, or NaN if any length is NaN or infinite.
    poison = mean - mean
    # Adding a zero that the compiler does not know of also makes it compute each exponential again
    # below: kept from one step to the next, they would not fit in the registers.
    lengths += poison.to(dtype)
    scale64 = formulas.mean_scale(mean, SCALE_BY_MEAN)
    scale = formulas.rate(scale64, dtype)
    by_tau, by_alpha = formulas.rate(scale64 / tau, dtype), formulas.rate(scale64 * alpha, dtype)
    soft, near_total, near_lengths, far_total, far_lengths = formulas.softmax_sums(
        lengths, counted, shortest, low, high, scale, by_tau, by_alpha
    )

    minima = formulas.soft_minima(shortest, soft, low, scale64, tau, i < n)
    deviations = tl.where(i < n, minima - tl.sum(minima) / points, 0.0)
    h0 = tl.sum(deviations * deviations) / points

    near_total = tl.sum(near_total.to(tl.float64))
    far_total = tl.sum(far_total.to(tl.float64))
    delta = tl.sum(near_lengths.to(tl.float64)) / near_total
    zeta = tl.sum(far_lengths.to(tl.float64)) / far_total
    lengths += (delta - delta).to(dtype)
    near, near_squares, far, far_squares = formulas.shortfall_sums(
        lengths, counted, low, high, scale, delta.to(dtype), zeta.to(dtype), n
    )
    h1 = lambda_repel * tl.sum(near_squares.to(tl.float64))
    h1 += lambda_attract * tl.sum(far_squares.to(tl.float64))
    h0_found, h1_found = h0 + poison, h1 + poison
    formulas.put_terms(loss, h0_term, h1_term, b, h0_found, h1_found, h0_weight, h1_weight)

    lengths += (h1 - h1).to(dtype)
    factors = (scale64 * h0_weight * 2 / points * deviations).to(dtype)
    factors = formulas.quotient(factors, tl.where(i < n, soft, 1.0))
    both = scale64 * h1_weight * 4 / points / points
    result = formulas.tile_weights(
        lengths, counted, shortest, shortest, factors, factors, low, high, scale, by_tau, by_alpha,
        delta, zeta, tl.sum(near.to(tl.float64)), tl.sum(far.to(tl.float64)), near_total,
        far_total, alpha, both * lambda_repel, both * lambda_attract, DETACH_SCALES,
    )  # fmt: skip
    at = i[:, None] * n + i[None, :]
    tl.store(weights + b * n * n + at, result + poison.to(dtype), mask=inside)


def surrogate_terms(
    D: Tensor,
    h0_weight: float,
    h1_weight: float,
    tau: float,
    alpha: float,
    lambda_repel: float,
    lambda_attract: float,
    scale_by_mean: bool,
    self_pairs: bool,
    detach_scales: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """TSLoss by Eq. 1 to 6 of arXiv 2602.16500v1, and what its gradient takes of each pair.

    The formulas are those of `tsloss_fast.TSLoss`. Up to 64 points (32 in float64) one program
    per cloud reads D once and keeps it in registers; larger clouds take three launches of many
    programs, which read D four times, and one more where lengths are scaled by their mean.

    Parameters
    ----------
    D : Tensor [B, n, n]
        float32 or float64, any strides (copied unless contiguous); symmetric, no entry negative.
        CUDA, or CPU under Triton's interpreter.
    h0_weight, h1_weight, lambda_repel, lambda_attract : float, >= 0
    tau, alpha : float, > 0
    scale_by_mean, self_pairs, detach_scales : bool
        As in `tsloss_fast.TSLoss`. No other value of the numbers makes a kernel compile again;
        another flag does.

    Returns
    -------
    loss, h0, h1 : Tensor [B]
        ``h0_weight * h0 + h1_weight * h1``, and the two terms.
    weights : Tensor [B, n, n]
        ``(dL/dD_ij + dL/dD_ji) / D_ij``, so that the gradient on the points is
        ``sum_j weights_ij (x_i - x_j)``; 0 where D_ij is 0, for coincident points have gradient 0.

    All in the dtype of `D`, without a gradient of their own. Sums run in the dtype of `D` within a
    row and in float64 over the rows, always in the same order: two runs give the same bits. In
    float32, exp(-z) is the device's ``ex2.approx``: off by 2 units in the last place and z more,
    for a value that has faded by e^-z.

    A NaN or an infinity anywhere in a cloud makes its loss, terms and weights NaN; nothing is
    raised, since the device is not waited for. A cloud of one point has loss 0. Where the loss or
    a weight is beyond the range of the dtype it is infinite or NaN.

    Raises
    ------
    TypeError
        If `D` is no tensor or of another dtype, or an option is of another type.
    ValueError
        If `D` has another rank, is not square, has no point or is on another device, or an option
        is out of its range.

    Examples
    --------
    In Triton's interpreter; on a GPU the tensors must be there.

    >>> import torch
    >>> from tsloss_fast._engine.kernels.surrogate import surrogate_terms
    >>> D = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]])
    >>> loss, h0, h1, weights = surrogate_terms(D, 1, 1, 1, 10, 1, 1, False, False, False)
    >>> torch.equal(loss, h0 + h1), weights.shape
    (True, torch.Size([1, 3, 3]))
    """
    check_tensor(D, "D", "distance matrices [B, n, n]", 3, (torch.float32, torch.float64))
    _, n, m = D.shape
    if n != m or n == 0:
        raise ValueError(f"D: expected distance matrices [B, n, n], got {describe(D)}")
    numbers = (
        check_number(h0_weight, "h0_weight", least=0),
        check_number(h1_weight, "h1_weight", least=0),
        check_number(tau, "tau", least=0, open_below=True),
        check_number(alpha, "alpha", least=0, open_below=True),
        check_number(lambda_repel, "lambda_repel", least=0),
        check_number(lambda_attract, "lambda_attract", least=0),
    )
    flags = {
        "SCALE_BY_MEAN": check_flag(scale_by_mean, "scale_by_mean"),
        "SELF_PAIRS": check_flag(self_pairs, "self_pairs"),
        "DETACH_SCALES": check_flag(detach_scales, "detach_scales"),
    }
    check_device(D, "D", _surrogate_kernel)
    return unchecked_terms(D.contiguous(), D.shape[:1], numbers, flags)


def unchecked_terms(
    D: Tensor, batch: tuple[int, ...], numbers: tuple[float, ...], flags: dict[str, bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`surrogate_terms` with loss and terms [*batch], whose arguments were checked.

    `D` is contiguous, and the flags are those that `_surrogate_kernel` begins with.
    """
    B, n, _ = D.shape
    if n == 1:
        # 0, or NaN where the one length is NaN or infinite.
        zero = D.detach() * 0
        loss, h0, h1 = (zero.reshape(batch).clone() for _ in range(3))
        return loss, h0, h1, zero
    loss, h0, h1 = (torch.empty(batch, dtype=D.dtype, device=D.device) for _ in range(3))
    weights = torch.empty((B, n, n), dtype=D.dtype, device=D.device)
    if not B:
        return loss, h0, h1, weights
    with torch.cuda.device_of(D):
        if n > MAX_POINTS[D.dtype]:
            launch_tiled(D, (loss, h0, h1), weights, numbers, flags)
        else:
            check_programs(B, D, "D")
            size = max(16, 1 << (n - 1).bit_length())
            form = form_of((D,), n)
            arguments = (D, loss, h0, h1, weights, n, *numbers)
            constants = flags | {"PITCH": formulas.pitch(n), "SIZE": size}
            launch(_surrogate_kernel, form, B, arguments, constants, WARPS[size], **COMPILER)
    return loss, h0, h1, weights
