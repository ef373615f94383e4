"""Any loss module of a prompt, begun before the model's forward pass and taken after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import LossAndTerms


def start_loss(ts_loss: nn.Module, prompt: Tensor) -> Pending[LossAndTerms]:
    """Begin to compute a module's loss of a prompt.

    A module with `start`, as `TSLoss` has it, begins here, so that what it does elsewhere hides
    behind what is launched before the result is taken. Any other module is called then.

    Parameters
    ----------
    ts_loss : nn.Module
        ``ts_loss(prompt, return_terms=True)`` gives a scalar and a dictionary, as does
        ``ts_loss.start(prompt).result(return_terms=True)``, if it has `start`.
    prompt : Tensor, shape [n, d] or [B, n, d]

    Returns
    -------
    Pending
        ``result()`` gives the loss, a scalar, and its terms. It raises a TypeError or a ValueError
        if the module gives anything else.
    """

    def begin() -> Callable[[], LossAndTerms]:
        if can_start(ts_loss):
            start: Any = ts_loss.start
            started = start(prompt)
            return lambda: _checked(started.result(return_terms=True))
        return lambda: _checked(ts_loss(prompt, return_terms=True))

    return Pending(begin)


# The name of a class that `Pending` replaced, for those who import it; it is called the same way.
StartedLoss = start_loss


def can_start(ts_loss: nn.Module) -> bool:
    """Whether `start` and `result` give what a call of the module gives.

    Not where a subclass overrides ``forward`` alone, or the module has hooks: `start` would skip
    both.
    """
    if ts_loss._forward_pre_hooks or ts_loss._forward_hooks or ts_loss._backward_hooks:
        return False
    for kind in type(ts_loss).__mro__:
        if "start" in kind.__dict__:
            return callable(kind.__dict__["start"])
        if "forward" in kind.__dict__:
            return False
    return False


def _checked(returned: Any) -> LossAndTerms:
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
