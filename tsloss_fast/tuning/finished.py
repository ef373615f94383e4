"""A tuned prompt with the settings it was tuned by, read for use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tsloss_fast.prompt import saved
from tsloss_fast.tuning.answers import AnswerError, Score
from tsloss_fast.tuning.checkpoints import (
    BEST_FILE,
    CONFIG_FILE,
    STATE_FILE,
    RunError,
    RunFolder,
)
from tsloss_fast.tuning.config import TuneConfig, config_names

BEST = "best"


@dataclass(frozen=True)
class FinishedRun:
    """A tuned prompt and the settings of its run.

    Attributes
    ----------
    folder : RunFolder
    config : TuneConfig
        Of an adapter only the model, the template and the number of rows are known.
    prompt : Tensor of shape [n, d], float32
    unasked_metric : str or None
        The function that the run was scored by. Its settings have it once the caller has named it:
        a folder that others made must not choose what code runs.
    """

    folder: RunFolder
    config: TuneConfig
    prompt: Tensor
    unasked_metric: str | None = None

    @classmethod
    def read(cls, path: str | Path, epoch: int | str | None = None) -> FinishedRun:
        """Read a prompt of a run, finished or stopped, or of a PEFT adapter.

        Parameters
        ----------
        path : str or Path
            The folder of a run, or of an adapter of prompt tuning or P-tuning.
        epoch : int or "best", optional
            The prompt after an epoch, or that of the best evaluation. Default: the newest.

        Raises
        ------
        RunError, SavedPromptError
            If there is none.
        """
        folder = RunFolder(path)
        if saved.is_adapter(folder.path):
            return cls._adapter(folder, epoch)
        for name in (CONFIG_FILE, STATE_FILE):
            if not (folder.path / name).is_file():
                raise RunError(f"run: {folder.path} holds no run: it has no {name}")
        settings = folder.load_config()
        known = {name: settings[name] for name in config_names() if name in settings}
        metric = known.pop("metric", None)
        return cls(folder, TuneConfig(**{"data": ""} | known), _prompt(folder, epoch), metric)

    def with_settings(self, **changes: Any) -> FinishedRun:
        """The same prompt with other settings, such as another place of its model."""
        unasked = None if changes.get("metric") else self.unasked_metric
        return replace(self, config=replace(self.config, **changes), unasked_metric=unasked)

    def score(self) -> Score:
        """How answers are scored, as the settings say.

        Raises
        ------
        AnswerError
            If the settings cannot be used, or the run's folder names a function that the caller has
            not named.
        """
        if self.unasked_metric is not None:
            raise AnswerError(
                f"metric: expected one, since {self.folder.path} was scored by "
                f"{self.unasked_metric!r}, and code that a folder names is not run unasked; "
                "--metric takes it"
            )
        return Score(self.config.extract, self.config.compare, self.config.metric)

    @classmethod
    def _adapter(cls, folder: RunFolder, epoch: int | str | None) -> FinishedRun:
        if epoch is not None:
            raise RunError(f"epoch: expected none with an adapter, got {epoch!r}")
        rows = saved.read_rows(folder.path, "run")
        model = saved.read_adapter_config(folder.path, "run").get("base_model_name_or_path")
        template = saved.read_metadata(folder.path).get("template", "auto")
        config = TuneConfig(data="", model=model or "", n_tokens=len(rows), template=template)
        return cls(folder, config, rows)


def _prompt(folder: RunFolder, epoch: int | str | None) -> Tensor:
    if epoch is None:
        return folder.load_prompt("run")
    file = folder.path / BEST_FILE if epoch == BEST else folder.prompt_file(int(epoch))
    if not file.is_file():
        raise RunError(f"epoch: {folder.path} has no {file.name}")
    return saved.read_rows(file, "epoch")
