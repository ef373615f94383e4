"""Exact Rips persistence with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tsloss_fast._checks import check_choice, check_cloud, check_dense, check_number
from tsloss_fast._engine import eager
from tsloss_fast._engine.padding import filled_points
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import (
    BY_EUCLIDEAN,
    METRICS,
    Metric,
    metric_lengths,
    metric_points,
    named_metric,
    pairwise_distances,
    ragged_distances,
)
from tsloss_fast.persistence.ragged import (
    Clouds,
    Lengths,
    is_ragged,
    packed_matrices,
    padded_births,
    padded_matrices,
    padded_points,
    plain_clouds,
    sizes_of,
)
from tsloss_fast.persistence.sparse import dense_distances, each_dense, holds_sparse, is_sparse

_METRICS = (*METRICS, "precomputed")


def rips_persistence(
    x: Clouds,
    max_dim: int = 1,
    metric: Metric = "euclidean",
    max_edge_length: float | None = None,
    lengths: Lengths | None = None,
    vertex_births: Clouds | None = None,
    *,
    p: float | None = None,
) -> tuple[PersistenceDiagram, ...]:
    """Persistence diagrams of the Vietoris-Rips filtration, exact over Z/2.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
        Points or distances; float16, bfloat16, float32 or float64, on the CPU or on CUDA. Clouds of
        different sizes are a list or tuple of tensors [n_i, d] or [n_i, n_i], a nested tensor
        (``torch.jagged`` or strided), or a padded tensor with `lengths`.
    max_dim : {0, 1}
        The highest homology dimension.
    metric : str or callable
        ``"precomputed"``, or as `pairwise_distances` has it. A precomputed matrix, and what a
        callable gives, must be symmetric, non-negative, and 0 on the diagonal, up to rounding (see
        the notes); it need not obey the triangle inequality. An infinite entry says that there is
        no edge. A precomputed matrix may be sparse, one matrix [n, n] of SciPy or of torch: an
        entry that is not stored is no edge, a stored zero is an edge of length zero (not in BSR,
        BSC and DIA, which store zeros that nobody meant), and each edge may be stored once or on
        both sides of the diagonal. The work is done on a dense copy.
    max_edge_length : float, optional
        Longer edges are absent; an edge of just this length is kept, as gudhi's `max_edge_length`
        and ripser's `thresh` keep it. It is rounded to the dtype of the distances before it is
        compared with them.
    lengths : Tensor, shape [...], int64 or int32, or whole numbers, optional
        How many points each cloud of a padded `x` has, 0 to n: the first rows, and columns of a
        matrix. What stands behind them is never read, and its gradient is 0.
    vertex_births : Tensor, shape [..., n], optional
        When each point is born, instead of at 0; negative values too, and differentiable. An edge
        ij enters at the largest of its length and the births of i and j, and `max_edge_length`
        bounds that: points born later are absent too. Leading dimensions are broadcast; beside a
        list of clouds it is a list of tensors [n_i], or padded.
    p : float, >= 1
        The power of ``"minkowski"``; 2 unless given.

    Returns
    -------
    tuple of PersistenceDiagram
        H0, and H1 where `max_dim` is 1. Births and deaths are diameters: lengths of edges, in the
        units of the distances; float32 for half inputs. Where edges are missing, components may
        stay apart and loops unfilled: these classes never die, and are in the diagrams' essential
        fields, not among the bars, so that each lifetime is finite. Clouds of different sizes give
        the diagrams of a batch, padded to the largest; a cloud without points has no class at all.

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

    With `vertex_births` the length in this order is when the edge enters, and the elder of two
    components is the one whose eldest vertex was born first, of equal births the smaller vertex.
    H0 keeps its bars of length zero, of vertices that are joined as soon as they are born, and
    lists its classes that never die in order of birth. Of an edge that enters at several of its
    length and births at once the gradient goes to the length, and of two births to the smaller
    vertex's. A length is never below 0, so no edge enters there: to filter a graph by heights below
    0 alone, add a constant to them.

    A matrix is symmetric up to rounding where of each two mirrored entries a and b
    ``|a - b| <= 1e-5 max(a, b)``, as for one that was printed; or
    ``|a^2 - b^2| <= 256 eps m^2``, with eps of the dtype and m the larger median of the finite
    distances in their two rows, as for ``torch.cdist(y, y)``, which forms ``|a|^2 + |b|^2 - 2ab``.
    On the diagonal b is 0. Then the entries [i, j], i < j, are the distances. H0 alone of a CUDA
    tensor, whose values nothing waits for, takes infinity to be an error unless `max_edge_length`
    is given: infinity there says that edges may be missing, and no more. The essential fields of H0
    are then padded to n.

    Gradients are those of the critical edges' lengths: exact where the order of the edges is
    locally constant, one valid subgradient at ties, and 0 at coincident points. With a precomputed
    matrix they go to the entries [i, j] with i < j.

    Clouds of different sizes are shared among threads the largest first. On the CPU they take
    memory for their own matrices; compiled, mapped over or on CUDA, for n x n each. On CUDA a
    nested tensor waits for the device, as does a callable metric with `lengths` there, and lengths
    that are no numbers of points give NaN for H0 alone; lists and `lengths` do not wait.

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

    Without the diagonals nothing fills it:

    >>> h0, h1 = tsl.rips_persistence(square, max_edge_length=1.2)
    >>> h1.pairs, h1.essential_births
    (tensor([], size=(0, 2)), tensor([1.]))

    Clouds of different sizes in one call:

    >>> (h0,) = tsl.rips_persistence([square, square[:2], square[:1]], max_dim=0)
    >>> h0.deaths, h0.mask.sum(-1)
    (tensor([[1., 1., 1.],
            [1., 0., 0.],
            [0., 0., 0.]]), tensor([3, 1, 0]))
    """
    return rips_diagrams(x, max_dim, metric, max_edge_length, p, lengths, vertex_births)


def rips_diagrams(
    x: Clouds,
    max_dim: int,
    metric: Metric,
    max_edge_length: float | None,
    p: float | None,
    lengths: Lengths | None,
    vertex_births: Clouds | None,
    cycles: eager.CycleFinder | None = None,
) -> tuple[PersistenceDiagram, ...]:
    """`rips_persistence`, by `cycles` where these are asked for."""
    max_dim = check_choice(as_int(max_dim), "max_dim", (0, 1))
    if max_edge_length is not None:
        max_edge_length = check_number(max_edge_length, "max_edge_length", least=0, infinite=True)
    if lengths is not None or vertex_births is not None or is_ragged(x) or holds_sparse(x):
        born = _Births(vertex_births, x)
        return _of_ragged(x, max_dim, metric, max_edge_length, p, lengths, born, cycles)
    if metric == "precomputed" and is_sparse(x):
        x = dense_distances(x)
    if callable(metric):
        return _of_callable(pairwise_distances(x, metric, p=p), max_dim, max_edge_length, cycles)
    name, power = named_metric(metric, p, _METRICS)
    if power is not None or _compares_lifetimes(cycles, name):
        x, name = pairwise_distances(x, metric, p=p), "precomputed"
    return _of_named(x, max_dim, name, max_edge_length, cycles)


def _compares_lifetimes(cycles: eager.CycleFinder | None, metric: str) -> bool:
    """Whether lifetimes are compared that are not those of the points' Euclidean distances."""
    return cycles is not None and cycles.most is not None and metric in BY_EUCLIDEAN[1:]


