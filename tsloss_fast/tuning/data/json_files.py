"""Records of JSON lines, and of a JSON file that is one list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsloss_fast.tuning.data.examples import DataError


def json_records(path: Path) -> Iterator[tuple[str, object]]:
    """Each record and where it stands; blank lines are skipped, and the file must be UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if number == 1 and path.suffix == ".json" and line.lstrip().startswith(b"["):
                yield from _list_records(path)
                return
            yield f"{path}:{number}", _parse(line, f"{path}:{number}")


def _list_records(path: Path) -> Iterator[tuple[str, object]]:
    # A list can be parsed as a whole alone, so this one has to fit into memory.
    for index, record in enumerate(_parse(path.read_bytes(), str(path))):
        yield f"{path}[{index}]", record


def _parse(text: bytes, source: str) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{source}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise DataError(f"{source}: not usable JSON: nested too deeply") from error
    except ValueError as error:
        # Python reads whole numbers of a few thousand digits at most.
        raise DataError(f"{source}: not usable JSON: {error}") from error
