"""Distances between the points of clouds, all or those of given edges, in several metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast._checks import check_choice, check_cloud, check_square, describe
from tsloss_fast._engine import eager
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import host_array, require_finite, require_finite_points

# What `pairwise_distances` takes; each comes from Euclidean lengths by `metric_points` and
# `metric_lengths`.
METRICS = ("euclidean", "cosine")


def pairwise_distances(x: Tensor, metric: str = "euclidean") -> Tensor:
    """Distances between the rows of each cloud.

    Euclidean distances are sums of squared differences, never ``|a|^2 + |b|^2 - 2ab``, so rows that
    nearly coincide keep all their digits. The result is bitwise symmetric and its diagonal is 0.

    Parameters
    ----------
    x : Tensor, shape [..., n, d]
        float16, bfloat16, float32 or float64, on the CPU or on CUDA; any strides.
    metric : {"euclidean", "cosine"}
        ``"cosine"`` is ``1 - cos(x_i, x_j)``, computed as half the squared Euclidean distance of
        the unit rows.

    Returns
    -------
    Tensor, shape [..., n, n]
        In the dtype of `x`; float32 for half inputs, which are summed in float32.

    Raises
    ------
    TypeError
        `x` is no tensor, or not of a floating dtype.
    ValueError
        Wrong rank, no points, a NaN or infinity (the message gives its index), distances that
        overflow, an unknown metric, or a zero row under ``"cosine"``.
    ImportError
        A CUDA tensor, and no Triton.

    Notes
    -----
    Differentiable twice; the gradient at coincident points is 0.

    On CUDA nothing waits for the device: NaN, infinity and a zero row under ``"cosine"`` give NaN
    there instead of an error.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> tsl.pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    check_cloud(x)
    check_choice(metric, "metric", METRICS)
    points = metric_points(x, metric)
    return metric_lengths(eager.pairwise_distances(points), metric)


def edge_lengths(x: Tensor, edges: Tensor, metric: str = "euclidean") -> Tensor:
    """Lengths of given edges: distances between pairs of rows of each cloud.

    Takes O(M) memory, and its gradient reaches the two ends of each edge alone. With the critical
    edges of a diagram it gives its births and deaths, on any cloud with as many points.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
        Points or distances; float16, bfloat16, float32 or float64, on the CPU or on CUDA.
    edges : Tensor, shape [..., M, 2], int64 or int32
        Pairs of vertices (i, j), on the device of `x`, in any order. A pair (-1, -1) is padding.
        Leading dimensions are broadcast with those of `x`: [M, 2] are edges of every cloud.
    metric : {"euclidean", "cosine", "precomputed"}
        As in `rips_persistence`. Of a precomputed matrix the entries [i, j], i < j, are taken as
        they are.

    Returns
    -------
    Tensor, shape [..., M]
        0 for padding and for an edge (v, v). In the dtype of `x`; float32 for half inputs.

    Raises
    ------
    TypeError, ValueError
        As `pairwise_distances` does, for `edges` of another shape, dtype or device, and for a
        vertex that `x` does not have: the message names it.

    Notes
    -----
    Differentiable twice; the gradient at coincident points is 0. On CUDA, and under
    ``torch.compile`` or ``torch.func``, nothing looks at values: an edge with a vertex that `x`
    does not have gives NaN there.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]])
    >>> tsl.edge_lengths(x, torch.tensor([[0, 1], [2, 1], [-1, -1]]))
    tensor([5., 4., 0.])
    """
    check_choice(metric, "metric", (*METRICS, "precomputed"))
    if metric == "precomputed":
        check_square(x)
    else:
        check_cloud(x)
    _check_edges(edges, x)
    exists = _exist(edges, x.shape[-2])  # [..., M]
    if ops.is_transformed() or x.device.type == "cuda":
        lengths = _lengths(x, edges.where(exists.unsqueeze(-1), -1), metric)
        return lengths.where(exists, torch.nan)
    _require_vertices(edges, exists, x.shape[-2])
    lengths = _lengths(x, edges, metric)
    if metric != "precomputed":
        require_finite(host_array(lengths), x, "x")
    return lengths


