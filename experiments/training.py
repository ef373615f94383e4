"""One run: a soft prompt tuned by one arm, watched, and scored on what was held out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.arms import Arm
from experiments.models import Loaded
from experiments.shared_prefix import accuracy, answer
from experiments.spec import RunSpec
from experiments.tasks import Task, make_task
from tsloss_fast import topology_summary
from tsloss_fast._files import write_atomically
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.prompt.balance import GradientBalance
from tsloss_fast.tuning.checkpoints import serialised
from tsloss_fast.tuning.data import Encoded, Encoder
from tsloss_fast.tuning.evaluate import exact_match
from tsloss_fast.tuning.schedule import warmup_linear

VALIDATION, TEST = 100, 200
# How often topology and accuracy are recorded on the way, and by how many validation examples.
LOOKS, LOOKED_AT = 4, 32
WEIGHT_DECAY, WARMUP = 0.01, 0.1
# Seconds between two savings of an unfinished run.
SAVE_EVERY = 60
MAX_NEW_TOKENS = 256
# Of longer runs, every second step is in the record, or every third, and so on.
MOST_STEPS = 100


class Stopped(Exception):
    """The run was asked to stop; its state is saved."""


@dataclass
class History:
    """What is recorded of a run; lists have an entry a step, `looks` one a look.

    Of a step: cross-entropy, the share of training samples that were right when last seen, the
    norms of both gradients on the prompt, what the penalty was weighed by, and the seconds of all
    and of the penalty.
    """

    ce: list[float] = field(default_factory=list)
    fitted: list[float] = field(default_factory=list)
    ce_norm: list[float] = field(default_factory=list)
    penalty_norm: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    penalty_seconds: list[float] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """Trains the prompt of one `RunSpec`; stops when asked, and goes on from its state.

    Parameters
    ----------
    spec : RunSpec
    loaded : Loaded
    template : str
        As `tsloss-fast tune` has it.
    state_file : Path
        Where the state of an unfinished run lies, if there is one.
    """

    def __init__(self, spec: RunSpec, loaded: Loaded, template: str, state_file: Path) -> None:
        self.spec, self.model, self.tokenizer = spec, loaded.model, loaded.tokenizer
        self.arm = Arm(spec.arm)
        self.task: Task = make_task(spec.cell.task, spec.cell.samples, VALIDATION, TEST, spec.seed)
        self.encoder = Encoder(loaded.tokenizer, template)
        self.train = [self.encoder(example) for example in self.task.train]
        self.prompt = make_start(spec, loaded)
        self.penalty = self.arm.penalty()
        self.balance = None if self.arm.balance is None else GradientBalance(self.arm.balance)
        self.optimizer = torch.optim.AdamW(
            [self.prompt.weight], lr=spec.rate, weight_decay=WEIGHT_DECAY, eps=1e-8
        )
        self.history = History()
        self.right = torch.zeros(len(self.train), dtype=torch.bool)
        self.step = 0
        self.diverged = False
        self.cpu_seconds, self._cpu_began = 0.0, time.process_time()
        self.state_file = state_file
        if state_file.is_file():
            self._load_state()

    def finish(self, is_stopped: Callable[[], bool]) -> dict[str, Any]:
        """Train to the end and return the record, which JSON can hold.

        Raises
        ------
        Stopped
            Once `is_stopped` says so, with the state saved.
        """
        saved = time.monotonic()
        every = max(1, self.spec.cell.steps // LOOKS)
        while self.step < self.spec.cell.steps and not self.diverged:
            if is_stopped():
                self._save_state()
                raise Stopped
            if self.step % every == 0 and len(self.history.looks) * every <= self.step:
                self._look(LOOKED_AT)
            self._train_step()
            if time.monotonic() - saved > SAVE_EVERY:
                self._save_state()
                saved = time.monotonic()
        if not self.diverged:
            self._look(VALIDATION)
        return self._record()

    def _train_step(self) -> None:
        began = time.perf_counter()
        weight, cell = self.prompt.weight, self.spec.cell
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.rate * warmup_linear(self.step, cell.steps, WARMUP)
        chosen = self._batch()
        out = answer(self.model, weight, [self.train[i] for i in chosen])
        (gradient,) = torch.autograd.grad(out.loss, weight)
        self.right[chosen] = out.right.cpu()
        ce_norm = gradient.norm()
        penalty_began = time.perf_counter()
        factor = penalty_norm = torch.zeros(())
        if self.penalty is not None:
            (pull,) = torch.autograd.grad(self.penalty(weight), weight)
            penalty_norm = pull.norm()
            factor = self._factor(ce_norm, penalty_norm)
            gradient = gradient + factor * pull
        penalty_seconds = time.perf_counter() - penalty_began
        weight.grad = gradient
        self.diverged = not bool(gradient.isfinite().all() and out.loss.isfinite())
        if self.diverged:
            return
        self.optimizer.step()
        self.step += 1
        self.diverged = not bool(weight.isfinite().all())
        history = self.history
        history.ce.append(out.loss.item())
        history.fitted.append(self.right.float().mean().item())
        history.ce_norm.append(ce_norm.item())
        history.penalty_norm.append(penalty_norm.item())
        history.weight.append(float(factor))
        history.seconds.append(time.perf_counter() - began)
        history.penalty_seconds.append(penalty_seconds)

    def _factor(self, ce_norm: Tensor, penalty_norm: Tensor) -> Tensor:
        """The weight of the penalty's gradient beside lambda_ts."""
        if self.balance is None:
            return torch.ones(())
        self.balance.observe_ce(ce_norm)
        self.balance.observe_ts(penalty_norm)
        return self.balance.weight(penalty_norm)

    def _batch(self) -> list[int]:
        """The samples of this step; their order depends on seed and epoch alone."""
        size = min(self.spec.cell.batch_size, len(self.train))
        an_epoch = -(-len(self.train) // size)
        epoch, index = divmod(self.step, an_epoch)
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator).tolist()
        return order[index * size : (index + 1) * size]

    def _look(self, count: int) -> None:
        features = topology_summary(self.prompt.weight.detach()).as_dict()
        look = {"step": self.step, "validation": self._accuracy(self.task.validation[:count])}
        self.history.looks.append(look | {name: value.item() for name, value in features.items()})

    def _accuracy(self, examples: Sequence[Any]) -> float:
        encoded = [self.encoder(example) for example in examples]
        if self.task.score is None:
            return accuracy(self.model, self.prompt.weight, encoded)
        return self._decoded_accuracy(encoded)

    def _decoded_accuracy(self, encoded: Sequence[Encoded]) -> float:
        return exact_match(
            PromptTunedLM(self.model, self.prompt),
            self.tokenizer,
            encoded,
            max_new_tokens=MAX_NEW_TOKENS,
            score=self.task.score,
        )

    def _record(self) -> dict[str, Any]:
        every = -(-max(1, len(self.history.ce)) // MOST_STEPS)
        history = {
            name: _short(values if name == "looks" else values[::every])
            for name, values in vars(self.history).items()
        }
        fits = [i for i, share in enumerate(self.history.fitted) if share == 1]
        record = {
            **self.spec.as_dict(),
            "diverged": self.diverged,
            # Updates made before all training samples were right.
            "iterations_to_fit": fits[0] if fits else None,
            "test_accuracy": 0.0 if self.diverged else self._accuracy(self.task.test),
            "validation_accuracy": 0.0 if self.diverged else history["looks"][-1]["validation"],
            "test_examples": len(self.task.test),
            "validation_examples": len(self.task.validation),
            "every": every,
            **history,
        }
        return record | {"cpu_seconds": round(self._cpu_so_far(), 2)}

    def _cpu_so_far(self) -> float:
        """Of all processes that were at this run."""
        return self.cpu_seconds + time.process_time() - self._cpu_began

    def _save_state(self) -> None:
        state = {
            "step": self.step,
            "prompt": self.prompt.weight.detach(),
            "optimizer": self.optimizer.state_dict(),
            "balance": {} if self.balance is None else self.balance.state_dict(),
            "right": self.right,
            "history": vars(self.history),
            "cpu_seconds": self._cpu_so_far(),
        }
        write_atomically(self.state_file, serialised(state))

    def _load_state(self) -> None:
        state = torch.load(self.state_file, weights_only=True)
        with torch.no_grad():
            self.prompt.weight.copy_(state["prompt"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.balance is not None:
            self.balance.load_state_dict(state["balance"])
        self.right, self.step = state["right"], state["step"]
        self.history = History(**state["history"])
        self.cpu_seconds = state["cpu_seconds"]


def make_start(spec: RunSpec, loaded: Loaded) -> SoftPrompt:
    """The prompt that all arms of a cell and seed start from."""
    generator = torch.Generator().manual_seed(spec.seed)
    table = loaded.model.get_input_embeddings().weight
    token_ids = None
    if spec.cell.start == "token":
        token_ids = torch.randint(len(table), (1,), generator=generator).tolist()
    return SoftPrompt(
        spec.cell.n_tokens,
        table.shape[1],
        "text" if spec.cell.start == "token" else spec.cell.start,
        embedding=loaded.model,
        token_ids=token_ids,
        generator=generator,
    ).to(table.device)


def _short(values: Sequence[Any]) -> list[Any]:
    """Numbers to four digits, in dictionaries too: a record has 10 KB at most."""
    return [
        {name: _four_digits(value) for name, value in entry.items()}
        if isinstance(entry, dict)
        else _four_digits(entry)
        for entry in values
    ]


def _four_digits(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
