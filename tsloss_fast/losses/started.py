"""StartedLoss: TSLoss begun before the model's forward pass, and taken after it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from torch import Tensor, nn


class StartedLoss:
    """A module's loss of a prompt, from its start to its `result`.

    A module with `start`, as `TSLoss` has it, begins here, so that what it does elsewhere hides
    behind what is launched before `result`. Any other module is called in `result`.

    Parameters
    ----------
    ts_loss : nn.Module
        ``ts_loss(prompt, return_terms=True)`` gives a scalar and a dictionary, as does
        ``ts_loss.start(prompt).result(return_terms=True)``, if it has `start`.
    prompt : Tensor, shape [n, d] or [B, n, d]

    Attributes
    ----------
    seconds : float
        Seconds that the host has spent in `start` and `result`.
    """

    def __init__(self, ts_loss: nn.Module, prompt: Tensor) -> None:
        began = time.perf_counter()
        call = ts_loss.start(prompt).result if can_start(ts_loss) else partial(ts_loss, prompt)
        self._call = partial(call, return_terms=True)
        self.seconds = time.perf_counter() - began

    def result(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its terms.

        Raises
        ------
        TypeError, ValueError
            If the module gives anything else.
        """
        began = time.perf_counter()
        loss, terms = _checked(self._call())
        self.seconds += time.perf_counter() - began
        return loss, terms


def can_start(ts_loss: nn.Module) -> bool:
    """Whether `start` and `result` give what a call of the module gives.

    Not where a subclass overrides ``forward`` alone, or the module has hooks: both would be passed
    by.
    """
    if ts_loss._forward_pre_hooks or ts_loss._forward_hooks or ts_loss._backward_hooks:
        return False
    for kind in type(ts_loss).__mro__:
        if "start" in vars(kind):
            return callable(vars(kind)["start"])
        if "forward" in vars(kind):
            return False
    return False


def _checked(returned: Any) -> tuple[Tensor, dict[str, Tensor]]:
    kinds = [type(part) for part in returned] if isinstance(returned, tuple) else []
    if len(kinds) != 2 or not (issubclass(kinds[0], Tensor) and issubclass(kinds[1], dict)):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(
            "ts_loss: expected a scalar tensor and a dictionary from a call with "
            f"return_terms=True, got {f'({names})' if kinds else type(returned).__name__}"
        )
    loss, terms = returned
    if loss.ndim:
        raise ValueError(f"ts_loss: expected a scalar, got shape {list(loss.shape)}")
    return loss, terms
