"""Distances between the points of clouds, all or those of given edges, in several metrics."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tsloss_fast._checks import (
    FLOATING,
    check_choice,
    check_cloud,
    check_number,
    check_square,
    describe,
)
from tsloss_fast._engine import eager
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import host_array, require_finite, require_finite_points
from tsloss_fast._engine.padding import filled_points, without_padding
from tsloss_fast._engine.room import require_room
from tsloss_fast.persistence.norms import norm, pairwise_norms
from tsloss_fast.persistence.ragged import (
    Clouds,
    Lengths,
    is_ragged,
    padded_points,
    separate_clouds,
    stacked_matrices,
)
from tsloss_fast.persistence.sparse import dense_distances, is_sparse

# These come from Euclidean lengths by `metric_points` and `metric_lengths`.
BY_EUCLIDEAN = ("euclidean", "cosine", "correlation")

# These are p-norms of differences, with this p; Minkowski's is the caller's.
POWERS = {"cityblock": 1.0, "chebyshev": math.inf, "minkowski": 2.0}

# The names that `pairwise_distances` takes: SciPy's.
METRICS = (*BY_EUCLIDEAN, *POWERS)

# A name, or a function from points [..., n, d] to distances [..., n, n].
Metric = str | Callable[[Tensor], Tensor]


def pairwise_distances(
    x: Clouds,
    metric: Metric = "euclidean",
    lengths: Lengths | None = None,
    *,
    p: float | None = None,
) -> Tensor:
    """Distances between the rows of each cloud.

    Euclidean distances are sums of squared differences, never ``|a|^2 + |b|^2 - 2ab``, so rows that
    nearly coincide keep all their digits. The result is bitwise symmetric and its diagonal is 0.

    Parameters
    ----------
    x : Tensor, shape [..., n, d]
        float16, bfloat16, float32 or float64, on the CPU or on CUDA; any strides. Clouds of
        different sizes as `rips_persistence` takes them, with or without `lengths`.
    metric : str or callable
        ``"euclidean"``, ``"cosine"``, ``"correlation"``, ``"cityblock"``, ``"chebyshev"`` or
        ``"minkowski"``, as SciPy's ``cdist`` has them. ``"cosine"`` is ``1 - cos(x_i, x_j)``,
        computed as half the squared Euclidean distance of the unit rows, and ``"correlation"`` is
        that of rows less their mean. A callable gets the points, half ones as float32, and gives
        the distances [..., n, n], which are taken as they are. Clouds of different sizes it gets
        one after the other.
    lengths : Tensor, shape [...], optional
        How many points each cloud of a padded `x` has.
    p : float, >= 1
        The power of ``"minkowski"``, which may be infinite; 2 unless given.

    Returns
    -------
    Tensor, shape [..., n, n]
        In the dtype of `x`; float32 for half inputs, which are summed in float32. Behind the points
        that a cloud has, 0.

    Raises
    ------
    TypeError
        `x` is no tensor, or not of a floating dtype.
    ValueError
        Wrong rank, no points, a NaN or infinity (the message gives its index), distances that
        overflow, an unknown metric, a zero row under ``"cosine"``, or a constant one under
        ``"correlation"``.
    ImportError
        A CUDA tensor, and no Triton.

    Notes
    -----
    Differentiable twice; the gradient at coincident points is 0. No metric takes memory for
    n * n * d numbers, except that ``torch.compile`` and a second derivative keep the differences
    of ``"cityblock"``, ``"chebyshev"`` and ``"minkowski"``.

    On CUDA nothing waits for the device: NaN, infinity and a zero row under ``"cosine"`` give NaN
    there instead of an error.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> tsl.pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    >>> tsl.pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), "cityblock")
    tensor([[0., 7.],
            [7., 0.]])
    """
    if lengths is not None or is_ragged(x):
        return ragged_distances(x, metric, p, lengths)[0]
    x = check_cloud(x)
    if callable(metric):
        return _distances_by(metric, x, p)
    metric, power = named_metric(metric, p, METRICS)
    if power is not None:
        return _norms(x, power)
    points = metric_points(x, metric)
    return metric_lengths(eager.pairwise_distances(points), metric)


def ragged_distances(
    x: Clouds, metric: Metric, p: float | None, lengths: Lengths | None
) -> tuple[Tensor, Tensor]:
    """`pairwise_distances` of clouds of different sizes, and their numbers of points [...]."""
    if not callable(metric):
        points, sizes = padded_points(x, lengths)
        D = pairwise_distances(filled_points(points, sizes), metric, p=p)
        return without_padding(D, sizes), sizes
    # A function of one's own may take a mean, or what else padding would have a part in.
    clouds, batch = separate_clouds(x, lengths)
    if not clouds:
        return pairwise_distances(x, metric, p=p), torch.empty(batch, dtype=torch.int64)
    matrices = [
        pairwise_distances(cloud, metric, p=p) if len(cloud) else cloud.new_zeros(0, 0)
        for cloud in clouds
    ]
    D, sizes = stacked_matrices(matrices)
    return D.reshape(*batch, *D.shape[1:]), sizes.reshape(batch)


def named_metric(
    metric: str, p: float | None, allowed: tuple[str, ...]
) -> tuple[str, float | None]:
    """A metric's name, checked, and its power p where it is a norm but the Euclidean."""
    check_choice(metric, "metric", allowed)
    if metric != "minkowski":
        _require_no_power(p, f"{metric!r}")
        return metric, POWERS.get(metric)
    power = POWERS[metric] if p is None else p
    if power != math.inf:
        power = check_number(power, "p", least=1)
    return ("euclidean", None) if power == 2 else (metric, power)


