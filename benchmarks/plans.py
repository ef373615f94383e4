"""Which cases a suite holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import BATCHES, DIMS, FAMILIES, SIZES, VECTORS, Case, family_dim
from benchmarks.providers import OURS, REDZED
from benchmarks.providers.base import LOSSES, PAIRED, SCORES, SURROGATES

HARD_FAMILIES = ("gaussian", "unit vectors", "noisy circle", "embedding rows")


@dataclass(frozen=True)
class Suite:
    """Cases, the cases whose peak memory is measured, and what a provider may take.

    ``limit_s`` is for one call; ``budget_s`` is about what is spent on sampling one row;
    ``memory_gib`` is the address space of a provider, 0 for no limit. ``only`` names
    the providers of a case that not every one takes part in, and the limit of their calls.
    """

    name: str
    cases: tuple[Case, ...]
    memory: tuple[Case, ...]
    limit_s: float
    truth_limit_s: float
    budget_s: float
    only: tuple[tuple[str, int, tuple[str, ...], float], ...] = ()
    memory_gib: float = 8.0

    def providers(self, case: Case) -> tuple[tuple[str, ...] | None, float]:
        """Who takes part in a case (None: everyone), and the seconds one call may take."""
        for phase, n, names, limit_s in self.only:
            if (phase, n) == (case.phase, case.n):
                return names, limit_s
        return None, self.limit_s


def grid(
    phases: Sequence[str],
    families: Sequence[str],
    sizes: Sequence[int],
    dims: Sequence[int] = (768,),
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
) -> tuple[Case, ...]:
    """Every combination, smaller sizes first, so that who exceeds its time is not asked again."""
    return tuple(
        Case(phase, family, n, d, batch, count)
        for phase in phases
        for family in families
        # The width of a real model's table is what it is.
        for d in sorted({family_dim(family, d) for d in dims})
        for count in threads
        for batch in batches
        for n in sizes
    )


def quick() -> Suite:
    """About ten minutes on two cores: the rows of the README and of the goals."""
    cases = [
        *grid(("h1",), HARD_FAMILIES, (20, 50, 100, 300)),
        *grid(("h1",), ("torus", "near-duplicates"), (20, 100)),
        *grid(("h1",), ("gaussian", "unit vectors", "noisy circle"), (1000,)),
        *grid(("h0",), ("gaussian", "unit vectors", "near-duplicates"), (20, 100, 300, 1000)),
        *grid(("distances",), ("gaussian", "near-duplicates"), (20, 100, 300)),
        *grid(LOSSES, ("gaussian",), (20, 100), dims=(2048,)),
        *grid(("loss_backward",), ("unit vectors", "embedding rows"), (20, 100), dims=(2048,)),
        *grid(SURROGATES, ("gaussian",), (20, 100), dims=(2048,)),
        *grid(("surrogate_backward",), ("unit vectors",), (20, 100), dims=(2048,)),
        *losses().cases,
        *grid(("h1",), ("gaussian",), (100,), batches=(16,), threads=(1, 2)),
        *grid(("h1_sizes",), ("gaussian", "noisy circle"), (200,), batches=(10,), threads=(1, 2)),
        *grid(("h0",), ("gaussian",), (100,), batches=(64,)),
        *grid(("loss_backward",), ("gaussian",), (20,), dims=(2048,), batches=(16,)),
    ]
    memory = [
        *grid(("h1",), ("gaussian",), (300,)),
        *grid(("loss_backward", "surrogate_backward"), ("gaussian",), (100,), dims=(2048,)),
    ]
    # At n = 1000 most peers need minutes; the goals name one of them, which needs half a minute.
    only = (("h1", 1000, (*OURS, REDZED), 90.0),)
    return Suite("quick", tuple(cases), tuple(memory), 5.0, 30.0, 0.25, only)


def losses() -> Suite:
    """Some minutes: the losses and features beside what their users have."""
    phases = (*PAIRED, *SCORES, *VECTORS)
    cases = grid(phases, ("noisy circle",), (20, 100, 300), dims=(16,), batches=(1, 16))
    return Suite("losses", cases, (), 5.0, 30.0, 0.25)


def full() -> Suite:
    """Everything that quick holds and more: all families, sizes, batches and dimensions. Hours."""
    families = tuple(FAMILIES)
    small = tuple(n for n in SIZES if n <= 300)
    cases = [
        *grid(("h1", "h0"), families, SIZES),
        *grid(("h1",), families, (20, 100, 300), batches=BATCHES[1:], threads=(1, 2)),
        *grid(("h0",), families, small, batches=BATCHES[1:], threads=(1, 2)),
        *grid(("distances",), families, SIZES, dims=DIMS),
        *grid((*LOSSES, *SURROGATES), families, small, dims=DIMS),
        *grid((*PAIRED, *SCORES), families, (20, 100, 300), dims=(16,), batches=(1, 16)),
        *grid(("loss_backward", "surrogate_backward"), families, (20, 100), DIMS, BATCHES[1:]),
    ]
    memory = [
        *grid(("h0", "h1"), families, (100, 300, 1000)),
        *grid(("distances",), ("gaussian",), SIZES, dims=(2048,)),
        *grid(("loss_backward", "surrogate_backward"), families, (100, 300), dims=(2048,)),
    ]
    cases += [case for case in quick().cases if case not in cases]
    return Suite("full", tuple(cases), tuple(memory), 60.0, 300.0, 1.0)


def growth() -> Suite:
    """How cost grows with n: our own paths, until a call would exceed its limit. Ten minutes."""
    sizes = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
    paths = ("distances", "h0", "h1", "loss_backward", "surrogate_backward")
    cases = grid(paths, tuple(FAMILIES), sizes)
    return Suite("growth", cases, (), 6.0, 0.0, 0.0, memory_gib=12.0)


SUITES = {"quick": quick, "full": full, "growth": growth, "losses": losses}
