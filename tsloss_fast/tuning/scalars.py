"""ScalarLog: the numbers of metrics.jsonl for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from tsloss_fast.prompt.monitor import summary_writer

# What is drawn of each kind of record, over the steps.
SHOWN = {
    "step": ("loss", "ce", "ts", "h0", "h1", "lr", "ts_share"),
    "eval": ("accuracy", "loss"),
}
PREFIX = {"step": "train", "eval": "eval"}


class ScalarLog:
    """Writes records of `SHOWN` kinds to a folder as TensorBoard's scalars; without one, nothing.

    Parameters
    ----------
    folder : Path or None
    step : int, default 0
        Where the run goes on: what an earlier log has after it is hidden.

    Raises
    ------
    ImportError
        Without tensorboard.
    """

    def __init__(self, folder: Path | None, step: int = 0) -> None:
        self._writer = None if folder is None else summary_writer(folder, purge_step=step + 1)

    def add(self, record: dict[str, Any]) -> None:
        """Add what is shown of a record."""
        kind = record["kind"]
        if self._writer is None or kind not in SHOWN:
            return
        for name in SHOWN[kind]:
            self._writer.add_scalar(f"{PREFIX[kind]}/{name}", record[name], record["step"])

    def __enter__(self) -> ScalarLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
