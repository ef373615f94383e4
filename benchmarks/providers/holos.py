"""holos-tda: Vietoris-Rips persistence in Rust, on Python's own lists."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, each


class Holos(Provider):
    """holos_tda.rips_condensed: values without edges."""

    package = "holos-tda"
    modules = ("holos_tda",)
    phases = ("h0", "h1")
    note = "takes lists, not arrays; their making is not timed"

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import holos_tda

        upper = np.triu_indices(D.shape[-1], 1)
        clouds = [matrix[upper].tolist() for matrix in D.astype(np.float64)]

        def read(result: list) -> list[Diagrams]:
            return [
                {k: np.array([b[1:] for b in bars if b[0] == k]) for k in range(max_dim + 1)}
                for bars in result
            ]

        options = {"max_dim": max_dim, "threads": self.threads}
        return Call(each(lambda c: holos_tda.rips_condensed(c, **options), clouds), read)
