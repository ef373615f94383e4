"""Diagrams and features of the prompts of a run, computed in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.analysis.loops import Loop, longest_loops
from tsloss_fast.persistence.cycles import representative_cycles
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import pairwise_distances
from tsloss_fast.persistence.summaries import summarise_diagrams

# Numbers of one batch: its points and its distance matrices.
BATCH_NUMBERS = 2**24


@dataclass(frozen=True)
class Feature:
    """A number that is followed over the run: how it is called, measured and defined."""

    label: str
    definition: str
    in_paper: bool = True


DISTANCE = "distance in embedding space"

FEATURES: dict[str, Feature] = {
    "h0_count": Feature(
        "H0 count, distinct rows",
        "Bars of H0 of positive length and the one that never dies: the number of distinct rows.",
    ),
    "h1_count": Feature("H1 count, loops", "Bars of H1 of positive length: the number of loops."),
    "h0_mean_lifetime": Feature(
        "H0 mean lifetime", "Mean length of the H0 bars of positive, finite length."
    ),
    "h0_max_lifetime": Feature(
        "H0 maximum lifetime", "Length of the longest finite H0 bar.", False
    ),
    "h1_mean_lifetime": Feature("H1 mean lifetime", "Mean length of the H1 bars; 0 without loops."),
    "h1_max_lifetime": Feature(
        "H1 maximum lifetime", "Length of the longest H1 bar; 0 without loops.", False
    ),
    "entropy": Feature(
        "persistence entropy",
        "Minus the sum of p log p over the finite bars of H0 and H1 together, p being a bar's "
        "share of all lifetimes; natural logarithm.",
    ),
    "loops_per_row": Feature(
        "loops per row",
        'H1 count over the number of rows. The paper\'s "H1 density" has no definition; this is '
        "ours.",
        False,
    ),
    "mean_distance": Feature(
        "mean distance",
        "Mean distance over all pairs of rows; the smaller, the denser. The paper's \"point cloud "
        'density" has no definition; this is ours.',
        False,
    ),
}


@dataclass(frozen=True, eq=False)
class Topology:
    """Diagrams, features and longest loops of one prompt of `n` rows in `d` dimensions."""

    n: int
    d: int
    diagrams: tuple[PersistenceDiagram, PersistenceDiagram]
    features: dict[str, float]
    loops: list[Loop]


def topologies(
    prompts: Sequence[Tensor], advance: Callable[[int], object] = lambda done: None
) -> list[Topology]:
    """The topology of each prompt [n, d]; those of one shape and dtype go through in batches.

    `advance` is told how many prompts were done since it was called last. ``mean_distance`` is NaN
    for a single row, which has no distances.
    """

    def kind(index: int) -> tuple[int, int, str]:
        return (*prompts[index].shape, str(prompts[index].dtype))

    results: dict[int, Topology] = {}
    for (n, d, _), group in groupby(sorted(range(len(prompts)), key=kind), key=kind):
        for indices in _batches(list(group), n * (n + d)):
            batch = torch.stack([prompts[index] for index in indices])  # [B, n, d]
            results |= zip(indices, _topologies(batch), strict=True)
            advance(len(indices))
    return [results[index] for index in range(len(prompts))]


def _batches(indices: list[int], numbers: int) -> Iterator[list[int]]:
    size = max(1, BATCH_NUMBERS // numbers)
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


@torch.no_grad()
def _topologies(batch: Tensor) -> list[Topology]:
    B, n, d = batch.shape
    found: Any = representative_cycles(batch)
    (h0, h1), cycles = found
    pairs = n * (n - 1)
    columns = summarise_diagrams(h0, h1).as_dict()
    columns["loops_per_row"] = columns["h1_count"].double() / n
    # Both halves of the matrix count each pair twice, and the diagonal is 0; 0 / 0 is NaN.
    columns["mean_distance"] = pairwise_distances(batch).double().sum((-1, -2)) / pairs
    # The entropy of no bars is -0.0; adding 0 makes it 0.0.
    values = {name: (columns[name] + 0).tolist() for name in FEATURES}
    results = []
    for b in range(B):
        diagrams = _cloud(h0, b), _cloud(h1, b)
        features = {name: column[b] for name, column in values.items()}
        results.append(Topology(n, d, diagrams, features, longest_loops(diagrams[1], cycles[b])))
    return results


def _cloud(dgm: PersistenceDiagram, b: int) -> PersistenceDiagram:
    """One cloud of a batch, without padding."""
    mask = dgm.mask[b]
    return PersistenceDiagram(
        births=dgm.births[b][mask],
        deaths=dgm.deaths[b][mask],
        birth_edges=dgm.birth_edges[b][mask],
        death_edges=dgm.death_edges[b][mask],
        mask=mask[mask],
        essential_births=dgm.essential_births[b],
        essential_edges=dgm.essential_edges[b],
        essential_mask=dgm.essential_mask[b],
    )