class _Births(NamedTuple):
    """What the caller says of the births of vertices, and of which clouds."""

    given: Clouds | None
    clouds: Clouds

    def are_plain(self) -> bool:
        of_each = self.given if isinstance(self.given, (list, tuple)) else [self.given]
        return eager.reads_directly(of_each)

    def padded(self, sizes: Tensor, n: int, like: Tensor) -> Tensor | None:
        """Births [..., n] in the dtype of `like`, for clouds of these sizes [...]."""
        if self.given is None:
            return None
        return padded_births(self.given, self.clouds, sizes, n, like.dtype)


def _of_ragged(
    x: Clouds,
    max_dim: int,
    metric: Metric,
    max_edge_length: float | None,
    p: float | None,
    lengths: Lengths | None,
    births: _Births,
    cycles: eager.CycleFinder | None,
) -> tuple[PersistenceDiagram, ...]:
    """`rips_diagrams` of clouds of different sizes, or of vertices that are not born at 0."""
    if callable(metric):
        D, sizes = ragged_distances(x, metric, p, lengths)
        try:
            return _of_matrices(D, max_dim, max_edge_length, sizes, births, cycles)
        except ValueError as error:
            if str(error).startswith("vertex_births"):
                raise
            raise _metric_error(error) from None
    name, power = named_metric(metric, p, _METRICS)
    if power is not None or _compares_lifetimes(cycles, name):
        D, sizes = ragged_distances(x, metric, p, lengths)
        return _of_matrices(D, max_dim, max_edge_length, sizes, births, cycles)
    if name == "precomputed":
        return _of_matrices(each_dense(x), max_dim, max_edge_length, lengths, births, cycles)
    if name == "euclidean" and cycles is None and births.are_plain():
        clouds = plain_clouds(x, lengths)
        if clouds is not None:
            sizes = sizes_of(clouds)
            born = births.padded(sizes, max(1, *map(len, clouds)), clouds[0])
            fields = eager.rips_of_clouds(clouds, sizes, max_dim, max_edge_length, born)
            return _diagrams(fields)
    points, sizes = padded_points(x, lengths)
    if name != "euclidean" or lengths is not None:
        points = filled_points(points, sizes)
    born = births.padded(sizes, points.shape[-2], points)
    measure = None if name == "euclidean" else partial(metric_lengths, metric=name)
    points = metric_points(points, name)
    return _diagrams(
        eager.rips_of_ragged_points(points, sizes, max_dim, measure, max_edge_length, born, cycles)
    )


