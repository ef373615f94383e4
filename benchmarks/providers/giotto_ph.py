"""giotto-ph, as its published wheel comes."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, diagrams_of_edges, each


class GiottoPh(Provider):
    """gph.ripser_parallel with return_generators: critical edges."""

    package = "giotto-ph"
    modules = ("gph",)
    # RTD autoencoders come with this engine.
    phases = ("h0", "h1", "rtd_backward")
    edges = True

    def loss(self, mode: str):
        from gph import ripser_parallel

        from benchmarks.providers.pair_losses import by_edges

        options = {"metric": "precomputed", "n_threads": self.threads, "return_generators": True}

        def edges(D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            gens = ripser_parallel(D, maxdim=1, **options)["gens"]
            return gens[0][:, 1:], gens[1][0] if len(gens[1]) else np.zeros((0, 4), dtype=np.int64)

        return by_edges(mode, edges)

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from gph import ripser_parallel

        options = {"metric": "precomputed", "n_threads": self.threads, "return_generators": True}

        def read(result: list) -> list[Diagrams]:
            return [
                diagrams_of_edges(m, r["gens"][0][:, 1:], r["gens"][1][0] if max_dim else None)
                for m, r in zip(D, result, strict=True)
            ]

        return Call(each(lambda m: ripser_parallel(m, maxdim=max_dim, **options), list(D)), read)
