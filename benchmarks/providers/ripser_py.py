"""ripser.py of scikit-tda."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider, each


class RipserPy(Provider):
    """ripser.ripser on a distance matrix: values without edges."""

    name = "ripser.py"
    package = "ripser"
    modules = ("ripser",)

    def h0(self, D: np.ndarray) -> Call:
        return self._ripser(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._ripser(D, 1)

    def _ripser(self, D: np.ndarray, max_dim: int) -> Call:
        from ripser import ripser

        return Call(
            each(lambda m: ripser(m, maxdim=max_dim, distance_matrix=True), list(D)),
            lambda result: [dict(enumerate(cloud["dgms"])) for cloud in result],
        )
