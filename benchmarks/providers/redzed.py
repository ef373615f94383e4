"""redzed-tda: persistence by reduction to zero differentials."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import (
    Call,
    Diagrams,
    Provider,
    diagrams_of_edges,
    each,
    longest_edge,
)


def _vertices(simplices: list, dim: int, which: int) -> np.ndarray:
    """Vertices [k, dim + 1] of the birth (0) or death (1) simplices of the finite bars."""
    rows = [pair[which] for pair in simplices if len(pair[1])]
    return np.array(rows, dtype=np.int64).reshape(len(rows), dim + 1)


def edges_of_pairs(D: np.ndarray, simplices: list) -> tuple[np.ndarray, np.ndarray | None]:
    """Death edges of H0 [k, 2] and edges of H1 [k, 4] from the pairs of simplices."""
    h0 = _vertices(simplices[0], 1, 1)
    if len(simplices) == 1:
        return h0, None
    births, deaths = _vertices(simplices[1], 1, 0), _vertices(simplices[1], 2, 1)
    return h0, np.concatenate([births, longest_edge(D, deaths)], axis=1)


class Redzed(Provider):
    """redzed_tda.rips with simplex_pairs: birth edges, and death triangles."""

    name = "redzed-tda"
    package = "redzed-tda"
    modules = ("redzed_tda",)
    edges = True

    def distances(self, x: np.ndarray) -> Call:
        import redzed_tda

        return Call(each(redzed_tda.pairwise_distances, list(x.astype(np.float64))), np.stack)

    def h0(self, D: np.ndarray) -> Call:
        return self._rips(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._rips(D, 1)

    def _rips(self, D: np.ndarray, max_dim: int) -> Call:
        import redzed_tda

        def read(result: list) -> list[Diagrams]:
            return [
                diagrams_of_edges(matrix, *edges_of_pairs(matrix, simplices))
                for matrix, (_, simplices) in zip(D, result, strict=True)
            ]

        matrices = list(D.astype(np.float64))
        return Call(each(lambda m: redzed_tda.rips(m, max_dim, simplex_pairs=True), matrices), read)

    def loss(self, x: np.ndarray) -> Call:
        return self._loss(x, backward=False)

    def loss_backward(self, x: np.ndarray) -> Call:
        return self._loss(x, backward=True)

    def _loss(self, x: np.ndarray, backward: bool) -> Call:
        from benchmarks.providers.torch_losses import (
            backward_call,
            forward_call,
            loss_of_edges,
            mean_over_batch,
        )

        return (backward_call if backward else forward_call)(
            mean_over_batch(loss_of_edges(critical_edges)), x
        )


def critical_edges(D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Death edges of H0 [n - 1, 2] and edges of H1 [k, 4] of D [n, n]."""
    import redzed_tda

    _, simplices = redzed_tda.rips(D.astype(np.float64), 1, simplex_pairs=True)
    h0, h1 = edges_of_pairs(D, simplices)
    assert h1 is not None
    return h0, h1
