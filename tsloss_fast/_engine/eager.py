"""The one door to distances and diagrams: each call goes the shortest way that its tensors allow.

Plain CPU tensors go straight to the compiled module, past the operators, which take longer than 20
points do. All others, on CUDA, compiled, mapped over or of a class of their own, go through the
operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from tsloss_fast._checks import check_square
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import (
    _C,
    host_array,
    matrix_error,
    packed_matrix_error,
    require_distance_matrix,
    require_finite,
    require_finite_points,
)
from tsloss_fast._engine.births import Lengths, entering
from tsloss_fast._engine.host_h1 import bar_tensors
from tsloss_fast._engine.padding import filled_points, without_padding
from tsloss_fast._engine.room import (
    no_room_for_loops,
    require_room,
    require_room_for_h1,
    room_for_loops,
)

# A diagram of one dimension: the arrays of its fields, and those fields that are tensors already,
# by name. Without arrays all fields are.
Fields = tuple[Any, dict[str, Tensor]]


def reads_directly(values: Iterable[Any]) -> bool:
    """Whether the compiled module reads these tensors where they are; others are not asked."""
    return all(ops.is_plain(x) for x in values if isinstance(x, Tensor))


def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances [..., n, n] of the rows of ``x`` [..., n, d], in its graph."""
    if ops.is_plain(x) and not ops.wants_gradient(x):
        return ops.eager_distances(x)
    D: Tensor = ops.pairwise_distances(x)
    return D


def attention_trees(maps: Tensor, prompt: int) -> Tensor | None:
    """Of attention maps [..., n, n] the places i * n + j of the weights of a tree's edges.

    [..., K], in filtration order: the minimum spanning tree of tokens at distance
    1 - max(a_ij, a_ji), in which the first `prompt` are one vertex. Weights are not checked. None
    where the engine does not read the maps where they are.
    """
    if not ops.is_plain(maps):
        return None
    return torch.from_numpy(_C.attention_trees(host_array(maps), prompt, torch.get_num_threads()))


def sorted_rows(x: Tensor) -> Tensor:
    """Each row sorted; on the CPU by NumPy, which takes a fifth of torch's time or less."""
    if not ops.is_plain(x):
        return x.sort(-1).values
    if not ops.wants_gradient(x):
        return torch.from_numpy(np.sort(host_array(x), -1))
    return x.gather(-1, torch.from_numpy(np.argsort(host_array(x.detach()), -1)))


class CycleFinder:
    """Finds diagrams by the engine on the host, and keeps the cycles that represent H1's classes.

    Attributes
    ----------
    edges : Tensor, shape [M, 2], int64
        Those of all cycles, on the device of the distances.
    starts : array [C + 1], int64
        Where each cycle begins among them, and where the last ends.
    counts : list of int
        How many cycles each cloud has: those of its bars, then those of its classes that never die.
    is_batch : bool
        Whether there may be more clouds than one.
    """

    edges: Tensor
    starts: Any
    counts: list[int]
    is_batch: bool

    def __init__(self, shorten: bool, most: int | None = None) -> None:
        self.shorten = shorten
        self.most = most

    def diagrams(
        self,
        D: Any,
        max_edge_length: float | None,
        lengths: Tensor | None = None,
        births: Tensor | None = None,
    ) -> Any:
        """The engine's diagrams of both dimensions of an array of distances ``D`` [..., n, n]."""
        return self._keep(D, self._find(D, max_edge_length, lengths, births))

    def diagrams_of_matrix(self, D: Tensor, max_edge_length: float | None) -> Any:
        """The same of what should be matrices ``D`` [..., n, n], plain and on the CPU."""
        require_room_for_h1(D, 1, max_edge_length, cycles=True)
        found = self._find(host_array(D), max_edge_length, check=True)
        if isinstance(found[0], str):
            raise matrix_error(D, found)
        return self._keep(D, found)

    def bars(
        self,
        D: Tensor,
        max_edge_length: float | None,
        lengths: Tensor | None = None,
        births: Tensor | None = None,
    ) -> list[ops.Bars]:
        """The bars of both dimensions on the device of ``D`` [..., n, n], copied to the host."""
        require_room_for_h1(D.detach(), 1, max_edge_length, cycles=True)
        on_host = host_array(D.detach())
        if max_edge_length is None:
            require_finite(on_host, D, "x")
        found = bar_tensors(self.diagrams(on_host, max_edge_length, lengths, births))
        self.edges = self.edges.to(D.device)
        parts = [part.to(D.device) for part in found]
        return [ops.Bars(*parts[:4]), ops.Bars(*parts[4:])]

    def _find(
        self,
        D: Any,
        max_edge_length: float | None,
        lengths: Tensor | None = None,
        births: Tensor | None = None,
        check: bool = False,
    ) -> Any:
        counts, born = (None if x is None else host_array(x) for x in (lengths, births))
        room = room_for_loops(D) if self.shorten else None
        found = _C.rips_cycles(
            D, self.shorten, counts, torch.get_num_threads(), "auto", max_edge_length, born, check,
            room, self.most,
        )  # fmt: skip
        if room is not None and found[0] == "room":
            raise no_room_for_loops(room, *found[1:])
        return found

    def _keep(self, D: Any, found: Any) -> Any:
        diagrams, edges, self.starts, self.counts = found
        self.edges, self.is_batch = torch.from_numpy(edges), D.ndim > 2
        return diagrams


