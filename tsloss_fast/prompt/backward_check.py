"""BackwardCheck: an error where a loss trains virtual tokens without TSLoss."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

DROPPED = (
    "ts_loss: expected in the loss that is trained on, got a loss without it. add_tsloss adds it "
    "to outputs.loss of passes with labels; TRL's trainers, and a compute_loss of one's "
    "own, build their loss from logits or log-probabilities instead. With a trainer write "
    "add_tsloss(peft_model, ts_loss).attach(trainer). In a loop of your own train on "
    "outputs.loss, or remove() this and add ts_loss(virtual_tokens(peft_model)) to your loss"
)


class BackwardCheck:
    """Raises at the end of a backward pass that reached virtual tokens, but not TSLoss."""

    def __init__(self) -> None:
        # Backward passes under way, by autograd's number; True where TSLoss was reached.
        self._has_tsloss: dict[int, bool] = {}

    def watch_tokens(self, tokens: Tensor) -> RemovableHandle:
        handle: RemovableHandle = tokens.register_hook(
            functools.partial(self._reached, is_tsloss=False)
        )
        return handle

    def watch_tsloss(self, ts: Tensor) -> None:
        ts.register_hook(functools.partial(self._reached, is_tsloss=True))

    def _reached(self, gradient: Tensor, is_tsloss: bool) -> None:
        backward = torch._C._current_graph_task_id()
        if backward not in self._has_tsloss:
            # At its end, since a backward pass may hold several forward passes in any order.
            check = functools.partial(self._check, backward)
            torch.autograd.Variable._execution_engine.queue_callback(check)
        self._has_tsloss[backward] = self._has_tsloss.get(backward, False) or is_tsloss

    def _check(self, backward: int) -> None:
        if not self._has_tsloss.pop(backward):
            raise RuntimeError(DROPPED)
