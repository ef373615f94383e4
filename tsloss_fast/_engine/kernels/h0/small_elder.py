"""The elder rule for all edges at once, from the order in which Prim's algorithm takes them.

Number the vertices by the step that adds them. The last edge on the tree's path between two of them
is then the last of the edges that the steps between took: before it, the tree could not leave the
component of the later vertex. So the component that an edge of rank r joins at either end is a run
of steps, as far as all edges within have ranks below r, and the smallest vertex of a run is found
by doubling, where a union-find would walk n - 1 edges one by one.
"""

# A kernel's return has no annotation, for Triton reads one as a type.

import triton
import triton.language as tl

# A run of steps is one number: its highest rank, 8 bits, above 255 less its smallest vertex. Ranks
# of edges are below 255, and 255 ends every run.
_END = tl.constexpr(0xFF00)


@triton.jit
def _together(run, other):
    """The run of the steps of both."""
    rank = tl.maximum(run & 0xFF00, other & 0xFF00)
    return rank | tl.maximum(run & 0xFF, other & 0xFF)


@triton.jit
def _at(run, step, SIZE: tl.constexpr):
    """The runs that start at the steps given, [SIZE]; outside, none can be joined."""
    inside = (step >= 0) & (step < SIZE)
    return tl.where(inside, tl.gather(run, step & (SIZE - 1), 0), _END)


@triton.jit
def dying_vertices(
    vertex,  # [SIZE], the vertex that each step adds
    rank,  # [SIZE], of the edge that it takes; 255 for the first and for those that take none
    SIZE: tl.constexpr,
):
    """The vertex that dies on each step's edge, [SIZE]: the younger of two components' eldest."""
    step = tl.arange(0, SIZE)
    height = rank << 8
    runs = (height | (255 - vertex),)
    # Of 1, 2, 4, ... steps from each step on.
    for level in tl.static_range(7):
        if 2 << level < SIZE:
            run = runs[level]
            runs = runs + (_together(run, _at(run, step + (1 << level), SIZE)),)  # noqa: RUF005
    after = step + 1
    before = step
    # 255 less the smallest vertex so far.
    later = 255 - vertex
    earlier = tl.zeros([SIZE], tl.int32)
    for level in tl.static_range(len(runs) - 1, -1, -1):
        run = _at(runs[level], after, SIZE)
        within = run < height
        later = tl.where(within, tl.maximum(later, run & 0xFF), later)
        after = tl.where(within, after + (1 << level), after)
        run = _at(runs[level], before - (1 << level), SIZE)
        within = run < height
        earlier = tl.where(within, tl.maximum(earlier, run & 0xFF), earlier)
        before = tl.where(within, before - (1 << level), before)
    # The edge that ends the run on the left adds a vertex of the run.
    earlier = tl.maximum(earlier, _at(runs[0], before - 1, SIZE) & 0xFF)
    return 255 - tl.minimum(earlier, later)
