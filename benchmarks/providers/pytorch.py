"""PyTorch alone: cdist, and the paper's surrogate as one writes it, eager and compiled."""

from __future__ import annotations

import numpy as np

from benchmarks.providers.base import SURROGATES, Call, Provider


class EagerPyTorch(Provider):
    """torch.cdist with its defaults, and the surrogate on top of it."""

    package = "torch"
    modules = ("torch",)
    phases = ("distances", *SURROGATES, "rtdlite_backward")
    note = "above 25 points torch.cdist multiplies matrices, which loses near-duplicate rows"

    def distances(self, x: np.ndarray) -> Call:
        import torch

        points = torch.from_numpy(x)
        return Call(lambda: torch.cdist(points, points), lambda D: D.numpy())

    def loss(self, mode: str):
        if mode == "rtdlite":
            from benchmarks.providers.pair_losses import rtd_lite_by_prim

            return rtd_lite_by_prim
        from benchmarks.providers.torch_losses import surrogate

        return surrogate


class CompiledPyTorch(EagerPyTorch):
    """The same surrogate under torch.compile, compiled for its shape."""

    phases = SURROGATES
    first_call_limit_s = 120.0
    note = "compiled for each shape before it is timed"

    def loss(self, mode: str):
        import torch

        # One frame is compiled for every size; the default limit of 8 would fall back silently.
        torch._dynamo.reset()
        return torch.compile(super().loss(mode), dynamic=False, fullgraph=True)
