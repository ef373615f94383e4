"""ripser.py of scikit-tda."""

from __future__ import annotations

import importlib

import numpy as np

from benchmarks.providers.base import Call, Provider, each
from benchmarks.providers.values import dimensions, n_prompt


class RipserPy(Provider):
    """ripser.ripser on a distance matrix: values without edges."""

    package = "ripser"
    modules = ("ripser",)
    phases = ("h0", "h1", "mtopdiv", "dimension")

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        ripser = importlib.import_module(self.modules[0]).ripser
        return Call(
            each(lambda m: ripser(m, maxdim=max_dim, distance_matrix=True), list(D)),
            lambda result: [dict(enumerate(cloud["dgms"])) for cloud in result],
        )

    def mtopdiv(self, maps: np.ndarray) -> Call:
        """One map after the other, as lm-polygraph has it."""
        n = maps.shape[-1]
        prompt = n_prompt(n)

        def one(weights: np.ndarray) -> float:
            D = (1 - weights.clip(0)) * (1 - np.eye(n, dtype=np.float32))
            D = np.minimum(D, D.T)
            D[:prompt, :prompt] = 0
            return self._tree_length(D) / (n - prompt)

        return Call(each(one, list(maps)), np.asarray)

    def dimension(self, x: np.ndarray) -> Call:
        from scipy.spatial.distance import cdist

        clouds = x.astype(np.float64)
        return Call(
            lambda: dimensions(lambda p: self._tree_length(cdist(p, p)), clouds), np.asarray
        )

    def _tree_length(self, D: np.ndarray) -> float:
        ripser = importlib.import_module(self.modules[0]).ripser
        return float(ripser(D, maxdim=0, distance_matrix=True)["dgms"][0][:-1, 1].sum())
