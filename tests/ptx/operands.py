"""What an instruction is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Register:
    index: int


@dataclass(frozen=True)
class Integer:
    value: int


@dataclass(frozen=True)
class FloatBits:
    """A float given by its bits: ``0f3F800000`` has 4 bytes, ``0d3FF0000000000000`` 8."""

    bits: int
    size: int


@dataclass(frozen=True)
class Special:
    """A register that the hardware fills, such as ``tid.x``."""

    name: str


@dataclass(frozen=True)
class Symbol:
    """A label, a parameter, or the start of shared memory."""

    name: str


@dataclass(frozen=True)
class Negated:
    """``!%p1``"""

    operand: Any


@dataclass(frozen=True)
class Address:
    """``[base + offset]``"""

    base: Any
    offset: int


@dataclass(frozen=True)
class Vector:
    """``{%r1, %r2}``"""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Pair:
    """``%r1|%p1``: a result and the predicate that comes with it."""

    first: Any
    second: Any


@dataclass(frozen=True)
class Sink:
    """``_``: a result that is thrown away."""


Operand = (
    Register | Integer | FloatBits | Special | Symbol | Negated | Address | Vector | Pair | Sink
)


@dataclass
class Instruction:
    """One instruction: ``@!guard name.modifiers operands``."""

    position: int
    text: str
    name: str
    modifiers: tuple[str, ...]
    operands: list[Operand]
    guard: Register | None = None
    guard_negated: bool = False
    # What it does to the lanes of a mask (None: of all); filled in from the table of instructions.
    execute: Callable[[Any, Any], None] | None = field(default=None, repr=False)

    @property
    def type(self) -> str:
        """The last modifier, which for most instructions is the type of the operands."""
        return self.modifiers[-1]

    def __contains__(self, modifier: str) -> bool:
        return modifier in self.modifiers
