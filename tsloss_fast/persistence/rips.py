"""Exact Rips persistence with gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsloss_fast._checks import check_choice, check_cloud, check_square
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import require_distance_matrix
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import METRICS, metric_lengths, metric_points


def rips_persistence(
    x: Tensor, max_dim: int = 1, metric: str = "euclidean"
) -> tuple[PersistenceDiagram, ...]:
    """Persistence diagrams of the Vietoris-Rips filtration, exact over Z/2.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
        Points or distances; float16, bfloat16, float32 or float64, on the CPU or on CUDA.
    max_dim : {0, 1}
        The highest homology dimension.
    metric : {"euclidean", "cosine", "precomputed"}
        A precomputed matrix must be exactly symmetric, non-negative, finite, and 0 on the
        diagonal; it need not obey the triangle inequality.

    Returns
    -------
    tuple of PersistenceDiagram
        H0, and H1 where `max_dim` is 1. Births and deaths are diameters: lengths of edges, in the
        units of the distances; float32 for half inputs. No threshold is applied.

    Raises
    ------
    TypeError, ValueError
        As `pairwise_distances` does, and for a matrix that is no distance matrix: the message
        names the first entry at fault.
    ImportError
        A CUDA tensor, and no Triton.

    Notes
    -----
    On CUDA, H0 is all kernels: nothing waits for the device, and so NaN, infinity and a matrix that
    is no distance matrix give NaN instead of an error. H1 is computed on the host, to which the
    distances are copied (a precomputed matrix twice); the call waits for that, and bad values are
    errors again. The edges are those that the CPU finds on the same distances, but CUDA's distances
    may differ from the CPU's in their last digits, and with them the order of near ties.

    Edges enter the filtration in the total order of (length, i, j), i < j, so ties are broken the
    same way on every run. Two components merge by the elder rule, older meaning the smaller
    smallest vertex: every vertex but 0 dies once, as the birth vertex of one H0 bar.

    Gradients are those of the critical edges' lengths: exact where the order of the edges is
    locally constant, one valid subgradient at ties, and 0 at coincident points. With a precomputed
    matrix they go to the entries [i, j] with i < j.

    Source: Koyama, Memoli, Robins, Turner, arXiv 2307.16333, for H1 by lune components.

    Examples
    --------
    A square has one loop, born with its sides and filled by its diagonals:

    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> h0, h1 = tsl.rips_persistence(square)
    >>> h0.deaths
    tensor([1., 1., 1.])
    >>> h1.pairs
    tensor([[1.0000, 1.4142]])
    """
    check_choice(metric, "metric", (*METRICS, "precomputed"))
    check_choice(max_dim, "max_dim", (0, 1))
    if metric == "precomputed":
        check_square(x)
        D, valid = _checked_matrix(ops.at_least_float32(x), max_dim)
        if ops.is_plain(D):
            in_graph = (lambda edges, _: _gather_edges(D, edges)) if ops.wants_gradient(D) else None
            return _eager_diagrams(D, max_dim, in_graph)

        def lengths(edges: Tensor) -> Tensor:
            entries = _gather_edges(D, edges)
            return entries if valid is None else entries.where(valid.unsqueeze(-1), torch.nan)

    else:
        check_cloud(x)
        points = metric_points(x, metric)
        if ops.is_plain(points):
            return _eager_diagrams(
                ops.eager_distances(points), max_dim, _lengths_in_graph(points, metric)
            )
        D = ops.pairwise_distances(points.detach())

        def lengths(edges: Tensor) -> Tensor:
            return metric_lengths(ops.edge_lengths(points, edges), metric)

    if max_dim == 0:
        return (_h0_diagram(ops.h0_critical_edges(D.detach()), lengths),)
    h0, h1 = ops.h1_critical_edges(D.detach())
    return _h0_diagram(h0, lengths), _h1_diagram(h1, lengths)


# From edges [..., M, 2] and their Euclidean lengths [..., M] to their lengths in the graph.
Lengths = Callable[[Tensor, Tensor], Tensor]

# Which fields of which dimension's diagram are lengths of edges: births (0) and deaths (1). The
# edges stand two fields further on. H0 is born with vertices, at 0.
MEASURED = ((0, 1), (1, 0), (1, 1))


def _lengths_in_graph(points: Tensor, metric: str) -> Lengths | None:
    """None where the lengths are the Euclidean ones, without a graph."""
    if ops.wants_gradient(points):
        return lambda edges, lengths: metric_lengths(
            ops.measured_edges(points, edges, lengths), metric
        )
    return None if metric == "euclidean" else lambda _, lengths: metric_lengths(lengths, metric)


def _eager_diagrams(
    D: Tensor, max_dim: int, in_graph: Lengths | None
) -> tuple[PersistenceDiagram, ...]:
    """The diagrams of plain matrices by one call of the engine, and one of `in_graph`."""
    fields = ops.eager_diagrams(D, max_dim)
    if in_graph is not None:
        measured = [(dim, end) for dim, end in MEASURED if dim <= max_dim]
        edges = torch.cat([fields[dim][end + 2] for dim, end in measured], dim=-2)
        known = [fields[dim][end] for dim, end in measured]
        lengths = in_graph(edges, torch.cat(known, dim=-1))
        parts = lengths.split([part.shape[-1] for part in known], dim=-1)
        for (dim, end), part in zip(measured, parts, strict=True):
            fields[dim][end] = part
    return tuple(PersistenceDiagram(*each) for each in fields)


def _checked_matrix(D: Tensor, max_dim: int) -> tuple[Tensor, Tensor | None]:
    """A precomputed matrix once it was found to be one, or else the answer of the device, bool.

    H1 of a CUDA matrix needs it on the host anyhow, so there it is checked as on the CPU. For H0
    alone the device checks it: what is no distance matrix becomes 0, for the kernels rely on its
    symmetry, and its lengths NaN.
    """
    if D.device.type != "cuda" or max_dim > 0:
        require_distance_matrix(D)
        return D, None
    valid = _is_distance_matrix(D)  # [...]
    return D.where(valid[..., None, None], 0), valid


def _is_distance_matrix(D: Tensor) -> Tensor:
    """Whether each matrix is symmetric, finite, non-negative and 0 on its diagonal, bool [...]."""
    entries = ((D.mT == D) & (D >= 0) & D.isfinite()).all(-1).all(-1)
    return entries & (D.diagonal(dim1=-2, dim2=-1) == 0).all(-1)


def _gather_edges(D: Tensor, edges: Tensor) -> Tensor:
    """D[i, j] for the edges (i, j) [..., K, 2]; padding -1 gives 0, without a gradient."""
    i, j = edges.clamp(min=0).unbind(-1)
    entries = D.flatten(-2).gather(-1, i * D.shape[-1] + j)  # [..., K]
    return entries.where(edges[..., 0] >= 0, 0)


def _h0_diagram(bars: Tensor, lengths: Callable[[Tensor], Tensor]) -> PersistenceDiagram:
    vertices, death_edges = bars[..., :1], bars[..., 1:]
    deaths = lengths(death_edges)
    return PersistenceDiagram(
        births=torch.zeros_like(deaths),
        deaths=deaths,
        birth_edges=vertices.expand_as(death_edges),
        death_edges=death_edges,
        mask=torch.ones_like(deaths, dtype=torch.bool),
    )


def _h1_diagram(bars: Tensor, lengths: Callable[[Tensor], Tensor]) -> PersistenceDiagram:
    birth_edges, death_edges = bars[..., :2], bars[..., 2:]
    return PersistenceDiagram(
        births=lengths(birth_edges),
        deaths=lengths(death_edges),
        birth_edges=birth_edges,
        death_edges=death_edges,
        mask=birth_edges[..., 0] >= 0,
    )
