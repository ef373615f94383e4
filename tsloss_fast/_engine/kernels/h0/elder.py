"""The elder rule for all vertices at once, from the rounds of Boruvka's algorithm."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsloss_fast._engine.kernels.h0.keys import NO_EDGE, PAIR
from tsloss_fast._engine.kernels.launching import FUSING

# Vertices of a cloud that a program takes at a time.
BLOCK = 4096


@triton.jit
def _lower(label, height, later_label, later_height):
    """A running minimum that starts again where the label changes."""
    lower = tl.minimum(height, later_height)
    return later_label, tl.where(label == later_label, lower, later_height)


@triton.jit
def _deaths_kernel(
    labels,  # [R, B, n]: after each round, sorted
    order,  # [R, B, n]: the vertices in that order, by index within a component
    heights,  # [R, B, n]
    components,  # [R, B]: before each round
    deaths,  # [B, n]: the key of the edge that a vertex dies on; NO_EDGE before the launch
    n,
    B,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    if tl.load(components + row) > 1:
        labels += row * n
        order += row * n
        heights += row * n
        deaths += row % B * n
        # The last component of the block before, and its lowest height so far.
        open_label = -1
        open_height = tl.full([], NO_EDGE, tl.int64)
        for start in range(0, n, BLOCK):
            at = start + tl.arange(0, BLOCK)
            after_first = (at > 0) & (at < n)
            earlier = tl.load(order + at - 1, mask=after_first, other=0)
            label = tl.load(labels + at - 1, mask=after_first, other=-1)
            height = tl.load(heights + earlier, mask=after_first, other=NO_EDGE)
            label, height = tl.associative_scan((label, height), 0, _lower)
            height = tl.where(label == open_label, tl.minimum(height, open_height), height)
            open_label = tl.max(label)
            open_height = tl.min(tl.where(label == open_label, height, NO_EDGE))

            v = tl.load(order + at, mask=after_first, other=0)
            own_label = tl.load(labels + at, mask=after_first, other=-1)
            own = tl.load(heights + v, mask=after_first, other=NO_EDGE)
            has_elder = after_first & (label == own_label)
            death = tl.maximum(own, height)
            tl.atomic_min(deaths + v, death, mask=has_elder, sem="relaxed")


def elder_bars(labels: Tensor, heights: Tensor, components: Tensor) -> Tensor:
    """The bars [B, n - 1, 4] of H0 from what `boruvka_rounds` returns.

    A vertex dies when its component first meets an older one, so on the smallest, over all older
    vertices u, of the last edge on the tree's path from v to u. Where the components of v and u
    first meet in a round, that edge is the larger of their heights (V. King, "A simpler minimum
    spanning tree verification algorithm", Algorithmica 18, 1997), and a later round's heights are
    no smaller. So each round asks every vertex for the lowest height among the older ones of its
    component, which is one sort and one scan, where a union-find would walk n - 1 edges one by one,
    each a chain of loads.
    """
    R, B, n = labels.shape
    options = deaths_options(n)
    warps = deaths_warps(options["BLOCK"])
    deaths = torch.full((B, n), NO_EDGE.value, dtype=torch.int64, device=labels.device)
    labels, order = torch.sort(labels, dim=-1, stable=True)
    with torch.cuda.device_of(labels):
        _deaths_kernel[(R * B,)](
            labels, order, heights, components, deaths, n, B, **options, num_warps=warps, **FUSING
        )
    # Vertex 0 never dies, so that its key is the last.
    edges, v = torch.sort(deaths, dim=-1)
    pair = edges[:, :-1] & PAIR.value
    v = v[:, :-1]
    return torch.stack((v, v, pair // n, pair % n), dim=-1)


def deaths_options(n: int) -> dict[str, int]:
    """The compile-time arguments of the kernel for n points."""
    return {"BLOCK": min(BLOCK, triton.next_power_of_2(n))}


def deaths_warps(block: int) -> int:
    """Warps of a program, for up to 8 vertices a thread."""
    return max(4, block // 256)
