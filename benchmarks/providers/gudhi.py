"""gudhi three ways: the simplex tree with generators, RipsPersistence, and the Ripser in it."""

from __future__ import annotations

import numpy as np

from benchmarks.cases import VECTORS
from benchmarks.providers import values
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


class Representations(Provider):
    """gudhi.representations of diagrams of H1 that are given, values without gradients."""

    package = "gudhi"
    modules = ("gudhi.representations", "sklearn")
    phases = VECTORS
    note = "no gradients"

    def vectors(self, D: np.ndarray, kind: str) -> Call:
        import gudhi.representations as of

        pairs = _h1_pairs(D)
        if kind == "sliced":
            others = _h1_pairs(values.half_of(D))
            distance = of.SlicedWassersteinDistance(num_directions=values.DIRECTIONS)
            both = list(zip(pairs, others, strict=True))
            return Call(each(lambda pair: distance(*pair), both), np.asarray)
        options = {"resolution": values.RESOLUTION, "sample_range": list(values.RANGE)}
        vector = {
            "image": lambda: of.PersistenceImage(
                bandwidth=values.BANDWIDTH,
                weight=lambda at: at[1],
                resolution=list(values.PIXELS),
                im_range=[*values.RANGE, *values.RANGE],
            ),
            "landscape": lambda: of.Landscape(num_landscapes=values.LANDSCAPES, **options),
            "silhouette": lambda: of.Silhouette(weight=lambda pair: pair[1] - pair[0], **options),
            "betti": lambda: of.BettiCurve(**options),
        }[kind]()
        vector.fit(pairs)
        return Call(lambda: vector.transform(pairs), np.asarray)


def _h1_pairs(D: np.ndarray) -> list[np.ndarray]:
    """Births and deaths [k, 2] of H1 of each matrix."""
    call = RipsPersistence().diagrams(D, 1)
    return [cloud[1] for cloud in call.read(call.run())]
