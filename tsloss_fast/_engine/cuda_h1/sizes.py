"""Which form of the kernels a cloud of n points takes, and how much memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_POINTS = 512
# The oldest architecture with the reductions of a warp that the kernels use.
MIN_CAPABILITY = (8, 0)
# Warps of the kernel of lunes, which has one for each edge.
LUNE_WARPS = 8
# Arrays of one word an edge in the scratch of a cloud: see `launch.Workspace`.
EDGE_ARRAYS = 13


@dataclass(frozen=True)
class Room:
    """What a cloud may need; see `Room` in csrc/cuda/classes.hpp."""

    generators: int
    annotation_words: int


def room_for(n: int) -> Room:
    """Room for what random clouds need, with some to spare.

    Distances that are independent and equal in law, the limit of Gaussian clouds in high dimension,
    give sqrt(pi) / 4 n^1.5 - n generators; there a seventh of the edges needs an annotation.
    """
    most = (n - 1) * (n - 2) // 2
    expected = math.sqrt(math.pi) / 4 * n**1.5
    generators = _multiple_of_32(min(most, max(128, math.ceil(expected))))
    of_all_edges = n * (n - 1) // 2 * (generators // 32)
    return Room(generators, max(of_all_edges // 4, min(of_all_edges, 2**16)))


def _multiple_of_32(x: int) -> int:
    return max(1, -(-x // 32)) * 32


@dataclass(frozen=True)
class Form:
    """What the kernels are compiled for."""

    # Words of 32 bits that hold the vertices of a cloud.
    words: int
    # Warps that work on a cloud.
    warps: int
    # Whether the relations of dead generators lie in shared memory.
    is_shared: bool

    @property
    def macros(self) -> tuple[tuple[str, int], ...]:
        return (
            ("TSL_WORDS", self.words),
            ("TSL_WARPS", self.warps),
            ("TSL_SHARED", int(self.is_shared)),
        )


def form_for(n: int, room: Room, most_shared: int) -> Form:
    """The form for n points on a device whose blocks have so many bytes of shared memory."""
    words = next(words for words in (1, 2, 4, 8, 16) if n <= 32 * words)
    warps = min(32, 8 * words)
    is_shared = 4 * class_shared_words(Form(words, warps, True), room.generators) <= most_shared
    return Form(words, warps, is_shared)


def order_shared_words(form: Form) -> int:
    """`EdgeOrder::shared_words`."""
    return form.warps * 256 + 256 + 8 + 3


def class_shared_words(form: Form, generators: int) -> int:
    """`Classes::shared_words`."""
    q = generators // 32
    words = 5 + 64 + generators + q + form.warps * q
    return words + (dead_row_words(generators) if form.is_shared else 0)


def dead_row_words(generators: int) -> int:
    """`relation_begin` of the number of generators."""
    q = generators // 32
    return 16 * q * (q + 1)


def scratch_words(n: int, room: Room, form: Form) -> int:
    """Words of memory that a cloud takes beside its bars."""
    dead = 0 if form.is_shared else dead_row_words(room.generators)
    edges = EDGE_ARRAYS * (n * (n - 1) // 2)
    return edges + n * n + 2 + room.annotation_words + room.generators + dead
