"""H0 of distance matrices of any size: Boruvka's algorithm, each round by many programs."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.h0.keys import NO_EDGE, PAIR
from tsloss_fast._engine.kernels.launching import ceiling, form_of, launch

# Rows of D, and entries of each, that a program reads at a time.
ROWS = 4
COLS = 1024

# Vertices of a cloud that its one program takes at a time.
BLOCK = 4096


@triton.jit
def _scan_rows(
    D,  # [n, n]
    labels,  # [n]
    i,  # [ROWS]
    own,  # [ROWS], the labels of i
    wanted,  # [ROWS], which rows to read
    n,
    stride_i,
    stride_j,
    COLS: tl.constexpr,
):
    """The first edge that leaves the component of each row, [ROWS]: length's bits above j."""
    best = tl.full([i.shape[0], COLS], NO_EDGE, tl.int64)
    rows = D + i.to(tl.int64)[:, None] * stride_i
    for start in range(0, n, COLS):
        j = start + tl.arange(0, COLS)
        label = tl.load(labels + j, mask=j < n, other=0)
        read = wanted[:, None] & (j < n)[None, :]
        length = tl.load(rows + j.to(tl.int64)[None, :] * stride_j, mask=read, other=0)
        bits = length.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        # In one row the order (length, min(i, j), max(i, j)) is the order (length, j).
        key = bits.to(tl.int64) << 32 | j.to(tl.int64)[None, :]
        leaves = read & (own[:, None] != label[None, :])
        best = tl.minimum(best, tl.where(leaves, key, NO_EDGE))
    return tl.min(best, axis=1)


