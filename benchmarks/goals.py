"""The speeds that the design asks for on the CPU, and whether a run met them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.cases import PHASES
from benchmarks.plans import HARD_FAMILIES
from benchmarks.providers import ENGINE, PUBLIC, REDZED, REFERENCE, SIMPLEX_TREE
from benchmarks.rows import Row, fastest_peer, good, ratio, timed


@dataclass(frozen=True)
class Goal:
    """Theirs takes at least, or at most, so many times as long as ours."""

    what: str
    against: str
    bound: float
    ours: Row | None
    theirs: Row | None
    at_most: bool = False

    @property
    def measured(self) -> tuple[float, float, float] | None:
        """Ratio of the medians, and the range of ratios of p20 and p80; None if not measured."""
        return ratio(self.theirs, self.ours) if good(self.ours) and good(self.theirs) else None

    def met(self) -> str:
        """Yes, no, or not measured and why."""
        if self.measured:
            below = self.measured[0] < self.bound
            return "yes" if below == self.at_most else "no"
        lost = [r for r in (self.ours, self.theirs) if r is not None and r["status"] != "ok"]
        why = f"{lost[0]['provider']}: {lost[0]['status']}" if lost else "not in this run"
        return f"not measured: {why}"


# Phase, families, n, d, ours, theirs, the bound.
AT_LEAST = (
    *(("h1", HARD_FAMILIES, n, 0, ENGINE, REDZED, 5) for n in (50, 100, 300)),
    ("h1", HARD_FAMILIES, 50, 0, PUBLIC, REDZED, 4),
    ("h1", ("gaussian",), 1000, 0, ENGINE, REDZED, 2),
    ("h1", ("noisy circle",), 1000, 0, ENGINE, REDZED, 5),
    ("h1", ("unit vectors",), 1000, 0, ENGINE, REDZED, 15),
    ("h1", HARD_FAMILIES, 100, 0, ENGINE, SIMPLEX_TREE, 150),
    ("loss_backward", HARD_FAMILIES[:2], 20, 2048, PUBLIC, REFERENCE, 20),
    ("loss_backward", HARD_FAMILIES[:2], 100, 2048, PUBLIC, REFERENCE, 200),
    ("surrogate_backward", HARD_FAMILIES[:2], 20, 2048, PUBLIC, "eager PyTorch", 5),
    ("surrogate_backward", HARD_FAMILIES[:2], 100, 2048, PUBLIC, "eager PyTorch", 5),
)


def goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """Each goal with the rows that it is judged by."""
    for family in HARD_FAMILIES:
        case = timed(rows, "h1", family, 20)
        what = f"H0 + H1, {family}, n = 20"
        peer = fastest_peer(case)
        name = f"the fastest peer ({peer['provider']})" if peer else "the fastest peer"
        yield Goal(f"{what}, {ENGINE}", name, 1, case.get(ENGINE), peer)
        yield Goal(f"{what}, {ENGINE}", PUBLIC, 2.5, case.get(ENGINE), case.get(PUBLIC), True)
    for phase, families, n, d, ours, theirs, bound in AT_LEAST:
        for family in families:
            case = timed(rows, phase, family, n, **({"d": d} if d else {}))
            what = f"{PHASES[phase]}, {family}, n = {n}, {ours}"
            yield Goal(what, theirs, bound, case.get(ours), case.get(theirs))
    one, two = (timed(rows, "h1", "gaussian", 100, batch=16, threads=t).get(ENGINE) for t in (1, 2))
    yield Goal("H0 + H1, 16 gaussian clouds, n = 100, 2 threads", "1 thread", 1.7, two, one)
