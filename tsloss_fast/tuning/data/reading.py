"""Examples from a file of any known format, read anew whenever they are iterated over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tsloss_fast.tuning.data.arrow_files import folder_records, parquet_records
from tsloss_fast.tuning.data.csv_files import csv_records
from tsloss_fast.tuning.data.examples import DataError, Example
from tsloss_fast.tuning.data.hub_files import hub_records, is_hub_name
from tsloss_fast.tuning.data.json_files import json_records
from tsloss_fast.tuning.data.records import RECOGNISED, Columns, to_example

# By the end of the name; a file of any other name holds JSON lines.
FORMATS: dict[str, Callable[[Path], Iterator[tuple[str, object]]]] = {
    ".csv": csv_records,
    ".tsv": csv_records,
    ".parquet": parquet_records,
}


@dataclass(frozen=True)
class ExampleFile:
    """The examples of a file or folder, of which one at a time is in memory.

    Parameters
    ----------
    path : str or Path
        JSON lines, CSV (``.csv``, ``.tsv``), Parquet, a folder that ``save_to_disk`` of Hugging
        Face `datasets` wrote, or a name on the hub, ``owner/name`` or ``owner/name:subset``.
        Parquet and folders need pyarrow, names `datasets`.
    columns : Columns, optional
        Names of the columns, which are recognised otherwise: see `to_example`.
    split : str, default "train"
        Which part of a folder or data set that holds several.
    progress : bool, default True
        Let `datasets` show its bars on stderr.
    """

    path: str | Path
    columns: Columns = RECOGNISED
    split: str = "train"
    progress: bool = True

    def __iter__(self) -> Iterator[Example]:
        """The examples in order.

        Raises
        ------
        DataError
            At the first record that does not fit, with its place and the reason, or if there is
            none, or if the file cannot be read.
        """
        path = Path(self.path)
        return _examples(path, self._records(path), self.columns)

    def _records(self, path: Path) -> Iterator[tuple[str, object]]:
        if path.is_dir():
            return folder_records(path, self.split)
        if path.suffix.lower() not in FORMATS and is_hub_name(str(self.path)):
            return hub_records(str(self.path), self.split, self.progress)
        return FORMATS.get(path.suffix.lower(), json_records)(path)


@dataclass(frozen=True)
class Part:
    """The examples at which `chosen`, a bool tensor, is True."""

    examples: Iterable[Example]
    chosen: Tensor

    def __iter__(self) -> Iterator[Example]:
        for example, is_in in zip(self.examples, self.chosen.tolist(), strict=True):
            if is_in:
                yield example


def read_jsonl(path: str | Path) -> list[Example]:
    """Read all examples of a file of JSON lines, such as ``{"question": ..., "answer": ...}``.

    Question and answer must be whole numbers, or strings that hold more than white space. Other
    keys are allowed and ignored, blank lines are skipped, and the file must be UTF-8.

    Raises
    ------
    DataError
        See `ExampleFile`.
    """
    return list(_examples(Path(path), json_records(Path(path)), RECOGNISED))


def _examples(
    path: Path, records: Iterator[tuple[str, object]], columns: Columns
) -> Iterator[Example]:
    found = False
    try:
        for source, record in records:
            found = True
            yield to_example(record, columns, source)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if not found:
        raise DataError(f"{path}: expected at least one line, got none")
