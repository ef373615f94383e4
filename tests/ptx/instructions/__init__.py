"""What each instruction does to a group, one file a family."""

from tests.ptx.instructions import (
    arithmetic,
    bits,
    comparison,
    conversion,
    copies,
    matrix,
    memory,
    moves,
    warp,
)
from tests.ptx.instructions.table import prepare

__all__ = [
    "arithmetic",
    "bits",
    "comparison",
    "conversion",
    "copies",
    "matrix",
    "memory",
    "moves",
    "prepare",
    "warp",
]
