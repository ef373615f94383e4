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
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error.reason}") from error
    # Of a damaged file pyarrow raises what its decoders do: OSError without a number, too.
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataError) or getattr(error, "errno", None) is not None:
            raise
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
        except UnicodeDecodeError as error:
            raise DataError(f"{folder / name}: not UTF-8: {error.reason}") from error
        except pa.ArrowException as error:
            raise DataError(f"{folder / name}: not Arrow: {error}") from error


def _split_folder(path: Path, split: str) -> Path:
    if (path / SPLITS_FILE).is_file():
        splits = _json(path / SPLITS_FILE).get("splits")
        if not isinstance(splits, list):
            raise DataError(f"{path / SPLITS_FILE}: expected the names of splits, got {splits!r}")
        if split not in splits:
            known = ", ".join(map(str, splits))
            raise DataError(f"split: expected one of {known} in {path}, got {split!r}")
        return path / _inside(path, split)
    if not (path / STATE_FILE).is_file():
        raise DataError(
            f"{path}: expected a file, or a folder that datasets' save_to_disk wrote, got a folder "
            f"without {STATE_FILE}"
        )
    return path


def _data_files(folder: Path) -> list[str]:
    state = _json(folder / STATE_FILE)
    if state.get("_indices_files"):
        raise DataError(
            f"{folder}: expected a dataset without an index; flatten_indices() before save_to_disk"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise DataError(f"{folder / STATE_FILE}: expected the names of files, got {files!r}")
    return [_inside(folder, file.get("filename")) for file in files]


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected an object, got {type(content).__name__}")
    return content


def _inside(folder: Path, name: object) -> str:
    """A name that lies in the folder: what others saved must not have other files read."""
    if not isinstance(name, str) or Path(name).name != name or name == ".." or "\0" in name:
        raise DataError(f"{folder}: expected the name of a file in it, got {name!r}")
    return name


def _rows(path: Path, batches: Any) -> Iterator[tuple[str, object]]:
    number = 0
    for batch in batches:
        for record in batch.to_pylist():
            yield f"{path}: row {number}", record
            number += 1


def _require_pyarrow(path: Path) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(f"{path}: needs pyarrow, which is not installed; run: pip install pyarrow")
