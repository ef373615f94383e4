"""The terms of the exact loss on its critical edges, and what its gradient takes of each edge."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._checks import describe
from tsloss_fast._engine.kernels.checks import (
    check_device,
    check_programs,
    check_same_device,
    check_tensor,
)
from tsloss_fast._engine.kernels.launching import form_of, launch

# Edges that one step of a sum takes.
BLOCK = 1024


@triton.jit
def _power(base, exponent, IS_TWO: tl.constexpr):
    """base ** exponent, float64, for base >= 0 and exponent >= 0."""
    if IS_TWO:
        return base * base
    else:
        positive = base > 0
        # 0 ** 0 is 1: the derivative of the first power at 0.
        at_zero = tl.where(exponent == 0, 1.0, 0.0)
        return tl.where(positive, tl.exp(exponent * tl.log(tl.where(positive, base, 1.0))), at_zero)


@triton.jit
def _store_weights(weights, gradient, length, inside):
    """Store gradient / length, and 0 for length 0: coincident points have gradient 0."""
    apart = length != 0
    weight = tl.where(apart, gradient / tl.where(apart, length, 1.0), 0.0)
    tl.store(weights, weight.to(weights.dtype.element_ty), mask=inside)


@triton.jit
def _persistence_terms_kernel(
    lengths,  # [B, n - 1 + 2 K]: the deaths of H0, then births and deaths of H1; 0 for padding
    scales,  # [B]: what lengths are multiplied by, or None
    loss,  # [B]
    h0_term,  # [B]
    h1_term,  # [B]
    weights,  # [B, n - 1 + 2 K]
    n,
    K,
    h0_weight: tl.float64,
    h1_weight: tl.float64,
    h1_power: tl.float64,
    IS_SQUARE: tl.constexpr,  # whether h1_power is 2
    BLOCK: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    deaths = n - 1
    lengths += b * (deaths + 2 * K)
    weights += b * (deaths + 2 * K)
    count, points = deaths.to(tl.float64), n.to(tl.float64)
    scale = tl.full([], 1.0, tl.float64)
    if scales is not None:
        scale = tl.load(scales + b)

    total = tl.zeros([BLOCK], tl.float64)
    for start in range(0, deaths, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(lengths + at, mask=at < deaths, other=0).to(tl.float64)
    mean = scale * tl.sum(total) / count

    squares = tl.zeros([BLOCK], tl.float64)
    for start in range(0, deaths, BLOCK):
        at = start + tl.arange(0, BLOCK)
        length = tl.load(lengths + at, mask=at < deaths, other=0).to(tl.float64)
        above = tl.where(at < deaths, scale * length - mean, 0.0)
        squares += above * above
        gradient = h0_weight * 2 / count * above
        _store_weights(weights + at, gradient, length, at < deaths)
    h0 = tl.sum(squares) / count

    powers = tl.zeros([BLOCK], tl.float64)
    for start in range(0, K, BLOCK):
        at = deaths + start + tl.arange(0, BLOCK)
        inside = at < deaths + K
        birth = tl.load(lengths + at, mask=inside, other=0).to(tl.float64)
        death = tl.load(lengths + at + K, mask=inside, other=0).to(tl.float64)
        # Lengths were computed again from the points: a death may be a rounding below its birth.
        lifetime = scale * tl.maximum(death - birth, 0.0)
        powers += _power(lifetime, h1_power, IS_SQUARE)
        derivative = 2 * lifetime if IS_SQUARE else h1_power * _power(lifetime, h1_power - 1, False)
        gradient = h1_weight / points * derivative
        _store_weights(weights + at, -gradient, birth, inside)
        _store_weights(weights + at + K, gradient, death, inside)
    h1 = tl.sum(powers) / points

    total_loss = h0_weight * h0 + h1_weight * h1
    tl.store(loss + b, total_loss.to(loss.dtype.element_ty))
    tl.store(h0_term + b, h0.to(h0_term.dtype.element_ty))
    tl.store(h1_term + b, h1.to(h1_term.dtype.element_ty))


def persistence_terms(
    lengths: Tensor,
    n: int,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scales: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The exact TSLoss of each cloud from the lengths of its critical edges, in one launch.

    The formulas are those of `tsloss_fast.TSLoss`. A cloud is one program, which takes its edges
    in their order, so that two runs give the same bits. Sums are float64.

    Parameters
    ----------
    lengths : Tensor [B, n - 1 + 2 K]
        float32 or float64, contiguous: the deaths of H0, the births of H1, the deaths of H1; both
        of H1 padded with 0. CUDA, or CPU under Triton's interpreter.
    n : int
        Points of each cloud.
    h0_weight, h1_weight : float, >= 0
    h1_power : float, >= 1
    scales : Tensor [B], float64, optional
        What lengths are multiplied by first.

    Returns
    -------
    loss, h0, h1 : Tensor [B]
        ``h0_weight * h0 + h1_weight * h1``, and the two terms, in the dtype of `lengths`.
    weights : Tensor [B, n - 1 + 2 K]
        The derivative of the loss by each multiplied length, over the length as given, so that
        the gradient on the points is ``scale * sum weight (x_i - x_j)``; 0 where the length is 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type, dtype, shape or device.

    Examples
    --------
    In Triton's interpreter; on a GPU the tensors must be there.

    >>> import torch
    >>> from tsloss_fast._engine.kernels.persistence_terms import persistence_terms
    >>> lengths = torch.tensor([[1.0, 2.0, 3.0, 5.0]])  # n = 3, one bar of H1
    >>> loss, h0, h1, weights = persistence_terms(lengths, 3, 1, 1, 2)
    >>> h0, h1
    (tensor([0.2500]), tensor([1.3333]))
    """
    check_tensor(lengths, "lengths", "[B, n - 1 + 2 K]", 2, (torch.float32, torch.float64))
    B, edges = lengths.shape
    K, odd = divmod(edges - (n - 1), 2)
    if K < 0 or odd or not lengths.is_contiguous():
        raise ValueError(
            f"lengths: expected [B, n - 1 + 2 K], contiguous, with n = {n}, got {describe(lengths)}"
        )
    check_device(lengths, "lengths", _persistence_terms_kernel)
    check_programs(B, lengths, "lengths")
    if scales is not None:
        check_tensor(scales, "scales", f"[{B}]", 1, (torch.float64,))
        check_same_device(scales, "scales", lengths, "lengths")
        scales = scales.contiguous()
    if n == 1:
        loss, h0, h1 = (lengths.new_zeros(B) for _ in range(3))
        return loss, h0, h1, lengths.clone()
    # Separate tensors: the outputs of an operator must not share memory.
    loss, h0, h1 = (torch.empty(B, dtype=lengths.dtype, device=lengths.device) for _ in range(3))
    weights = torch.empty(B, edges, dtype=lengths.dtype, device=lengths.device)
    if B:
        with torch.cuda.device_of(lengths):
            given = (lengths,) if scales is None else (lengths, scales)
            form = form_of(given, n, K)
            numbers = (n, K, h0_weight, h1_weight, h1_power)
            arguments = (lengths, scales, loss, h0, h1, weights, *numbers)
            launch(_persistence_terms_kernel, form, B, arguments, power_options(h1_power))
    return loss, h0, h1, weights


def power_options(h1_power: float) -> dict[str, object]:
    """The compile-time arguments of the kernel."""
    return {"IS_SQUARE": h1_power == 2, "BLOCK": BLOCK}
