"""Oineus: persistence by parallel reduction, with a differentiable layer."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, diagrams_of_edges, each


class Oineus(Provider):
    """vr_filtration with critical edges, reduced; the diagram by indices gives the edges."""

    name = "oineus"
    package = "oineus"
    modules = ("oineus",)
    edges = True

    def h0(self, D: np.ndarray) -> Call:
        return self._reduce(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._reduce(D, 1)

    def _reduce(self, D: np.ndarray, max_dim: int) -> Call:
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

    def loss(self, x: np.ndarray) -> Call:
        return self._loss(x, backward=False)

    def loss_backward(self, x: np.ndarray) -> Call:
        return self._loss(x, backward=True)

    def _loss(self, x: np.ndarray, backward: bool) -> Call:
        import oineus.diff
        import torch

        from benchmarks.providers.torch_losses import (
            backward_call,
            forward_call,
            loss_of_lifetimes,
            mean_over_batch,
        )

        def one(cloud):
            # From points it takes a few dozen dimensions at most.
            D = torch.cdist(cloud, cloud)
            filtration = oineus.diff.vr_filtration(
                D, from_pwdists=True, max_dim=2, n_threads=self.threads
            )
            diagrams = oineus.diff.persistence_diagram(filtration, n_threads=self.threads)
            h0, h1 = diagrams[0], diagrams[1]
            return loss_of_lifetimes(h0[:, 1] - h0[:, 0], h1[:, 1] - h1[:, 0], len(cloud))

        return (backward_call if backward else forward_call)(mean_over_batch(one), x)
