"""Vertices that are born at times of their own: when edges enter, and who is the elder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# From edges [..., M, 2] and what the engine found for them [..., M] to their lengths.
Lengths = Callable[[Tensor, Tensor], Tensor]


def entering_matrix(D: Tensor, births: Tensor) -> Tensor:
    """When the edges of ``D`` [..., n, n] enter: not before the births [..., n] of their ends."""
    later = torch.maximum(births.unsqueeze(-1), births.unsqueeze(-2))
    diagonal = torch.eye(D.shape[-1], dtype=torch.bool, device=D.device)
    return torch.maximum(D, later).masked_fill(diagonal, 0)


def entering(lengths: Lengths, births: Tensor) -> Lengths:
    """When edges enter, by their `lengths` and the births [..., n] of their ends, in both's graph.

    An edge (v, v) is the birth of v. Where several are equal, the gradient goes to the length, and
    of two births to that of the smaller vertex.
    """

    def enter(edges: Tensor, found: Tensor) -> Tensor:
        i, j = edges.clamp(min=0).unbind(-1)  # [..., M]
        first, second = births.gather(-1, i), births.gather(-1, j)
        later = first.where(first >= second, second)
        length = lengths(edges, found)
        values = length.where((length >= later) & (i != j), later)
        return values.where(edges[..., 0] >= 0, 0)

    return enter
