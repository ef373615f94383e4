"""torch-topological: a differentiable layer on top of giotto-ph."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import LOSSES, Call, Diagrams, Provider


class TorchTopological(Provider):
    """VietorisRipsComplex: differentiable diagrams with their generators."""

    package = "torch-topological"
    modules = ("torch_topological.nn",)
    phases = ("h0", "h1", *LOSSES, "signature_backward")
    edges = True

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import torch

        layer = self._layer(max_dim)
        matrices = torch.from_numpy(D)

        def read(result: list) -> list[Diagrams]:
            return [{info.dimension: info.diagram.numpy() for info in cloud} for cloud in result]

        return Call(lambda: layer(matrices, treat_as_distances=True), read)

    def _layer(self, max_dim: int):
        from torch_topological.nn import VietorisRipsComplex

        return VietorisRipsComplex(dim=max_dim, n_threads=self.threads)

    def loss(self, mode: str):
        from benchmarks.providers.torch_losses import loss_of_lifetimes, mean_over_batch

        if mode == "signature":
            return mean_over_batch(self._signature_loss())
        layer = self._layer(1)

        def one(x):
            h0, h1 = (info.diagram for info in layer(x))
            return loss_of_lifetimes(h0[:, 1] - h0[:, 0], h1[:, 1] - h1[:, 0], len(x))

        return mean_over_batch(one)

    def _signature_loss(self):
        from torch_topological.nn import SignatureLoss

        from benchmarks.providers.pair_losses import projected

        loss, layer = SignatureLoss(p=2), self._layer(0)

        def one(x):
            z = projected(x)
            return loss([x, layer(x)], [z, layer(z)])

        return one
