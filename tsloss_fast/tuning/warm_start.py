"""The rows of a prompt that is there already, for a run to start from."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._checks import describe
from tsloss_fast.tuning.checkpoints import CONFIG_FILE, RunFolder

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_KEY = "prompt_embeddings"


class WarmStartError(ValueError):
    """A prompt that cannot be started from."""


def read_rows(path: str | Path) -> Tensor:
    """The rows [n, d], float32, of a saved tensor, a run's folder or a PEFT adapter's.

    Raises
    ------
    WarmStartError
        If there are none, or they are not finite.
    """
    path = Path(path)
    try:
        rows = _read(path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, WarmStartError):
            raise
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise WarmStartError(f"init: cannot read {path}: {reason}") from error
    if not isinstance(rows, Tensor) or rows.ndim != 2 or not rows.is_floating_point():
        got = describe(rows) if isinstance(rows, Tensor) else type(rows).__name__
        raise WarmStartError(f"init: expected a tensor [n, d] in {path}, got {got}")
    if not torch.isfinite(rows).all():
        raise WarmStartError(f"init: expected finite values in {path}, got NaN or Inf")
    return rows.float()


def _read(path: Path) -> Any:
    if not path.is_dir():
        return torch.load(path, weights_only=True, map_location="cpu")
    if (path / CONFIG_FILE).is_file():
        return RunFolder(path).load_state()["prompt"]
    if (path / ADAPTER_FILE).is_file():
        from safetensors.torch import load_file

        tensors = load_file(path / ADAPTER_FILE)
        if ADAPTER_KEY not in tensors:
            raise WarmStartError(f"init: expected an adapter of prompt tuning in {path}")
        return tensors[ADAPTER_KEY]
    raise WarmStartError(f"init: expected a run or an adapter in {path}")
