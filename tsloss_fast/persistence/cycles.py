"""Representative cycles of H1: which edges, and so which points, make each loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from tsloss_fast._checks import check_choice, check_flag, check_whole, describe
from tsloss_fast._engine import eager
from tsloss_fast._engine import operators as ops
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import Metric, edge_lengths
from tsloss_fast.persistence.ragged import Clouds, Lengths
from tsloss_fast.persistence.rips import as_int, rips_diagrams


class CycleList(Sequence[Tensor]):
    """The cycles of one cloud: a list that does not change, of tensors int64 [m, 2].

    Each tensor is made when it is asked for; to make them all takes as long as to find them.
    """

    __slots__ = ("_edges", "_starts")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, edges: Tensor, starts: np.ndarray | Tensor) -> None:
        # Cycle k is edges[starts[k] : starts[k + 1]].
        self._edges = edges  # [M, 2]
        self._starts = np.asarray(starts)  # [C + 1]

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self[k] for k in chosen]
        begin, end = self._starts[chosen : chosen + 2].tolist()
        return self._edges[begin:end]

    def __iter__(self) -> Iterator[Tensor]:
        begin, end = self._starts[[0, -1]].tolist()
        return iter(self._edges[begin:end].split(np.diff(self._starts).tolist()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (CycleList, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(
            isinstance(b, Tensor) and torch.equal(a, b) for a, b in zip(self, other, strict=True)
        )

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[type, tuple[Tensor, Tensor]]:
        # By tensors alone, which `torch.load` takes; those of other clouds of a batch left out.
        begin, end = self._starts[[0, -1]].tolist()
        starts = torch.from_numpy(self._starts - begin)
        return CycleList, (self._edges[begin:end].clone(), starts)


torch.serialization.add_safe_globals([CycleList])


def representative_cycles(
    x: Clouds,
    max_dim: int = 1,
    metric: Metric = "euclidean",
    max_edge_length: float | None = None,
    lengths: Lengths | None = None,
    vertex_births: Clouds | None = None,
    *,
    p: float | None = None,
    shorten: bool = True,
    most: int | None = None,
) -> tuple[tuple[PersistenceDiagram, ...], CycleList | list[CycleList]]:
    """The diagrams of `rips_persistence`, and a cycle that represents each class of H1.

    Parameters
    ----------
    x, metric, max_edge_length, lengths, vertex_births, p
        As in `rips_persistence`.
    max_dim : {1}
        Cycles are those of H1.
    shorten : bool, default True
        Look for one short loop a class. Without, a cycle is the sum of generators that the engine
        has: loops of one edge each and the minimum spanning tree.
    most : int, optional
        Find the cycles of so many classes of each cloud alone: of those that never die, then of the
        longest bars, of equally long ones the first. The others' have no edges.

    Returns
    -------
    diagrams : tuple of PersistenceDiagram
        H0 and H1, as `rips_persistence` returns them, in the graph of `x`.
    cycles : sequence of Tensor, or for a batch a list of such sequences
        Of each cloud first those of its bars, in their order, padding left out, and then those of
        its classes that never die, in the order of `essential_edges`. A cycle is a sum mod 2 of
        edges, int64 [m, 2] on the device of `x`, ``i < j``, in filtration order: its last edge is
        the birth edge. Batch dimensions are flattened in row-major order.

    Raises
    ------
    TypeError, ValueError, ImportError
        As `rips_persistence` does.
    MemoryError
        Where the engine's work cannot fit: what always is taken before the sweep, and what short
        loops take after it, which depends on how many classes there are.
    RuntimeError
        Under ``torch.compile``, ``torch.func`` or forward mode: how many edges a cycle has is known
        from values alone.

    Notes
    -----
    Every edge of a cycle is there when its bar is born; the cycle is no boundary before the death
    edge enters, and one from then on, so it is a loop that is open just as long as the bar says. A
    class has many such cycles. With `shorten` the cycle is a single loop where a search finds one:
    of those with the fewest edges the shortest. The search is exact, but it gives up after a few
    hundred pairs of a vertex and a class by which it is reached, and so many steps again for ways
    that pass no vertex twice; few clouds come to that. Where no single loop represents the class,
    as where a bar ends because two loops become one, the cycle is a sum of loops; `loops_of` gives
    these.

    Cycles have no gradient; their lengths do, by `cycle_length`. Those of CUDA tensors are found on
    the host, as H1 is.

    Examples
    --------
    A square has one loop, and without diagonals it never dies:

    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> (h0, h1), cycles = tsl.representative_cycles(square)
    >>> [tsl.loops_of(cycle) for cycle in cycles]
    [[tensor([2, 3, 0, 1])]]
    >>> (h0, h1), cycles = tsl.representative_cycles(square, max_edge_length=1.2)
    >>> len(h1.births), len(cycles)
    (0, 1)
    """
    check_choice(as_int(max_dim), "max_dim", (1,))
    if most is not None:
        most = check_whole(most, "most", least=0)
    finder = eager.CycleFinder(check_flag(shorten, "shorten"), most)
    if ops.is_transformed():
        raise RuntimeError(
            "representative_cycles: expected tensors with values, got a call under torch.compile, "
            "torch.func or forward mode, where how many edges a cycle has cannot be known"
        )
    given = (max_edge_length, p, lengths, vertex_births)
    diagrams = rips_diagrams(x, 1, metric, *given, finder)
    if not finder.is_batch:
        return diagrams, CycleList(finder.edges, finder.starts)
    ends = list(accumulate(finder.counts, initial=0))
    return diagrams, [
        CycleList(finder.edges, finder.starts[begin : end + 1]) for begin, end in pairwise(ends)
    ]


def loops_of(cycle: Tensor) -> list[Tensor]:
    """The loops that a cycle is the sum of: closed walks that pass no vertex twice.

    Parameters
    ----------
    cycle : Tensor, shape [m, 2], int64 or int32
        Edges, as `representative_cycles` gives them: at every vertex an even number.

    Returns
    -------
    list of Tensor, int64
        The vertices of each loop in order, the first not repeated. They have no edge in common. The
        loop of the last edge, which is a bar's birth edge, comes first, and begins with its ends.

    Raises
    ------
    TypeError, ValueError
        Not edges [m, 2], an edge twice, or a vertex with an odd number of them.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> two_triangles = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 3], [3, 4], [2, 4]])
    >>> tsl.loops_of(two_triangles)
    [tensor([2, 4, 3]), tensor([0, 2, 1])]
    """
    edges = _checked_cycle(cycle)
    neighbours: dict[int, dict[int, None]] = {}
    for i, j in edges:
        neighbours.setdefault(i, {})[j] = None
        neighbours.setdefault(j, {})[i] = None
    odd = [v for v, others in neighbours.items() if len(others) % 2]
    if odd:
        raise ValueError(
            f"cycle: expected an even number of edges at every vertex, got "
            f"{len(neighbours[odd[0]])} at {odd[0]}"
        )
    loops: list[list[int]] = []
    for i, j in reversed(edges):
        if j in neighbours[i]:
            loops += _loops_from(i, j, neighbours)
    return [torch.tensor(loop, device=cycle.device) for loop in loops]


def cycle_length(
    x: Tensor, cycle: Tensor, metric: Metric = "euclidean", *, p: float | None = None
) -> Tensor:
    """The total length of a cycle's edges, in the graph of `x`.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
        Points or distances.
    cycle : Tensor, shape [..., m, 2], int64 or int32
        Edges, as `representative_cycles` gives them, perhaps of another state of the points.
    metric, p
        As in `edge_lengths`.

    Returns
    -------
    Tensor, shape [...]
        In the dtype of `x`; float32 for half inputs.

    Raises
    ------
    TypeError, ValueError
        As `edge_lengths` does.

    Notes
    -----
    A step against its gradient draws the points of the loop together, and a step along it opens the
    loop: all points of the loop move, where the gradient of a death moves the ends of one edge.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], requires_grad=True)
    >>> _, (cycle,) = tsl.representative_cycles(square)
    >>> length = tsl.cycle_length(square, cycle)
    >>> length.backward()
    >>> length.item(), square.grad[0].tolist()
    (4.0, [-1.0, -1.0])
    """
    return edge_lengths(x, cycle, metric, p=p).sum(-1)


def _checked_cycle(cycle: Any) -> list[tuple[int, int]]:
    """The edges of a cycle, once they are found to be different ones [m, 2]."""
    if not isinstance(cycle, Tensor):
        raise TypeError(f"cycle: expected a torch.Tensor [m, 2], got {type(cycle).__name__}")
    if cycle.dtype not in (torch.int32, torch.int64) or cycle.ndim != 2 or cycle.shape[-1] != 2:
        raise ValueError(f"cycle: expected edges [m, 2], int64 or int32, got {describe(cycle)}")
    edges = [(i, j) for i, j in cycle.tolist()]
    seen: set[tuple[int, int]] = set()
    for i, j in edges:
        edge = (min(i, j), max(i, j))
        if i == j or edge in seen:
            what = "one from a vertex to itself" if i == j else "one twice"
            raise ValueError(f"cycle: expected edges that differ, got {what}: {edge}")
        seen.add(edge)
    return edges


def _loops_from(i: int, j: int, neighbours: dict[int, dict[int, None]]) -> list[list[int]]:
    """The loops of a walk that begins with the edge ij and ends back at i, that of ij first.

    A loop is cut off where the walk comes to a vertex for the second time. Takes its edges.
    """
    loops: list[list[int]] = []
    walk, place, following = [i], {i: 0}, j
    while True:
        v = walk[-1]
        del neighbours[v][following], neighbours[following][v]
        begin = place.get(following)
        if begin is None:
            place[following] = len(walk)
            walk.append(following)
        else:
            loops.append(walk[begin:])
            if begin == 0:
                return [loops.pop(), *loops]
            for left in walk[begin + 1 :]:
                del place[left]
            del walk[begin + 1 :]
        following = next(iter(neighbours[walk[-1]]))