def _of_matrices(
    D: Clouds,
    max_dim: int,
    max_edge_length: float | None,
    lengths: Lengths | None,
    births: _Births,
    cycles: eager.CycleFinder | None,
) -> tuple[PersistenceDiagram, ...]:
    if isinstance(D, Tensor) and D.is_nested:
        D = D.unbind()
    given = [*([D] if isinstance(D, Tensor) else D), lengths]
    if cycles is None and births.are_plain() and eager.reads_directly(given):
        packed, sizes, n = packed_matrices(D, lengths)
        born = births.padded(sizes, n, packed)
        return _diagrams(eager.rips_of_matrices(packed, sizes, n, max_dim, max_edge_length, born))
    padded, sizes = padded_matrices(D, lengths)
    born = births.padded(sizes, padded.shape[-1], padded)
    return _diagrams(
        eager.rips_of_padded_matrices(padded, sizes, max_dim, max_edge_length, born, cycles)
    )


def as_int(value: Any) -> Any:
    """Whole numbers of NumPy as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.integer) else value


def _of_callable(
    D: Tensor, max_dim: int, max_edge_length: float | None, cycles: eager.CycleFinder | None
) -> tuple[PersistenceDiagram, ...]:
    try:
        return _of_named(D, max_dim, "precomputed", max_edge_length, cycles)
    except ValueError as error:
        raise _metric_error(error) from None


def _metric_error(error: ValueError) -> ValueError:
    return ValueError(f"metric: expected a function that gives distances, got {error}")


def _of_named(
    x: Any,
    max_dim: int,
    metric: str,
    max_edge_length: float | None,
    cycles: eager.CycleFinder | None,
) -> tuple[PersistenceDiagram, ...]:
    """`rips_diagrams` of checked arguments, but for `x`, which may be no tensor."""
    if metric == "precomputed":
        if isinstance(x, Tensor):
            check_dense(x, "x")
        fields = eager.rips_of_matrix(x, max_dim, max_edge_length, cycles)
    else:
        check_cloud(x)
        points = metric_points(x, metric)
        measure = None if metric == "euclidean" else partial(metric_lengths, metric=metric)
        fields = eager.rips_of_points(points, max_dim, measure, max_edge_length, cycles)
    return _diagrams(fields)


def _diagrams(fields: Sequence[eager.Fields]) -> tuple[PersistenceDiagram, ...]:
    return tuple([_diagram(arrays, known) for arrays, known in fields])


def _diagram(arrays: Any, known: dict[str, Tensor]) -> PersistenceDiagram:
    if arrays is None:
        return PersistenceDiagram(**known)
    return PersistenceDiagram._of_engine(arrays, known)
