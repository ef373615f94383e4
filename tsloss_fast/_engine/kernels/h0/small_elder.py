"""The elder rule for all edges at once, from the order in which Prim's algorithm takes them.

Number the vertices by the step that adds them. The last edge, in filtration order, on the tree's
path between two of them is the last of those that the steps between took: when it was taken, no
earlier edge left the tree, and each step since has taken an earlier one. So the component that an
edge of rank r joins at either end is a run of steps, as far as all edges within have ranks below r,
and the smallest vertex of a run is found by doubling, where a union-find would walk n - 1 edges one
by one.
"""

# A kernel's return has no annotation, for Triton reads one as a type.

import triton
import triton.language as tl

# A run of steps is one number: its highest rank, 10 bits, above 1023 less its smallest vertex.
# Edges have ranks below 1023, which ends every run.
_END = tl.constexpr(0xFFC00)


@triton.jit
def _together(run, other):
    """The run of the steps of both."""
    rank = tl.maximum(run & 0xFFC00, other & 0xFFC00)
    return rank | tl.maximum(run & 0x3FF, other & 0x3FF)


@triton.jit
def _at(run, step, SIZE: tl.constexpr):
    """The runs that start at the steps given, [SIZE]; outside, none can be joined."""
    inside = (step >= 0) & (step < SIZE)
    return tl.where(inside, tl.gather(run, step & (SIZE - 1), 0), _END)


@triton.jit
def dying_vertices(
    vertex,  # [SIZE], the vertex that each step adds
    rank,  # [SIZE], of the edge that it takes; 1023 for the first and for those that take none
    SIZE: tl.constexpr,
):
    """The vertex that dies on each step's edge, [SIZE]: the younger of two components' eldest."""
    step = tl.arange(0, SIZE)
    height = rank << 10
    runs = (height | (1023 - vertex),)
    # Of 1, 2, 4, ... steps from each step on.
    for level in tl.static_range(9):
        if 2 << level < SIZE:
            run = runs[level]
            # Triton unrolls this loop, so the tuple may grow in it.
            runs = runs + (_together(run, _at(run, step + (1 << level), SIZE)),)  # type: ignore[assignment]  # noqa: RUF005
    after = step + 1
    before = step
    # 1023 less the smallest vertex so far.
    later = 1023 - vertex
    earlier = tl.zeros([SIZE], tl.int32)
    for level in tl.static_range(len(runs) - 1, -1, -1):
        run = _at(runs[level], after, SIZE)
        within = run < height
        later = tl.where(within, tl.maximum(later, run & 0x3FF), later)
        after = tl.where(within, after + (1 << level), after)
        run = _at(runs[level], before - (1 << level), SIZE)
        within = run < height
        earlier = tl.where(within, tl.maximum(earlier, run & 0x3FF), earlier)
        before = tl.where(within, before - (1 << level), before)
    # The edge that ends the run on the left adds a vertex of the run.
    earlier = tl.maximum(earlier, _at(runs[0], before - 1, SIZE) & 0x3FF)
    return 1023 - tl.minimum(earlier, later)
