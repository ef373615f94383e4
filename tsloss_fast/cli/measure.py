"""A short table of what tsloss_fast costs on this machine: ``tsloss-fast bench``.

It needs nothing beyond the package. Where gudhi is installed, every row is checked against it and
the reference is timed beside it. The comparison with all peers is in the repository's benchmarks.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsloss_fast import reference
from tsloss_fast._checks import MAX_POINTS, check_whole
from tsloss_fast._timing import Spread, repeats_for, sample, show_seconds, spread
from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.persistence.rips import rips_persistence

SAMPLES, SLOW_SAMPLES, SLOW_S = 9, 3, 0.2
# Calls take so many clouds in turn: a processor learns the branches of a single one by heart.
CLOUDS = 8
# The reference's simplex tree takes 8 bytes and more for each of n^3 / 6 triangles.
LARGEST_REFERENCE = 150
# Relative, in float64: in float32 an order of edges that rounding decides may differ, rightly.
TOLERANCE = 1e-6
NOT_CHECKED = "not checked: gudhi is not installed"


@dataclass(frozen=True)
class Row:
    """One line: what was timed, how long it and the reference took, and what the check said."""

    what: str
    ours: Spread
    reference: Spread | None
    check: str
    agrees: bool

    def cells(self) -> list[str]:
        """The line as text."""
        middle = f"{show_seconds(self.ours.p20_s)} to {show_seconds(self.ours.p80_s)}"
        cells = [self.what, show_seconds(self.ours.median_s), middle]
        if self.reference is None:
            return [*cells, "-", "-", self.check]
        times = self.reference.median_s / self.ours.median_s
        return [*cells, show_seconds(self.reference.median_s), f"{times:.1f} x", self.check]


HEADER = ["what", "tsloss_fast", "p20 to p80", "reference", "ratio", "check"]


def bench(sizes: Sequence[int], dim: int, seed: int = 0) -> Iterator[Row]:
    """Time and check `rips_persistence` and both formulations of `TSLoss`.

    Parameters
    ----------
    sizes : sequence of int, from 2 to 65535
        Numbers of points.
    dim : int, at least 1
        Their dimension. The points are the paper's start of a prompt, N(0, 0.02^2).
    seed : int

    Yields
    ------
    Row
        As soon as it is measured, on the number of threads that torch is set to.

    Raises
    ------
    ValueError
        For sizes or a dimension out of range.
    """
    for n in sizes:
        if not 2 <= n <= MAX_POINTS:
            raise ValueError(f"sizes: expected 2 to {MAX_POINTS} points, got {n}")
    dim = check_whole(dim, "dim", least=1)
    for n in sizes:
        generator = torch.Generator().manual_seed(seed)
        clouds = [0.02 * torch.randn(n, dim, generator=generator) for _ in range(CLOUDS)]
        yield _persistence_row(clouds)
        yield _loss_row(clouds, "persistence")
        yield _loss_row(clouds, "surrogate")


def _has_gudhi() -> bool:
    return importlib.util.find_spec("gudhi") is not None


def _persistence_row(clouds: Sequence[Tensor]) -> Row:
    n = len(clouds[0])
    ours, theirs = (
        _in_turn([functools.partial(diagrams, x) for x in clouds])
        for diagrams in (rips_persistence, reference.rips_persistence)
    )
    why_not = _why_not_checked(n)
    agrees, check = True, why_not or ""
    if not why_not:
        agrees = all(_has_bars_of_gudhi(x) for x in clouds)
        bars = sum(int(rips_persistence(x)[1].mask.sum()) for x in clouds)
        check = f"{bars} bars of H1 in {CLOUDS} clouds, as gudhi" if agrees else "differs"
    return _timed(f"H0 + H1, n = {n}", ours, None if why_not else theirs, agrees, check)


def _has_bars_of_gudhi(x: Tensor) -> bool:
    # The same distances, so that the bars have to be the same to the last bit.
    D = _distances_of(x)
    return _same_bars(
        rips_persistence(D, metric="precomputed"),
        reference.rips_persistence(D, metric="precomputed"),
    )


def _loss_row(clouds: Sequence[Tensor], mode: str) -> Row:
    n = len(clouds[0])
    # The surrogate's reference is eager PyTorch; the exact one needs gudhi.
    why_not = _why_not_checked(n) if mode == "persistence" else None
    ours, theirs = (
        _in_turn([_step(cls(mode), x) for x in clouds]) for cls in (TSLoss, reference.TSLoss)
    )
    agrees, check = True, why_not or ""
    if not why_not:
        error = max(_error(mode, x.double()) for x in clouds)
        agrees = error <= TOLERANCE
        check = f"within {TOLERANCE:g} in float64" if agrees else f"off by {error:.1e}"
    what = f"TSLoss {mode}, forward + backward, n = {n}"
    return _timed(what, ours, None if why_not else theirs, agrees, check)


def _error(mode: str, x: Tensor) -> float:
    """How far loss and gradient are off the reference's, relative."""
    loss, gradient = _step(TSLoss(mode), x)()
    true_loss, true_gradient = _step(reference.TSLoss(mode), x)()
    return max(
        abs(loss.item() - true_loss.item()) / abs(true_loss.item()),
        ((gradient - true_gradient).norm() / true_gradient.norm()).item(),
    )


def _in_turn(calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """A call that makes the given ones, one at a time."""
    turns = itertools.cycle(calls)
    return lambda: next(turns)()


def _why_not_checked(n: int) -> str | None:
    if not _has_gudhi():
        return NOT_CHECKED
    if n > LARGEST_REFERENCE:
        return f"not checked: gudhi's simplex tree is for n up to {LARGEST_REFERENCE} here"
    return None


def _distances_of(x: Tensor) -> Tensor:
    D = reference.pairwise_distances(x)
    # Bitwise symmetric, whatever order torch summed in.
    return torch.triu(D, 1) + torch.triu(D, 1).mT


def _same_bars(ours: Any, theirs: Any) -> bool:
    return all(
        torch.equal(mine.unbatch()[0], other.unbatch()[0])
        for mine, other in zip(ours, theirs, strict=True)
    )


def _step(loss: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    prompt = x.clone().requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        prompt.grad = None
        value = loss(prompt)
        value.backward()
        assert prompt.grad is not None
        return value.detach(), prompt.grad

    return step


def _timed(
    what: str, ours: Callable[[], Any], theirs: Callable[[], Any] | None, agrees: bool, check: str
) -> Row:
    """Time both in turn, after a warm-up; what disagrees is not timed against."""
    sides = [ours] if theirs is None or not agrees else [ours, theirs]
    first = []
    for call in sides:
        call()
        first.append(sample(call))
    counts = [SAMPLES if seconds < SLOW_S else SLOW_SAMPLES for seconds in first]
    times: list[list[float]] = [[] for _ in sides]
    for round_ in range(max(counts)):
        for call, seconds, count, kept in zip(sides, first, counts, times, strict=True):
            if round_ < count:
                kept.append(sample(call, repeats_for(seconds)))
    spreads = [spread(kept) for kept in times]
    return Row(what, spreads[0], spreads[1] if len(spreads) > 1 else None, check, agrees)


def format_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text in columns, the first and the last left-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k in (0, len(row) - 1) else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
