"""Oineus: persistence by parallel reduction, with a differentiable layer."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import LOSSES, Call, Diagrams, Provider, diagrams_of_edges, each


class Oineus(Provider):
    """vr_filtration with critical edges, reduced; the diagram by indices gives the edges."""

    package = "oineus"
    modules = ("oineus",)
    phases = ("h0", "h1", *LOSSES)
    edges = True

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import oineus

        def one(matrix: np.ndarray) -> list[np.ndarray]:
            filtration, edges = oineus.vr_filtration(
                matrix,
                from_pwdists=True,
                max_dim=max_dim + 1,
                with_critical_edges=True,
                n_threads=self.threads,
            )
            reduction = oineus.Decomposition(filtration, True)
            parameters = oineus.ReductionParams()
            parameters.n_threads = self.threads
            reduction.reduce(parameters)
            diagrams = reduction.diagram(fil=filtration, include_inf_points=False)
            return [
                edges[np.asarray(diagrams.index_diagram_in_dimension(dim)).astype(np.int64)]
                for dim in range(max_dim + 1)
            ]  # [k, 2, 2] each: birth edge, death edge

        def read(result: list) -> list[Diagrams]:
            return [
                diagrams_of_edges(m, e[0][:, 1], e[1].reshape(-1, 4) if max_dim else None)
                for m, e in zip(D, result, strict=True)
            ]

        return Call(each(one, list(D.astype(np.float64))), read)

    def loss(self, mode: str):
        import oineus.diff
        import torch

        from benchmarks.providers.torch_losses import loss_of_lifetimes, mean_over_batch

        threads = {"n_threads": self.threads}

        def one(cloud):
            # From points it takes a few dozen dimensions at most.
            D = torch.cdist(cloud, cloud)
            filtration = oineus.diff.vr_filtration(D, from_pwdists=True, max_dim=2, **threads)
            diagrams = oineus.diff.persistence_diagram(filtration, **threads)
            h0, h1 = diagrams[0], diagrams[1]
            return loss_of_lifetimes(h0[:, 1] - h0[:, 0], h1[:, 1] - h1[:, 0], len(cloud))

        return mean_over_batch(one)
