"""Batches of distance matrices of every family, with ties and without."""

from __future__ import annotations

import torch
from clouds import FAMILIES, cloud, matrix

from tsloss_fast import pairwise_distances

KINDS = (*FAMILIES, "high", "ranks", "ties", "zeros")


def distances(kind: str, n: int, seed: int) -> torch.Tensor:
    """Distances [n, n], float32, of a family of clouds or a kind of matrices.

    "high" is a Gaussian cloud in many dimensions, which has the most classes.
    """
    if kind in ("ranks", "ties", "zeros"):
        return matrix(kind, n, seed, torch.float32)
    if kind == "high":
        return pairwise_distances(cloud("gaussian", n, 200, seed, torch.float32))
    return pairwise_distances(cloud(kind, n, 2 + seed % 4, seed, torch.float32))


def batch(kind: str, n: int, B: int) -> torch.Tensor:
    """Distances [B, n, n] of clouds that all differ."""
    return torch.stack([distances(kind, n, 1000 * b + n) for b in range(B)])


def wheel(n: int, levels: int, seed: int = 0) -> torch.Tensor:
    """Distances [n, n], float32, of which few are within the enclosing radius, and need work.

    Vertex 0 is as far from all others as the enclosing radius says, which fills the cycles of 2 n
    random edges before it: of so many lengths that they all tie, or few of them.
    """
    generator = torch.Generator().manual_seed(seed)
    i, j = torch.randint(1, n, (2, 2 * n), generator=generator)
    D = torch.full((n, n), 2.0)
    unit = torch.finfo(torch.float32).eps
    D[i, j] = 1 + unit * torch.randint(levels, (2 * n,), generator=generator)
    D[0] = 1 + levels * unit
    return torch.minimum(D, D.mT).fill_diagonal_(0)
