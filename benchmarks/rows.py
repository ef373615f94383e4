"""Looking rows up in the results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.providers import OURS

Row = dict[str, Any]


def select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """The rows whose fields have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def timed(
    rows: Sequence[Row], phase: str, family: str, n: int, *, batch: int = 1, threads: int = 1,
    **more: Any,
) -> dict[str, Row]:  # fmt: skip
    """The rows of one case by provider, whatever their status."""
    wanted = {"phase": phase, "family": family, "n": n, "batch": batch, "threads": threads, **more}
    return {row["provider"]: row for row in select(rows, what="time", **wanted)}


def good(row: Row | None) -> bool:
    """Whether there is a figure: the result agreed, and was timed."""
    return row is not None and row["status"] == "ok"


def fastest_peer(by_provider: dict[str, Row], edges: bool = False) -> Row | None:
    """The fastest row that is not ours; with `edges`, of those that give critical edges."""
    peers = [
        row
        for name, row in by_provider.items()
        if name not in OURS and good(row) and (row["edges"] or not edges)
    ]
    return min(peers, key=lambda row: row["median_s"], default=None)


def ratio(theirs: Row, ours: Row) -> tuple[float, float, float]:
    """How many times faster ours is: of the medians, and the least and most of p20 and p80."""
    return (
        theirs["median_s"] / ours["median_s"],
        theirs["p20_s"] / ours["p80_s"],
        theirs["p80_s"] / ours["p20_s"],
    )


def cases_of(rows: Sequence[Row], phase: str) -> list[tuple[str, int, int, int, int]]:
    """(family, n, d, batch, threads) of every case of a phase, in the order of the run."""
    keys = ("family", "n", "d", "batch", "threads")
    return list(
        dict.fromkeys(tuple(r[k] for k in keys) for r in select(rows, what="time", phase=phase))
    )
