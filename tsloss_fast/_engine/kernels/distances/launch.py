"""Euclidean distances between the rows of a batch of clouds."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast._checks import FLOATING, describe
from tsloss_fast._engine.kernels.checks import check_device, check_tensor
from tsloss_fast._engine.kernels.distances.direct import _direct_kernel, fill_direct
from tsloss_fast._engine.kernels.distances.product import fill_by_product

# Up to here direct differences took an H200 less time than a product and its three other launches.
MAX_DIRECT_POINTS = 1024


def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances ``||x_i - x_j||``, accurate for near-duplicate rows at every n.

    float64, and clouds of up to 1024 points: sums of squared coordinate differences. Larger clouds:
    a three-term tf32 product of the rows less their mean, with sums of differences again for each
    tile that holds a pair whose square is less than half of the two rows' squared norms. The
    error is bounded by a relative 1e-5 up to d = 1770, and 2.3e-5 at d = 5120:
    `product` derives it.

    Parameters
    ----------
    x : Tensor [B, n, d]
        float16, bfloat16, float32 or float64, any strides. CUDA, or CPU under Triton's
        interpreter.

    Returns
    -------
    Tensor [B, n, n]
        float64 for float64 input, else float32. Symmetric to the bit, with a zero diagonal; the
        same bits on every run, and for a cloud alone as in a batch. Squares may leave the range of
        the dtype: such pairs, and equal rows, are summed a second time with scaled differences. A
        NaN or an infinity in a row makes all its distances NaN or infinite, its entry on the
        diagonal included; nothing is raised, since the device is not waited for. The result
        carries no gradient of its own.

    Raises
    ------
    TypeError
        If `x` is no tensor or of another dtype.
    ValueError
        If `x` has another rank, no point or no coordinate, or is on another device.

    Examples
    --------
    In Triton's interpreter; on a GPU the tensors must be there.

    >>> import torch
    >>> from tsloss_fast._engine.kernels.distances import pairwise_distances
    >>> pairwise_distances(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]))
    tensor([[[0., 5.],
             [5., 0.]]])
    """
    check_tensor(x, "x", "points [B, n, d]", 3, FLOATING)
    n, d = x.shape[1:]
    if n == 0 or d == 0:
        raise ValueError(f"x: expected at least one point and coordinate, got {describe(x)}")
    check_device(x, "x", _direct_kernel)
    return unchecked_distances(x)


def unchecked_distances(x: Tensor) -> Tensor:
    """`pairwise_distances` of points that were checked."""
    B, n, _ = x.shape
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    direct = dtype == torch.float64 or n <= MAX_DIRECT_POINTS
    fill = fill_direct if direct else fill_by_product
    D = torch.empty((B, n, n), dtype=dtype, device=x.device)
    if B:
        with torch.cuda.device_of(x):
            fill(x, D)
    return D
