"""H0 of a batch of distance matrices of few points: Prim's algorithm, one program per cloud."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.h0.keys import NO_EDGE
from tsloss_fast._engine.kernels.h0.small_elder import dying_vertices
from tsloss_fast._engine.kernels.launching import form_of, launch

# Larger clouds have too many vertices a thread; the keys below have room for 1024.
MAX_POINTS = 256

# By SIZE of the kernel; all other sizes take one warp, which needs no barrier for a minimum.
WARPS = {256: 4}

# The numbers of a bar: its birth edge (v, v), and its death edge (i, j).
WIDTH = tl.constexpr(4)

# Loads that a thread of `_read_ahead` issues before it waits for the first.
LOADS = 32

# The bits of the length for a vertex in the tree: larger than those of every NaN.
IN_TREE = tl.constexpr(2**31)
# The bits of i, j and the new vertex where there is no edge: larger than those of every edge.
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
    """Bring `D` into the cache; return a number from all loads, so that they are kept."""
    seen = tl.zeros([CHUNK], tl.int32)
    for start in range(0, n * n, CHUNK * 8):
        at = start + tl.arange(0, CHUNK) * 8
        seen |= tl.load(D + at, mask=at < n * n, other=0).to(tl.int32, bitcast=True)
    return tl.reduce(seen, 0, _either)


@triton.jit
def _first_edge(
    height,  # [ROWS * COLS], uint32
    pair,  # [ROWS * COLS]
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """The least (height, pair) as one number; a row lies within a warp.

    In a warp a minimum of 32 bits is one instruction, one of 64 bits would be five exchanges.
    """
    height = tl.reshape(height, [ROWS, COLS])
    first = tl.min(height, axis=1)
    pair = tl.reshape(pair, [ROWS, COLS])
    pair = tl.min(tl.where(height == first[:, None], pair, NO_PAIR), axis=1)
    # A warp whose vertices are all in the tree has the highest bit set.
    edge = tl.min(first.to(tl.uint64) << 32 | pair.to(tl.uint64), axis=0)
    return edge.to(tl.int64)


@triton.jit
def _grow_tree(
    D,  # [n, n]
    tree,  # [n]: from 1 on, the edge that each step takes
    n,
    SIZE: tl.constexpr,
    WARPS: tl.constexpr,
):
    """Store the tree's edges in the order in which Prim's algorithm takes them, from vertex 0 on.

    An edge is one number: the bits of the length, without the sign, above i, j and the vertex that
    it adds, of 10 bits each. Only one of i and j is new, so these sort as (length, i, j).
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
        # The number with the smaller vertex in front is the smaller one.
        pair = tl.minimum(new << 20 | j << 10 | j, j << 20 | new << 10 | j)
        nearest = tl.minimum(nearest, bits.to(tl.int64) << 32 | pair.to(tl.int64))
        out = out & (j != new)
        height = tl.where(out, (nearest >> 32).to(tl.uint32), IN_TREE)
        edge = _first_edge(height, nearest.to(tl.int32), WARPS, SIZE // WARPS)
        new = edge.to(tl.int32) & 0x3FF
        tl.store(tree + step, edge)


@triton.jit
def _prim_kernel(
    D,  # [B, n, n], contiguous
    bars,  # [B, n - 1, WIDTH]
    n,
    SIZE: tl.constexpr,
    CHUNK: tl.constexpr,
    ALIGN: tl.constexpr,  # a divisor of n
    WARPS: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    # The same n, whose rows the compiler then knows to start at a multiple of ALIGN.
    n = n // ALIGN * ALIGN
    D += b * n * n
    bars += b * (n - 1) * WIDTH
    # The bars come last; before, their first n numbers are scratch.
    scratch = bars
    # A step knows its row only when the step before ends, so the row should be in the cache then.
    tl.store(scratch, _read_ahead(D, n, CHUNK).to(tl.int64))
    _grow_tree(D, scratch, n, SIZE, WARPS)
    tl.debug_barrier()
    step = tl.arange(0, SIZE)
    is_edge = (step > 0) & (step < n)
    edge = tl.load(scratch + step, mask=is_edge, other=NO_EDGE)
    # What sorts the edges, and the step in place of the new vertex.
    key = (edge & ~0x3FF) | step
    tl.debug_barrier()
    # The rank in the filtration order of the edge that each step takes.
    tl.store(scratch + (tl.sort(key) & 0x3FF), step.to(tl.int64), mask=step < n - 1)
    tl.debug_barrier()
    rank = tl.load(scratch + step, mask=is_edge, other=0x3FF).to(tl.int32)
    tl.debug_barrier()
    vertex = tl.where(is_edge, edge.to(tl.int32) & 0x3FF, 0)
    died = dying_vertices(vertex, rank, SIZE)
    bar = bars + rank * WIDTH
    for column in tl.static_range(WIDTH - 2):
        tl.store(bar + column, died.to(tl.int64), mask=is_edge)
    tl.store(bar + (WIDTH - 2), key >> 20 & 0x3FF, mask=is_edge)
    tl.store(bar + (WIDTH - 1), key >> 10 & 0x3FF, mask=is_edge)


def small_bars(D: Tensor) -> Tensor:
    """The bars [B, n - 1, 4] of H0 for float32 `D` [B, n, n], n from 2 to `MAX_POINTS`."""
    B, n, _ = D.shape
    D = D.contiguous()
    bars = torch.empty(B, n - 1, WIDTH.value, dtype=torch.int64, device=D.device)
    with torch.cuda.device_of(D):
        options = prim_options(n)
        launch(_prim_kernel, form_of((D,), n), B, (D, bars, n), options, options["WARPS"])
    return bars


def prim_options(n: int) -> dict[str, int]:
    """The compile-time arguments of the kernel for n points."""
    size = max(16, 1 << (n - 1).bit_length())
    warps = WARPS.get(size, 1)
    return {
        "SIZE": size,
        "CHUNK": min(32 * LOADS * warps, size * size // 8),
        "ALIGN": 1 if n % 4 else 4,
        "WARPS": warps,
    }
