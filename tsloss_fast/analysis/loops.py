"""The longest loops of a prompt: their bars, and the rows that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tsloss_fast.persistence.cycles import loops_of
from tsloss_fast.persistence.diagram import PersistenceDiagram

# Of each checkpoint.
MOST_LOOPS = 5


@dataclass(frozen=True)
class Loop:
    """A bar of H1 and a cycle that it is of.

    Attributes
    ----------
    birth, death : float
    birth_edge : tuple of two ints
        The rows whose edge closes the loop; no other bar has it.
    walks : tuple of tuples of int
        The cycle's closed walks: rows in order, the first not repeated. Mostly there is one.
    """

    birth: float
    death: float
    birth_edge: tuple[int, int]
    walks: tuple[tuple[int, ...], ...]

    @property
    def lifetime(self) -> float:
        """Death minus birth."""
        return self.death - self.birth

    @property
    def rows(self) -> list[int]:
        """The rows of all walks, one after the other."""
        return [row for walk in self.walks for row in walk]


def longest_loops(h1: PersistenceDiagram, cycles: Sequence[Tensor]) -> list[Loop]:
    """The longest bars of one cloud's H1, the longest first, with their cycles.

    Parameters
    ----------
    h1 : PersistenceDiagram
        Of one cloud, without padding.
    cycles : sequence of Tensor [m, 2]
        The edges of each bar's cycle, as `representative_cycles` gives them.
    """
    order = h1.lifetimes.argsort(descending=True, stable=True)[:MOST_LOOPS].tolist()
    births, deaths, edges = h1.births.tolist(), h1.deaths.tolist(), h1.birth_edges.tolist()
    return [
        Loop(
            births[k],
            deaths[k],
            (edges[k][0], edges[k][1]),
            tuple(tuple(walk.tolist()) for walk in loops_of(cycles[k])),
        )
        for k in order
    ]
