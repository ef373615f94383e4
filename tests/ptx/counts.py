"""What a call costs, counted as it is executed: launches, programs and instructions.

    TRITON_INTERPRET=0 python -m tests.ptx.counts   # prints the table of docs/kernel-notes.md

Instructions are those of PTX, of all warps of a program, on average over its programs. The clouds
are those of `kernel_calls`, so that counts which depend on them are the same in every run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tests.ptx import driver
from tests.ptx.kernel_calls import cloud, graph, lengths
from tsloss_fast._engine.kernels import edge_lengths, persistence_terms
from tsloss_fast._engine.kernels.distances.launch import pairwise_distances
from tsloss_fast._engine.kernels.h0.launch import h0_critical_edges
from tsloss_fast._engine.kernels.scatter import differences, edges
from tsloss_fast._engine.kernels.surrogate.launch import surrogate_terms


@dataclass
class Count:
    """What one kernel took in one call."""

    launches: int = 0
    programs: int = 0
    instructions: int = 0

    @property
    def of_a_program(self) -> int:
        return round(self.instructions / self.programs)


def _surrogate(n: int, by_mean: bool = False) -> None:
    numbers = (1.0, 0.5, 1.0, 1.0, 0.3, 2.0)
    surrogate_terms(lengths(1, n), *numbers, by_mean, False, False)


def _terms(n: int, K: int) -> None:
    one = torch.ones(1, dtype=torch.float64)
    persistence_terms.persistence_terms(cloud(1, n - 1 + 2 * K).abs(), n, 1.0, 1.0, 2.0, one)


CALLS: dict[str, Callable[[], object]] = {
    **{
        f"H0, n = {n}": (lambda n=n: h0_critical_edges(lengths(1, n)))
        for n in (20, 64, 100, 128, 256, 300)
    },
    **{
        f"distances, n = {n}, d = 2048": (lambda n=n: pairwise_distances(cloud(1, n, 2048)))
        for n in (20, 100)
    },
    **{f"surrogate, n = {n}": (lambda n=n: _surrogate(n)) for n in (20, 50, 100)},
    "surrogate, n = 100, by the mean": lambda: _surrogate(100, by_mean=True),
    "persistence terms, n = 100, K = 31": lambda: _terms(100, 31),
    "edge lengths, K = 161, d = 2048": lambda: edge_lengths.edge_lengths(
        cloud(1, 100, 2048), graph(1, 100, 161)
    ),
    "scatter, n = 100, K = 161, d = 2048": lambda: edges.scatter_edges(
        cloud(1, 100, 2048), graph(1, 100, 161), cloud(1, 161)
    ),
    "differences, n = 100, d = 2048": lambda: differences.scatter_differences(
        cloud(1, 100, 2048), lengths(1, 100)
    ),
}


def counted(name: str) -> dict[str, Count]:
    """The counts of a call by kernel."""
    first = len(driver.SESSION.launches)
    CALLS[name]()
    found: dict[str, Count] = {}
    for one in driver.SESSION.launches[first:]:
        count = found.setdefault(one.program.name, Count())
        count.launches += 1
        count.programs += one.grid
        count.instructions += one.outcome.instructions
    return found


def main() -> int:
    """Print a line a kernel of each call."""
    driver.install()
    print("| call | kernel | launches | programs | instructions a program |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in CALLS:
        for kernel, count in counted(name).items():
            idea = kernel.strip("_").removesuffix("_kernel")
            numbers = (count.launches, count.programs, count.of_a_program)
            print(f"| {name} | {idea} | {' | '.join(f'{k:,}' for k in numbers)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
