"""What numbers are divided by: a cloud's mean distance, or a power of two near it; a count."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_of(D: Tensor) -> Tensor:
    """The power of two below the mean of ``D`` [..., n, n], or 1 where it is 0; shape [..., 1, 1].

    To divide points by it changes no digit of theirs. Nothing here waits for a device.

    Examples
    --------
    >>> unit_of(torch.tensor([[0.0, 6.0], [6.0, 0.0]]))
    tensor([[2.]])
    """
    mean = D.mean((-2, -1), keepdim=True)
    one = torch.ones_like(mean)
    exponent = torch.frexp(mean).exponent - 1
    return torch.ldexp(one, exponent).where(mean > 0, one)


def scales_of(D: Tensor, by_mean: bool, points: Tensor | None = None) -> Tensor:
    """1 / mean of ``D`` [..., n, n], or 1 where its dtype cannot hold that; float64 [...].

    And 1 where it is not asked for.

    Where not all clouds have n, `points` [...] are their numbers, and the padding of ``D`` is 0.

    Examples
    --------
    >>> scales_of(torch.tensor([[0.0, 6.0], [6.0, 0.0]]), by_mean=True)
    tensor(0.3333, dtype=torch.float64)
    """
    if not by_mean:
        return D.new_ones(D.shape[:-2], dtype=torch.float64)
    if points is None:
        mean = D.mean((-2, -1), dtype=torch.float64)
    else:
        mean = D.sum((-2, -1), dtype=torch.float64) / points.clamp(min=1).square()
    inverse = 1 / mean
    return inverse.masked_fill(inverse > torch.finfo(D.dtype).max, 1)


def mean_of_powers(values: Tensor, p: float, count: int | Tensor) -> Tensor:
    """Sum of ``values`` [..., K] to the power ``p`` over ``count`` [...], with a gradient.

    It overflows where it is too large itself, and not where the sum alone is.

    Examples
    --------
    >>> mean_of_powers(torch.tensor([2e38, 3e38]), 1, 2)
    tensor(2.5000e+38)
    """
    counts = count.to(values.dtype) if isinstance(count, Tensor) else count
    total = values.detach().pow(p).sum(-1)
    overflows = total == torch.inf
    factor = torch.ones_like(total).where(~overflows, counts ** (-1 / p))
    powers = (values * factor.unsqueeze(-1)).pow(p).sum(-1)
    return powers.where(overflows, powers / counts)
