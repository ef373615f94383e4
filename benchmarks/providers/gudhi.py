"""gudhi three ways: the simplex tree with generators, RipsPersistence, and the Ripser in it."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider, diagrams_of_edges, each


def _generators(D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Death edges of H0 [k, 2] and edges of H1 [k, 4], the way gudhi's users get them."""
    import gudhi

    tree = gudhi.RipsComplex(distance_matrix=D).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2)
    h0, h1, _, _ = tree.flag_persistence_generators()
    return h0[:, 1:], h1[0] if h1 else np.zeros((0, 4), dtype=np.int64)


class SimplexTree(Provider):
    """RipsComplex, SimplexTree and flag_persistence_generators: critical edges, to dimension 2."""

    name = "gudhi SimplexTree"
    package = "gudhi"
    modules = ("gudhi",)
    edges = True

    def h1(self, D: np.ndarray) -> Call:
        matrices = list(D.astype(np.float64))

        def read(result: list) -> list:
            return [diagrams_of_edges(m, *edges) for m, edges in zip(D, result, strict=True)]

        return Call(each(_generators, matrices), read)

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

        loss = mean_over_batch(loss_of_edges(lambda D: _generators(D.astype(np.float64))))
        return (backward_call if backward else forward_call)(loss, x)


class RipsPersistence(Provider):
    """gudhi.sklearn.RipsPersistence: gudhi's own choice of engine, values without edges."""

    name = "gudhi RipsPersistence"
    package = "gudhi"
    modules = ("gudhi", "sklearn")

    def h0(self, D: np.ndarray) -> Call:
        return self._transform(D, [0])

    def h1(self, D: np.ndarray) -> Call:
        return self._transform(D, [0, 1])

    def _transform(self, D: np.ndarray, dimensions: list[int]) -> Call:
        from gudhi.sklearn.rips_persistence import RipsPersistence as Estimator

        matrices = list(D.astype(np.float64))
        estimator = Estimator(
            dimensions,
            input_type="full distance matrix",
            homology_coeff_field=2,
            n_jobs=self.threads,
        ).fit(matrices)
        return Call(
            lambda: estimator.transform(matrices),
            lambda result: [dict(zip(dimensions, cloud, strict=True)) for cloud in result],
        )


class InternalRipser(Provider):
    """The fork of Ripser that RipsPersistence calls, without the estimator around it."""

    name = "gudhi Ripser"
    package = "gudhi"
    modules = ("gudhi._ripser_ext",)
    note = "a private function of gudhi: no public one is as quick to call; values without edges"

    def h0(self, D: np.ndarray) -> Call:
        return self._ripser(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._ripser(D, 1)

    def _ripser(self, D: np.ndarray, max_dim: int) -> Call:
        from gudhi._ripser_ext import _full

        matrices = list(D.astype(np.float64))

        def one(matrix: np.ndarray) -> list:
            # RipsPersistence's own threshold, beyond which nothing happens.
            radius = matrix.max(-1).min()
            return _full(
                matrix, max_dimension=max_dim, max_edge_length=radius, homology_coeff_field=2
            )

        return Call(each(one, matrices), lambda result: [dict(enumerate(c)) for c in result])
