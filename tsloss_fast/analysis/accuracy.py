"""Accuracy by epoch, from a CSV or JSONL file."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsloss_fast.analysis.find import AnalysisError


def read_accuracy(file: Path, unit: str = "epoch") -> dict[int, float]:
    """Accuracy at each position of a run.

    Parameters
    ----------
    file : Path
        CSV with a header that names the columns `unit` and ``accuracy``, or JSONL whose lines have
        these keys. Lines without an accuracy are passed over, so that the ``metrics.jsonl`` of
        ``tsloss-fast tune`` serves, and ``features.csv`` of `analyze`. Shares or per cent: only
        their order matters.
    unit : str
        "epoch" or "step".

    Raises
    ------
    AnalysisError
        For a file that cannot be read, has no accuracy, gives one twice, or holds something that is
        not a number; the message gives file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise AnalysisError(f"accuracy: cannot read {file}: {reason}") from error
    accuracies: dict[int, float] = {}
    records = _jsonl if text.lstrip().startswith("{") else _csv
    for where, record in records(file, text, unit):
        position = _position(record.get(unit), f"{where}: {unit}")
        if position in accuracies:
            raise AnalysisError(f"accuracy: {where}: {unit} {position} a second time")
        accuracies[position] = _number(record["accuracy"], f"{where}: accuracy")
    if not accuracies:
        raise AnalysisError(f"accuracy: expected lines with {unit} and accuracy, got none: {file}")
    return accuracies


def _csv(file: Path, text: str, unit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    try:
        names = reader.fieldnames or []
        if not {unit, "accuracy"} <= set(names):
            got = ", ".join(names) or "nothing"
            raise AnalysisError(
                f"accuracy: {file}:1: expected columns {unit} and accuracy, got {got[:80]}"
            )
        for record in reader:
            if (record["accuracy"] or "").strip():
                yield f"{file}:{reader.line_num}", record
    except csv.Error as error:
        raise AnalysisError(f"accuracy: {file}:{reader.line_num + 1}: no CSV: {error}") from error


def _jsonl(file: Path, text: str, unit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        # A RecursionError comes from JSON that is nested too deeply.
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", str(error))
            raise AnalysisError(f"accuracy: {file}:{number}: not JSON: {reason}") from error
        if isinstance(record, dict) and record.get("accuracy") is not None:
            yield f"{file}:{number}", record


def _position(value: Any, where: str) -> int:
    number = _number(value, where)
    if number != int(number):
        raise AnalysisError(f"accuracy: {where}: expected a whole number, got {value!r}")
    return int(number)


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise AnalysisError(f"accuracy: {where}: expected a number, got {repr(value)[:80]}")
    return number
