"""The textbook reduction of the boundary matrix over Z/2, columns held as whole numbers."""

from itertools import combinations

import numpy as np


class Reduction:
    """H0, H1 and the fate of every cycle of a matrix [n, n], by nothing but the definitions.

    Edges are numbered in the order of (length, i, j); those that are infinite or longer than
    `longest` are absent. A chain of edges is a whole number, bit k being edge k.

    Attributes
    ----------
    h0, h1 : list of (i, j, k, l)
        The bars, birth edge and death edge, those of H1 of positive length alone.
    essential_h0, essential_h1 : list of (i, j)
    """

    def __init__(self, D: np.ndarray, longest: float = np.inf) -> None:
        n = len(D)
        rows = D.tolist()
        edges = [(rows[i][j], i, j) for i, j in combinations(range(n), 2)]
        edges = sorted(e for e in edges if e[0] <= longest and e[0] < np.inf)
        self.edges = [(i, j) for _, i, j in edges]
        self.lengths = [length for length, _, _ in edges]
        self.place = {edge: k for k, edge in enumerate(self.edges)}
        joining = self._join(n)
        self._reduce(n)
        self.h1 = [
            (*self.edges[birth], *self.edges[death])
            for death, birth in sorted((d, b) for b, (_, d) in self._columns.items())
            if self.lengths[death] > self.lengths[birth]
        ]
        self.essential_h1 = [
            edge for k, edge in enumerate(self.edges) if k not in joining and k not in self._columns
        ]

    def death_of(self, cycle: list[tuple[int, int]]) -> int | None:
        """The number of the edge with which a cycle becomes a boundary, or None if none does.

        Columns with different last edges are independent, so that those which sum to the cycle are
        the only ones, and the last of them decides.
        """
        chain = sum(1 << self.place[edge] for edge in cycle)
        death = -1
        while chain:
            column = self._columns.get(chain.bit_length() - 1)
            if column is None:
                return None
            chain ^= column[0]
            death = max(death, column[1])
        return death

    def _join(self, n: int) -> set[int]:
        """Write H0 by the elder rule; returns the edges that join components."""
        oldest = list(range(n))
        self.h0: list[tuple[int, ...]] = []
        joining = set()
        for k, (i, j) in enumerate(self.edges):
            old, young = sorted((oldest[i], oldest[j]))
            if old != young:
                self.h0.append((young, young, i, j))
                joining.add(k)
                oldest = [old if v == young else v for v in oldest]
        self.essential_h0 = [(v, v) for v in sorted(set(oldest))]
        return joining

    def _reduce(self, n: int) -> None:
        """Reduce the triangles' columns: by its last edge, each column and when it came."""
        place = self.place
        triangles = []
        for a, b, c in combinations(range(n), 3):
            sides = [place.get((a, b)), place.get((a, c)), place.get((b, c))]
            if None not in sides:
                triangles.append((max(sides), 1 << sides[0] | 1 << sides[1] | 1 << sides[2]))
        triangles.sort()
        columns: dict[int, tuple[int, int]] = {}
        for death, column in triangles:
            while column:
                last = column.bit_length() - 1
                if last not in columns:
                    columns[last] = (column, death)
                    break
                column ^= columns[last][0]
        self._columns = columns
