"""The speeds that the design asks for on the CPU: python -m benchmarks.goals prints what is met."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.rows import Row, fastest_peer, good, ratio, timed

ENGINE, PUBLIC = "tsloss_fast engine", "tsloss_fast"
FAMILIES = ("gaussian", "unit vectors", "noisy circle", "embedding rows")
LEAST_WORDS = "at least 3x"


@dataclass(frozen=True)
class Goal:
    """One line: how many times faster than whom, and what was measured."""

    what: str
    against: str
    goal: float
    least: float  # below the goal, but what is asked for at the very least
    ours: Row | None
    theirs: Row | None

    @property
    def measured(self) -> tuple[float, float, float] | None:
        """Ratio of the medians, and the range of ratios of p20 and p80; None if not measured."""
        if not (good(self.ours) and good(self.theirs)):
            return None
        return ratio(self.theirs, self.ours)

    def met(self) -> str:
        """Yes, the least that is asked for, no, or not measured and why."""
        if self.measured is None:
            return f"not measured: {self._why_not()}"
        if self.measured[0] >= self.goal:
            return "yes"
        return LEAST_WORDS if self.least and self.measured[0] >= self.least else "no"

    def _why_not(self) -> str:
        for row in (self.ours, self.theirs):
            if row is not None and row["status"] != "ok":
                return f"{row['provider']}: {row['status']}"
        return "not in this run"


def goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """The goals for one thread and for two, in the design's order."""

    def h1(n: int, family: str) -> dict[str, Row]:
        return timed(rows, "h1", family, n)

    redzed = "redzed-tda"
    for n in (50, 100, 300):
        for family in FAMILIES:
            case = h1(n, family)
            yield Goal(f"H1, {family}, n = {n}", redzed, 5, 3, case.get(ENGINE), case.get(redzed))
    for family in FAMILIES:
        case = h1(20, family)
        peer = fastest_peer(case)
        name = "the fastest peer" + (f" ({peer['provider']})" if peer else "")
        yield Goal(f"H1, {family}, n = 20", name, 1, 0, case.get(ENGINE), peer)
    for family, goal in (("gaussian", 2), ("noisy circle", 5), ("unit vectors", 15)):
        case = h1(1000, family)
        yield Goal(f"H1, {family}, n = 1000", redzed, goal, 0, case.get(ENGINE), case.get(redzed))
    for family in FAMILIES:
        case = h1(100, family)
        tree = "gudhi SimplexTree"
        yield Goal(f"H1, {family}, n = 100", tree, 150, 0, case.get(ENGINE), case.get(tree))
    for family in ("gaussian", "unit vectors"):
        for n, goal in ((20, 20), (100, 200)):
            case = timed(rows, "loss_backward", family, n, d=2048)
            what = f"TSLoss, forward + backward, {family}, d = 2048, n = {n}"
            reference = case.get("reference")
            yield Goal(what, "reference.TSLoss (gudhi)", goal, 0, case.get(PUBLIC), reference)
    for family in ("gaussian", "unit vectors"):
        for n in (20, 100):
            case = timed(rows, "surrogate_backward", family, n, d=2048)
            what = f"surrogate, forward + backward, {family}, d = 2048, n = {n}"
            eager = case.get("eager PyTorch")
            yield Goal(what, "eager PyTorch", 5, 0, case.get(PUBLIC), eager)
    one, two = (timed(rows, "h1", "gaussian", 100, batch=16, threads=t).get(ENGINE) for t in (1, 2))
    yield Goal("H1, 16 gaussian clouds, n = 100, 2 threads", "1 thread", 1.7, 0, two, one)


def goals_table(content: dict) -> str:
    """The goals as a Markdown table."""
    lines = ["| what | against | goal | measured | met |", "| --- | --- | ---: | ---: | --- |"]
    for goal in goals(content["rows"]):
        measured = "-"
        if goal.measured:
            middle, low, high = goal.measured
            measured = f"{times(middle)} ({times(low)} to {times(high)})"
        bound = "faster" if goal.goal == 1 else f">= {goal.goal:g}x"
        lines.append(f"| {goal.what} | {goal.against} | {bound} | {measured} | {goal.met()} |")
    return "\n".join(lines)


def times(value: float) -> str:
    """A ratio as text, three digits at most."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="results of a run (the latest)")
    arguments = parser.parse_args(argv)
    try:
        file = arguments.file or results.latest("bench", ("quick", "full"))
        content = results.read(file)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{file.name}, medians; in brackets the range between p20 and p80\n\n")
    sys.stdout.write(goals_table(content) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
