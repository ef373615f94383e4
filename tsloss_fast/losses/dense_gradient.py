"""Dense gradients for losses whose own reach few points: diffeomorphic interpolation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsloss_fast._checks import check_cloud, check_number
from tsloss_fast._engine import operators as ops

# Added to the kernel matrix's diagonal, which is 1: points that nearly coincide move together.
RIDGE = 1e-4


def interpolated(x: Tensor, sigma: float) -> Tensor:
    r"""The points as they are, with a gradient that moves all points near those that it moved.

    A bar's gradient reaches the ends of its two critical edges alone. Here the gradient
    :math:`g_i` at the points I that it reaches becomes the smooth field

    .. math::
        v(y) = \sum_{i \in I} e^{-\lVert y - x_i \rVert^2 / 2 \sigma^2} \alpha_i, \quad
        v(x_i) = g_i \text{ for } i \in I

    at every point, so that a step of descent moves neighbours along and topology changes in fewer
    steps. Losses that already reach most points gain nothing.

    Parameters
    ----------
    x : Tensor, shape [..., n, d]
        Points; the Euclidean distances between them are those of the kernel.
    sigma : float, > 0
        The width of the kernel, in units of distance: some spacings of the points.

    Returns
    -------
    Tensor, shape [..., n, d]
        `x`; only its gradient differs.

    Notes
    -----
    The field meets :math:`g_i` up to a ridge of 1e-4 on the kernel matrix. It is a direction of
    descent of the loss, not its gradient, so gradcheck fails, and a second derivative is an error.
    The backward solves n equations a cloud: O(n^3), below 1 ms up to some hundred points.

    Source: Carrière, Theveneau and Lacombe, arXiv 2405.18820.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> x = torch.randn(50, 2, requires_grad=True)
    >>> _, h1 = tsl.rips_persistence(tsl.losses.interpolated(x, sigma=0.3))
    >>> (-h1.lifetimes.max()).backward()
    >>> (x.grad != 0).any(-1).sum().item() > 25  # 4 at most without
    True
    """
    check_cloud(x)
    check_number(sigma, "sigma", least=0, open_below=True)
    # torch has no types for `apply`.
    same: Tensor = _Interpolated.apply(x, float(sigma))  # type: ignore[no-untyped-call]
    return same


class _Interpolated(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, sigma: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.sigma = inputs
        ctx.save_for_backward(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return field(ops.at_least_float32(x), grad, ctx.sigma).to(grad.dtype), None


def field(x: Tensor, grad: Tensor, sigma: float) -> Tensor:
    """The smooth field [..., n, d] through the gradients that are not 0."""
    grad = ops.at_least_float32(grad)
    kernel = (ops.pairwise_distances(x) / sigma).square().div(-2).exp()  # [..., n, n]
    reached = (grad != 0).any(-1)  # [..., n]
    both = reached.unsqueeze(-1) & reached.unsqueeze(-2)
    identity = torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    # Points that are not reached have equations of their own, whose solution is 0.
    system = kernel.where(both, identity) + RIDGE * identity
    smooth: Tensor = kernel @ torch.linalg.solve(system, grad)
    return smooth
