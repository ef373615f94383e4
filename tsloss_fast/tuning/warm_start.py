"""The rows of a prompt that is there already, for a run to start from."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tsloss_fast.prompt import saved
from tsloss_fast.tuning.checkpoints import CONFIG_FILE, RunFolder


def read_rows(path: str | Path) -> Tensor:
    """The rows [n, d], float32, of a run's folder, or of what `SoftPrompt.from_pretrained` takes.

    Raises
    ------
    SavedPromptError, RunError
        If there are none, or they are not finite.
    """
    if Path(path).is_dir() and not saved.is_adapter(path):
        if not (Path(path) / CONFIG_FILE).is_file():
            raise saved.SavedPromptError(f"init: expected a run or an adapter in {path}")
        return RunFolder(path).load_prompt("init")
    return saved.read_rows(path, "init")