def rips_of_matrix(
    D: Tensor,
    max_dim: int,
    max_edge_length: float | None = None,
    cycles: CycleFinder | None = None,
) -> Sequence[Fields]:
    """The diagrams of dimensions 0 to ``max_dim`` of what should be matrices ``D`` [..., n, n].

    Edges that are infinite or longer than `max_edge_length` are absent. With `cycles`, which finds
    the diagrams then, ``max_dim`` is 1.

    Raises
    ------
    TypeError, ValueError
        ``D`` is no tensor of distance matrices.
    """
    is_plain = ops.is_plain(D)
    found = _checked_rips(D, max_dim, max_edge_length) if is_plain and cycles is None else None
    if found is None:
        check_square(D)
        D = ops.at_least_float32(D)
        if not is_plain:
            return _traced_of_matrix(D, max_dim, max_edge_length, cycles)
        if cycles is None:
            found = _checked_rips(D.contiguous(), max_dim, max_edge_length)
        else:
            found = cycles.diagrams_of_matrix(D, max_edge_length)
    if ops.wants_gradient(D):
        return _measured(found, lambda edges, _: _gather_edges(D, edges))
    return [(arrays, {}) for arrays in found]


def rips_of_matrices(
    packed: Tensor,
    lengths: Tensor,
    n: int,
    max_dim: int,
    max_edge_length: float | None = None,
    births: Tensor | None = None,
) -> Sequence[Fields]:
    """`rips_of_matrix` of plain matrices of different sizes, one behind the other in `packed`.

    ``lengths`` [...] are their sizes, at most n; ``births`` [..., n] those of the vertices, if they
    are not born at 0.
    """
    found = _C.rips_of_packed(
        host_array(packed), host_array(lengths), n, max_dim, True, torch.get_num_threads(),
        max_edge_length, None if births is None else host_array(births),
    )  # fmt: skip
    if isinstance(found[0], str):
        raise packed_matrix_error(packed, lengths, found)
    if ops.wants_gradient(packed) or (births is not None and ops.wants_gradient(births)):
        entries = _packed_entries(packed, lengths)
        return _measured(found, lambda edges, _: entries(edges), births)
    return [(arrays, {}) for arrays in found]


def _packed_entries(packed: Tensor, lengths: Tensor) -> Callable[[Tensor], Tensor]:
    """From edges [..., K, 2] to their entries in packed matrices of these sizes; 0 for padding."""
    starts = lengths.flatten().square().cumsum(0).view(lengths.shape) - lengths.square()

    def entries(edges: Tensor) -> Tensor:
        i, j = edges.clamp(min=0).unbind(-1)
        at = starts.unsqueeze(-1) + i * lengths.unsqueeze(-1) + j  # [..., K]
        is_edge = edges[..., 0] >= 0
        return packed[at.where(is_edge, 0)].where(is_edge, 0)

    return entries