def _require_no_power(p: float | None, metric: str) -> None:
    if p is not None:
        raise ValueError(f"p: expected none for metric {metric}, only 'minkowski' has one, got {p}")


def _norms(x: Tensor, power: float) -> Tensor:
    """Distances [..., n, n] by a p-norm, checked where their values are there to look at."""
    x = ops.at_least_float32(x).contiguous()
    looks = ops.shows_values(x)
    if looks:
        require_room(x)
        require_finite_points(x)
    D = pairwise_norms(x, power)
    if looks:
        require_finite(host_array(D), x, "x")
    return D


def _distances_by(metric: Callable[[Tensor], Tensor], x: Tensor, p: float | None) -> Tensor:
    """The distances that a caller's function gives, once it is found that they may be some."""
    _require_no_power(p, "of your own")
    try:
        D = metric(ops.at_least_float32(x))
    except TypeError as error:
        # Such as one of SciPy's, which takes two rows.
        raise TypeError(
            f"metric: expected a function from points [..., n, d] to distances [..., n, n], got "
            f"one that raised: {error}"
        ) from error
    expected = [*x.shape[:-1], x.shape[-2]]
    if not isinstance(D, Tensor):
        raise TypeError(
            f"metric: expected a function that gives a torch.Tensor {expected}, got "
            f"{type(D).__name__}"
        )
    if D.dtype not in FLOATING or list(D.shape) != expected or D.device != x.device:
        raise ValueError(
            f"metric: expected a function that gives floating distances {expected} on {x.device}, "
            f"got {describe(D)} on {D.device}"
        )
    return ops.at_least_float32(D)


