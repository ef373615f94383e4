"""Sums, products, quotients, extremes and functions of integers and floats.

A sum or product without `.rn` may be fused by the assembler; here it is not. Approximate functions
are the right ones, rounded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx import floats
from tests.ptx.group import reader
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction
from tests.ptx.parsing import Program
from tests.ptx.types import dtype_of

_BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
# Modifiers under which the rounded quotient is given.
_QUOTIENTS = ("rn", "full", "approx")


def is_float(one: Instruction) -> bool:
    return dtype_of(one.type).kind == "f"


def apply(one: Instruction, function: Callable, types: list[str] | None = None) -> Execute:
    """Write the function of all operands but the first."""
    sources = one.operands[1:]
    values = [
        reader(s, t) for s, t in zip(sources, types or [one.type] * len(sources), strict=True)
    ]

    def execute(group, mask):
        result = function(*(value(group) for value in values))
        group.write(one.operands[0], result, mask)

    return execute


def of_floats(one: Instruction, function: Callable) -> Execute:
    """A function of floats, with subnormals flushed where the instruction says so."""
    if "bf16" in one or "f16" in one:
        raise not_known(one)
    if "ftz" not in one:
        return apply(one, lambda *values: floats.canonical(function(*values)))

    def flushing(*values):
        return floats.canonical(floats.flushed(function(*map(floats.flushed, values))))

    return apply(one, flushing)


@instruction("add", "sub")
def add(one: Instruction, program: Program) -> Execute:
    function = _BINARY[one.name]
    if is_float(one):
        only(one, "rn", "ftz")
        return of_floats(one, function)
    only(one)
    return apply(one, function)


@instruction("mul")
def mul(one: Instruction, program: Program) -> Execute:
    if is_float(one):
        only(one, "rn", "ftz")
        return of_floats(one, np.multiply)
    only(one, "lo", "hi", "wide")
    how = one.modifiers[0]
    return apply(one, lambda a, b: product(a, b, how))


@instruction("mad")
def mad(one: Instruction, program: Program) -> Execute:
    only(one, "lo", "hi", "wide")
    how = one.modifiers[0]
    size = 8 * dtype_of(one.type).itemsize
    added = f"{one.type[0]}{2 * size}" if how == "wide" else one.type
    return apply(one, lambda a, b, c: product(a, b, how) + c, [one.type, one.type, added])


def product(a: np.ndarray, b: np.ndarray, how: str) -> np.ndarray:
    """The lower half, the upper half, or all of the product of integers."""
    if how == "lo":
        return a * b
    size, kind = a.dtype.itemsize, a.dtype.kind
    if size == 8:
        if how == "wide":
            raise TypeError("no integers of 16 bytes")
        return _high_of_64(*np.broadcast_arrays(a, b))
    whole = a.astype(f"{kind}{2 * size}") * b.astype(f"{kind}{2 * size}")
    return whole if how == "wide" else (whole >> 8 * size).astype(a.dtype)


def _high_of_64(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    upper = [(int(x) * int(y) >> 64) & (2**64 - 1) for x, y in zip(a, b, strict=True)]
    return np.array(upper, np.uint64).view(a.dtype)


@instruction("div")
def div(one: Instruction, program: Program) -> Execute:
    if is_float(one):
        only(one, *_QUOTIENTS, "ftz")
        return of_floats(one, np.divide)
    only(one)
    return apply(one, lambda a, b: quotient(a, b)[0])


@instruction("rem")
def rem(one: Instruction, program: Program) -> Execute:
    only(one)
    return apply(one, lambda a, b: quotient(a, b)[1])


def quotient(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quotient towards zero and remainder; by zero, all bits set and the dividend."""
    zero = b == 0
    safe = np.where(zero, b.dtype.type(1), b)
    down = a // safe
    if a.dtype.kind == "i":
        down = down + ((a - down * safe != 0) & ((a < 0) != (safe < 0))).astype(a.dtype)
    rest = a - down * safe
    ones = np.array([-1]).astype(a.dtype)
    return np.where(zero, ones, down), np.where(zero, a, rest)


@instruction("min", "max")
def extremum(one: Instruction, program: Program) -> Execute:
    if is_float(one):
        only(one, "ftz", "NaN")
        function = floats.minimum if one.name == "min" else floats.maximum
        keep_nan = "NaN" in one
        return of_floats(one, lambda a, b: function(a, b, keep_nan))
    only(one)
    return apply(one, np.minimum if one.name == "min" else np.maximum)


@instruction("neg", "abs")
def sign(one: Instruction, program: Program) -> Execute:
    only(one, *(["ftz"] if is_float(one) else []))
    function = np.negative if one.name == "neg" else np.abs
    return of_floats(one, function) if is_float(one) else apply(one, function)


@instruction("fma")
def fma(one: Instruction, program: Program) -> Execute:
    only(one, "rn", "ftz")
    if not is_float(one):
        raise not_known(one)
    return of_floats(one, floats.fma)


_FUNCTIONS = {
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "rcp": np.reciprocal,
    "ex2": np.exp2,
    "lg2": np.log2,
    "tanh": np.tanh,
}


@instruction(*_FUNCTIONS)
def function(one: Instruction, program: Program) -> Execute:
    only(one, "rn", "approx", "ftz")
    if one.name == "rcp" and one.type == "f64" and "approx" in one:
        return apply(one, _rough_reciprocal)
    exact = _FUNCTIONS[one.name]
    # Through float64, so that the rounding is the only error.
    dtype = dtype_of(one.type)
    return of_floats(one, lambda x: exact(x.astype(np.float64)).astype(dtype))


def _rough_reciprocal(x: np.ndarray) -> np.ndarray:
    """`rcp.approx.ftz.f64` looks at the upper 32 bits, and gives no others."""
    upper = np.uint64(0xFFFFFFFF00000000)
    seen = floats.flushed((x.view(np.uint64) & upper).view(np.float64))
    given = (np.reciprocal(seen).view(np.uint64) & upper).view(np.float64)
    return floats.flushed(given)


@instruction("copysign")
def copysign(one: Instruction, program: Program) -> Execute:
    """The size of the second source with the sign of the first."""
    only(one)
    return apply(one, lambda signed, size: np.copysign(size, signed))
