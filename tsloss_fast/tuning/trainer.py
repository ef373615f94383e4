"""Trainer: the loop over epochs and steps, with checkpoints that a stopped run goes on from."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.prompt import PromptTunedLM
from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.checkpoints import INTERRUPTED_FILE, RunFolder
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import Batch, Encoded, epoch_batches
from tsloss_fast.tuning.evaluate import exact_match
from tsloss_fast.tuning.interrupt import Interrupted, InterruptFlag
from tsloss_fast.tuning.objectives import TermMonitor
from tsloss_fast.tuning.schedule import warmup_linear

log = logging.getLogger(__name__)

AVERAGED = ("loss", "ce", "ts", "h0", "h1", "ts_share")


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
        self.steps_per_epoch = -(-len(train) // config.batch_size)
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
        self._evaluated: set[int] = set()

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
                self._evaluated.add(record["step"])
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
        with InterruptFlag() as self._flag, self._bar() as bar:
            if self.step == 0:
                self._save_epoch()
            self._evaluate_if_due()
            while self.step < self.total_steps:
                self._run_epoch(bar)
                self._evaluate_if_due()
        (self.folder.path / INTERRUPTED_FILE).unlink(missing_ok=True)

    def _run_epoch(self, bar: Any) -> None:
        epoch = self.epoch
        done = self.step % self.steps_per_epoch
        pad_id = self.tokenizer.pad_token_id
        batches = epoch_batches(
            self.train_set, self.config.batch_size, pad_id, self.config.seed, epoch
        )
        for index, batch in enumerate(batches):
            if index < done:
                continue
            record = self._train_step(batch)
            self.folder.append_metrics(record)
            self._epoch_records.append(record)
            bar.set_postfix_str(_postfix(record), refresh=False)
            bar.update()
            # At the end of an epoch there is more to save than after any other step.
            if self.step % self.steps_per_epoch:
                self._stop_if_asked()
        self.folder.append_metrics(_epoch_record(self._epoch_records))
        self._epoch_records = []
        self._save_epoch()
        self._stop_if_asked()

    def _train_step(self, batch: Batch) -> dict[str, Any]:
        started = time.perf_counter()
        factor = warmup_linear(self.step, self.total_steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor
        self.optimizer.zero_grad(set_to_none=True)
        out = self._forward(batch)
        out.ce_loss.backward()
        ts_seconds = self.lm.ts_seconds
        if out.ts_loss.requires_grad:
            # A backward pass of its own gives the same sum of gradients and can be timed.
            ts_started = time.perf_counter()
            out.ts_loss.backward()
            ts_seconds += time.perf_counter() - ts_started
        self._check_finite(out.loss, "the loss")
        self._check_finite(self.weight.grad, "the gradient on the prompt")
        terms = out.ts_terms or self._monitored_terms()
        self.optimizer.step()
        self._check_finite(self.weight, "the prompt")
        seconds = time.perf_counter() - started
        self.step += 1
        record = {
            "kind": "step",
            "step": self.step,
            "epoch": (self.step - 1) // self.steps_per_epoch + 1,
            "lr": self.config.lr * factor,
            "loss": out.loss.item(),
            "ce": out.ce_loss.item(),
            "ts": out.ts_loss.item(),
            **{name: term.item() for name, term in terms.items()},
            "ts_share": ts_seconds / seconds,
            "seconds": seconds,
        }
        if self.lm.grad_norms:
            record["grad_norms"] = {k: v.item() for k, v in self.lm.grad_norms.items()}
        return record

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

    def _check_finite(self, value: Tensor, what: str) -> None:
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
        if not (self.held_out and due and between_epochs) or self.step in self._evaluated:
            return
        started = time.perf_counter()
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
        self._evaluated.add(self.step)
        self.folder.append_metrics(
            {
                "kind": "eval",
                "step": self.step,
                "epoch": self.epoch,
                "accuracy": accuracy,
                "examples": len(self.held_out),
                "seconds": time.perf_counter() - started,
            }
        )
        log.info("epoch %d: held-out accuracy %.3f", self.epoch, accuracy)

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
