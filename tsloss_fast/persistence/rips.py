"""Exact Rips persistence with gradients."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from tsloss_fast._checks import check_choice, check_cloud, check_dense, check_number
from tsloss_fast._engine import eager
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import (
    METRICS,
    Metric,
    metric_lengths,
    metric_points,
    named_metric,
    pairwise_distances,
)
from tsloss_fast.persistence.sparse import dense_distances, is_sparse

_METRICS = (*METRICS, "precomputed")


def rips_persistence(
    x: Tensor,
    max_dim: int = 1,
    metric: Metric = "euclidean",
    max_edge_length: float | None = None,
    *,
    p: float | None = None,
) -> tuple[PersistenceDiagram, ...]:
    """Persistence diagrams of the Vietoris-Rips filtration, exact over Z/2.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
        Points or distances; float16, bfloat16, float32 or float64, on the CPU or on CUDA.
    max_dim : {0, 1}
        The highest homology dimension.
    metric : str or callable
        ``"precomputed"``, or as `pairwise_distances` has it. A precomputed matrix, and what a
        callable gives, must be symmetric, non-negative, and 0 on the diagonal, up to rounding (see
        the notes); it need not obey the triangle inequality. An infinite entry says that there is
        no edge. A precomputed matrix may be sparse, one matrix [n, n] of SciPy or of torch (COO,
        CSR, CSC): an entry that is not stored is no edge, a stored zero is an edge of length zero,
        and each edge may be stored once or on both sides of the diagonal. The work is done on a
        dense copy.
    max_edge_length : float, optional
        Longer edges are absent; an edge of just this length is kept, as gudhi's `max_edge_length`
        and ripser's `thresh` keep it. It is rounded to the dtype of the distances before it is
        compared with them.
    p : float, >= 1
        The power of ``"minkowski"``; 2 unless given.

    Returns
    -------
    tuple of PersistenceDiagram
        H0, and H1 where `max_dim` is 1. Births and deaths are diameters: lengths of edges, in the
        units of the distances; float32 for half inputs. Where edges are missing, components may
        stay apart and loops unfilled: these classes never die, and are in the diagrams' essential
        fields, not among the bars, so that each lifetime is finite.

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
    """
    return rips_diagrams(x, max_dim, metric, max_edge_length, p)


def rips_diagrams(
    x: Tensor,
    max_dim: int,
    metric: Metric,
    max_edge_length: float | None,
    p: float | None,
    cycles: eager.CycleFinder | None = None,
) -> tuple[PersistenceDiagram, ...]:
    """`rips_persistence`, by `cycles` where these are asked for."""
    max_dim = check_choice(as_int(max_dim), "max_dim", (0, 1))
    if max_edge_length is not None and max_edge_length != math.inf:
        max_edge_length = check_number(max_edge_length, "max_edge_length", least=0)
    if metric == "precomputed" and is_sparse(x):
        x = dense_distances(x)
    if callable(metric):
        return _of_callable(pairwise_distances(x, metric, p=p), max_dim, max_edge_length, cycles)
    name, power = named_metric(metric, p, _METRICS)
    if power is not None:
        x, name = pairwise_distances(x, metric, p=p), "precomputed"
    return _of_named(x, max_dim, name, max_edge_length, cycles)


def as_int(value: Any) -> Any:
    """Whole numbers of NumPy as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.integer) else value


def _of_callable(
    D: Tensor, max_dim: int, max_edge_length: float | None, cycles: eager.CycleFinder | None
) -> tuple[PersistenceDiagram, ...]:
    try:
        return _of_named(D, max_dim, "precomputed", max_edge_length, cycles)
    except ValueError as error:
        raise ValueError(f"metric: expected a function that gives distances, got {error}") from None


def _of_named(
    x: Tensor,
    max_dim: int,
    metric: str,
    max_edge_length: float | None,
    cycles: eager.CycleFinder | None,
) -> tuple[PersistenceDiagram, ...]:
    """`rips_diagrams` of checked arguments."""
    if metric == "precomputed":
        if isinstance(x, Tensor):
            check_dense(x, "x")
        fields = eager.rips_of_matrix(x, max_dim, max_edge_length, cycles)
    else:
        check_cloud(x)
        points = metric_points(x, metric)
        measure = None if metric == "euclidean" else partial(metric_lengths, metric=metric)
        fields = eager.rips_of_points(points, max_dim, measure, max_edge_length, cycles)
    return tuple([_diagram(arrays, known) for arrays, known in fields])


def _diagram(arrays: Any, known: dict[str, Tensor]) -> PersistenceDiagram:
    if arrays is None:
        return PersistenceDiagram(**known)
    return PersistenceDiagram._of_engine(arrays, known)
