"""Batches of clouds with different numbers of points: which rows, pairs and bars are padding.

``lengths`` [...], int64, are the clouds' numbers of points: the first rows of each are its points.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def with_lengths(options: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The ``count`` options of an operator, the last its ``lengths``.

    Torch leaves the last out where it is None.
    """
    return options if len(options) == count else (*options, None)


def rows_of(lengths: Tensor, n: int) -> Tensor:
    """Which of n rows are points of their cloud, bool [..., n].

    Examples
    --------
    >>> rows_of(torch.tensor([2, 0]), 3)
    tensor([[ True,  True, False],
            [False, False, False]])
    """
    return torch.arange(n, device=lengths.device) < lengths.unsqueeze(-1)


def pairs_of(lengths: Tensor, n: int) -> Tensor:
    """Which entries of a matrix [n, n] are pairs of points of their cloud, bool [..., n, n]."""
    rows = rows_of(lengths, n)
    return rows.unsqueeze(-1) & rows.unsqueeze(-2)


def without_padding(D: Tensor, lengths: Tensor) -> Tensor:
    """Matrices ``D`` [..., n, n] with 0 in their padding, which gets no gradient."""
    return D.where(pairs_of(lengths, D.shape[-1]), 0)


def filled_points(x: Tensor, lengths: Tensor) -> Tensor:
    """Points ``x`` [..., n, d] whose padding is a copy of their cloud's first, without a gradient.

    So no distance and no norm of a row is another than those of the cloud's own points, whatever
    the padding held. A cloud without points becomes rows of 1, 2, ..., d.
    """
    counting = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)  # [d]
    some = (lengths > 0)[..., None, None]
    first = x[..., :1, :].detach().where(some, counting)  # [..., 1, d]
    return x.where(rows_of(lengths, x.shape[-2]).unsqueeze(-1), first)
