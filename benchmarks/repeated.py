"""Whether a second run gives the figures of the first: python -m benchmarks.repeated.

Compared are the latest complete run and the one before it of the same suite, machine and commit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.goals import goals, times
from benchmarks.providers import OURS
from benchmarks.rows import Row, good, select

CASE = ("phase", "family", "n", "d", "batch", "threads", "provider")
NOT_YET = "Not repeated yet: run `make bench` twice at one commit."


def first_run(latest: Path, folder: Path = results.FOLDER) -> Path | None:
    """The newest complete run before `latest` of the same suite, machine and commit."""
    content = results.read(latest)

    def same(other: dict[str, Any]) -> bool:
        return other["complete"] and all(
            _origin(other)[key] == value for key, value in _origin(content).items()
        )

    runs = [(other["date"], path) for path, other in _runs(folder) if same(other)]
    earlier = [(date, path) for date, path in runs if (date, path) < (content["date"], latest)]
    return max(earlier)[1] if earlier else None


def _runs(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    files = (path for path in sorted(folder.glob("*.json")) if path.stat().st_size)
    return [(path, results.read(path)) for path in files]


def _origin(content: dict[str, Any]) -> dict[str, Any]:
    machine = content["machine"]
    return {
        "kind": content["kind"],
        "suite": content["suite"],
        "commit": content["commit"],
        "machine": {key: machine[key] for key in ("processor", "cores", "isa")},
    }


def in_both(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[Row, Row]]:
    """The figures that both runs have, side by side."""
    known = {_case(row): row for row in select(first["rows"], what="time") if good(row)}
    rows = [row for row in select(second["rows"], what="time") if good(row)]
    return [(known[_case(row)], row) for row in rows if _case(row) in known]


def _case(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in CASE)


def overlap(a: Row, b: Row) -> bool:
    """Whether the ranges from p20 to p80 meet."""
    return a["p20_s"] <= b["p80_s"] and b["p20_s"] <= a["p80_s"]


def change(a: Row, b: Row) -> float:
    """How far the medians lie apart: 0.1 for a tenth of the smaller."""
    low, high = sorted((a["median_s"], b["median_s"]))
    return high / low - 1


def repeated_table(first: dict[str, Any], second: dict[str, Any]) -> str:
    """How far the figures of two runs agree, and the goals by both, as Markdown."""
    pairs = in_both(first, second)
    lines = [
        f"The run of {first['date']} (load {first['load_at_start']}) and that of "
        f"{second['date']} (load {second['load_at_start']}), both at commit {second['commit']}.",
        "",
        "| figures | in both | p20 to p80 meet | medians apart, the middle one | nine in ten |",
        "| --- | ---: | ---: | ---: | ---: |",
        _line("tsloss_fast", [pair for pair in pairs if pair[0]["provider"] in OURS]),
        _line("all", pairs),
        "",
        "| goal | first run | second run | met in both |",
        "| --- | ---: | ---: | --- |",
    ]
    for a, b in zip(goals(first["rows"]), goals(second["rows"]), strict=True):
        measured = [times(goal.measured[0]) if goal.measured else "-" for goal in (a, b)]
        met = a.met() if a.met() == b.met() else f"{a.met()}, {b.met()}"
        lines.append(f"| {a.what} | {measured[0]} | {measured[1]} | {met} |")
    return "\n".join(lines)


def _line(name: str, pairs: Sequence[tuple[Row, Row]]) -> str:
    if not pairs:
        return f"| {name} | 0 | - | - | - |"
    changes = [change(a, b) for a, b in pairs]
    meet = sum(overlap(a, b) for a, b in pairs) / len(pairs)
    middle, most = np.quantile(changes, [0.5, 0.9])
    return f"| {name} | {len(pairs)} | {meet:.0%} | {middle:.0%} | {most:.0%} |"


def latest_table(folder: Path = results.FOLDER) -> str:
    """The table of the latest run and the one that it repeats, or that there is none."""
    latest = results.latest("bench", ("quick", "full"), folder)
    first = first_run(latest, folder)
    return NOT_YET if first is None else repeated_table(results.read(first), results.read(latest))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repeated", description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, help="two results (the latest and its first)"
    )
    arguments = parser.parse_args(argv)
    try:
        if len(arguments.files) not in (0, 2):
            parser.error(f"files: expected two or none, got {len(arguments.files)}")
        if arguments.files:
            text = repeated_table(*map(results.read, arguments.files))
        else:
            text = latest_table()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