def rips_of_padded_matrices(
    D: Tensor,
    lengths: Tensor,
    max_dim: int,
    max_edge_length: float | None = None,
    births: Tensor | None = None,
    cycles: CycleFinder | None = None,
) -> Sequence[Fields]:
    """The same of what is not plain or wants `cycles`, padded to ``D`` [..., n, n]."""
    D = without_padding(D, lengths)
    return _traced_of_matrix(D, max_dim, max_edge_length, cycles, lengths, births)


def rips_of_ragged_points(
    points: Tensor,
    lengths: Tensor,
    max_dim: int,
    measure: Callable[[Tensor], Tensor] | None,
    max_edge_length: float | None = None,
    births: Tensor | None = None,
    cycles: CycleFinder | None = None,
) -> Sequence[Fields]:
    """`rips_of_points` of clouds of different sizes, padded to ``points`` [..., n, d].

    ``births`` [..., n] are those of the vertices, if they are not born at 0.
    """
    given = (points, lengths) if births is None else (points, lengths, births)
    if cycles is not None or not all(map(ops.is_plain, given)):
        of = measure or _as_it_is
        return _traced_of_points(points, max_dim, of, max_edge_length, cycles, lengths, births)
    threads, counts = torch.get_num_threads(), host_array(lengths)
    require_room(points, matrices=0, h1=max_dim > 0, missing_edges=max_edge_length is not None)
    D = _C.packed_distances(host_array(points), counts, threads)
    if _C.first_nonfinite(D) >= 0:
        require_finite(D, filled_points(points, lengths), "x")
    n = points.shape[-2]
    if births is not None:
        return _of_points_born(points, lengths, births, D, max_dim, measure, max_edge_length)
    if measure is not None and max_edge_length is not None:
        D = _without_long_edges(torch.from_numpy(D), measure, max_edge_length).numpy()
        max_edge_length = None
    found = _C.rips_of_packed(D, counts, n, max_dim, False, threads, max_edge_length)
    return _of_points(found, points, measure)


def rips_of_clouds(
    clouds: list[Tensor],
    lengths: Tensor,
    max_dim: int,
    max_edge_length: float | None = None,
    births: Tensor | None = None,
) -> Sequence[Fields]:
    """`rips_of_ragged_points` of plain clouds [m, d], without a padded copy of them."""
    largest = max(clouds, key=len)
    n = max(1, len(largest))
    require_room(largest, h1=max_dim > 0, missing_edges=max_edge_length is not None)
    D = _C.packed_distances_of_each([host_array(x) for x in clouds], torch.get_num_threads())
    if _C.first_nonfinite(D) >= 0:
        _name_what_is_not_finite(torch.from_numpy(D), clouds)
    born = None if births is None else host_array(births)
    found = _C.rips_of_packed(
        D, host_array(lengths), n, max_dim, False, torch.get_num_threads(), max_edge_length, born
    )
    if any(map(ops.wants_gradient, clouds)) or (births is not None and ops.wants_gradient(births)):
        entries = _packed_entries(torch.from_numpy(D), lengths)

        def measured(edges: Tensor, _: Tensor) -> Tensor:
            return ops.measured_edges_of_each(clouds, edges, entries(edges))

        return _measured(found, measured, births)
    return [(arrays, {}) for arrays in found]


def _name_what_is_not_finite(packed: Tensor, clouds: list[Tensor]) -> None:
    parts = packed.split([len(x) ** 2 for x in clouds])
    for b, (D, cloud) in enumerate(zip(parts, clouds, strict=True)):
        require_finite(host_array(D), cloud, f"x[{b}]")


