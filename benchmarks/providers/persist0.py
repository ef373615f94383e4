"""persist0-tda: batched H0 by Prim's algorithm."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider, diagrams_of_edges


class Persist0(Provider):
    """persist0.h0_batched: death edges of H0. H1 is on its list, not in it."""

    package = "persist0-tda"
    modules = ("persist0",)
    phases = ("h0",)
    edges = True
    note = "H0 alone; its GPU kernel is not reachable from Python"

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import persist0

        return Call(
            lambda: persist0.h0_batched(D),
            lambda e: [diagrams_of_edges(m, k.astype(int)) for m, k in zip(D, e, strict=True)],
        )
