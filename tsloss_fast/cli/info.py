"""``tsloss-fast info``: versions, devices and the default model."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import sys
from typing import Any

import torch

from tsloss_fast import __version__

# Those whose versions decide what works.
INFO_PACKAGES = (
    *("triton", "transformers", "accelerate", "peft", "gguf", "matplotlib", "scipy"),
    *("safetensors", "gudhi"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    shown = "versions, the compiled module and the default model"
    commands.add_parser("info", help=f"show {shown}", description=f"Show {shown}.")


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    from tsloss_fast.tuning.models import DEFAULT_MODEL, ModelError, find_model

    try:
        source = find_model(DEFAULT_MODEL)
        model = f"{source.name}/{source.gguf_file}"
    except ModelError as error:
        model = str(error)
    compiled = importlib.util.find_spec("tsloss_fast._C")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = {
        "tsloss_fast": __version__,
        "compiled module": compiled.origin if compiled else "missing; run: pip install .",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "CUDA devices": ", ".join(devices) or "none",
        **{name: _version(name) for name in INFO_PACKAGES},
        "default model": model,
    }
    for name, value in rows.items():
        sys.stdout.write(f"{name:<16}{value}\n")
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
