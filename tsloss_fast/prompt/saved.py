"""A soft prompt on the disk: PEFT's adapter of prompt tuning, and tensors that others saved."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._checks import describe
from tsloss_fast._files import write_together

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
# What PEFT wrote before it took to safetensors.
OLD_WEIGHTS_FILE = "adapter_model.bin"
KEY = "prompt_embeddings"
# Kinds of which PEFT saves the rows that stand in front of the input.
ROW_KINDS = ("PROMPT_TUNING", "P_TUNING")


class SavedPromptError(ValueError):
    """A file or folder that holds no soft prompt."""


def write_adapter(
    folder: Path,
    rows: Tensor,
    *,
    base_model: str,
    task_type: str = "CAUSAL_LM",
    head: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write an adapter that ``PeftModel.from_pretrained(model, folder)`` loads.

    Parameters
    ----------
    folder : Path
        Exists; an adapter that is there is replaced.
    rows : Tensor of shape [n, d]
    base_model : str
        Name of the model that it is for, or where that lies.
    task_type : str, default "CAUSAL_LM"
        PEFT's name for what the model does.
    head : dict of str to Tensor, optional
        Trained parameters of the model itself, by their names in it.
    metadata : dict of str to str, optional
        Kept in the file of the rows, where PEFT passes over it.
    files : dict of str to bytes, optional
        Further files of the folder.
    """
    from safetensors.torch import save

    n, d = rows.shape
    config: dict[str, Any] = {
        "peft_type": "PROMPT_TUNING",
        "task_type": task_type,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "num_virtual_tokens": n,
        "token_dim": d,
        "num_transformer_submodules": 1,
        # For prefix tuning alone, but PEFT asks for them always, and finds none for MPT.
        "num_layers": 1,
        "num_attention_heads": 1,
        # The rows are loaded over it.
        "prompt_tuning_init": "RANDOM",
    }
    tensors = {KEY: _plain(rows)}
    tensors |= {f"base_model.{name}": _plain(value) for name, value in (head or {}).items()}
    contents = {
        WEIGHTS_FILE: save(tensors, metadata={"format": "pt", **(metadata or {})}),
        CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
    }
    write_together(folder, contents | dict(files or {}))


def read_rows(path: str | Path, name: str = "path") -> Tensor:
    """The rows [n, d], float32, of a saved tensor, a safetensors file or a PEFT adapter's folder.

    `name` is the argument's, for messages.

    Raises
    ------
    SavedPromptError
        If there are none, or they are not finite.
    """
    path = Path(path)
    with _reasons(path, name):
        rows = _read(path, name)
    return checked_rows(rows, path, name)


def checked_rows(rows: Any, path: Path, name: str) -> Tensor:
    """What was read from a file as rows [n, d], float32.

    Raises
    ------
    SavedPromptError
        If it is none, or not finite.
    """
    is_plain = isinstance(rows, Tensor) and rows.layout == torch.strided and not rows.is_quantized
    if not is_plain or rows.ndim != 2 or not rows.is_floating_point() or not rows.numel():
        got = describe(rows) if isinstance(rows, Tensor) else type(rows).__name__
        raise SavedPromptError(f"{name}: expected a tensor [n, d] in {path}, got {got}")
    if not torch.isfinite(rows).all():
        raise SavedPromptError(f"{name}: expected finite values in {path}, got NaN or Inf")
    found: Tensor = rows.detach().float()
    return found


def is_adapter(path: str | Path) -> bool:
    """Whether the folder is one that PEFT, or `write_adapter`, wrote."""
    return (Path(path) / CONFIG_FILE).is_file()


def read_adapter_config(path: str | Path, name: str = "path") -> dict[str, Any]:
    """The configuration of an adapter whose rows stand in front of the input.

    Raises
    ------
    SavedPromptError
        For an adapter of another kind, and one of an encoder-decoder.
    """
    with _reasons(path, name):
        config = json.loads((Path(path) / CONFIG_FILE).read_text())
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or kind not in ROW_KINDS:
        raise SavedPromptError(
            f"{name}: expected an adapter of prompt tuning or P-tuning in {path}, got {kind}"
        )
    if config.get("num_transformer_submodules") == 2:
        raise SavedPromptError(
            f"{name}: expected an adapter of a decoder in {path}, got one of an encoder-decoder"
        )
    return config


def read_head(path: str | Path) -> dict[str, Tensor]:
    """Parameters of the model itself that an adapter holds, by their names in it."""
    tensors = _tensors(Path(path))
    start = "base_model."
    return {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)}


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `write_adapter` got as metadata; nothing for an adapter by PEFT itself."""
    file = Path(path) / WEIGHTS_FILE
    if not file.is_file():
        return {}
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return dict(opened.metadata() or {})


def _read(path: Path, name: str) -> Any:
    if path.is_dir():
        if not is_adapter(path):
            raise SavedPromptError(f"{name}: expected an adapter in {path}")
        read_adapter_config(path, name)
        return _tensors(path).get(KEY)
    if path.suffix != ".safetensors":
        return torch.load(path, weights_only=True, map_location="cpu")
    from safetensors.torch import load_file

    tensors = load_file(path)
    return tensors.get(KEY, next(iter(tensors.values())) if len(tensors) == 1 else None)


def _tensors(folder: Path) -> dict[str, Tensor]:
    if (folder / WEIGHTS_FILE).is_file():
        from safetensors.torch import load_file

        return load_file(folder / WEIGHTS_FILE)
    tensors: dict[str, Tensor] = torch.load(
        folder / OLD_WEIGHTS_FILE, weights_only=True, map_location="cpu"
    )
    return tensors


def why_unreadable(error: Exception, file: Path) -> str:
    """The error in a few words; torch's own would advise to load the file unsafely."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
        return "holds Python objects, not tensors alone; such files can run code and are not opened"
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
        return f"not JSON: {error}"
    writer = "safetensors" if file.suffix == ".safetensors" else "torch.save"
    return f"no file that {writer} wrote, or a damaged one"


@contextlib.contextmanager
def _reasons(path: str | Path, name: str) -> Iterator[None]:
    """Turn what readers raise into one line."""
    try:
        yield
    except SavedPromptError:
        raise
    # A damaged file can make a reader raise anything.
    except Exception as error:
        reason = why_unreadable(error, Path(path))
        raise SavedPromptError(f"{name}: cannot read {path}: {reason}") from error


def _plain(x: Tensor) -> Tensor:
    return x.detach().cpu().contiguous()
