"""Records of Parquet files, and of folders that Hugging Face `datasets` saved, by pyarrow."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsloss_fast.tuning.data.examples import DataError

STATE_FILE = "state.json"
SPLITS_FILE = "dataset_dict.json"


def parquet_records(path: Path) -> Iterator[tuple[str, object]]:
    """Each row and its number, counted from 0; a batch of rows at a time is in memory."""
    _require_pyarrow(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _rows(path, file.iter_batches())
    except pa.ArrowException as error:
        raise DataError(f"{path}: not Parquet: {error}") from error


def folder_records(path: Path, split: str) -> Iterator[tuple[str, object]]:
    """Each row of what ``save_to_disk`` wrote: a dataset, or one split of several."""
    folder = _split_folder(path, split)
    _require_pyarrow(path)
    import pyarrow as pa

    for name in _data_files(folder):
        try:
            with pa.memory_map(str(folder / name)) as source:
                yield from _rows(folder / name, pa.ipc.open_stream(source))
        except pa.ArrowException as error:
            raise DataError(f"{folder / name}: not Arrow: {error}") from error


def _split_folder(path: Path, split: str) -> Path:
    if (path / SPLITS_FILE).is_file():
        splits = json.loads((path / SPLITS_FILE).read_text())["splits"]
        if split not in splits:
            raise DataError(f"split: expected one of {', '.join(splits)} in {path}, got {split!r}")
        return path / split
    if not (path / STATE_FILE).is_file():
        raise DataError(
            f"{path}: expected a file, or a folder that datasets' save_to_disk wrote, got a folder "
            f"without {STATE_FILE}"
        )
    return path


def _data_files(folder: Path) -> list[str]:
    state = json.loads((folder / STATE_FILE).read_text())
    if state.get("_indices_files"):
        raise DataError(
            f"{folder}: expected a dataset without an index; flatten_indices() before save_to_disk"
        )
    return [file["filename"] for file in state["_data_files"]]


def _rows(path: Path, batches: Any) -> Iterator[tuple[str, object]]:
    number = 0
    for batch in batches:
        for record in batch.to_pylist():
            yield f"{path}: row {number}", record
            number += 1


def _require_pyarrow(path: Path) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(f"{path}: needs pyarrow, which is not installed; run: pip install pyarrow")