@triton.jit
def _nearest_kernel(
    D,  # [B, n, n]
    labels,  # [B, n]: the component of each vertex
    components,  # [B]: how many there are
    nearest,  # [B, n]: the first edge out of a row's component, as it was last searched for
    shortest,  # [B, n]: the first edge out of each component; NO_EDGE before the launch
    n,
    programs,  # per cloud
    stride_b,
    stride_i,
    stride_j,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    program = tl.program_id(0)
    b = (program // programs).to(tl.int64)
    if tl.load(components + b) > 1:
        labels += b * n
        nearest += b * n
        i = program % programs * ROWS + tl.arange(0, ROWS)
        inside = i < n
        own = tl.load(labels + i, mask=inside, other=0)
        first = tl.load(nearest + i, mask=inside, other=0)
        # An edge that still leaves the component is still the first to do so.
        there = tl.load(labels + (first & PAIR), mask=inside, other=0)
        inner = inside & (own == there)
        tl.debug_barrier()
        if tl.sum(inner.to(tl.int32)) > 0:
            found = _scan_rows(D + b * stride_b, labels, i, own, inner, n, stride_i, stride_j, COLS)
            first = tl.where(inner, found, first)
            tl.store(nearest + i, first, mask=inner)
        j = first & PAIR
        pair = tl.minimum(i, j) * n + tl.maximum(i, j)
        key = (first >> 32) << 32 | pair
        tl.atomic_min(shortest + b * n + own, key, mask=inside, sem="relaxed")


@triton.jit
def _join(
    shortest,  # [n]
    labels,  # [n]
    parents,  # [n], scratch
    n,
    BLOCK: tl.constexpr,
):
    """Store for each component that which it joins: itself if it stays a root."""
    for start in range(0, n, BLOCK):
        v = start + tl.arange(0, BLOCK)
        edge = tl.load(shortest + v, mask=v < n, other=NO_EDGE)
        leaves = edge != NO_EDGE
        pair = edge & PAIR
        a = tl.load(labels + pair // n, mask=leaves, other=0)
        c = tl.load(labels + pair % n, mask=leaves, other=0)
        other = tl.where(a == v, c, a)
        # Under a total order the only cycles are two components that chose the same edge.
        back = tl.load(shortest + other, mask=leaves, other=NO_EDGE)
        joins = leaves & ((back != edge) | (other < v))
        tl.store(parents + v, tl.where(joins, other, v), mask=v < n)
    tl.debug_barrier()


@triton.jit
def _find_roots(
    parents,  # [n]
    n,
    BLOCK: tl.constexpr,
    ROUNDS: tl.constexpr,
):
    """Make every parent the root of its tree, by pointer doubling."""
    moved = 1
    for _ in range(ROUNDS):
        if moved > 0:
            moved = 0
            for start in range(0, n, BLOCK):
                v = start + tl.arange(0, BLOCK)
                parent = tl.load(parents + v, mask=v < n, other=0)
                above = tl.load(parents + parent)
                tl.debug_barrier()
                tl.store(parents + v, above, mask=v < n)
                tl.debug_barrier()
                moved += tl.sum(((above != parent) & (v < n)).to(tl.int32))


@triton.jit
def _relabel(
    shortest,  # [n]
    labels,  # [n]
    parents,  # [n], roots
    heights,  # [n]
    labels_after,  # [n]
    heights_after,  # [n]
    n,
    BLOCK: tl.constexpr,
):
    """Store each vertex's component and height after the round; return how many components."""
    count = 0
    for start in range(0, n, BLOCK):
        v = start + tl.arange(0, BLOCK)
        label = tl.load(labels + v, mask=v < n, other=0)
        root = tl.load(parents + label)
        height = tl.load(heights + v, mask=v < n, other=0)
        tl.store(labels_after + v, root, mask=v < n)
        chosen = tl.load(shortest + label)
        tl.store(heights_after + v, tl.maximum(height, chosen), mask=v < n)
        count += tl.sum(((root == v) & (v < n)).to(tl.int32))
    tl.debug_barrier()
    return count


@triton.jit
def _hook_kernel(
    shortest,  # [B, n]: the first edge out of each component; NO_EDGE again after the launch
    labels,  # [B, n]
    components,  # [B]
    heights,  # [B, n]
    parents,  # [B, n], scratch
    labels_after,  # [B, n]
    components_after,  # [B]
    heights_after,  # [B, n]
    n,
    BLOCK: tl.constexpr,
    ROUNDS: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    count = 1
    if tl.load(components + b) > 1:
        shortest += b * n
        labels += b * n
        parents += b * n
        _join(shortest, labels, parents, n, BLOCK)
        _find_roots(parents, n, BLOCK, ROUNDS)
        count = _relabel(
            shortest,
            labels,
            parents,
            heights + b * n,
            labels_after + b * n,
            heights_after + b * n,
            n,
            BLOCK,
        )
        for start in range(0, n, BLOCK):
            v = start + tl.arange(0, BLOCK)
            tl.store(shortest + v, tl.full([BLOCK], NO_EDGE, tl.int64), mask=v < n)
    tl.store(components_after + b, count)


def boruvka_rounds(D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The components of each round of Boruvka's algorithm, for float32 `D` [B, n, n], n > 1.

    Returns, for R = ceil(log2 n) rounds:

    labels [R, B, n] int32: the component of each vertex after the round.
    heights [R, B, n] int64: the last of the edges that the components around a vertex have chosen
    so far, as keys.
    components [R, B] int32: how many components the round began with. From 1 on nothing is left to
    join, and the labels and heights of the round are undefined.
    """
    B, n, _ = D.shape
    options = boruvka_options(n)
    rows, cols = options["ROWS"], options["COLS"]
    block, rounds = options["BLOCK"], options["ROUNDS"]
    programs = ceiling(n, rows)
    strides = D.stride()
    form = form_of((D,), n, programs, *strides)
    seek = {"ROWS": rows, "COLS": cols}
    hook = {"BLOCK": block, "ROUNDS": rounds}
    labels = [torch.arange(n, dtype=torch.int32, device=D.device).expand(B, n).contiguous()]
    heights = [torch.zeros(B, n, dtype=torch.int64, device=D.device)]
    components = [torch.full((B,), n, dtype=torch.int32, device=D.device)]
    # At first each row's edge is to itself, which is no edge to another component.
    nearest = labels[0].to(torch.int64)
    shortest = torch.full((B, n), NO_EDGE.value, dtype=torch.int64, device=D.device)
    parents = torch.empty(B, n, dtype=torch.int32, device=D.device)
    with torch.cuda.device_of(D):
        for _ in range(rounds):
            before = labels[-1], components[-1]
            arguments = (D, *before, nearest, shortest, n, programs, *strides)
            launch(_nearest_kernel, form, B * programs, arguments, seek)
            after = [torch.empty_like(x) for x in (*before, heights[-1])]
            arguments = (shortest, *before, heights[-1], parents, *after, n)
            launch(_hook_kernel, form, B, arguments, hook, hook_warps(block))
            for found, x in zip((labels, components, heights), after, strict=True):
                found.append(x)
    return torch.stack(labels[1:]), torch.stack(heights[1:]), torch.stack(components[:-1])


def boruvka_options(n: int) -> dict[str, int]:
    """The compile-time arguments of the kernels for n points."""
    size = triton.next_power_of_2(n)
    return {
        "ROWS": ROWS,
        "COLS": min(COLS, size),
        "BLOCK": min(BLOCK, size),
        "ROUNDS": (n - 1).bit_length(),
    }


def hook_warps(block: int) -> int:
    """Warps of the one program of a cloud, for up to 8 vertices a thread."""
    return max(4, block // 256)
