"""The prompt of a run with the settings it was tuned by, read for use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tsloss_fast.tuning.checkpoints import CONFIG_FILE, STATE_FILE, RunError, RunFolder
from tsloss_fast.tuning.config import TuneConfig, config_names


@dataclass(frozen=True)
class FinishedRun:
    """A tuned prompt and the settings of its run.

    Attributes
    ----------
    folder : RunFolder
    config : TuneConfig
    prompt : Tensor of shape [n, d], float32
    """

    folder: RunFolder
    config: TuneConfig
    prompt: Tensor

    @classmethod
    def read(cls, path: str | Path, epoch: int | None = None) -> FinishedRun:
        """Read the newest prompt of a run, finished or stopped, or that after an epoch.

        Raises
        ------
        RunError
            If there is none.
        """
        folder = RunFolder(path)
        for name in (CONFIG_FILE, STATE_FILE):
            if not (folder.path / name).is_file():
                raise RunError(f"run: {folder.path} holds no run: it has no {name}")
        settings = folder.load_config()
        known = {name: settings[name] for name in config_names() if name in settings}
        return cls(folder, TuneConfig(**known), _prompt(folder, epoch))


def _prompt(folder: RunFolder, epoch: int | None) -> Tensor:
    if epoch is None:
        return folder.load_state()["prompt"]
    file = folder.prompt_file(epoch)
    if not file.is_file():
        raise RunError(f"epoch: {folder.path} has no {file.name}")
    return torch.load(file, weights_only=True, map_location="cpu")