def _of_points_born(
    points: Tensor,
    lengths: Tensor,
    births: Tensor,
    D: Any,
    max_dim: int,
    measure: Callable[[Tensor], Tensor] | None,
    max_edge_length: float | None,
) -> Sequence[Fields]:
    """`rips_of_ragged_points` from the packed Euclidean distances ``D``.

    Births are compared with the metric's lengths, so the engine gets these.
    """
    of, euclidean = measure or _as_it_is, torch.from_numpy(D)
    found = _C.rips_of_packed(
        host_array(of(euclidean)), host_array(lengths), points.shape[-2], max_dim, False,
        torch.get_num_threads(), max_edge_length, host_array(births),
    )  # fmt: skip
    if not (ops.wants_gradient(points) or ops.wants_gradient(births)):
        return [(arrays, {}) for arrays in found]
    entries = _packed_entries(euclidean, lengths)

    def measured(edges: Tensor, _: Tensor) -> Tensor:
        return of(ops.measured_edges(points, edges, entries(edges)))

    return _measured(found, measured, births)


def rips_of_points(
    points: Tensor,
    max_dim: int,
    measure: Callable[[Tensor], Tensor] | None,
    max_edge_length: float | None = None,
    cycles: CycleFinder | None = None,
) -> Sequence[Fields]:
    """The diagrams of ``points`` [..., n, d]; ``measure`` gives the metric's lengths of Euclidean
    ones, where it is another metric. `cycles` as `rips_of_matrix` has it."""
    if not ops.is_plain(points):
        return _traced_of_points(points, max_dim, measure or _as_it_is, max_edge_length, cycles)
    threads = torch.get_num_threads()
    require_room(
        points,
        h1=max_dim > 0,
        cycles=cycles is not None,
        missing_edges=max_edge_length is not None,
    )
    D = _C.distances(host_array(points), threads)
    require_finite(D, points, "x")
    if measure is not None and max_edge_length is not None:
        D = _without_long_edges(torch.from_numpy(D), measure, max_edge_length).numpy()
        max_edge_length = None
    if cycles is None:
        found = _C.rips(D, max_dim, None, threads, max_edge_length=max_edge_length)
    else:
        found = cycles.diagrams(D, max_edge_length)
    return _of_points(found, points, measure)


def _of_points(
    found: Any, points: Tensor, measure: Callable[[Tensor], Tensor] | None
) -> Sequence[Fields]:
    """The engine's diagrams with lengths of the metric, in the graph of plain `points`."""
    if ops.wants_gradient(points):
        of = measure or _as_it_is
        return _measured(
            found, lambda edges, lengths: of(ops.measured_edges(points, edges, lengths))
        )
    if measure is not None:
        return _measured(found, lambda _, lengths: measure(lengths))
    return [(arrays, {}) for arrays in found]


def _checked_rips(D: Tensor, max_dim: int, max_edge_length: float | None) -> Any:
    """The engine's diagrams of a plain ``D``, or None where it is not what the engine reads."""
    require_room_for_h1(D, max_dim, max_edge_length)
    found = _C.rips_of_tensor(to_dlpack(D), max_dim, torch.get_num_threads(), max_edge_length)
    if found is not None and isinstance(found[0], str):
        raise matrix_error(D, found)
    return found


def _measured(found: Any, lengths: Lengths, births: Tensor | None = None) -> Sequence[Fields]:
    """The engine's diagrams with their births and deaths from one call of `lengths`.

    Classes of H0 are born with vertices, at 0 or at their ``births`` [..., n].
    """
    fields: list[Fields] = [(arrays, {}) for arrays in found]
    ends = [(*fields[0], "deaths", "death_edges")]
    if births is not None:
        lengths = entering(lengths, births)
        ends.append((*fields[0], "births", "birth_edges"))
        ends.append((*fields[0], "essential_births", "essential_edges"))
    for arrays, known in fields[1:]:
        ends.append((arrays, known, "births", "birth_edges"))
        ends.append((arrays, known, "deaths", "death_edges"))
        if arrays.essential_mask.size:
            ends.append((arrays, known, "essential_births", "essential_edges"))
    for arrays, known, _, its_edges in ends:
        known[its_edges] = torch.from_numpy(getattr(arrays, its_edges))
    values = [torch.from_numpy(getattr(arrays, name)) for arrays, _, name, _ in ends]
    edges = torch.cat([known[its_edges] for _, known, _, its_edges in ends], dim=-2)
    measured = lengths(edges, torch.cat(values, dim=-1))
    parts = measured.split([part.shape[-1] for part in values], dim=-1)
    for (_, known, name, _), part in zip(ends, parts, strict=True):
        known[name] = part
    return fields


