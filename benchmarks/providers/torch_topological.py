"""torch-topological: a differentiable layer on top of giotto-ph."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider


class TorchTopological(Provider):
    """VietorisRipsComplex: differentiable diagrams with their generators."""

    name = "torch-topological"
    package = "torch-topological"
    modules = ("torch_topological.nn",)
    edges = True

    def h0(self, D: np.ndarray) -> Call:
        return self._layer(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._layer(D, 1)

    def _layer(self, D: np.ndarray, max_dim: int) -> Call:
        import torch
        from torch_topological.nn import VietorisRipsComplex

        layer = VietorisRipsComplex(dim=max_dim, n_threads=self.threads)
        matrices = torch.from_numpy(D)

        def read(result: list) -> list[Diagrams]:
            return [{info.dimension: info.diagram.numpy() for info in cloud} for cloud in result]

        return Call(lambda: layer(matrices, treat_as_distances=True), read)

    def loss(self, x: np.ndarray) -> Call:
        return self._loss(x, backward=False)

    def loss_backward(self, x: np.ndarray) -> Call:
        return self._loss(x, backward=True)

    def _loss(self, x: np.ndarray, backward: bool) -> Call:
        from benchmarks.providers.torch_losses import backward_call, forward_call, mean_over_batch

        return (backward_call if backward else forward_call)(
            mean_over_batch(layer_loss(self.threads)), x
        )


def layer_loss(threads: int = 1):
    """TSLoss of one cloud [n, d] from the layer's diagrams."""
    from torch_topological.nn import VietorisRipsComplex

    from benchmarks.providers.torch_losses import loss_of_lifetimes

    layer = VietorisRipsComplex(dim=1, n_threads=threads)

    def loss(x):
        h0, h1 = (info.diagram for info in layer(x))
        return loss_of_lifetimes(h0[:, 1] - h0[:, 0], h1[:, 1] - h1[:, 0], len(x))

    return loss
