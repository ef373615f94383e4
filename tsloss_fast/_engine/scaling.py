"""What a cloud is divided by: its mean distance, or a power of two near it."""

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
