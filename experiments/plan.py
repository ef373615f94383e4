"""Which runs there are, in the order in which they are worth most.

A block compares arms in one cell: first a sweep, by which each arm gets its own learning rate, then
seeds that the sweep has not seen, seed by seed over all arms, so that whatever is done is balanced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.models import GEMMA3, SMOLLM2
from experiments.spec import Cell, RunSpec

CORE = (
    "ce",
    "l2-l1",
    "pd-b0.5",
    "surrogate-l1",
    "surrogate-b0.5",
    "literal-l1",
    "literal-b0.5",
    "exact-l1",
    "exact-b0.5",
)
# Table VI of the paper.
EACH_ALONE = ("h0-b0.5", "h1-b0.5")
# The other weights.
REST = ("ce", "l2-b0.5", "pd-l1", "surrogate-b0.1", "literal-b0.1", "exact-b0.1", "h0-l1", "h1-l1")
PAPERS = ("ce", "surrogate-l1", "literal-l1", "exact-l1")
# Table V of the paper: lambda_ts, tau, alpha.
SENSITIVITY = (
    "ce",
    *(f"exact-l{value:g}" for value in (0.1, 10, 100, 1000)),
    *(f"surrogate-l{value:g}" for value in (0.1, 10, 100, 1000)),
    *(f"surrogate-b0.5-tau{value:g}" for value in (0.1, 10)),
    *(f"surrogate-b0.5-alpha{value:g}" for value in (1, 5, 20)),
)
RATES = (3e-3, 1e-2, 3e-2)
# Gemma-3's embeddings, as the model scales them, are some ten times as long.
GEMMA3_RATES = (3e-2, 1e-1, 3e-1)
# Not among the seeds of the comparison.
SWEEP_SEEDS = (1000,)
SEEDS = range(10)
FEW = range(5)


@dataclass(frozen=True)
class Block:
    """Arms compared in one cell, each at its own rate of the sweep.

    ``fixed_rate`` gives all arms one rate instead, as the paper's protocol has it. ``what``, with
    that rate, tells blocks of one cell apart.
    """

    cell: Cell
    arms: Sequence[str] = CORE
    seeds: Sequence[int] = SEEDS
    rates: Sequence[float] = RATES
    sweep_seeds: Sequence[int] = SWEEP_SEEDS
    fixed_rate: float | None = None
    what: str = ""

    def sweep(self) -> list[RunSpec]:
        """The runs that choose the rates."""
        if self.fixed_rate is not None:
            return []
        return [
            RunSpec(self.cell, arm, rate, seed)
            for seed in self.sweep_seeds
            for rate in self.rates
            for arm in self.arms
        ]

    def comparison(self, out: Path) -> list[RunSpec] | None:
        """The runs that are compared, or None while the sweep is unfinished."""
        rates = self.chosen_rates(out)
        if rates is None:
            return None
        return [
            RunSpec(self.cell, arm, rates[arm], seed) for seed in self.seeds for arm in self.arms
        ]

    def chosen_rates(self, out: Path) -> Mapping[str, float] | None:
        """Each arm's best rate: by mean validation accuracy, then the fewer iterations to fit."""
        if self.fixed_rate is not None:
            return dict.fromkeys(self.arms, self.fixed_rate)
        runs = [(spec, read(spec.file(out))) for spec in self.sweep()]
        if any(record is None for _, record in runs):
            return None

        def merit(arm: str, rate: float) -> tuple[float, float]:
            found = [r for s, r in runs if r is not None and (s.arm, s.rate) == (arm, rate)]
            return (
                mean(record["validation_accuracy"] for record in found),
                -mean(iterations(record) for record in found),
            )

        return {arm: max(self.rates, key=lambda rate: merit(arm, rate)) for arm in self.arms}


def iterations(record: Mapping[str, Any]) -> float:
    """Iterations to fit; of a run that never did, all its steps."""
    fit = record["iterations_to_fit"]
    return record["steps"] if fit is None else fit


def read(file: Path) -> dict[str, Any] | None:
    """A run's record, or None if it is not there yet."""
    return json.loads(file.read_text()) if file.is_file() else None


FIRST = Cell(SMOLLM2, "larger-number")


# Tell what a penalty does from what the rate does that the sweep gave it.
ONE_RATE = tuple(Block(FIRST, fixed_rate=rate) for rate in RATES[:0:-1])
# Cells asked again, after what came out of them first.
AGAIN = (
    *ONE_RATE,
    # Exact persistence was ahead in all of five seeds: on seeds that had not been seen.
    Block(
        Cell(GEMMA3, "larger-number", start="normal"),
        ("ce", "surrogate-l1", "exact-l1"),
        range(5, 15),
        fixed_rate=3e-2,
        what="new seeds",
    ),
    # The sweep gave two arms a better rate than cross-entropy alone.
    Block(Cell(GEMMA3, "larger-number", start="token"), seeds=FEW, fixed_rate=1e-1),
)


def small() -> list[Block]:
    """An answer within an hour on two cores: one cell, all seeds, at each arm's rate and at one."""
    return [Block(FIRST), *ONE_RATE]


def full(models: Sequence[str] = (SMOLLM2, GEMMA3), tasks: Sequence[str] = ()) -> list[Block]:
    """The main comparison, every model's first cells before the details of any.

    `tasks` are files that join the generated task.
    """
    # Each a list of stages, of which all models have the first before any has the next.
    stages = zip(*(_stages(model, tasks) for model in models), strict=True)
    return [block for stage in stages for blocks in stage for block in blocks]


def _stages(model: str, tasks: Sequence[str]) -> list[list[Block]]:
    """The blocks of one model, those that are worth most first."""
    first = replace(FIRST, model=model)
    normal = replace(first, start="normal")
    # Not for rows of N(0, 0.02^2), which are as short for any model.
    rates = GEMMA3_RATES if model == GEMMA3 else RATES
    # Cross-entropy's own best over the seeds: details compare weights, not rates.
    rate = 1e-1 if model == GEMMA3 else 3e-2

    def few(cell: Cell) -> Block:
        return Block(cell, seeds=FEW, rates=rates)

    def detail(arms: Sequence[str], what: str) -> Block:
        return Block(first, arms, FEW, fixed_rate=rate, what=what)

    def and_again(block: Block) -> list[Block]:
        return [block, *(again for again in AGAIN if again.cell == block.cell)]

    # The paper's protocol: 300 epochs of batches of 8 at 5e-5.
    protocol = replace(normal, batch_size=8, steps=600)
    return [
        and_again(Block(first, rates=rates)),
        and_again(Block(normal, (*CORE, *EACH_ALONE), FEW)),
        and_again(few(replace(first, start="token"))),
        [few(replace(first, task=task)) for task in tasks],
        [detail(SENSITIVITY, "lambda_ts, tau and alpha")],
        [detail(REST, "other weights")],
        [few(replace(first, samples=64, batch_size=16, steps=48))],
        [Block(protocol, PAPERS, FEW, fixed_rate=5e-5, what="the paper's protocol")],
    ]


def pending(blocks: Sequence[Block], out: Path) -> Iterator[RunSpec]:
    """Runs without a file that can be made now, in order; an unfinished sweep is passed over."""
    for block in blocks:
        for spec in [*block.sweep(), *(block.comparison(out) or ())]:
            if not spec.file(out).is_file():
                yield spec
