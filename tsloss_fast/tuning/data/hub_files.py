"""Records of a data set on the Hugging Face hub, by the library `datasets`."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tsloss_fast.tuning.data.examples import DataError

# owner/name, or owner/name:subset.
NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def is_hub_name(name: str) -> bool:
    """Whether it can only be meant as a data set's name: no file, and not like one."""
    path = Path(name)
    looks_like_file = name.startswith(".") or path.suffix.lower() in (".json", ".jsonl")
    return bool(NAME.fullmatch(name)) and not looks_like_file and not path.exists()


def hub_records(name: str, split: str, progress: bool = True) -> Iterator[tuple[str, object]]:
    """Each row of a split and its number; the file that `datasets` keeps is mapped."""
    for number, record in enumerate(_rows(name, split, progress)):
        yield f"{name}: {split}: row {number}", record


@functools.lru_cache(maxsize=4)
def _rows(name: str, split: str, progress: bool = True) -> Any:
    # Kept, for the rows are gone through several times, and each loading asks the hub.
    if importlib.util.find_spec("datasets") is None:
        raise DataError(
            f"{name}: no such file; for a data set on the hub datasets is missing; "
            "run: pip install datasets"
        )
    import datasets

    owner_and_name, _, subset = name.partition(":")
    try:
        with nullcontext() if progress else _no_bars(datasets):
            return datasets.load_dataset(owner_and_name, subset or None, split=split)
    # It comes from a network, and may fail in any way.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: no such file, and no data set on the hub: {reason}") from error


@contextmanager
def _no_bars(datasets: Any) -> Iterator[None]:
    """No progress bars of `datasets`, and those put back afterwards that were on before."""
    shown = not datasets.utils.are_progress_bars_disabled()
    datasets.utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.utils.enable_progress_bars()
