"""Trainer: the loop over epochs and steps, with checkpoints that a stopped run goes on from."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.prompt import IGNORED_LABEL, PromptTunedLM
from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.checkpoints import (
    BEST_FILE,
    INTERRUPTED_FILE,
    TENSORBOARD_FOLDER,
    RunFolder,
)
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import Batch, Encoded, epoch_batches
from tsloss_fast.tuning.evaluate import exact_match, mean_loss
from tsloss_fast.tuning.interrupt import Interrupted, InterruptFlag
from tsloss_fast.tuning.objectives import TermMonitor
from tsloss_fast.tuning.scalars import ScalarLog
from tsloss_fast.tuning.schedule import warmup_linear

log = logging.getLogger(__name__)

AVERAGED = ("loss", "ce", "ts", "h0", "h1", "ts_share")
NO_GOODNESS = (-math.inf, -math.inf)


class TrainingDiverged(RuntimeError):
    """The loss or the prompt is no longer finite; the message says where and what is left."""


class Trainer:
    """Trains the soft prompt of one `PromptTunedLM` and keeps the run's folder.

    The state after any number of steps depends on configuration, data and model alone: batches
    follow from seed and epoch, the learning rate from the step. So a run that was stopped goes on
    to the same numbers, bit by bit on the same machine.

    Parameters
    ----------
    config : TuneConfig
    lm : PromptTunedLM
    tokenizer
        For padding and decoding.
    train, held_out : sequence of Encoded
        `held_out` may be empty: then nothing is evaluated.
    folder : RunFolder
        Prepared already.
    progress : bool, default True
        Show a progress bar on stderr.
    """

    def __init__(
        self,
        config: TuneConfig,
        lm: PromptTunedLM,
        tokenizer: Any,
        train: Sequence[Encoded],
        held_out: Sequence[Encoded],
        folder: RunFolder,
        *,
        progress: bool = True,
    ) -> None:
        self.config = config
        self.lm = lm
        self.tokenizer = tokenizer
        self.train_set = train
        self.held_out = held_out
        self.folder = folder
        self.progress = progress
        self.step = 0
        self.steps_per_epoch = -(-len(train) // (config.batch_size * config.accumulation))
        self.total_steps = config.epochs * self.steps_per_epoch
        self.weight = lm.soft_prompt.weight
        self.optimizer = torch.optim.AdamW(
            [self.weight], lr=config.lr, weight_decay=config.weight_decay, eps=1e-8
        )
        self._terms = TermMonitor()
        self._score = Score(config.extract, config.compare, config.metric)
        self._flag = InterruptFlag()
        self._good_file: Path | None = None
        self._epoch_records: list[dict[str, Any]] = []
        # The records of all evaluations, in order.
        self._evaluations: list[dict[str, Any]] = []
        self._scalars = ScalarLog(None)

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.step // self.steps_per_epoch

    def resume(self) -> None:
        """Go back to the state that the folder holds, and drop the metrics after it."""
        state = self.folder.load_state()
        with torch.no_grad():
            self.weight.copy_(state["prompt"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.lm.balance is not None:
            self.lm.balance.load_state_dict(state["balance"])
        torch.set_rng_state(state["rng"])
        self.step = state["step"]
        self.folder.cut_metrics(self.step)
        for record in self.folder.read_metrics():
            if record["kind"] == "eval":
                self._evaluations.append(record)
            elif record["kind"] == "step" and record["epoch"] == self.epoch + 1:
                self._epoch_records.append(record)
        self._good_file = self.folder.prompt_file(self.epoch - self.epoch % self.config.save_every)

    def run(self) -> None:
        """Train from the current step to the last.

        Raises
        ------
        Interrupted
            After Ctrl-C or SIGTERM, once the state has been saved.
        TrainingDiverged
            When loss or prompt cease to be finite; what was saved before is left as it is.
        OSError
            When a file cannot be written; the one it would have replaced is left as it is.
        """
        with InterruptFlag() as self._flag, self._scalar_log() as self._scalars, self._bar() as bar:
            if self.step == 0:
                self._save_epoch()
            self._evaluate_if_due()
            while self.step < self.total_steps and not self._stops_early():
                self._run_epoch(bar)
                self._evaluate_if_due()
        if self.step < self.total_steps:
            # It may lie between two epochs whose prompts are kept.
            self.folder.save_prompt(self.folder.prompt_file(self.epoch), self.weight)
            log.info(
                "stopped early after epoch %d: no better evaluation since epoch %d, whose prompt "
                "is %s",
                self.epoch,
                max(self._evaluations, key=_goodness)["epoch"],
                self.folder.path / BEST_FILE,
            )
        (self.folder.path / INTERRUPTED_FILE).unlink(missing_ok=True)

    def _run_epoch(self, bar: Any) -> None:
        epoch = self.epoch
        done = self.step % self.steps_per_epoch
        for index, batches in enumerate(self._steps_of(epoch)):
            if index < done:
                continue
            record = self._train_step(batches)
            self._record(record)
            self._epoch_records.append(record)
            bar.set_postfix_str(_postfix(record), refresh=False)
            bar.update()
            # At the end of an epoch there is more to save than after any other step.
            if self.step % self.steps_per_epoch:
                self._stop_if_asked()
        self._record(_epoch_record(self._epoch_records))
        self._epoch_records = []
        self._save_epoch()
        self._stop_if_asked()

    def _steps_of(self, epoch: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch."""
        config, pad_id = self.config, self.tokenizer.pad_token_id
        batches = epoch_batches(self.train_set, config.batch_size, pad_id, config.seed, epoch)
        while step := list(itertools.islice(batches, config.accumulation)):
            yield step

    def _record(self, record: dict[str, Any]) -> None:
        self.folder.append_metrics(record)
        self._scalars.add(record)

    def _train_step(self, batches: Sequence[Batch]) -> dict[str, Any]:
        started = time.perf_counter()
        factor = warmup_linear(self.step, self.total_steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor
        self.optimizer.zero_grad(set_to_none=True)
        passes = [
            self._pass(batch, share)
            for batch, share in zip(batches, _shares(batches, self.weight.device), strict=True)
        ]
        self._check_finite(self.weight.grad, "the gradient on the prompt")
        terms = passes[-1].pop("terms") or self._monitored_terms()
        self.optimizer.step()
        self._check_finite(self.weight, "the prompt")
        seconds = time.perf_counter() - started
        self.step += 1
        record = {
            "kind": "step",
            "step": self.step,
            "epoch": (self.step - 1) // self.steps_per_epoch + 1,
            "lr": self.config.lr * factor,
            **{name: sum(each[name] for each in passes).item() for name in ("loss", "ce", "ts")},
            **{name: term.item() for name, term in terms.items()},
            "ts_share": sum(each["ts_seconds"] for each in passes) / seconds,
            "seconds": seconds,
        }
        if norms := [each["grad_norms"] for each in passes if each["grad_norms"]]:
            record["grad_norms"] = {
                name: sum(each[name].item() for each in norms) / len(norms) for name in norms[-1]
            }
        return record

    def _pass(self, batch: Batch, share: Tensor) -> dict[str, Any]:
        """Forward and backward of a batch, which counts by its share of the step's targets."""
        out = self._forward(batch)
        out.ce_loss.backward(share.to(out.ce_loss))
        ts_seconds = self.lm.ts_seconds
        if out.ts_loss.requires_grad:
            # A backward pass of its own gives the same sum of gradients and can be timed.
            ts_started = time.perf_counter()
            out.ts_loss.backward(share.to(out.ts_loss))
            ts_seconds += time.perf_counter() - ts_started
        self._check_finite(out.loss, "the loss")
        return {
            "loss": share * out.loss.detach(),
            "ce": share * out.ce_loss.detach(),
            "ts": share * out.ts_loss.detach(),
            "terms": out.ts_terms,
            "ts_seconds": ts_seconds,
            "grad_norms": dict(self.lm.grad_norms),
        }

    def _forward(self, batch: Batch) -> Any:
        device = self.weight.device
        try:
            return self.lm(
                batch.input_ids.to(device),
                batch.attention_mask.to(device),
                batch.labels.to(device),
            )
        except ValueError as error:
            # Before the first step nothing can have diverged: the settings are wrong.
            if self.step == 0:
                raise
            raise self._diverged(str(error)) from error

    def _monitored_terms(self) -> dict[str, Tensor]:
        try:
            return self._terms(self.weight)
        except ValueError as error:
            raise self._diverged(str(error)) from error

    def _check_finite(self, value: Any, what: str) -> None:
        if not torch.isfinite(value).all():
            raise self._diverged(f"{what} is not finite")

    def _diverged(self, reason: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"training diverged in epoch {self.epoch + 1}, step {self.step + 1}: {reason}. "
            f"A learning rate below {self.config.lr:g} may help. "
            f"The last good checkpoint is {self._good_file}"
        )

    def _save_epoch(self) -> None:
        if self.epoch % self.config.save_every == 0 or self.step == self.total_steps:
            self._good_file = self.folder.prompt_file(self.epoch)
            self.folder.save_prompt(self._good_file, self.weight)
        self._save_state()

    def _save_state(self) -> None:
        balance = self.lm.balance
        self.folder.save_state(
            {
                "step": self.step,
                "prompt": self.weight.detach().cpu().clone(),
                "optimizer": self.optimizer.state_dict(),
                "balance": {} if balance is None else balance.state_dict(),
                "rng": torch.get_rng_state(),
            }
        )

    def _stop_if_asked(self) -> None:
        if not self._flag.raised:
            return
        file = self.folder.path / INTERRUPTED_FILE
        self.folder.save_prompt(file, self.weight)
        self._save_state()
        raise Interrupted(
            f"stopped after step {self.step} of {self.total_steps}; the prompt is in {file}; "
            "--resume goes on from here",
            self._flag.raised,
        )

    def _evaluate_if_due(self) -> None:
        every = self.config.eval_every
        due = self.step in (0, self.total_steps) or bool(every and self.epoch % every == 0)
        between_epochs = self.step % self.steps_per_epoch == 0
        is_done = any(record["step"] == self.step for record in self._evaluations)
        if not (self.held_out and due and between_epochs) or is_done:
            return
        started = time.perf_counter()
        loss = mean_loss(
            self.lm,
            self.tokenizer,
            self.held_out,
            # As in training, for which the memory suffices.
            batch_size=self.config.batch_size,
            between=self._stop_if_asked,
        )
        accuracy = exact_match(
            self.lm,
            self.tokenizer,
            self.held_out,
            batch_size=self.config.eval_batch_size,
            max_new_tokens=self.config.max_new_tokens,
            between=self._stop_if_asked,
            progress=self.progress,
            score=self._score,
        )
        record = {
            "kind": "eval",
            "step": self.step,
            "epoch": self.epoch,
            "accuracy": accuracy,
            "loss": loss,
            "examples": len(self.held_out),
            "seconds": time.perf_counter() - started,
        }
        if _goodness(record) > max(map(_goodness, self._evaluations), default=NO_GOODNESS):
            self.folder.save_prompt(self.folder.path / BEST_FILE, self.weight)
        self._evaluations.append(record)
        self._record(record)
        log.info("epoch %d: held-out accuracy %.3f, held-out loss %.4f", self.epoch, accuracy, loss)

    def _stops_early(self) -> bool:
        """Whether the last evaluations were none better than one before."""
        if self.config.early_stopping is None or not self._evaluations:
            return False
        goodness = [_goodness(record) for record in self._evaluations]
        # The first of equals is the best.
        since = len(goodness) - 1 - goodness.index(max(goodness))
        return since >= self.config.early_stopping

    def _scalar_log(self) -> ScalarLog:
        is_wanted = self.config.tensorboard
        return ScalarLog(self.folder.path / TENSORBOARD_FOLDER if is_wanted else None, self.step)

    def _bar(self) -> Any:
        from tqdm.auto import tqdm

        return tqdm(
            total=self.total_steps,
            initial=self.step,
            disable=not self.progress,
            unit="step",
            desc=self.config.loss,
            dynamic_ncols=True,
        )


def _postfix(record: dict[str, Any]) -> str:
    return (
        f"loss {record['loss']:.4f}, L_H0 {record['h0']:.3g}, L_H1 {record['h1']:.3g}, "
        f"TSLoss {record['ts_share']:.1%} of step"
    )


def _goodness(record: dict[str, Any]) -> tuple[float, float]:
    """What makes an evaluation better than another: accuracy, and where that is equal, loss."""
    # Runs from before it was measured have no loss.
    return record["accuracy"], -record.get("loss", math.inf)


def _shares(batches: Sequence[Batch], device: torch.device) -> Tensor:
    """Each batch's share of the targets of all, so that a step is that of one large batch."""
    counts = torch.stack([(batch.labels != IGNORED_LABEL).sum() for batch in batches])
    return (counts / counts.sum()).to(device)


def _epoch_record(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over one epoch's steps."""
    means = {name: sum(r[name] for r in records) / len(records) for name in AVERAGED}
    last = records[-1]
    return {
        "kind": "epoch",
        "step": last["step"],
        "epoch": last["epoch"],
        **means,
        "seconds": sum(record["seconds"] for record in records),
    }
