"""H0 of a batch of distance matrices of few points: Prim's algorithm, one warp per cloud."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.h0.keys import NO_EDGE
from tsloss_fast._engine.kernels.h0.small_elder import dying_vertices

# Three vertices have 8 bits each in half of an edge's key.
MAX_POINTS = 256

# The numbers of a bar: the dying vertex as often as there is room, then the edge (i, j).
WIDTH = tl.constexpr(3)

# Loads of a thread that `_read_ahead` has under way at a time.
LOADS = 32

# In place of the length's bits of a vertex in the tree: behind every NaN.
IN_TREE = tl.constexpr(2**31)
# In place of i, j and the new vertex: behind every edge.
NO_PAIR = tl.constexpr(2**31 - 1)


@triton.jit
def _either(a, b):
    return a | b


@triton.jit
def _read_ahead(
    D,  # [n, n]
    n,
    CHUNK: tl.constexpr,
):
    """Touch each sector of 32 bytes of `D`; return what the loads gave, for them to be needed."""
    seen = tl.zeros([CHUNK], tl.int32)
    for start in range(0, n * n, CHUNK * 8):
        at = start + tl.arange(0, CHUNK) * 8
        seen |= tl.load(D + at, mask=at < n * n, other=0).to(tl.int32, bitcast=True)
    return tl.reduce(seen, 0, _either)


@triton.jit
def _grow_tree(
    D,  # [n, n]
    tree,  # [n]: from 1 on, the edge that each step takes
    n,
    SIZE: tl.constexpr,
):
    """Store the keys of the tree's edges, in the order in which they leave the tree so far.

    A key holds the bits of the length, without the sign, above i, j, the new vertex and the step,
    of 8 bits each. Of an edge and a new vertex there is one, so keys sort as (length, i, j).
    """
    j = tl.arange(0, SIZE)
    out = j < n
    # The first edge from the tree to each vertex: length's bits above i, j and the vertex.
    nearest = tl.full([SIZE], NO_EDGE, tl.int64)
    new = 0
    for step in range(1, n):
        length = tl.load(D + new * n + j, mask=j < n, other=0)
        # Without its sign bit -0 sorts as 0, and every NaN after infinity.
        bits = length.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        # The one with the smaller vertex in front is the smaller.
        pair = tl.minimum(new << 16 | j << 8 | j, j << 16 | new << 8 | j)
        nearest = tl.minimum(nearest, bits.to(tl.int64) << 32 | pair.to(tl.int64))
        out = out & (j != new)
        # Two minima of 32 bits are one instruction each; one of 64 bits would be five exchanges.
        height = tl.where(out, (nearest >> 32).to(tl.uint32), IN_TREE)
        first = tl.min(height)
        edge = tl.min(tl.where(height == first, nearest.to(tl.int32), NO_PAIR))
        new = edge & 0xFF
        tl.store(tree + step, first.to(tl.int64) << 32 | edge.to(tl.int64))


@triton.jit
def _prim_kernel(
    D,  # [B, n, n], contiguous
    bars,  # [B, n - 1, WIDTH]
    n,
    SIZE: tl.constexpr,
    CHUNK: tl.constexpr,
    ALIGN: tl.constexpr,  # a divisor of n
):
    b = tl.program_id(0).to(tl.int64)
    # The same n, whose rows the compiler then knows to start at a multiple of ALIGN.
    n = n // ALIGN * ALIGN
    D += b * n * n
    bars += b * (n - 1) * WIDTH
    # The bars come last; before, their first n numbers are scratch.
    scratch = bars
    # Each step's row is known only after the step before, so its load must not be a long one.
    tl.store(scratch, _read_ahead(D, n, CHUNK).to(tl.int64))
    _grow_tree(D, scratch, n, SIZE)
    tl.debug_barrier()
    step = tl.arange(0, SIZE)
    is_edge = (step > 0) & (step < n)
    edge = tl.load(scratch + step, mask=is_edge, other=NO_EDGE)
    key = (edge >> 32 << 32) | (edge & 0xFFFFFF) << 8 | step
    tl.debug_barrier()
    # The rank in the filtration order of the edge that each step takes.
    tl.store(scratch + (tl.sort(key) & 0xFF), step.to(tl.int64), mask=step < n - 1)
    tl.debug_barrier()
    rank = tl.load(scratch + step, mask=is_edge, other=0xFF).to(tl.int32)
    tl.debug_barrier()
    vertex = tl.where(is_edge, (key >> 8).to(tl.int32) & 0xFF, 0)
    died = dying_vertices(vertex, rank, SIZE)
    bar = bars + rank * WIDTH
    for column in tl.static_range(WIDTH - 2):
        tl.store(bar + column, died.to(tl.int64), mask=is_edge)
    tl.store(bar + (WIDTH - 2), key >> 24 & 0xFF, mask=is_edge)
    tl.store(bar + (WIDTH - 1), key >> 16 & 0xFF, mask=is_edge)


def small_bars(D: Tensor) -> Tensor:
    """The bars [B, n - 1, 3] of H0 for float32 `D` [B, n, n], n from 2 to `MAX_POINTS`."""
    B, n, _ = D.shape
    D = D.contiguous()
    bars = torch.empty(B, n - 1, WIDTH.value, dtype=torch.int64, device=D.device)
    with torch.cuda.device_of(D):
        # One warp: its minima then cross no barrier, and the tree is one long chain of them.
        _prim_kernel[(B,)](D, bars, n, **tile_options(n), num_warps=1)
    return bars


def tile_options(n: int) -> dict[str, int]:
    """The compile-time arguments of the kernel for n points."""
    size = max(16, triton.next_power_of_2(n))
    chunk = min(32 * LOADS, size * size // 8)
    return {"SIZE": size, "CHUNK": chunk, "ALIGN": 1 if n % 4 else 4}