def edge_lengths(
    x: Tensor, edges: Tensor, metric: Metric = "euclidean", *, p: float | None = None
) -> Tensor:
    """Lengths of given edges: distances between pairs of rows of each cloud.

    Takes O(M) memory, and its gradient reaches the two ends of each edge alone. With the critical
    edges of a diagram it gives its births and deaths, on any cloud with as many points. (A norm but
    the Euclidean takes O(M d), and a callable what it takes for all distances.)

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
        Points or distances; float16, bfloat16, float32 or float64, on the CPU or on CUDA.
    edges : Tensor, shape [..., M, 2], int64 or int32
        Pairs of vertices (i, j), on the device of `x`, in any order. A pair (-1, -1) is padding.
        Leading dimensions are broadcast with those of `x`: [M, 2] are edges of every cloud.
    metric, p
        As in `rips_persistence`, sparse matrices too. Of a precomputed matrix the entries [i, j],
        i < j, are taken as they are: the length of a missing edge is infinite.

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
    if callable(metric):
        x, metric, p = pairwise_distances(x, metric, p=p), "precomputed", None
    metric, power = named_metric(metric, p, (*METRICS, "precomputed"))
    if metric == "precomputed":
        x = dense_distances(x) if is_sparse(x) else x
        check_square(x)
    else:
        check_cloud(x)
    _check_edges(edges, x)
    exists = _exist(edges, x.shape[-2])  # [..., M]
    if ops.is_transformed() or x.device.type == "cuda":
        lengths = _lengths(x, edges.where(exists.unsqueeze(-1), -1), metric, power)
        return lengths.where(exists, torch.nan)
    _require_vertices(edges, exists, x.shape[-2])
    if power is not None:
        require_finite_points(ops.at_least_float32(x))
    lengths = _lengths(x, edges, metric, power)
    if metric != "precomputed":
        require_finite(host_array(lengths), x, "x")
    return lengths


def _lengths(x: Tensor, edges: Tensor, metric: str, power: float | None) -> Tensor:
    """`edge_lengths` of edges whose vertices `x` has."""
    is_given = metric == "precomputed" or power is not None
    rows = ops.at_least_float32(x) if is_given else metric_points(x, metric)
    if x.shape[:-2] != edges.shape[:-2]:
        batch = torch.broadcast_shapes(x.shape[:-2], edges.shape[:-2])
        rows = rows.expand(*batch, *rows.shape[-2:])
        edges = edges.expand(*batch, *edges.shape[-2:])
    edges = edges.long()
    if metric == "precomputed":
        return _entries(rows, edges)
    if power is not None:
        return norm(_differences(rows, edges), power)
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
    if x.shape[:-2] == edges.shape[:-2]:
        return
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


def _differences(x: Tensor, edges: Tensor) -> Tensor:
    """x_i - x_j for each edge, [..., M, d]; padding -1 gives 0."""
    ends = edges.clamp(min=0).unsqueeze(-1).expand(*edges.shape, x.shape[-1])  # [..., M, 2, d]
    i, j = ends.unbind(-2)
    return x.gather(-2, i) - x.gather(-2, j)


def metric_points(x: Tensor, metric: str) -> Tensor:
    """The points whose Euclidean distances give the metric, one of `BY_EUCLIDEAN`."""
    x = ops.at_least_float32(x)
    if metric == "euclidean":
        return x
    # One layout, for the order in which a norm is summed follows the strides.
    x = x.contiguous()
    # To look at values on CUDA would wait for the device, and traced values are not there to look
    # at: then 0 / 0 and inf / inf become NaN.
    looks = x.device.type != "cuda" and not ops.is_transformed()
    if looks:
        require_finite_points(x)
    if metric == "correlation":
        x = _centred(x)
    # Rows of largest entry 1 have norms from 1 to sqrt(d): squares neither overflow nor vanish.
    largest = _largest(x)
    if looks:
        _require_nonzero(largest, metric)
    x = x / largest
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / norms


def _centred(x: Tensor) -> Tensor:
    """Rows less their mean, times a power of two, which rounds nothing, so that no sum overflows.

    The mean is taken twice, for the rounding of the first where entries differ by little.
    """
    largest = _largest(x)
    x = x / (largest / (2 * torch.frexp(largest).mantissa))
    x = x - x.mean(-1, keepdim=True)
    return x - x.mean(-1, keepdim=True)


def _largest(x: Tensor) -> Tensor:
    """The largest entry of each row by size, [..., n, 1], without a gradient."""
    return x.detach().abs().amax(-1, keepdim=True)


def metric_lengths(lengths: Tensor, metric: str) -> Tensor:
    """The metric's lengths of edges from the Euclidean ones between `metric_points`."""
    return lengths if metric == "euclidean" else lengths.square() / 2


def _require_nonzero(largest: Tensor, metric: str) -> None:
    # 0 / 0, of a row of zeros, is as constant as any other.
    wrong = ~(largest > 0)
    if wrong.any():
        where = ", ".join(str(int(k)) for k in wrong.nonzero()[0, :-1])
        expected, got = "non-zero rows", "= 0"
        if metric == "correlation":
            expected, got = "rows of different entries", "constant"
        raise ValueError(f"x: expected {expected} for metric={metric!r}, got x[{where}] {got}")
