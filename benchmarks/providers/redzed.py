"""redzed-tda: persistence by reduction to zero differentials."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import LOSSES, Call, Diagrams, Provider, diagrams_of_edges, each


class Redzed(Provider):
    """redzed_tda.rips with simplex_pairs: birth edges, and death triangles."""

    package = "redzed-tda"
    modules = ("redzed_tda",)
    phases = ("distances", "h0", "h1", *LOSSES)
    edges = True

    def distances(self, x: np.ndarray) -> Call:
        import redzed_tda

        return Call(each(redzed_tda.pairwise_distances, list(x.astype(np.float64))), np.stack)

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import redzed_tda

        def read(result: list) -> list[Diagrams]:
            return [
                diagrams_of_edges(matrix, *edges_of_pairs(matrix, simplices))
                for matrix, (_, simplices) in zip(D, result, strict=True)
            ]

        matrices = list(D.astype(np.float64))
        return Call(each(lambda m: redzed_tda.rips(m, max_dim, simplex_pairs=True), matrices), read)

    def loss(self, mode: str):
        from benchmarks.providers.torch_losses import loss_of_edges

        return loss_of_edges(critical_edges)


def critical_edges(D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H0's death edges [k, 2] and H1's edges [k, 4] of one matrix."""
    import redzed_tda

    _, simplices = redzed_tda.rips(D.astype(np.float64), 1, simplex_pairs=True)
    return edges_of_pairs(D, simplices)


def edges_of_pairs(D: np.ndarray, simplices: list) -> tuple[np.ndarray, np.ndarray | None]:
    """Death edges of H0 [k, 2] and edges of H1 [k, 4] from the pairs of simplices."""
    h0 = _vertices(simplices[0], 1, 1)
    if len(simplices) == 1:
        return h0, None
    births, deaths = _vertices(simplices[1], 1, 0), _vertices(simplices[1], 2, 1)
    sides = deaths[:, [[0, 1], [0, 2], [1, 2]]]  # [k, 3, 2]
    longest = D[sides[..., 0], sides[..., 1]].argmax(axis=1)
    return h0, np.concatenate([births, sides[np.arange(len(sides)), longest]], axis=1)


def _vertices(simplices: list, dim: int, which: int) -> np.ndarray:
    """Vertices [k, dim + 1] of the birth (0) or death (1) simplices of the finite bars."""
    rows = [pair[which] for pair in simplices if len(pair[1])]
    return np.array(rows, dtype=np.int64).reshape(len(rows), dim + 1)