def _lengths(x: Tensor, edges: Tensor, metric: str) -> Tensor:
    """`edge_lengths` of edges whose vertices `x` has."""
    rows = ops.at_least_float32(x) if metric == "precomputed" else metric_points(x, metric)
    batch = torch.broadcast_shapes(x.shape[:-2], edges.shape[:-2])
    rows = rows.expand(*batch, *rows.shape[-2:])
    edges = edges.long().expand(*batch, *edges.shape[-2:])
    if metric == "precomputed":
        return _entries(rows, edges)
    return metric_lengths(ops.edge_lengths(rows, edges), metric)


def _check_edges(edges: object, x: Tensor) -> None:
    if not isinstance(edges, Tensor):
        raise TypeError(f"edges: expected a torch.Tensor [..., M, 2], got {type(edges).__name__}")
    if edges.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"edges: expected int64 or int32, got {describe(edges)}")
    if edges.ndim < 2 or edges.shape[-1] != 2:
        raise ValueError(f"edges: expected pairs of vertices [..., M, 2], got {describe(edges)}")
    if edges.device != x.device:
        raise ValueError(f"edges: expected the device of x, {x.device}, got {edges.device}")
    try:
        torch.broadcast_shapes(x.shape[:-2], edges.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"edges: expected leading dimensions that broadcast with those of x, "
            f"{list(x.shape[:-2])}, got {describe(edges)}"
        ) from None


def _exist(edges: Tensor, n: int) -> Tensor:
    """Which edges [..., M, 2] are edges of n points or padding, bool [..., M]."""
    return ((edges >= 0) & (edges < n)).all(-1) | (edges == -1).all(-1)


def _require_vertices(edges: Tensor, exists: Tensor, n: int) -> None:
    if exists.all():
        return
    place = (~exists).nonzero()[0].tolist()
    edge = tuple(edges[tuple(place)].tolist())
    raise ValueError(
        f"edges: expected vertices from 0 to {n - 1}, or (-1, -1) as padding, "
        f"got edges[{', '.join(map(str, place))}] = {edge}"
    )


def _entries(D: Tensor, edges: Tensor) -> Tensor:
    """D[i, j], i < j, for the edges [..., M, 2]; 0 without a gradient for padding and i = j."""
    ends = edges.clamp(min=0)
    i, j = ends.amin(-1), ends.amax(-1)  # [..., M]
    return D.flatten(-2).gather(-1, i * D.shape[-1] + j).where(i < j, 0)


def metric_points(x: Tensor, metric: str) -> Tensor:
    """The points whose Euclidean distances give the metric."""
    x = ops.at_least_float32(x)
    if metric == "euclidean":
        return x
    # One layout, for the order in which a norm is summed follows the strides.
    x = x.contiguous()
    # Rows of largest entry 1 have norms from 1 to sqrt(d): squares neither overflow nor vanish.
    largest = x.detach().abs().amax(-1, keepdim=True)  # [..., n, 1]
    # To look at values on CUDA would wait for the device, and traced values are not there to look
    # at: then 0 / 0 and inf / inf become NaN.
    if x.device.type != "cuda" and not ops.is_transformed():
        require_finite_points(x)
        _require_nonzero(largest)
    x = x / largest
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def metric_lengths(lengths: Tensor, metric: str) -> Tensor:
    """The metric's lengths of edges from the Euclidean ones between `metric_points`."""
    return lengths if metric == "euclidean" else lengths.square() / 2


def _require_nonzero(largest: Tensor) -> None:
    zero = (largest == 0).nonzero()
    if len(zero):
        where = ", ".join(str(int(k)) for k in zero[0, :-1])
        raise ValueError(f"x: expected non-zero rows for metric='cosine', got x[{where}] = 0")
