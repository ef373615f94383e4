"""giotto-ph, as its published wheel comes."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, diagrams_of_edges, each


class GiottoPh(Provider):
    """gph.ripser_parallel with return_generators: critical edges."""

    package = "giotto-ph"
    modules = ("gph",)
    phases = ("h0", "h1")
    edges = True

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from gph import ripser_parallel

        options = {"metric": "precomputed", "n_threads": self.threads, "return_generators": True}

        def read(result: list) -> list[Diagrams]:
            return [
                diagrams_of_edges(m, r["gens"][0][:, 1:], r["gens"][1][0] if max_dim else None)
                for m, r in zip(D, result, strict=True)
            ]

        return Call(each(lambda m: ripser_parallel(m, maxdim=max_dim, **options), list(D)), read)
