"""SciPy: distances, and H0 as a minimum spanning tree."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, diagrams_of_edges, each
from benchmarks.providers.values import dimensions


class SciPy(Provider):
    """pdist, and csgraph.minimum_spanning_tree on the dense matrix."""

    package = "scipy"
    modules = ("scipy.sparse.csgraph", "scipy.spatial.distance")
    phases = ("distances", "h0", "dimension")
    edges = True
    note = "reads a distance of 0 as no edge, so it is no H0 engine for coincident points"

    def distances(self, x: np.ndarray) -> Call:
        from scipy.spatial.distance import pdist, squareform

        return Call(each(lambda c: squareform(pdist(c)), list(x.astype(np.float64))), np.stack)

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from scipy.sparse.csgraph import minimum_spanning_tree

        def read(trees: list) -> list[Diagrams]:
            edges = [np.stack(tree.nonzero(), axis=1) for tree in trees]
            return [diagrams_of_edges(m, e) for m, e in zip(D, edges, strict=True)]

        return Call(each(minimum_spanning_tree, list(D.astype(np.float64))), read)

    def dimension(self, x: np.ndarray) -> Call:
        from scipy.sparse.csgraph import minimum_spanning_tree
        from scipy.spatial.distance import cdist

        clouds = x.astype(np.float64)
        return Call(
            lambda: dimensions(lambda p: minimum_spanning_tree(cdist(p, p)).sum(), clouds),
            np.asarray,
        )
