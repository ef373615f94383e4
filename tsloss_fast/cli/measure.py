"""A short table of what tsloss_fast costs on this machine: ``tsloss-fast bench``.

It needs nothing beyond the package. Where gudhi is installed, every row is checked against it and
the reference is timed beside it. The comparison with all peers is in the repository's benchmarks.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tsloss_fast import reference
from tsloss_fast._checks import MAX_POINTS, check_whole
from tsloss_fast._timing import Spread, repeats_for, sample, show_seconds, spread
from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.persistence.rips import rips_persistence

Call = Callable[[], Any]
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
        why_not = _why_not_checked(n)
        sides: list[list[Call]] = [
            [partial(diagrams, x) for x in clouds]
            for diagrams in (rips_persistence, reference.rips_persistence)
        ]
        yield _row(f"H0 + H1, n = {n}", sides, why_not, partial(_check_bars, clouds))
        for mode in ("persistence", "surrogate"):
            sides = [[_step(cls(mode), x) for x in clouds] for cls in (TSLoss, reference.TSLoss)]
            what = f"TSLoss {mode}, forward + backward, n = {n}"
            # The surrogate's reference is eager PyTorch, which is always there.
            reason = why_not if mode == "persistence" else None
            yield _row(what, sides, reason, partial(_check_loss, clouds, mode))


def _has_gudhi() -> bool:
    return importlib.util.find_spec("gudhi") is not None


def _why_not_checked(n: int) -> str | None:
    if not _has_gudhi():
        return NOT_CHECKED
    if n > LARGEST_REFERENCE:
        return f"not checked: gudhi's simplex tree is for n up to {LARGEST_REFERENCE} here"
    return None


def _row(
    what: str,
    sides: Sequence[Sequence[Call]],
    why_not: str | None,
    check: Callable[[], tuple[bool, str]],
) -> Row:
    """Check, then time both in turn after a warm-up; the reference only where it agrees.

    `sides` are the calls of ours and of the reference's.
    """
    agrees, said = (True, why_not) if why_not else check()
    timed = sides[:1] if why_not or not agrees else sides
    calls = [partial(_next_call, itertools.cycle(side)) for side in timed]
    first = []
    for call in calls:
        call()
        first.append(sample(call))
    times: list[list[float]] = [[] for _ in calls]
    for round_ in range(SAMPLES):
        for call, seconds, kept in zip(calls, first, times, strict=True):
            if seconds < SLOW_S or round_ < SLOW_SAMPLES:
                kept.append(sample(call, repeats_for(seconds)))
    measured = [spread(each) for each in times]
    return Row(what, measured[0], measured[1] if measured[1:] else None, said, agrees)


def _next_call(side: Iterator[Call]) -> Any:
    return next(side)()


def _check_bars(clouds: Sequence[Tensor]) -> tuple[bool, str]:
    """Whether the bars are gudhi's to the last bit, of the same distances."""
    bars = 0
    for x in clouds:
        D = reference.pairwise_distances(x)
        # Bitwise symmetric, whatever order torch summed in.
        D = torch.triu(D, 1) + torch.triu(D, 1).mT
        ours, theirs = (
            diagrams(D, metric="precomputed")
            for diagrams in (rips_persistence, reference.rips_persistence)
        )
        for mine, other in zip(ours, theirs, strict=True):
            if not torch.equal(mine.unbatch()[0], other.unbatch()[0]):
                return False, "differs"
        bars += int(ours[1].mask.sum())
    return True, f"{bars} bars of H1 in {CLOUDS} clouds, as gudhi"


def _check_loss(clouds: Sequence[Tensor], mode: str) -> tuple[bool, str]:
    """Whether losses and gradients are the reference's in float64."""
    errors = []
    for x in clouds:
        (loss, gradient), (true_loss, true_gradient) = (
            _step(cls(mode), x.double())() for cls in (TSLoss, reference.TSLoss)
        )
        errors.append(abs(loss.item() - true_loss.item()) / abs(true_loss.item()))
        errors.append(((gradient - true_gradient).norm() / true_gradient.norm()).item())
    # NaN is no agreement, and is the worst of all.
    worst = max(errors, key=lambda error: (math.isnan(error), error))
    agrees = worst <= TOLERANCE
    return agrees, f"within {TOLERANCE:g} in float64" if agrees else f"off by {worst:.1e}"


def _step(loss: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    prompt = x.clone().requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        prompt.grad = None
        value = loss(prompt)
        value.backward()
        assert prompt.grad is not None
        return value.detach(), prompt.grad

    return step


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
