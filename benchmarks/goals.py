"""The speeds that the design asks for on the CPU, and whether a run met them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.plans import HARD_FAMILIES, grid
from benchmarks.providers import BARE_CALL, ENGINE, PUBLIC, REDZED, REFERENCE, SIMPLEX_TREE
from benchmarks.rows import Row, fastest_peer, good, ratio, timed

FASTEST, ONE_THREAD = "the fastest peer", "itself on 1 thread"
LOSS, SURROGATE, EAGER = ("loss_backward",), ("surrogate_backward",), "eager PyTorch"
TWO = HARD_FAMILIES[:2]
TWO_THREADS = grid(("h1",), ("gaussian",), (100,), batches=(16,), threads=(2,))
# Cases, ours, theirs, and how many times as long as ours theirs takes.
GOALS = (
    (grid(("h1",), HARD_FAMILIES, (20,)), ENGINE, FASTEST, ">=", 1),
    (grid(("h1",), HARD_FAMILIES, (20,)), ENGINE, BARE_CALL, "<=", 2.5),
    (grid(("h1",), HARD_FAMILIES, (50, 100, 300)), ENGINE, REDZED, ">=", 5),
    (grid(("h1",), HARD_FAMILIES, (50,)), PUBLIC, REDZED, ">=", 4),
    (grid(("h1",), ("gaussian",), (1000,)), ENGINE, REDZED, ">=", 2),
    (grid(("h1",), ("noisy circle",), (1000,)), ENGINE, REDZED, ">=", 5),
    (grid(("h1",), ("unit vectors",), (1000,)), ENGINE, REDZED, ">=", 15),
    (grid(("h1",), HARD_FAMILIES, (100,)), ENGINE, SIMPLEX_TREE, ">=", 150),
    (grid(LOSS, TWO, (20,), dims=(2048,)), PUBLIC, REFERENCE, ">=", 20),
    (grid(LOSS, TWO, (100,), dims=(2048,)), PUBLIC, REFERENCE, ">=", 200),
    (grid(SURROGATE, TWO, (20, 100), dims=(2048,)), PUBLIC, EAGER, ">=", 5),
    (TWO_THREADS, ENGINE, ONE_THREAD, ">=", 1.7),
)


def judged(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Of each goal: what, against whom, the goal, what was measured, and whether it is met."""
    for cases, ours, theirs, sign, bound in GOALS:
        for case in cases:
            of_case = timed(rows, case)
            mine, other = of_case.get(ours), of_case.get(theirs)
            if theirs == FASTEST:
                other = fastest_peer(of_case)
            elif theirs == ONE_THREAD:
                other = timed(rows, replace(case, threads=1)).get(ours)
            name = theirs + (f" ({other['provider']})" if theirs == FASTEST and other else "")
            yield [
                f"{case}, {ours}",
                name,
                f"{sign} {bound:g}x",
                *_judged(mine, other, sign, bound),
            ]


def _judged(ours: Row | None, theirs: Row | None, sign: str, bound: float) -> tuple[str, str]:
    if good(ours) and good(theirs):
        measured = ratio(theirs, ours)
        met = measured[0] >= bound if sign == ">=" else measured[0] <= bound
        return "{} ({} to {})".format(*map(times, measured)), "yes" if met else "no"
    lost = [row for row in (ours, theirs) if row is not None and row["status"] != "ok"]
    why = f"{lost[0]['provider']}: {lost[0]['status']}" if lost else "not in this run"
    return "-", f"not measured: {why}"


def times(value: float) -> str:
    """A ratio as text, three digits at most."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"