def _without_long_edges(D: Tensor, measure: Callable[[Tensor], Tensor], longest: float) -> Tensor:
    """Euclidean distances ``D``, infinite where the metric's are longer than `longest`."""
    return D.where(measure(D) <= longest, torch.inf)


def _traced_of_points(
    points: Tensor,
    max_dim: int,
    measure: Callable[[Tensor], Tensor],
    max_edge_length: float | None,
    cycles: CycleFinder | None,
    points_of_each: Tensor | None = None,
    births: Tensor | None = None,
) -> Sequence[Fields]:
    if points_of_each is not None:
        points = filled_points(points, points_of_each)
    D = ops.pairwise_distances(points.detach())
    if max_edge_length is None and points_of_each is None:
        of_points = lambda edges: measure(ops.edge_lengths(points, edges))  # noqa: E731
        return _traced(D, max_dim, of_points, None, cycles)
    if max_dim > 0 and ops.is_plain(points, "cuda"):
        require_finite_points(points)
    # A distance of bad points must not pass for one that is too long, or for padding.
    valid = D.isfinite().all(-1).all(-1)  # [...]
    if births is not None:
        # These are compared with the metric's lengths.
        D = measure(D)
    elif max_edge_length is not None:
        D, max_edge_length = _without_long_edges(D, measure, max_edge_length), math.inf

    def lengths(edges: Tensor) -> Tensor:
        return measure(ops.edge_lengths(points, edges)).where(valid.unsqueeze(-1), torch.nan)

    return _traced(D, max_dim, lengths, max_edge_length, cycles, points_of_each, births)


def _traced_of_matrix(
    D: Tensor,
    max_dim: int,
    max_edge_length: float | None,
    cycles: CycleFinder | None = None,
    points_of_each: Tensor | None = None,
    births: Tensor | None = None,
) -> Sequence[Fields]:
    checked, valid = _checked_matrix(D.detach(), max_dim, max_edge_length is not None)
    # Infinities may be among what was checked on the host.
    longest = math.inf if valid is None and max_edge_length is None else max_edge_length

    def lengths(edges: Tensor) -> Tensor:
        entries = _gather_edges(D, edges)
        return entries if valid is None else entries.where(valid.unsqueeze(-1), torch.nan)

    return _traced(checked, max_dim, lengths, longest, cycles, points_of_each, births)


def _traced(
    D: Tensor,
    max_dim: int,
    lengths: Callable[[Tensor], Tensor],
    max_edge_length: float | None,
    cycles: CycleFinder | None,
    points_of_each: Tensor | None = None,
    births: Tensor | None = None,
) -> Sequence[Fields]:
    """The diagrams by the operator, or by `cycles`, all fields of them tensors."""
    fields: list[Fields] = []
    if births is not None:
        lengths = _from_birth_on(lengths, births)
    if points_of_each is not None:
        D = without_padding(D, points_of_each)
        lengths = _where_possible(lengths, points_of_each, D.shape[-1])
    born = None if births is None else births.detach()
    if cycles is None:
        bars = ops.bars_by_dimension(D.detach(), max_dim, points_of_each, max_edge_length, born)
    else:
        bars = cycles.bars(D, max_edge_length, points_of_each, born)
    for dim, found in enumerate(bars):
        birth_edges, death_edges = found.bars[..., :2], found.bars[..., 2:]
        deaths = lengths(death_edges)
        at_zero = dim == 0 and births is None
        if at_zero or (dim == 1 and max_edge_length is None):
            essential_births = deaths.new_zeros(found.essential_mask.shape)
        else:
            essential_births = lengths(found.essential_edges)
        known = {
            "births": torch.zeros_like(deaths) if at_zero else lengths(birth_edges),
            "deaths": deaths,
            "birth_edges": birth_edges,
            "death_edges": death_edges,
            "mask": found.mask,
            "essential_births": essential_births,
            "essential_edges": found.essential_edges,
            "essential_mask": found.essential_mask,
        }
        fields.append((None, known))
    return fields


