"""H0 of a batch of distance matrices: Boruvka's algorithm, one program per cloud."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.h0.keys import NO_EDGE, PAIR

MAX_POINTS = 256

# Entries of D that one step of a round reads.
TILE = 4096


@triton.jit
def _edge_keys(
    D,  # [n, n]
    i,  # [ROWS]
    j,  # [SIZE]
    n,
    stride_i,
    stride_j,
):
    """Keys [ROWS, SIZE] that sort as (length, min(i, j), max(i, j))."""
    inside = (i < n)[:, None] & (j < n)[None, :]
    at = i.to(tl.int64)[:, None] * stride_i + j.to(tl.int64)[None, :] * stride_j
    length = tl.load(D + at, mask=inside, other=0)
    # Without its sign bit -0 sorts as 0, and every NaN after infinity.
    bits = length.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    pair = tl.minimum(i[:, None], j[None, :]) * n + tl.maximum(i[:, None], j[None, :])
    return tl.where(inside, bits.to(tl.int64) << 32 | pair.to(tl.int64), NO_EDGE)


@triton.jit
def _find_shortest_edges(
    D,  # [n, n]
    labels,  # [SIZE], stored by all threads before the call
    label,  # [SIZE], the same in registers
    shortest,  # [SIZE], NO_EDGE before the call
    n,
    stride_i,
    stride_j,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Store for each component the first edge that leaves it, in filtration order."""
    for start in range(0, n, ROWS):
        i = start + tl.arange(0, ROWS)
        own = tl.load(labels + i, mask=i < n, other=0)
        keys = _edge_keys(D, i, tl.arange(0, SIZE), n, stride_i, stride_j)
        leaving = tl.where(own[:, None] != label[None, :], keys, NO_EDGE)
        first = tl.min(leaving, axis=1)
        tl.atomic_min(shortest + own, first, mask=first != NO_EDGE, sem="relaxed")


@triton.jit
def _hook(
    edge,  # [SIZE], the first edge out of the component that a vertex is the label of, or NO_EDGE
    labels,  # [SIZE]
    parents,  # [SIZE], scratch
    n,
    SIZE: tl.constexpr,
):
    """The component that each component joins, [SIZE]: its own label if it stays a root."""
    v = tl.arange(0, SIZE)
    leaves = edge != NO_EDGE
    pair = (edge & PAIR).to(tl.int32)
    a = tl.load(labels + pair // n, mask=leaves, other=0)
    b = tl.load(labels + pair % n, mask=leaves, other=0)
    parent = tl.where(leaves, tl.where(a == v, b, a), v)
    tl.store(parents + v, parent)
    tl.debug_barrier()
    back = tl.load(parents + parent)
    # Under a total order the only cycles are two components that chose the same edge.
    return tl.where((back == v) & (v < parent), v, parent)


@triton.jit
def _find_roots(
    parent,  # [SIZE]
    parents,  # [SIZE], scratch
    SIZE: tl.constexpr,
    ROUNDS: tl.constexpr,
):
    """Store the root of each vertex's tree, by pointer doubling."""
    v = tl.arange(0, SIZE)
    for _ in range(ROUNDS):
        tl.debug_barrier()
        tl.store(parents + v, parent)
        tl.debug_barrier()
        parent = tl.load(parents + parent)
    tl.debug_barrier()
    tl.store(parents + v, parent)
    tl.debug_barrier()


@triton.jit
def _boruvka_kernel(
    D,  # [B, n, n]
    labels,  # [B, SIZE], scratch: the component of each vertex
    parents,  # [B, SIZE], scratch: the component that each component joins
    shortest,  # [B, SIZE], scratch: the first edge out of each component
    tree,  # [B, SIZE]: the keys of the n - 1 tree edges in filtration order, then NO_EDGE
    n,
    stride_b,
    stride_i,
    stride_j,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    ROUNDS: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    D += b * stride_b
    labels += b * SIZE
    parents += b * SIZE
    shortest += b * SIZE
    v = tl.arange(0, SIZE)
    label = v
    # A component joins another once, so that each tree edge has a slot: that of the label it ends.
    chosen = tl.full([SIZE], NO_EDGE, tl.int64)
    components = n
    for _ in range(ROUNDS):
        if components > 1:
            tl.store(labels + v, label)
            tl.store(shortest + v, tl.full([SIZE], NO_EDGE, tl.int64))
            tl.debug_barrier()
            _find_shortest_edges(D, labels, label, shortest, n, stride_i, stride_j, SIZE, ROWS)
            tl.debug_barrier()
            edge = tl.load(shortest + v)
            parent = _hook(edge, labels, parents, n, SIZE)
            chosen = tl.where(parent != v, edge, chosen)
            _find_roots(parent, parents, SIZE, ROUNDS)
            label = tl.load(parents + label)
            components = tl.sum(((label == v) & (v < n)).to(tl.int32))
    tl.store(tree + b * SIZE + v, tl.sort(chosen))


@triton.jit
def _elder_kernel(
    tree,  # [B, SIZE]
    bars,  # [B, n - 1, 3]
    n,
    SIZE: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    tree += b * SIZE
    v = tl.arange(0, SIZE)
    # The smallest vertex of each vertex's component.
    label = v
    died = tl.zeros([SIZE], tl.int32)
    for k in range(n - 1):
        pair = (tl.load(tree + k) & PAIR).to(tl.int32)
        # One sum over the program fetches the labels of both ends.
        low = tl.where(v == pair // n, label, 0)
        high = tl.where(v == pair % n, label << 16, 0)
        both = tl.sum(low + high)
        a, c = both & 0xFFFF, both >> 16
        young = tl.maximum(a, c)
        died = tl.where(v == k, young, died)
        label = tl.where(label == young, tl.minimum(a, c), label)

    inside = v < n - 1
    pair = tl.load(tree + v, mask=inside, other=0) & PAIR
    bar = bars + (b * (n - 1) + v) * 3
    tl.store(bar, died.to(tl.int64), mask=inside)
    tl.store(bar + 1, pair // n, mask=inside)
    tl.store(bar + 2, pair % n, mask=inside)


def small_bars(D: Tensor) -> Tensor:
    """The bars [B, n - 1, 3] of H0 for float32 `D` [B, n, n], n from 2 to `MAX_POINTS`.

    A second kernel walks the n - 1 sorted edges and finds, by the elder rule, the vertex that dies
    on each.
    """
    B, n, _ = D.shape
    options = tile_options(n)
    size = options["SIZE"]
    labels = torch.empty(B, size, dtype=torch.int32, device=D.device)
    parents = torch.empty(B, size, dtype=torch.int32, device=D.device)
    shortest = torch.empty(B, size, dtype=torch.int64, device=D.device)
    tree = torch.empty(B, size, dtype=torch.int64, device=D.device)
    bars = torch.empty(B, n - 1, 3, dtype=torch.int64, device=D.device)
    with torch.cuda.device_of(D):
        _boruvka_kernel[(B,)](D, labels, parents, shortest, tree, n, *D.stride(), **options)
        # One warp: its sums then cross no barrier, and the walk is one long chain of them.
        _elder_kernel[(B,)](tree, bars, n, size, num_warps=1)
    return bars


def tile_options(n: int) -> dict[str, int]:
    """The compile-time arguments of Boruvka's kernel for n points."""
    size = max(16, triton.next_power_of_2(n))
    # 2 ** ROUNDS >= n in every case, and few values of n need a kernel of their own.
    return {"SIZE": size, "ROWS": min(size, TILE // size), "ROUNDS": size.bit_length() - 1}
