"""giotto-ph, as its published wheel comes."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, diagrams_of_edges, each


class GiottoPh(Provider):
    """gph.ripser_parallel with return_generators: critical edges."""

    name = "giotto-ph"
    package = "giotto-ph"
    modules = ("gph",)
    edges = True

    def h0(self, D: np.ndarray) -> Call:
        return self._ripser(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._ripser(D, 1)

    def _ripser(self, D: np.ndarray, max_dim: int) -> Call:
        from gph import ripser_parallel

        def one(matrix: np.ndarray) -> dict:
            return ripser_parallel(
                matrix,
                maxdim=max_dim,
                metric="precomputed",
                n_threads=self.threads,
                return_generators=True,
            )

        def read(result: list) -> list[Diagrams]:
            return [
                diagrams_of_edges(m, r["gens"][0][:, 1:], r["gens"][1][0] if max_dim else None)
                for m, r in zip(D, result, strict=True)
            ]

        return Call(each(one, list(D)), read)
