"""TopologyMonitor: the diagrams of a prompt and their summary, recorded during training."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._checks import check_choice, check_flag, check_number, check_whole
from tsloss_fast.persistence.cycles import loops_of, representative_cycles
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import METRICS
from tsloss_fast.persistence.rips import rips_persistence
from tsloss_fast.persistence.summaries import summarise_diagrams
from tsloss_fast.prompt.rows import WRAPPED as WRAPPED
from tsloss_fast.prompt.rows import rows_of
from tsloss_fast.prompt.topology_log import TopologyLog

log = logging.getLogger(__name__)


class TopologyMonitor:
    """Record `topology_summary` and both diagrams of a prompt every few steps, as JSON lines.

    In a loop of one's own call ``monitor(step, prompt)`` after each optimizer step. As a callback
    of ``transformers.Trainer`` (``callbacks=[monitor]``) it records the start, every `every`-th
    optimizer step and the last one.

    Parameters
    ----------
    file : str or Path
        Where the records go; see Notes.
    every : int, default 10
        Record the steps that are multiples of it.
    budget : float in (0, 1], or None, default 0.01
        The most that monitoring may take of the time since the first call. A step that is due is
        skipped while the monitor has taken more than that, so that it takes at most one record
        more. None records every step that is due.
    metric : str
        As `rips_persistence` names them.
    max_edge_length : float, optional
        Longer edges are absent, as in `rips_persistence`, but it is finite; see Notes.
    loops : bool, default False
        Record the rows around each loop as well; see Notes. A record of 100 rows then takes about
        twice as long, one of 20 hardly longer.
    tensorboard : SummaryWriter, str or Path, optional
        Write the summary as scalars too, means over the clouds: ``topology/h0_count`` and so on. A
        path makes a writer of its own, which needs tensorboard.
    resume : bool, default False
        Go on with an existing file: steps that it holds are not recorded again.
    overwrite : bool, default False
        Replace an existing file; one that is not such a log is never touched.

    Attributes
    ----------
    seconds, elapsed : float
        What monitoring took, measured, and the time since the first call.
    share : float
        The first divided by the second.
    recorded, skipped : int
        Records written, and steps left out for the budget's sake.

    Raises
    ------
    TopologyLogError
        For a file that holds records, without `resume` and `overwrite`, or is no such log.
    TypeError, ValueError
        For wrong arguments, and from a call with something that has no prompt.
    ImportError
        For a path as `tensorboard`, without that package.

    Notes
    -----
    Of several processes, the first one records; all may call. A prompt that FSDP or ZeRO-3 has
    sharded is refused: gather it first, on all processes, and pass the tensor.

    A record never stops the training. For a prompt that holds NaN or Inf an error line is written
    instead; where the file cannot be written, the record is left out, and where TensorBoard's
    writer fails, the scalars. These are logged as warnings, the first time they happen.

    On CUDA the prompt is copied to the host, which waits for the device, in recorded steps alone.

    The file's first line is a header (see `TopologyLog`). Each further line is one record::

        {"kind": "topology", "step": 120, "epoch": 1.5, "shape": [20, 576],
         "summary": {"h0_count": [20], "h1_count": [2], "h0_mean_lifetime": [0.61], ...},
         "h0": [[[0.0, 0.52], ...]], "h1": [[[0.71, 0.73], ...]],
         "seconds": 0.0008, "total_seconds": 0.011, "elapsed": 85.2}

    ``summary``, ``h0`` and ``h1`` hold one entry a cloud, also where there is only one cloud; a
    diagram is a list of [birth, death] in filtration order, H0 without its essential class.
    With `loops`, ``loops`` holds for each bar of ``h1``, in its order, the closed walks of a cycle,
    ``[[3, 17, 5, 9]]``: rows in order, the first not repeated (see `representative_cycles`).
    With `max_edge_length` classes may never die: ``h0_essential`` and ``h1_essential`` hold their
    births, one entry a cloud, and the walks of those of H1 follow in ``loops``.
    Numbers are those of the tensors, with 9 digits for float32. ``seconds`` is what this record
    took until it was written, ``total_seconds`` what monitoring has taken so far. ``epoch`` stands
    where it is known. A prompt without diagrams gives
    ``{"kind": "error", "step": 120, "error": "..."}``.

    Examples
    --------
    >>> import json, tempfile, torch, tsloss_fast as tsl
    >>> file = tempfile.mkdtemp() + "/topology.jsonl"
    >>> prompt = torch.nn.Parameter(torch.tensor([[0.0], [1.0], [3.0]]))
    >>> with tsl.TopologyMonitor(file, every=2, budget=None) as monitor:
    ...     for step in range(5):
    ...         _ = monitor(step, prompt)
    >>> header, *records = map(json.loads, open(file))
    >>> [record["step"] for record in records], records[0]["h0"]
    ([0, 2, 4], [[[0.0, 1.0], [0.0, 2.0]]])
    """

    def __init__(
        self,
        file: str | Path,
        every: int = 10,
        *,
        budget: float | None = 0.01,
        metric: str = "euclidean",
        max_edge_length: float | None = None,
        loops: bool = False,
        tensorboard: Any = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        every = check_whole(every, "every", least=1)
        if budget is not None:
            budget = check_number(budget, "budget", least=0, open_below=True, most=1)
        check_choice(metric, "metric", METRICS)
        if max_edge_length is not None:
            max_edge_length = check_number(max_edge_length, "max_edge_length", least=0)
        is_path = isinstance(tensorboard, (str, Path))
        if not (tensorboard is None or is_path or hasattr(tensorboard, "add_scalar")):
            raise TypeError(
                f"tensorboard: expected a SummaryWriter or a path, got {type(tensorboard).__name__}"
            )
        self.every = every
        self.budget = budget
        self.metric = metric
        self.max_edge_length = max_edge_length
        self.loops = check_flag(loops, "loops")
        self.seconds = 0.0
        self.recorded = 0
        self.skipped = 0
        self._started: float | None = None
        self._warned: set[type[Exception]] = set()
        self._log: TopologyLog | None = None
        self._writer: Any = None
        self._owns_writer = is_path
        if _is_first_process():
            self._log = TopologyLog(
                file, metric, max_edge_length, resume=resume, overwrite=overwrite
            )
            self._writer = summary_writer(tensorboard) if self._owns_writer else tensorboard

    @property
    def elapsed(self) -> float:
        """Seconds since the first call; 0 before it."""
        return 0.0 if self._started is None else time.perf_counter() - self._started

    @property
    def share(self) -> float:
        """The share of monitoring in the time since the first call."""
        return self.seconds / self.elapsed if self.seconds else 0.0

    def __call__(
        self, step: int, prompt: Any, *, epoch: float | None = None, force: bool = False
    ) -> dict[str, Any] | None:
        """Record a step if it is due.

        Parameters
        ----------
        step : int
            Of the optimizer, from 0.
        prompt : Tensor, SoftPrompt, PromptTunedLM or PEFT model
            [n, d] or [B, n, d], or what holds it, wrapped or not. Of a PEFT model the active
            adapter's `virtual_tokens` are taken, with the encoder in eval mode.
        epoch : float, optional
            Stands in the record.
        force : bool, default False
            Record a step that is not due, or over the budget.

        Returns
        -------
        dict or None
            The record, if one was written.
        """
        started = time.perf_counter()
        step, epoch = check_whole(step, "step", least=0), _checked_epoch(epoch)
        if self._started is None:
            self._started = started
        # Asked again, for the process group may have been made since.
        if self._log is None or not _is_first_process():
            return None
        if step in self._log.steps or not self._is_due(step, force):
            return None
        record = self._record(step, prompt, epoch, started)
        is_written = self._append(record)
        self.seconds += time.perf_counter() - started
        return record if is_written else None

    def close(self) -> None:
        """Close the TensorBoard writer that a path made; records are on disk already."""
        if self._owns_writer and self._writer is not None:
            self._writer.close()

    def __enter__(self) -> TopologyMonitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the start; called by Trainer."""
        if self.recorded and self._log is not None and state.global_step in self._log.steps:
            log.warning(
                "trained again from step %d: steps up to %d stand in %s and are not recorded again",
                state.global_step, max(self._log.steps), self._log.file,
            )  # fmt: skip
        self(state.global_step, kwargs["model"], epoch=state.epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the step if it is due; called by Trainer."""
        self(state.global_step, kwargs["model"], epoch=state.epoch)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the last step and log what monitoring took; called by Trainer."""
        self(state.global_step, kwargs["model"], epoch=state.epoch, force=True)
        if self._writer is not None:
            self._write(state.global_step, self._writer.flush)
        log.info(
            "topology: %d records and %d skipped, %.3f s, %.2f %% of %.0f s",
            self.recorded, self.skipped, self.seconds, 100 * self.share, self.elapsed,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Callable[..., None]:
        # Trainer calls every event there is on its callbacks, and its versions differ in them. So
        # no base class of transformers is needed, which would have to be imported.
        if name.startswith("on_"):
            return _ignore
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _is_due(self, step: int, force: bool) -> bool:
        if force:
            return True
        if step % self.every:
            return False
        if self.budget is not None and self.seconds > self.budget * self.elapsed:
            self.skipped += 1
            return False
        return True

    def _record(
        self, step: int, prompt: Any, epoch: float | None, started: float
    ) -> dict[str, Any]:
        rows = rows_of(prompt)
        if rows.ndim not in (2, 3):
            raise ValueError(f"prompt: expected [n, d] or [B, n, d], got {list(rows.shape)}")
        # None of the Trainer's own, so that a record without an epoch has no such key.
        record = {"step": step} | ({} if epoch is None else {"epoch": epoch})
        cycles: Any = None  # of one cloud, or a list of those of each
        try:
            given = (rows, 1, self.metric, self.max_edge_length)
            if self.loops:
                (h0, h1), cycles = representative_cycles(*given)
            else:
                h0, h1 = rips_persistence(*given)
        except ValueError as error:
            self._warn(error, "step %d has no diagrams: %s", step, error)
            return {"kind": "error", **record, "error": str(error)}
        summary = summarise_diagrams(h0, h1).as_dict()
        if self._writer is not None:
            self._write(step, lambda: self._write_scalars(step, summary))
        seconds = time.perf_counter() - started
        return {
            "kind": "topology",
            **record,
            "shape": list(rows.shape),
            "summary": {name: _numbers(value.reshape(-1)) for name, value in summary.items()},
            "h0": [_numbers(pairs) for pairs in h0.unbatch()],
            "h1": [_numbers(pairs) for pairs in h1.unbatch()],
            **({} if self.max_edge_length is None else _births_of_endless(h0, h1)),
            **({} if cycles is None else {"loops": _walks(cycles if rows.ndim == 3 else [cycles])}),
            "seconds": seconds,
            "total_seconds": self.seconds + seconds,
            "elapsed": self.elapsed,
        }

    def _append(self, record: dict[str, Any]) -> bool:
        assert self._log is not None
        try:
            self._log.append(record)
        except OSError as error:
            self._warn(
                error, "step %d is not recorded, %s: %s",
                record["step"], self._log.file, error.strerror or error,
            )  # fmt: skip
            return False
        self.recorded += 1
        return True

    def _write_scalars(self, step: int, summary: dict[str, Tensor]) -> None:
        for name, value in summary.items():
            self._writer.add_scalar(f"topology/{name}", value.float().mean().item(), step)

    def _write(self, step: int, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            # The writer is code of others, who may fail for any reason, such as a full disk.
            self._warn(error, "step %d has no scalars: %s", step, error)

    def _warn(self, error: Exception, message: str, *values: Any) -> None:
        level = logging.DEBUG if type(error) in self._warned else logging.WARNING
        log.log(level, message, *values)
        self._warned.add(type(error))


def _ignore(*args: Any, **kwargs: Any) -> None:
    pass


def _checked_epoch(epoch: Any) -> float | None:
    if epoch is None:
        return None
    try:
        number = float(epoch)
    except (TypeError, ValueError):
        raise TypeError(f"epoch: expected a number or None, got {type(epoch).__name__}") from None
    if not math.isfinite(number):
        raise ValueError(f"epoch: expected a finite number, got {number}")
    return round(number, 6)


def _is_first_process() -> bool:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    # Before the process group is made, the launcher's variable says it.
    return os.environ.get("RANK", "0") == "0"


def summary_writer(folder: str | Path, **options: Any) -> Any:
    """TensorBoard's writer, or an ImportError that says what to install."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "tensorboard: expected the package tensorboard, which is not installed; "
            "run: pip install tensorboard"
        ) from error
    return SummaryWriter(str(folder), **options)


def _births_of_endless(h0: PersistenceDiagram, h1: PersistenceDiagram) -> dict[str, Any]:
    """For each cloud the births of the classes that never die, by the record's names."""
    of_each = {"h0_essential": h0, "h1_essential": h1}
    return {
        name: [
            _numbers(births[mask])
            for births, mask in zip(
                torch.atleast_2d(dgm.essential_births),
                torch.atleast_2d(dgm.essential_mask),
                strict=True,
            )
        ]
        for name, dgm in of_each.items()
    }


def _walks(clouds: Sequence[Sequence[Tensor]]) -> list[list[list[list[int]]]]:
    """For each cloud and class of H1 the closed walks of its cycle."""
    return [[[walk.tolist() for walk in loops_of(edges)] for edges in cycles] for cycles in clouds]


def _numbers(values: Tensor) -> Any:
    """As nested lists, without digits that a float32 does not have."""
    if values.dtype != torch.float32:
        return values.tolist()
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f"{value:.9g}") for value in values.tolist()]
