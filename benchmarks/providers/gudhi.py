"""gudhi three ways: the simplex tree with generators, RipsPersistence, and the Ripser in it."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import LOSSES, Call, Provider, diagrams_of_edges, each


def generators(D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Death edges of H0 [k, 2] and edges of H1 [k, 4], the way gudhi's users get them."""
    import gudhi

    tree = gudhi.RipsComplex(distance_matrix=D).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2)
    h0, h1, _, _ = tree.flag_persistence_generators()
    return h0[:, 1:], h1[0] if h1 else np.zeros((0, 4), dtype=np.int64)


class SimplexTree(Provider):
    """RipsComplex, SimplexTree and flag_persistence_generators: critical edges, to dimension 2."""

    package = "gudhi"
    modules = ("gudhi",)
    phases = ("h1", *LOSSES)
    edges = True

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        def read(result: list) -> list:
            return [diagrams_of_edges(m, *edges) for m, edges in zip(D, result, strict=True)]

        return Call(each(generators, list(D.astype(np.float64))), read)

    def loss(self, mode: str):
        from benchmarks.providers.torch_losses import loss_of_edges

        return loss_of_edges(lambda D: generators(D.astype(np.float64)))


class RipsPersistence(Provider):
    """gudhi.sklearn.RipsPersistence: gudhi's own choice of engine, values without edges."""

    package = "gudhi"
    modules = ("gudhi", "sklearn")
    phases = ("h0", "h1")

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from gudhi.sklearn.rips_persistence import RipsPersistence as Estimator

        matrices, dimensions = list(D.astype(np.float64)), list(range(max_dim + 1))
        options = {"input_type": "full distance matrix", "homology_coeff_field": 2}
        estimator = Estimator(dimensions, n_jobs=self.threads, **options).fit(matrices)
        return Call(
            lambda: estimator.transform(matrices),
            lambda result: [dict(enumerate(cloud)) for cloud in result],
        )


class InternalRipser(Provider):
    """The fork of Ripser that RipsPersistence calls, without the estimator around it."""

    package = "gudhi"
    modules = ("gudhi._ripser_ext",)
    phases = ("h0", "h1")
    note = "a private function of gudhi: no public one is as quick to call; values without edges"

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from gudhi._ripser_ext import _full

        options = {"max_dimension": max_dim, "homology_coeff_field": 2}

        def one(matrix: np.ndarray) -> list:
            # RipsPersistence's own threshold, beyond which nothing happens.
            return _full(matrix, max_edge_length=matrix.max(-1).min(), **options)

        matrices = list(D.astype(np.float64))
        return Call(each(one, matrices), lambda result: [dict(enumerate(c)) for c in result])
