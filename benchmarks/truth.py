"""What every provider is compared with: gudhi's diagrams, and the reference in float64."""

from __future__ import annotations

import numpy as np

from benchmarks.cases import exact_distances
from benchmarks.providers import values
from benchmarks.providers.base import PAIRED, Call, Diagrams, Provider, each
from benchmarks.providers.gudhi import Representations, generators
from benchmarks.providers.redzed import critical_edges

# Above it the simplex tree takes seconds and gigabytes; gudhi's own choice of engine goes on.
LARGEST_SIMPLEX_TREE = 100


class Truth(Provider):
    """gudhi over Z/2 on the float32 distances; losses and distances in float64."""

    package = "gudhi"
    modules = ("gudhi",)

    def call(self, phase: str, array: np.ndarray) -> Call:
        if phase.startswith(("loss", "surrogate")) or f"{phase}_backward" in PAIRED:
            # The gradient always comes with it.
            phase = f"{phase.removesuffix('_backward')}_backward"
            array = array.astype(np.float64)
        return super().call(phase, array)

    def distances(self, x: np.ndarray) -> Call:
        return Call(lambda: exact_distances(x), lambda D: D)

    def mtopdiv(self, maps: np.ndarray) -> Call:
        n = maps.shape[-1]
        prompt = values.n_prompt(n)
        maps = maps.astype(np.float64)
        D = (1 - np.maximum(maps, maps.swapaxes(-1, -2))) * (1 - np.eye(n))
        D[:, :prompt, :prompt] = 0
        return Call(lambda: np.array([_tree_length(m) / (n - prompt) for m in D]), np.asarray)

    def dimension(self, x: np.ndarray) -> Call:
        clouds = x.astype(np.float64)
        return Call(
            lambda: values.dimensions(lambda p: _tree_length(exact_distances(p[None])[0]), clouds),
            np.asarray,
        )

    def vectors(self, D: np.ndarray, kind: str) -> Call:
        return Representations().vectors(D, kind)

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        engine = _simplex_tree if D.shape[-1] <= LARGEST_SIMPLEX_TREE else _rips_persistence
        return Call(each(lambda m: engine(m, max_dim), list(D.astype(np.float64))), lambda r: r)

    def loss(self, mode: str):
        if f"{mode}_backward" in PAIRED:
            from benchmarks.providers.pair_losses import by_edges

            return by_edges(mode, _edges)
        from tsloss_fast import reference

        return reference.TSLoss(mode)


def _tree_length(D: np.ndarray) -> float:
    """The lifetimes of H0 of one matrix, summed."""
    deaths = _rips_persistence(D, 0)[0][:, 1]
    return deaths[np.isfinite(deaths)].sum()


def _edges(D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Critical edges; of many points by redzed-tda, for no other engine gives them in time."""
    engine = generators if D.shape[-1] <= LARGEST_SIMPLEX_TREE else critical_edges
    return engine(D.astype(np.float64))


def _simplex_tree(D: np.ndarray, max_dim: int) -> Diagrams:
    import gudhi

    tree = gudhi.RipsComplex(distance_matrix=D).create_simplex_tree(max_dimension=max_dim + 1)
    tree.compute_persistence(homology_coeff_field=2)
    return {d: tree.persistence_intervals_in_dimension(d) for d in range(max_dim + 1)}


def _rips_persistence(D: np.ndarray, max_dim: int) -> Diagrams:
    from gudhi.sklearn.rips_persistence import RipsPersistence

    dimensions = list(range(max_dim + 1))
    options = {"input_type": "full distance matrix", "homology_coeff_field": 2}
    (diagrams,) = RipsPersistence(dimensions, **options).fit_transform([D])
    return dict(zip(dimensions, diagrams, strict=True))
