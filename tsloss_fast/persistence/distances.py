"""Distances between the points of clouds, and the metrics that come from Euclidean ones."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast._checks import check_choice, check_cloud
from tsloss_fast._engine import eager
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import require_finite_points

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


def metric_points(x: Tensor, metric: str) -> Tensor:
    """The points whose Euclidean distances give the metric."""
    x = ops.at_least_float32(x)
    if metric == "euclidean":
        return x
    # One layout, for the order in which a norm is summed follows the strides.
    x = x.contiguous()
    # Rows of largest entry 1 have norms from 1 to sqrt(d): squares neither overflow nor vanish.
    largest = x.detach().abs().amax(-1, keepdim=True)  # [..., n, 1]
    # To look at values on CUDA would wait for the device; there 0 / 0 and inf / inf become NaN.
    if x.device.type != "cuda":
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
