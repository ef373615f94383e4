"""The files of a run, written so that no failure harms what was there before."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._files import naming, remove_leftovers
from tsloss_fast._files import write_atomically as write_atomically
from tsloss_fast._files import write_together as write_together
from tsloss_fast.prompt.saved import checked_rows, why_unreadable

CONFIG_FILE = "config.json"
STATE_FILE = "trainer_state.pt"
METRICS_FILE = "metrics.jsonl"
INTERRUPTED_FILE = "soft_prompt_interrupted.pt"
# The prompt of the best evaluation so far.
BEST_FILE = "soft_prompt_best.pt"
TENSORBOARD_FOLDER = "tensorboard"
EVENTS_PATTERN = f"{TENSORBOARD_FOLDER}/events.out.tfevents.*"
PROMPT_PATTERN = "soft_prompt_*.pt"


class RunError(ValueError):
    """A run folder that cannot be used as asked."""


class RunFolder:
    """One run's folder: prompts, trainer state, metrics and configuration.

    Parameters
    ----------
    path : str or Path
        Made by `prepare`, with its parents.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._made: list[Path] = []

    @property
    def holds_run(self) -> bool:
        """Whether files of a run lie in the folder."""
        return any(True for _ in self._files())

    def prepare(self) -> None:
        """Make the folder, see that it can be written to, and tidy up after a killed process.

        Raises
        ------
        RunError
            If it cannot.
        """
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            remove_leftovers(self.path)
        except OSError as error:
            self.withdraw()
            raise RunError(
                f"out: cannot write to {self.path}: {error.strerror or error}"
            ) from error

    def withdraw(self) -> None:
        """Remove the folders that `prepare` made, if nothing lies in them."""
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return

    def clear(self) -> None:
        """Remove the files of a run, and nothing else."""
        for file in list(self._files()):
            file.unlink()

    def prompt_file(self, epoch: int) -> Path:
        """Where the prompt stands after an epoch; epoch 0 is the start."""
        return self.path / f"soft_prompt_epoch_{epoch:03d}.pt"

    def save_prompt(self, file: Path, weight: Tensor) -> None:
        """Save the rows as a plain [n, d] float32 tensor on the CPU."""
        write_atomically(file, serialised(weight.detach().cpu().clone()))

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the trainer state."""
        write_atomically(self.path / STATE_FILE, serialised(state))

    def load_state(self) -> dict[str, Any]:
        """Read the trainer state.

        Raises
        ------
        RunError
            If there is none, or the file is none.
        """
        file = self.path / STATE_FILE
        if not file.is_file():
            raise RunError(f"resume: {self.path} has no {STATE_FILE} to resume from")
        try:
            state = torch.load(file, weights_only=True, map_location="cpu")
        # A damaged file can make a reader raise anything.
        except Exception as error:
            reason = why_unreadable(error, file)
            raise RunError(f"resume: cannot read {file}: {reason}") from error
        if not isinstance(state, dict) or not isinstance(state.get("step"), int):
            raise RunError(f"resume: expected the state of a run in {file}, got another value")
        return state

    def load_prompt(self, name: str) -> Tensor:
        """The rows of the trainer state; `name` is the argument's, for messages.

        Raises
        ------
        RunError, SavedPromptError
            If there are none, or they are not finite.
        """
        return checked_rows(self.load_state().get("prompt"), self.path / STATE_FILE, name)

    def save_config(self, config: dict[str, Any]) -> None:
        """Replace the configuration."""
        write_atomically(self.path / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())

    def load_config(self) -> dict[str, Any]:
        """Read the configuration of the run in the folder.

        Raises
        ------
        RunError
            If there is none.
        """
        try:
            config: Any = json.loads((self.path / CONFIG_FILE).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"resume: {self.path} holds no run to resume: {error}") from error
        if not isinstance(config, dict):
            raise RunError(f"resume: {self.path} holds no run to resume: its settings are none")
        return config

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to the metrics."""
        path = self.path / METRICS_FILE
        with naming(path), path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All metrics, without a last line that was cut off while it was written.

        Raises
        ------
        RunError
            For a line that is no record of a step.
        """
        file = self.path / METRICS_FILE
        lines = file.read_bytes().split(b"\n")[:-1] if file.is_file() else []
        return [_record(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]

    def cut_metrics(self, step: int) -> None:
        """Drop the metrics after a step, which a resumed run will write again."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_atomically(self.path / METRICS_FILE, text.encode())

    def _files(self) -> list[Path]:
        names = (CONFIG_FILE, STATE_FILE, METRICS_FILE)
        fixed = [self.path / name for name in names if (self.path / name).exists()]
        patterns = (PROMPT_PATTERN, EVENTS_PATTERN)
        return fixed + [file for each in patterns for file in sorted(self.path.glob(each))]


def _record(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"metrics: {place}: not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise RunError(f"metrics: {place}: expected the record of a step, got another value")
    return record


def serialised(value: Any) -> bytes:
    """What `torch.save` writes, as bytes."""
    # torch.save hides the system's reason when a disk is full, so it writes to memory first.
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
