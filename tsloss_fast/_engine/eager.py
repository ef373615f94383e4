"""The one door to distances and diagrams: each call goes the shortest way that its tensors allow.

Plain CPU tensors go straight to the compiled module, past the operators, which take longer than 20
points do. All others, on CUDA, compiled, mapped over or of a class of their own, go through the
operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from tsloss_fast._checks import check_square
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import (
    _C,
    host_array,
    matrix_error,
    require_distance_matrix,
    require_finite,
)

# A diagram of one dimension: the arrays of its fields, and those fields that are tensors already,
# by name. Without arrays all fields are.
Fields = tuple[Any, dict[str, Tensor]]

# From edges [..., M, 2] and their Euclidean lengths [..., M] to their lengths in the graph.
Lengths = Callable[[Tensor, Tensor], Tensor]


def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances [..., n, n] of the rows of ``x`` [..., n, d], in its graph."""
    if ops.is_plain(x) and not ops.wants_gradient(x):
        return ops.eager_distances(x)
    return ops.pairwise_distances(x)


def rips_of_matrix(D: Tensor, max_dim: int) -> Sequence[Fields]:
    """The diagrams of dimensions 0 to ``max_dim`` of what should be matrices ``D`` [..., n, n].

    Raises
    ------
    TypeError, ValueError
        ``D`` is no tensor of distance matrices.
    """
    is_plain = ops.is_plain(D)
    found = _checked_rips(D, max_dim) if is_plain else None
    if found is None:
        check_square(D)
        D = ops.at_least_float32(D)
        if not is_plain:
            return _traced_of_matrix(D, max_dim)
        found = _checked_rips(D.contiguous(), max_dim)
    if ops.wants_gradient(D):
        return _measured(found, lambda edges, _: _gather_edges(D, edges))
    return [(arrays, {}) for arrays in found]


def rips_of_points(
    points: Tensor, max_dim: int, measure: Callable[[Tensor], Tensor] | None
) -> Sequence[Fields]:
    """The diagrams of ``points`` [..., n, d]; ``measure`` gives the metric's lengths of Euclidean
    ones, where it is another metric."""
    if not ops.is_plain(points):
        return _traced_of_points(points, max_dim, measure or _as_it_is)
    threads = torch.get_num_threads()
    D = _C.distances(host_array(points), threads)
    require_finite(D, points, "x")
    found = _C.rips(D, max_dim, None, threads)
    if ops.wants_gradient(points):
        of = measure or _as_it_is
        return _measured(
            found, lambda edges, lengths: of(ops.measured_edges(points, edges, lengths))
        )
    if measure is not None:
        return _measured(found, lambda _, lengths: measure(lengths))
    return [(arrays, {}) for arrays in found]


def _checked_rips(D: Tensor, max_dim: int) -> Any:
    """The engine's diagrams of a plain ``D``, or None where it is not what the engine reads."""
    found = _C.rips_of_tensor(to_dlpack(D), max_dim, torch.get_num_threads())
    if found is not None and isinstance(found[0], str):
        raise matrix_error(D, found)
    return found


def _measured(found: Any, lengths: Lengths) -> Sequence[Fields]:
    """The engine's diagrams with their births and deaths from one call of `lengths`.

    Classes of H0 are born with vertices, at 0.
    """
    fields: list[Fields] = [(arrays, {}) for arrays in found]
    ends = [
        (arrays, known, end)
        for dim, (arrays, known) in enumerate(fields)
        for end in ("birth", "death")
        if (dim, end) != (0, "birth")
    ]
    for arrays, known, end in ends:
        known[f"{end}_edges"] = torch.from_numpy(getattr(arrays, f"{end}_edges"))
    values = [torch.from_numpy(getattr(arrays, f"{end}s")) for arrays, _, end in ends]
    edges = torch.cat([known[f"{end}_edges"] for _, known, end in ends], dim=-2)
    measured = lengths(edges, torch.cat(values, dim=-1))
    parts = measured.split([part.shape[-1] for part in values], dim=-1)
    for (_, known, end), part in zip(ends, parts, strict=True):
        known[f"{end}s"] = part
    return fields


def _traced_of_points(
    points: Tensor, max_dim: int, measure: Callable[[Tensor], Tensor]
) -> Sequence[Fields]:
    D = ops.pairwise_distances(points.detach())
    return _traced(D, max_dim, lambda edges: measure(ops.edge_lengths(points, edges)))


def _traced_of_matrix(D: Tensor, max_dim: int) -> Sequence[Fields]:
    checked, valid = _checked_matrix(D.detach(), max_dim)

    def lengths(edges: Tensor) -> Tensor:
        entries = _gather_edges(D, edges)
        return entries if valid is None else entries.where(valid.unsqueeze(-1), torch.nan)

    return _traced(checked, max_dim, lengths)


def _traced(D: Tensor, max_dim: int, lengths: Callable[[Tensor], Tensor]) -> Sequence[Fields]:
    """The diagrams by the operator, all fields of them tensors."""
    fields: list[Fields] = []
    for dim, found in enumerate(ops.bars_by_dimension(D.detach(), max_dim)):
        birth_edges, death_edges = found.bars[..., :2], found.bars[..., 2:]
        deaths = lengths(death_edges)
        known = {
            "births": torch.zeros_like(deaths) if dim == 0 else lengths(birth_edges),
            "deaths": deaths,
            "birth_edges": birth_edges,
            "death_edges": death_edges,
            "mask": found.mask,
            "essential_births": deaths.new_zeros(found.essential_mask.shape),
            "essential_edges": found.essential_edges,
            "essential_mask": found.essential_mask,
        }
        fields.append((None, known))
    return fields


def _checked_matrix(D: Tensor, max_dim: int) -> tuple[Tensor, Tensor | None]:
    """A precomputed matrix once it was found to be one, or else the answer of the device, bool.

    H1 of a CUDA matrix needs it on the host anyhow, so there it is checked as on the CPU. For H0
    alone the device checks it: what is no distance matrix becomes 0, for the kernels rely on its
    symmetry, and its lengths NaN.
    """
    if D.device.type != "cuda" or max_dim > 0:
        if ops.is_transformed():
            return ops.checked_matrix(D), None
        require_distance_matrix(D)
        return D, None
    valid = is_distance_matrix(D)  # [...]
    return D.where(valid[..., None, None], 0), valid


def is_distance_matrix(D: Tensor) -> Tensor:
    """Whether each matrix is symmetric, finite, non-negative and 0 on its diagonal, bool [...]."""
    entries = ((D.mT == D) & (D >= 0) & D.isfinite()).all(-1).all(-1)
    return entries & (D.diagonal(dim1=-2, dim2=-1) == 0).all(-1)


def _gather_edges(D: Tensor, edges: Tensor) -> Tensor:
    """D[i, j] for the edges (i, j) [..., K, 2]; padding -1 gives 0, without a gradient."""
    i, j = edges.clamp(min=0).unbind(-1)
    entries = D.flatten(-2).gather(-1, i * D.shape[-1] + j)  # [..., K]
    return entries.where(edges[..., 0] >= 0, 0)


def _as_it_is(lengths: Tensor) -> Tensor:
    return lengths
