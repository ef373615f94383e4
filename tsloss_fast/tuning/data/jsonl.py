"""Examples from JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from tsloss_fast.tuning.data.examples import DataError, Example


def read_jsonl(path: str | Path) -> list[Example]:
    """Read examples from lines of ``{"question": ..., "answer": ...}``.

    Both must be strings that hold more than white space. Other keys are allowed and ignored, blank
    lines are skipped, and the file must be UTF-8.

    Raises
    ------
    DataError
        At the first line that does not fit, with file, line number and reason, or if no example is
        in the file, or if it cannot be read.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    examples = [
        _parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not examples:
        raise DataError(f"{path}: expected at least one line, got none")
    return examples


def _parse(line: bytes, source: str) -> Example:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{source}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise DataError(f"{source}: not usable JSON: nested too deeply") from error
    if not isinstance(record, dict):
        raise DataError(f"{source}: expected an object, got {type(record).__name__}")
    for key in ("question", "answer"):
        if key not in record:
            raise DataError(f"{source}: missing key {key!r}")
        value = record[key]
        if not isinstance(value, str):
            raise DataError(f"{source}: {key}: expected a string, got {type(value).__name__}")
        if not value.strip():
            raise DataError(f"{source}: {key}: expected text, got an empty string")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise DataError(f"{source}: {key}: expected Unicode text, got a lone surrogate")
    return Example(record["question"], record["answer"], source)
