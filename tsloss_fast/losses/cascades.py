"""The edges of a cloud's cascades: the chains of triangles that fill its loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import _C, host_array

# A triangle by the rank of its longest edge and the vertex opposite.
Triangle = tuple[int, int]


@torch.library.custom_op("tsloss_fast::cascade_skeleton", mutates_args=())
def cascade_skeleton(D: Tensor) -> Tensor:
    """The edges (i, j), i < j, of the cascades of each matrix ``D`` [..., n, n], bool [..., n, n].

    The cascade of a bar of H1 is the sum of triangles by which the reduction of the boundary matrix
    finds that it ends; its boundary is the loop that is filled. Triangles are ordered by their
    longest edge, then by the vertex opposite. The tree's edges, of H0, are among the skeleton.
    """
    matrices = host_array(D).reshape(-1, *D.shape[-2:])
    h0, h1 = _C.rips(matrices, 1, None, torch.get_num_threads())
    skeletons = np.zeros(matrices.shape, dtype=bool)
    for k, matrix in enumerate(matrices):
        i, j = h0.death_edges[k].T
        skeletons[k, i, j] = True
        if bars := h1.bars[k][h1.mask[k]].tolist():
            reduction = Reduction(matrix, bars)
            for _, triangles in reduction.pairs.values():
                for triangle in triangles:
                    for edge in reduction.sides(triangle):
                        skeletons[k][reduction.edges[edge]] = True
    return torch.from_numpy(skeletons.reshape(D.shape)).to(D.device)


@cascade_skeleton.register_fake
def _(D: Tensor) -> Tensor:
    return D.new_empty(D.shape, dtype=torch.bool)


cascade_skeleton.register_vmap(ops._batched(cascade_skeleton))


class Reduction:
    """The boundary matrix reduced where H1 has bars, with the triangles that went into it.

    Edges are ranks in the filtration, and a column is the set of its edges as the bits of one
    number, of which the highest is the youngest.

    Attributes
    ----------
    edges : list
        The edge (i, j) of each rank.
    pairs : dict
        By the birth edge of each bar its column, the loop, and its cascade.
    """

    def __init__(self, D: np.ndarray, bars: list[list[int]]) -> None:
        n = len(D)
        i, j = np.triu_indices(n, 1)
        order = D[i, j].argsort(kind="stable")
        i, j = i[order], j[order]
        self.edges = list(zip(i.tolist(), j.tolist(), strict=True))
        # No vertex is in a lune of its own edge.
        self._ranks = np.full((n, n), len(order))
        self._ranks[i, j] = self._ranks[j, i] = np.arange(len(order))
        self._rows = self._ranks.tolist()
        self._lunes: dict[int, list[int]] = {}
        self.pairs: dict[int, tuple[int, set[Triangle]]] = {}
        # Bars of no length, between edges as long as each other, are needed to reduce the others.
        deaths = {self._rows[k][m] for _, _, k, m in bars}
        equal = np.flatnonzero(np.diff(D[i, j]) == 0)
        for edge in sorted(deaths.union(equal.tolist(), (equal + 1).tolist())):
            for k in self._components(edge)[1:]:
                self._reduce(edge, k)
        self.pairs = {rank: self.pairs[rank] for i, j, _, _ in bars for rank in [self._rows[i][j]]}

    def sides(self, triangle: Triangle) -> tuple[int, int, int]:
        """The edges of a triangle."""
        edge, k = triangle
        i, j = self.edges[edge]
        return edge, self._rows[i][k], self._rows[j][k]

    def _lune(self, edge: int) -> list[int]:
        """The vertices whose edges to both ends come before the edge."""
        if edge not in self._lunes:
            i, j = self.edges[edge]
            both = (self._ranks[i] < edge) & (self._ranks[j] < edge)
            self._lunes[edge] = np.flatnonzero(both).tolist()
        return self._lunes[edge]

    def _components(self, edge: int) -> list[int]:
        """The smallest vertex of each component of the lune, in order."""
        smallest, waiting = [], self._lune(edge).copy()
        while waiting:
            smallest.append(waiting.pop(0))
            reached = [smallest[-1]]
            while reached:
                row = self._rows[reached.pop()]
                near = [k for k in waiting if row[k] < edge]
                waiting = [k for k in waiting if row[k] >= edge]
                reached += near
        return smallest

    def _reduce(self, edge: int, k: int) -> None:
        """Reduce the column of one triangle; what is left of it pairs a birth edge."""
        column, cascade = self._column((edge, k)), {(edge, k)}
        while column:
            youngest = column.bit_length() - 1
            if youngest in self.pairs:
                loop, triangles = self.pairs[youngest]
                column, cascade = column ^ loop, cascade ^ triangles
            elif lune := self._lune(youngest):
                apparent = (youngest, lune[0])
                column, cascade = column ^ self._column(apparent), cascade ^ {apparent}
            else:
                self.pairs[youngest] = column, cascade
                return

    def _column(self, triangle: Triangle) -> int:
        return sum(1 << edge for edge in self.sides(triangle))


def critical_skeleton(D: Tensor, dgms: Any) -> Tensor:
    """The critical edges (i, j), i < j, of diagrams of ``D`` [..., n, n], bool [..., n, n]."""
    n = D.shape[-1]
    h0, h1 = dgms
    edges = torch.cat((h0.death_edges, h1.birth_edges, h1.death_edges), -2)
    i, j = edges.unbind(-1)
    # Padding goes to a place of its own, behind all others.
    at = (i * n + j).where(i >= 0, n * n)
    flat = torch.zeros((*D.shape[:-2], n * n + 1), dtype=torch.bool, device=D.device)
    return flat.scatter(-1, at, True)[..., :-1].reshape(D.shape)
