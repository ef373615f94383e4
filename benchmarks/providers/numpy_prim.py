"""NumPy: the length of a spanning tree by Prim's walk, a row at a time, as GPTID computes it."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider
from benchmarks.providers.values import dimensions


class NumPy(Provider):
    """The dimension of one cloud after the other, distances by SciPy's cdist."""

    package = "numpy"
    modules = ("scipy.spatial.distance",)
    phases = ("dimension",)
    note = "Prim's walk in NumPy on SciPy's cdist, as GPTID has it"

    def dimension(self, x: np.ndarray) -> Call:
        from scipy.spatial.distance import cdist

        clouds = x.astype(np.float64)
        return Call(lambda: dimensions(lambda p: tree_length(cdist(p, p)), clouds), np.asarray)


def tree_length(D: np.ndarray) -> float:
    """The length of a minimum spanning tree of distances [n, n]."""
    outside, reach, total = np.ones(len(D), dtype=bool), D[0].copy(), 0.0
    outside[0] = False
    for _ in range(len(D) - 1):
        nearest = np.where(outside, reach, np.inf).argmin()
        total += reach[nearest]
        outside[nearest] = False
        reach = np.minimum(reach, D[nearest])
    return float(total)
