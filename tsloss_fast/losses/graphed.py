"""GraphedTSLoss: forward and backward of TSLoss as one replay of a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from tsloss_fast._checks import describe

LossAndGradient = tuple[Tensor, Tensor]


class GraphedTSLoss:
    """What `TSLoss.graphed` returns: call it once a step.

    Parameters
    ----------
    compute : callable
        ``compute(prompt)`` gives the loss, a scalar, with a graph; it may not wait for the device.
    options : callable
        ``options()`` is what the loss depends on beside the prompt. Once it changes, or the prompt
        has moved to other memory, the next call captures again.
    prompt : Tensor
        A leaf that requires a gradient, on CUDA.
    """

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor],
        options: Callable[[], Hashable],
        prompt: Tensor,
    ) -> None:
        _require_leaf(prompt)
        _require_cuda(prompt)
        self._compute, self._options, self._prompt = compute, options, prompt
        self._key = self._current_key()
        self._replay, self._loss, self._gradient = _capture(self._loss_and_gradient, prompt.device)

    def __call__(self) -> Tensor:
        """Compute the loss of the prompt's present values, and add its gradient to ``prompt.grad``.

        Returns
        -------
        Tensor
            The loss, a scalar without a graph. It lies in the graph's memory: the next call
            overwrites it, so clone what is to be kept.
        """
        key = self._current_key()
        if key != self._key:
            self._replay, self._loss, self._gradient = _capture(
                self._loss_and_gradient, self._prompt.device
            )
            self._key = key
        self._replay()
        # The gradient is the caller's, who may keep it or set it to None: never the graph's memory.
        if self._prompt.grad is None:
            self._prompt.grad = self._gradient.clone()
        else:
            self._prompt.grad.add_(self._gradient)
        return self._loss

    def _current_key(self) -> Hashable:
        x = self._prompt
        return self._options(), x.data_ptr(), x.dtype, x.shape, x.stride()

    def _loss_and_gradient(self) -> LossAndGradient:
        with torch.enable_grad():
            loss = self._compute(self._prompt)
        (gradient,) = torch.autograd.grad(loss, self._prompt)
        return loss.detach(), gradient


def _require_leaf(prompt: Tensor) -> None:
    if not (prompt.is_leaf and prompt.requires_grad):
        raise ValueError(
            "prompt: expected a leaf that requires a gradient, such as a parameter, got "
            f"{describe(prompt)} that is none"
        )


def _require_cuda(prompt: Tensor) -> None:
    if prompt.device.type != "cuda":
        raise ValueError(
            f"prompt: expected a CUDA tensor for a CUDA graph, got one on {prompt.device}"
        )


def _capture(
    compute: Callable[[], LossAndGradient], device: torch.device
) -> tuple[Callable[[], None], Tensor, Tensor]:
    """The replay of `compute` as a graph, and where it leaves the loss and the gradient."""
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        # The first call compiles kernels and allocates lasting memory; neither may be in the graph.
        with torch.cuda.stream(side):
            compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # What another thread does, such as a copy to the host for H1, does not disturb the capture.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            loss, gradient = compute()
    return graph.replay, loss, gradient
