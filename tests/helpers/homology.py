"""Cycles and boundaries of a Rips filtration by linear algebra over Z/2, for a few dozen points."""

from itertools import combinations

import numpy as np
from oracles import filtration


class Homology:
    """The filtration of a matrix [n, n]: chains of edges are sets of bits, by place in its order.

    Nothing of the package is used but `oracles.filtration`, which sorts (length, i, j).
    """

    def __init__(self, D, longest=np.inf):
        edges = [(i, j) for _, i, j in filtration(D, longest)]
        self.place = {edge: place for place, edge in enumerate(edges)}
        triangles = []
        for a, b, c in combinations(range(len(D)), 3):
            sides = ((a, b), (a, c), (b, c))
            if all(side in self.place for side in sides):
                triangles.append(sorted((self.place[side] for side in sides), reverse=True))
        self._triangles = sorted(triangles)

    def chain(self, edges):
        """The bits of edges, those that come twice cancelled."""
        bits = 0
        for i, j in edges:
            bits ^= 1 << self.place[min(i, j), max(i, j)]
        return bits

    def bounds_from(self, chains):
        """For each chain the place of the edge with which it becomes a boundary, or None."""
        found = [None] * len(chains)
        basis = {}

        def rest_of(bits):
            while bits and bits.bit_length() in basis:
                bits ^= basis[bits.bit_length()]
            return bits

        waiting = dict(enumerate(chains))
        position = 0
        while position < len(self._triangles) and waiting:
            last = self._triangles[position][0]
            while position < len(self._triangles) and self._triangles[position][0] == last:
                rest = rest_of(sum(1 << place for place in self._triangles[position]))
                if rest:
                    basis[rest.bit_length()] = rest
                position += 1
            for k, bits in list(waiting.items()):
                waiting[k] = rest_of(bits)
                if not waiting[k]:
                    found[k] = last
                    del waiting[k]
        return found


def is_cycle(edges):
    """Whether every vertex has an even number of the edges."""
    odd = set()
    for edge in edges:
        odd ^= set(edge)
    return not odd
