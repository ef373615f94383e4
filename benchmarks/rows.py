"""Looking rows up in the results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.cases import Case
from benchmarks.providers import OURS, REFERENCE

Row = dict[str, Any]


def select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """The rows whose fields have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def timed(rows: Sequence[Row], case: Case) -> dict[str, Row]:
    """The rows of one case by provider, whatever their status."""
    return {row["provider"]: row for row in select(rows, what="time", **case.as_dict())}


def case_of(row: Row) -> Case:
    """The case that a row belongs to."""
    return Case(**{key: row[key] for key in Case.__dataclass_fields__})


def good(row: Row | None) -> bool:
    """Whether there is a figure: the result agreed, and was timed."""
    return row is not None and row["status"] == "ok"


def fastest_peer(case: dict[str, Row], edges: Sequence[bool] = (True, False)) -> Row | None:
    """The fastest row of a peer, of those with critical edges or without or both."""
    peers = [row for name, row in case.items() if name not in (*OURS, REFERENCE) and good(row)]
    peers = [row for row in peers if row["edges"] in edges]
    return min(peers, key=lambda row: row["median_s"], default=None)


def ratio(theirs: Row, ours: Row) -> tuple[float, float, float]:
    """How many times longer theirs takes: of the medians, and the least and most of p20 and p80."""
    pairs = (("median_s", "median_s"), ("p20_s", "p80_s"), ("p80_s", "p20_s"))
    return tuple(theirs[a] / ours[b] for a, b in pairs)
