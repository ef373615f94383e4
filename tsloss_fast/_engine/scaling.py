"""A unit of length that fits a cloud, for what leaves the range of float32 in the cloud's own."""

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