def _from_birth_on(
    lengths: Callable[[Tensor], Tensor], births: Tensor
) -> Callable[[Tensor], Tensor]:
    """When edges enter, by their `lengths`; NaN for clouds whose births are not all finite."""
    when = entering(lambda edges, _: lengths(edges), births)
    finite = births.isfinite().all(-1, keepdim=True)
    return lambda edges: when(edges, edges).where(finite, torch.nan)


def _where_possible(
    lengths: Callable[[Tensor], Tensor], points_of_each: Tensor, n: int
) -> Callable[[Tensor], Tensor]:
    """`lengths`, NaN for clouds whose number of points, at which nothing looked, is impossible."""
    possible = (points_of_each >= 0) & (points_of_each <= n)
    return lambda edges: lengths(edges).where(possible.unsqueeze(-1), torch.nan)


def _checked_matrix(D: Tensor, max_dim: int, missing_edges: bool) -> tuple[Tensor, Tensor | None]:
    """A precomputed matrix once it was found to be one, or else the answer of the device, bool.

    H1 of a CUDA matrix needs it on the host anyhow, so there it is checked as on the CPU. For H0
    alone the device checks it.
    """
    if D.device.type == "cuda" and max_dim == 0:
        return checked_on_device(D, missing_edges)
    if ops.is_transformed():
        D = ops.checked_matrix(D)
    else:
        require_distance_matrix(D)
    return _of_upper_triangle(D), None


def checked_on_device(D: Tensor, missing_edges: bool) -> tuple[Tensor, Tensor]:
    """A matrix made symmetric, and the answer of its device, bool [...], for which nothing waits.

    What is no distance matrix becomes 0, for the kernels rely on its symmetry.
    """
    valid = is_distance_matrix(D, missing_edges)
    return _of_upper_triangle(D.where(valid[..., None, None], 0)), valid


def _of_upper_triangle(D: Tensor) -> Tensor:
    upper = D.triu(1)
    return upper + upper.mT


def is_distance_matrix(D: Tensor, missing_edges: bool = False) -> Tensor:
    """Whether each is symmetric, non-negative and 0 on its diagonal, up to rounding, bool [...].

    The rule is that of `_C.first_matrix_fault`, which `rips_persistence` documents, asked without
    waiting for a device. Infinity is an entry where there may be `missing_edges`.
    """
    is_diagonal = torch.eye(D.shape[-1], dtype=torch.bool, device=D.device)
    mirrored = D.mT.masked_fill(is_diagonal, 0)
    within = D.eq(mirrored) | _is_rounded(D, mirrored, is_diagonal)
    within &= (D >= 0) | is_diagonal
    if not missing_edges:
        within &= D.isfinite()
    return within.all(-1).all(-1)


def _is_rounded(D: Tensor, mirrored: Tensor, is_diagonal: Tensor) -> Tensor:
    """Where entries [..., n, n] differ from those they should equal by rounding alone."""
    off, total = (D - mirrored).abs(), D.abs() + mirrored.abs()
    # By sorting, for torch's median is refused where deterministic algorithms are asked for.
    lengths = D.masked_fill(is_diagonal | ~D.isfinite(), torch.nan).sort(-1).values  # NaN last
    middle = (lengths.isfinite().sum(-1, keepdim=True) - 1).clamp(min=0) // 2
    medians = lengths.gather(-1, middle).nan_to_num(0)  # [..., n, 1]
    typical = torch.maximum(medians, medians.mT)
    printed = off <= 1e-5 * torch.maximum(D.abs(), mirrored.abs())
    summed = off / typical * (total / typical) <= 256 * torch.finfo(D.dtype).eps
    return (printed | summed) & off.isfinite()


def _gather_edges(D: Tensor, edges: Tensor) -> Tensor:
    """D[i, j] for the edges (i, j) [..., K, 2]; padding -1 gives 0, without a gradient."""
    i, j = edges.clamp(min=0).unbind(-1)
    entries = D.flatten(-2).gather(-1, i * D.shape[-1] + j)  # [..., K]
    return entries.where(edges[..., 0] >= 0, 0)


def _as_it_is(lengths: Tensor) -> Tensor:
    return lengths
