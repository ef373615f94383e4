"""H0 of a batch of distance matrices: the kernels that its size and dtype ask for."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from tsloss_fast._checks import MAX_POINTS, describe
from tsloss_fast._engine.kernels.checks import check_device, check_programs, check_tensor
from tsloss_fast._engine.kernels.h0 import large, small
from tsloss_fast._engine.kernels.h0.elder import elder_bars

# torch.sort takes up to 2**31 - 1 entries, here the n * n of one cloud.
MAX_POINTS_FLOAT64 = 46340


def h0_critical_edges(D: Tensor) -> Tensor:
    """The bars of H0 in filtration order.

    Edges are compared by one 64-bit key, the bits of the length above the vertices i < j, which is
    the total filtration order: ties give the edges that the CPU engine gives. Up to 256 points,
    Prim's algorithm: one or two warps grow a cloud's tree edge by edge, and one launch does all.
    Above, Boruvka's: each component finds the first edge that leaves it, all join at once, at most
    ceil(log2 n) rounds leave one component, and each round is two launches. Nothing waits for the
    device, and all can be captured in a CUDA graph.

    Parameters
    ----------
    D : Tensor [B, n, n]
        float32 or float64, any strides; symmetric, no entry negative. CUDA, or CPU under Triton's
        interpreter. float64 lengths are replaced by their ranks, which keeps the order exact.

    Returns
    -------
    Tensor [B, n - 1, 4]
        int64: the birth edge (v, v) of the dying vertex v, and the edge (i, j), i < j, that ends
        its component. v is the larger of the smallest vertices of the two components that the edge
        joins. No gradient.

    Raises
    ------
    TypeError
        If `D` is no tensor, or neither float32 nor float64.
    ValueError
        If `D` has another rank or is not square, has no point or more than 65,535 (46,340 in
        float64), or is on another device.

    Notes
    -----
    Memory beside `D`: up to 256 points, none, but for a copy of a `D` that is not contiguous.
    Above, about 50 ceil(log2 n) bytes for each point, 1 % of a float32 `D` at n = 20,000. For
    float64, about 50 bytes for each entry of `D`, to sort them.

    The entries are not checked, since that would wait for the device. A NaN counts as longer than
    infinity, and a negative length as its absolute value. A point with a NaN coordinate has NaN
    distances only, so it is joined by a NaN edge, and its bar's length, gathered from the points,
    is NaN.

    Examples
    --------
    In Triton's interpreter; on a GPU the tensors must be there.

    >>> import torch
    >>> from tsloss_fast._engine.kernels.h0 import h0_critical_edges
    >>> h0_critical_edges(torch.tensor([[[0.0, 3.0, 2.0], [3.0, 0.0, 1.0], [2.0, 1.0, 0.0]]]))
    tensor([[[2, 2, 1, 2],
             [1, 1, 0, 2]]])
    """
    check_tensor(D, "D", "distance matrices [B, n, n]", 3, (torch.float32, torch.float64))
    B, n, m = D.shape
    if n != m or n == 0:
        raise ValueError(f"D: expected distance matrices [B, n, n], got {describe(D)}")
    limit = MAX_POINTS_FLOAT64 if D.dtype == torch.float64 else MAX_POINTS
    if n > limit:
        raise ValueError(f"D: expected at most {limit} points, got {describe(D)}")
    check_device(D, "D", small._prim_kernel)
    check_programs(B if n <= small.MAX_POINTS else B * triton.cdiv(n, large.ROWS), D, "D")
    if B == 0 or n == 1:
        return torch.empty(B, n - 1, 4, dtype=torch.int64, device=D.device)
    lengths = length_ranks(D) if D.dtype == torch.float64 else D
    if n <= small.MAX_POINTS:
        return small.small_bars(lengths)
    return elder_bars(*large.boruvka_rounds(lengths))


def length_ranks(D: Tensor) -> Tensor:
    """float32 of the same order and ties as the entries of each float64 cloud `D` [B, n, n].

    Their bits are the entries' ranks in the cloud, which the kernels read as nothing else. NaN
    ranks behind infinity, and the sign is dropped.
    """
    # Lengths without their sign are in the order of their bits.
    bits = D.contiguous().view(torch.int64).flatten(1) & (2**63 - 1)
    ordered = torch.sort(bits, dim=-1).values
    ranks = torch.searchsorted(ordered, bits, out_int32=True)
    return ranks.view(torch.float32).view(D.shape)
