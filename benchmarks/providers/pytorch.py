"""PyTorch alone: cdist, and the paper's surrogate as one writes it, eager and compiled."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import Call, Provider


class EagerPyTorch(Provider):
    """torch.cdist with its defaults, and the surrogate on top of it."""

    name = "eager PyTorch"
    package = "torch"
    modules = ("torch",)
    note = "above 25 points torch.cdist multiplies matrices, which loses near-duplicate rows"

    def distances(self, x: np.ndarray) -> Call:
        import torch

        points = torch.from_numpy(x)
        return Call(lambda: torch.cdist(points, points), lambda D: D.numpy())

    def surrogate(self, x: np.ndarray) -> Call:
        from benchmarks.providers.torch_losses import forward_call, surrogate

        return forward_call(surrogate, x)

    def surrogate_backward(self, x: np.ndarray) -> Call:
        from benchmarks.providers.torch_losses import backward_call, surrogate

        return backward_call(surrogate, x)


class CompiledPyTorch(Provider):
    """The same surrogate under torch.compile, compiled for its shape."""

    name = "torch.compile"
    package = "torch"
    modules = ("torch",)
    first_call_limit_s = 120.0
    note = "compiled for each shape before it is timed"

    def surrogate(self, x: np.ndarray) -> Call:
        from benchmarks.providers.torch_losses import forward_call

        return forward_call(self._compiled(), x)

    def surrogate_backward(self, x: np.ndarray) -> Call:
        from benchmarks.providers.torch_losses import backward_call

        return backward_call(self._compiled(), x)

    def _compiled(self):
        import torch

        from benchmarks.providers.torch_losses import surrogate

        # One frame is compiled for every size; the default limit of 8 would fall back silently.
        torch._dynamo.reset()
        return torch.compile(surrogate, dynamic=False, fullgraph=True)
