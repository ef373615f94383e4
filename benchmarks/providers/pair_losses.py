"""Losses on two clouds, as one writes them in PyTorch: points against two of their coordinates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.providers.torch_losses import Loss, mean_over_batch

# From D [n, n] to H0's death edges [n - 1, 2] and H1's edges [k, 4].
Edges = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def projected(x: Tensor) -> Tensor:
    """The second cloud of a pair: the first two coordinates."""
    return x[..., :2]


def by_edges(mode: str, edges_of: Edges) -> Loss:
    """A loss of pairs by an engine that gives critical edges."""
    formula = {"rtd": _rtd, "rtdlite": _rtd_lite, "signature": _signature}[mode]
    return mean_over_batch(lambda x: formula(_distances(x), _distances(projected(x)), edges_of))


def rtd_lite_by_prim(x: Tensor) -> Tensor:
    """RTD-lite as its authors compute it: Prim's walk in PyTorch."""
    return by_edges("rtdlite", lambda D: (_prim(torch.from_numpy(D)).numpy(), np.zeros((0, 4))))(x)


def _distances(x: Tensor) -> Tensor:
    return torch.cdist(x, x)


def _rtd(D: Tensor, E: Tensor, edges_of: Edges) -> Tensor:
    """The authors' matrix, and its bars of H1."""
    common, zero = torch.minimum(D, E), torch.zeros_like(D)
    total = 0
    for u in (D, E):
        M = torch.cat((torch.cat((zero, u.mT), 1), torch.cat((u, common), 1)), 0)
        i, j, k, m = torch.from_numpy(np.asarray(edges_of(M.detach().numpy())[1])).long().unbind(1)
        total = total + (M[k, m] - M[i, j]).sum()
    return total / 2


def _rtd_lite(D: Tensor, E: Tensor, edges_of: Edges) -> Tensor:
    trees = [_tree(M, edges_of) for M in (D, E, torch.minimum(D, E))]
    return (trees[0].sum() + trees[1].sum()) / 2 - trees[2].sum()


def _tree(D: Tensor, edges_of: Edges) -> Tensor:
    """The lengths of a minimum spanning tree."""
    return D[_death_edges(D, edges_of)]


def _death_edges(D: Tensor, edges_of: Edges) -> tuple[Tensor, ...]:
    h0, _ = edges_of(D.detach().numpy())
    return torch.from_numpy(np.asarray(h0)).long().unbind(1)


def _signature(D: Tensor, E: Tensor, edges_of: Edges) -> Tensor:
    edges = [_death_edges(M, edges_of) for M in (D, E)]
    D, E = D / D.max(), E / E.max()
    return sum((D[i, j] - E[i, j]).norm() for i, j in edges) / 2


def _prim(D: Tensor) -> Tensor:
    """The edges [n - 1, 2] of a minimum spanning tree."""
    n = len(D)
    nearest, outside = torch.zeros(n, dtype=torch.long), torch.ones(n, dtype=torch.bool)
    outside[0], reach, edges = False, D[0].clone(), []
    for _ in range(n - 1):
        j = reach.where(outside, torch.inf).argmin()
        edges.append(torch.stack((nearest[j], j)))
        outside[j] = False
        closer = D[j] < reach
        nearest, reach = nearest.where(~closer, j), torch.minimum(reach, D[j])
    return torch.stack(edges) if edges else torch.zeros(0, 2, dtype=torch.long)
