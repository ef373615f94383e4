"""Whether distances and the engine's work on them fit into memory, asked before it is taken."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsloss_fast import _memory
from tsloss_fast._checks import MAX_POINTS, describe
from tsloss_fast._memory import in_gib, memory_error, require_memory

# Nothing is asked for fewer distances, since to ask takes longer than to compute 300 points.
_ASKED_FROM = 2**26
# Short loops may take many bytes for each distance, of one cloud.
_ASKED_FOR_LOOPS_FROM = 2**20


def has_room(x: Tensor) -> bool:
    """Whether clouds ``x`` [..., n, d] are so small that nothing has to be asked."""
    # Of at least one coordinate, so a bound of the number of distances.
    return x.numel() * x.shape[-2] < _ASKED_FROM


def require_room(
    x: Tensor,
    name: str = "x",
    *,
    matrices: int = 1,
    each_thread: bool = False,
    h1: bool = False,
    cycles: bool = False,
    missing_edges: bool | None = False,
) -> None:
    """Raise a MemoryError if what is computed of clouds ``x`` [..., n, d] cannot fit into memory.

    That are so many `matrices` [n, n] of each cloud, or only of those that threads are at work on
    at once, where these matrices are theirs; and H1, perhaps with `cycles`, of whose work only what
    it always takes is counted. Whether a matrix ``x`` has `missing_edges` is looked up where it is
    None.
    """
    if has_room(x):
        return
    n = x.shape[-2]
    B = x.numel() // max(1, n * x.shape[-1])
    if B * n * n < _ASKED_FROM:
        return
    threads = min(torch.get_num_threads(), B)
    # Half points have distances of float32.
    distances = matrices * n * n * max(4, x.element_size()) * (threads if each_thread else B)
    if h1 and missing_edges is None:
        missing_edges = bool(x.max() == torch.inf)
    work = _h1_of_cloud(n, bool(missing_edges), cycles) * threads if h1 else 0
    parts = [f"distances take {in_gib(distances)}"] if distances else []
    parts += [f"H1's work takes {in_gib(work)}"] if work else []
    remedies = ["fewer points (a subsample)"]
    remedies += ["float32"] if distances and x.dtype == torch.float64 else []
    remedies += ["H0 alone (max_dim=0)"] if work and not cycles else []
    remedies += ["a threshold (max_edge_length)"] if work else []
    require_memory(
        distances + work,
        name,
        f"{describe(x)}, whose {' and '.join(parts)}",
        f"Take {', or '.join(remedies)}",
    )


def require_room_for_h1(
    D: Tensor, max_dim: int, max_edge_length: float | None, cycles: bool = False
) -> None:
    """`require_room` for the work of H1 on matrices that are there, where `max_dim` asks for it."""
    if max_dim == 0 or D.numel() < _ASKED_FROM:
        return
    if D.ndim >= 2 and D.shape[-2] <= MAX_POINTS:
        missing = None if max_edge_length is None else True
        require_room(D, matrices=0, h1=True, cycles=cycles, missing_edges=missing)


def _h1_of_cloud(n: int, missing_edges: bool, cycles: bool) -> int:
    """Three bits for each pair of vertices, and an annotation of four bytes for each edge.

    For cycles each edge is recorded too, in four bytes. Those of missing edges are never written,
    so they take no memory.
    """
    of_edges = 0 if missing_edges else 2 * n * n
    return 3 * n * n // 8 + (2 * of_edges if cycles else of_edges)


def room_for_loops(D: Any) -> int | None:
    """How many bytes each thread may take to find short loops of ``D`` [..., n, n].

    None where there is no telling, or where these are too small to be asked for.
    """
    if D.shape[-1] ** 2 < _ASKED_FOR_LOOPS_FROM:
        return None
    available = _memory.available_memory()
    threads = max(1, min(torch.get_num_threads(), D.size // D.shape[-1] ** 2))
    return None if available is None else available // threads


def no_room_for_loops(room: int, points: int, needed: int) -> MemoryError:
    """What to raise where the short loops of a cloud take more than their `room`."""
    return memory_error(
        room,
        "x",
        f"a cloud of {points} points, whose short loops take {in_gib(needed)} to find",
        "Take fewer points (a subsample), or a threshold (max_edge_length), or shorten=False",
    )
