"""Records of CSV and of tab-separated files, whose first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from tsloss_fast.tuning.data.examples import DataError

# csv's own limit, 128 KiB, is less than some texts have.
LONGEST_FIELD = 2**31 - 1


def csv_records(path: Path) -> Iterator[tuple[str, object]]:
    """Each row by the names of its columns, and the line where it begins."""
    # One limit holds for all of a process, so it is never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        names: list[str] | None = None
        line = 1
        try:
            for row in rows:
                source, line = f"{path}:{line}", rows.line_num + 1
                if names is None:
                    names = _column_names(row, source)
                elif row:
                    yield source, _record(names, row, source)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{line}: not UTF-8: {error.reason}") from error
        except csv.Error as error:
            raise DataError(f"{path}:{line}: not CSV: {error}") from error


def _column_names(row: list[str], source: str) -> list[str]:
    if twice := sorted({name for name in row if row.count(name) > 1}):
        raise DataError(f"{source}: expected names of columns once each, got {twice[0]!r} twice")
    return row


def _record(names: list[str], row: list[str], source: str) -> dict[str, str]:
    if len(row) != len(names):
        raise DataError(f"{source}: expected {len(names)} columns, got {len(row)}")
    return dict(zip(names, row, strict=True))
