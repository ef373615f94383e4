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
