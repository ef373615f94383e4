"""tda: Vietoris-Rips persistence in Rust."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider, each


class Tda(Provider):
    """tda.persistent_homology on a distance matrix: values without edges."""

    package = "tda"
    modules = ("tda",)
    phases = ("h0", "h1")

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import tda

        options = {"distance_matrix": True, "parallel": self.threads > 1}
        return Call(
            each(lambda m: tda.persistent_homology(m, max_dim, **options), list(D)),
            lambda result: [dict(enumerate(cloud)) for cloud in result],
        )
