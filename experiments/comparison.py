"""Comparison: the finished runs of one block, read from their JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import plan
from experiments.statistics import Paired, compare

# What the others are compared with.
ALONE = "ce"

Record = dict[str, Any]


class Comparison:
    """The runs of a block's sweep, and those of the seeds that every arm has.

    Parameters
    ----------
    block : Block
    out : Path
        The folder of all results.

    Attributes
    ----------
    sweep : list of dict
        Records of the sweep, all that are there.
    rates : dict of str to float, or None
        Each arm's rate, once the sweep is whole.
    made : int
        How many runs of the comparison there are, also of seeds that some arm lacks.
    seeds : list of int
        The seeds that are compared.
    runs : dict of str to dict of int to dict
        The records that are compared, by arm and seed.
    """

    def __init__(self, block: plan.Block, out: Path) -> None:
        self.block = block
        self.sweep = [r for s in block.sweep() if (r := plan.read(s.file(out))) is not None]
        self.rates = block.chosen_rates(out)
        found = [(s, r) for s in block.comparison(out) or () if (r := plan.read(s.file(out)))]
        self.made = len(found)
        arms: dict[int, set[str]] = {seed: set() for seed in block.seeds}
        for spec, _ in found:
            arms[spec.seed].add(spec.arm)
        self.seeds = [seed for seed, of in arms.items() if len(of) == len(block.arms)]
        self.runs: dict[str, dict[int, Record]] = {arm: {} for arm in block.arms}
        for spec, record in found:
            if spec.seed in self.seeds:
                self.runs[spec.arm][spec.seed] = record

    def records(self) -> list[Record]:
        """All records that are compared."""
        return [record for of in self.runs.values() for record in of.values()]

    def values(self, measure: str) -> dict[str, dict[int, float]]:
        """A measure by arm and seed: ``"test_accuracy"`` or ``"iterations"``."""
        return {
            arm: {s: measured(r, measure) for s, r in of.items()} for arm, of in self.runs.items()
        }

    def compared(self, measure: str) -> dict[str, Paired]:
        """Each arm against the cross-entropy alone."""
        values = self.values(measure)
        others = {arm: of for arm, of in values.items() if arm != ALONE}
        return compare(others, values[ALONE])


def pooled(cells: Sequence[Comparison], measure: str) -> dict[str, Paired]:
    """Each arm of all the cells against the cross-entropy alone; every cell counts the same.

    A seed's differences in several cells are one, weighted sum, for it draws the same samples and
    order in all of them: signs are flipped, and seeds resampled, in all cells at once.
    """
    values = [cell.values(measure) for cell in cells]
    seeds = sorted({seed for cell in cells for seed in cell.seeds})
    shared = [arm for arm in values[0] if arm != ALONE and all(arm in of for of in values)]
    sums = {arm: dict.fromkeys(seeds, 0.0) for arm in shared}
    for cell, of in zip(cells, values, strict=True):
        # Their mean over the seeds is to be the mean over the cells of each cell's mean.
        weight = len(seeds) / (len(cells) * len(cell.seeds))
        for arm in shared:
            for seed in cell.seeds:
                sums[arm][seed] += weight * (of[arm][seed] - of[ALONE][seed])
    return compare(sums, dict.fromkeys(seeds, 0.0))


def measured(record: Record, measure: str) -> float:
    """One measure of one run."""
    if measure == "iterations":
        return float(plan.iterations(record))
    return float(record[measure])
