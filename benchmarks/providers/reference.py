"""tsloss_fast.reference: eager PyTorch, and gudhi's simplex tree for the diagrams."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider
from benchmarks.providers.ours import _diagrams


class Reference(Provider):
    """The specification, and what TSLoss was before: gudhi, with lengths gathered in PyTorch."""

    name = "reference"
    package = "gudhi"
    modules = ("tsloss_fast", "gudhi")
    edges = True
    note = "tsloss_fast.reference: eager PyTorch with gudhi's SimplexTree; gudhi's version is given"

    def distances(self, x: np.ndarray) -> Call:
        import torch

        from tsloss_fast import reference

        points = torch.from_numpy(x)
        return Call(lambda: reference.pairwise_distances(points), lambda D: D.numpy())

    def h0(self, D: np.ndarray) -> Call:
        return self._persistence(D, 0)

    def h1(self, D: np.ndarray) -> Call:
        return self._persistence(D, 1)

    def _persistence(self, D: np.ndarray, max_dim: int) -> Call:
        import torch

        from tsloss_fast import reference

        matrix = torch.from_numpy(D)
        return Call(lambda: reference.rips_persistence(matrix, max_dim, "precomputed"), _diagrams)

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
        from tsloss_fast import reference

        return (backward_call if backward else forward_call)(reference.TSLoss(mode), x)
