"""tsloss_fast twice: its public functions on tensors, and the engine's calls on arrays."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from benchmarks.providers.base import Call, Diagrams, Provider, diagrams_of_edges


def _diagrams(result: tuple) -> list[Diagrams]:
    """Diagrams of a batch from what `rips_persistence` returns."""
    bars = [dgm.unbatch() for dgm in result]
    return [
        {dim: pairs.numpy() for dim, pairs in enumerate(cloud)} for cloud in zip(*bars, strict=True)
    ]


class TensorFunctions(Provider):
    """The public functions on tensors, which the package and its reference both have."""

    edges = True

    def api(self) -> ModuleType:
        """The module that has the functions."""
        raise NotImplementedError

    def distances(self, x: np.ndarray) -> Call:
        import torch

        api, points = self.api(), torch.from_numpy(x)
        return Call(lambda: api.pairwise_distances(points), lambda D: D.numpy())

    def h0(self, D: np.ndarray) -> Call:
        return self._persistence(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._persistence(D, 1)

    def _persistence(self, D: np.ndarray, max_dim: int) -> Call:
        import torch

        api, matrix = self.api(), torch.from_numpy(D)
        return Call(lambda: api.rips_persistence(matrix, max_dim, "precomputed"), _diagrams)

    def loss(self, x: np.ndarray) -> Call:
        return self._loss("persistence", x, backward=False)

    def loss_backward(self, x: np.ndarray) -> Call:
        return self._loss("persistence", x, backward=True)

    def surrogate(self, x: np.ndarray) -> Call:
        return self._loss("surrogate", x, backward=False)

    def surrogate_backward(self, x: np.ndarray) -> Call:
        return self._loss("surrogate", x, backward=True)

    def _loss(self, mode: str, x: np.ndarray, backward: bool) -> Call:
        from benchmarks.providers.torch_losses import backward_call, forward_call

        return (backward_call if backward else forward_call)(self.api().TSLoss(mode), x)


class TslossFast(TensorFunctions):
    """The functions that users call: checks, tensors and gradients included."""

    name = "tsloss_fast"
    package = "tsloss-fast"
    modules = ("tsloss_fast",)

    def api(self) -> ModuleType:
        import tsloss_fast

        return tsloss_fast


class Engine(Provider):
    """The compiled module on NumPy arrays: critical edges as integers, as the peers give them."""

    name = "tsloss_fast engine"
    package = "tsloss-fast"
    modules = ("tsloss_fast",)
    edges = True
    note = "arrays in, critical edges out: what the other engines' calls do"

    def distances(self, x: np.ndarray) -> Call:
        from tsloss_fast import _C

        return Call(lambda: _C.distances(x, threads=self.threads), lambda D: D)

    def h0(self, D: np.ndarray) -> Call:
        from tsloss_fast import _C

        return Call(
            lambda: _C.h0(D, threads=self.threads),
            lambda h0: [diagrams_of_edges(m, b[:, 1:]) for m, b in zip(D, h0, strict=True)],
        )

    def h1(self, D: np.ndarray) -> Call:
        from tsloss_fast import _C

        def read(result: tuple[np.ndarray, np.ndarray]) -> list[Diagrams]:
            return [
                diagrams_of_edges(matrix, h0[:, 1:], h1[h1[:, 0] >= 0])
                for matrix, h0, h1 in zip(D, *result, strict=True)
            ]

        return Call(lambda: _C.h1(D, threads=self.threads), read)
