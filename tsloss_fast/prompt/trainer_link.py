"""TrainerLink: TSLoss in the loss that a trainer trains on, however it builds that loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class TrainerLink:
    """Adds TSLoss to what a trainer gives to ``accelerator.backward``, and to what it logs.

    There the loss has been divided for gradient accumulation already, and not yet multiplied for a
    gradient scaler, so TSLoss is right beside it if it is divided by the number of micro-batches.
    The processes' gradients are averaged, which leaves it as it is.

    Parameters
    ----------
    trainer : transformers.Trainer
        Or a subclass, as those of TRL. Its ``training_step``, its ``log`` and its accelerator's
        ``backward`` are wrapped until `remove`.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        # TSLoss of the passes since the last backward pass; None outside of a training step.
        self._kept: list[Tensor] | None = None
        self._in_step: Tensor | None = None
        self._sums: dict[str, Tensor] = {}
        self._passes = 0
        self._undo: list[Callable[[], None]] = []
        self._wrap(trainer, "training_step", self._training_step)
        self._wrap(trainer, "log", self._log)
        self._wrap(trainer.accelerator, "backward", self._backward)

    @property
    def is_training(self) -> bool:
        """Whether the trainer is within a training step, whose passes give TSLoss to `keep`."""
        return self._kept is not None

    def keep(self, ts: Tensor, terms: dict[str, Tensor]) -> None:
        """Take TSLoss of a pass, for the backward pass that follows and for the log."""
        assert self._kept is not None
        self._kept.append(ts)
        self._passes += 1
        values = {"ts_loss": ts.detach()} | {f"ts_{name}": value for name, value in terms.items()}
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def remove(self) -> None:
        """Leave the trainer as it was."""
        while self._undo:
            self._undo.pop()()

    def _training_step(self, original: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        self._kept, self._in_step = [], None
        try:
            loss = original(*args, **kwargs)
        finally:
            self._kept = None
        # The trainer logs this sum, as it does without a link.
        return loss if self._in_step is None else loss + self._in_step

    def _backward(self, original: Callable[..., Any], loss: Tensor, **kwargs: Any) -> Any:
        if self._kept:
            # The passes of one backward pass, such as replicas, share one TSLoss.
            ts = torch.stack([each.to(loss.device) for each in self._kept]).mean()
            ts = ts / self._micro_batches()
            self._kept.clear()
            self._in_step = ts.detach() if self._in_step is None else self._in_step + ts.detach()
            loss = loss + ts
        return original(loss, **kwargs)

    def _micro_batches(self) -> int:
        arguments = self._trainer.args
        # The last step of an epoch may have fewer than the arguments say.
        now = getattr(self._trainer, "current_gradient_accumulation_steps", None)
        count: int = now or arguments.gradient_accumulation_steps
        return count

    def _log(
        self, original: Callable[..., None], logs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        # Evaluation logs "eval_loss", and the end of training "train_loss".
        if "loss" in logs and self._passes:
            means = {name: (total / self._passes).item() for name, total in self._sums.items()}
            logs = logs | means
            self._sums, self._passes = {}, 0
        original(logs, *args, **kwargs)

    def _wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        was_own = name in vars(owner)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return wrapper(original, *args, **kwargs)

        def undo() -> None:
            if vars(owner).get(name) is not wrapped:
                return  # Wrapped again by someone else, whose wrapper calls this one.
            if was_own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)

        setattr(owner, name, wrapped)
        self._undo.append(undo)


def check_trainer(trainer: object) -> None:
    """Raise unless it has what `TrainerLink` wraps."""
    accelerator = getattr(trainer, "accelerator", None)
    if not (hasattr(trainer, "training_step") and hasattr(accelerator, "backward")):
        raise TypeError(
            "trainer: expected a transformers.Trainer, with training_step and "
            f"accelerator.backward, got {type(trainer).__name__}"
        )
