"""ripser.py of scikit-tda."""

from __future__ import annotations

import importlib

import numpy as np

from benchmarks.providers.base import Call, Provider, each


class RipserPy(Provider):
    """ripser.ripser on a distance matrix: values without edges."""

    package = "ripser"
    modules = ("ripser",)
    phases = ("h0", "h1")

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        ripser = importlib.import_module(self.modules[0]).ripser
        return Call(
            each(lambda m: ripser(m, maxdim=max_dim, distance_matrix=True), list(D)),
            lambda result: [dict(enumerate(cloud["dgms"])) for cloud in result],
        )
