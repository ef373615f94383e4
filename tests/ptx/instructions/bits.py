"""Logic, shifts, and fields of bits."""

from __future__ import annotations

import numpy as np

from tests.ptx.instructions.arithmetic import apply
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction
from tests.ptx.parsing import Program
from tests.ptx.types import dtype_of, unsigned

_LOGIC = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert}


@instruction(*_LOGIC)
def logic(one: Instruction, program: Program) -> Execute:
    """Of bits, and of predicates."""
    only(one)
    return apply(one, _LOGIC[one.name])


@instruction("shl", "shr")
def shift(one: Instruction, program: Program) -> Execute:
    """By as many bits as there are, or more, all are gone; to the right, the sign fills them."""
    only(one)
    bits = 8 * dtype_of(one.type).itemsize
    left = one.name == "shl"

    def shifted(values, amount):
        by = np.minimum(amount, bits - 1).astype(values.dtype)
        moved = values << by if left else values >> by
        if not left and values.dtype.kind == "i":
            return moved
        return np.where(amount >= bits, values.dtype.type(0), moved)

    return apply(one, shifted, [one.type, "u32"])


@instruction("shf")
def funnel(one: Instruction, program: Program) -> Execute:
    """32 bits out of the 64 that two registers make."""
    only(one, "l", "r", "wrap", "clamp")
    left, wrap = "l" in one, "wrap" in one

    def shifted(low, high, amount):
        by = (amount & 31 if wrap else np.minimum(amount, 32)).astype(np.uint64)
        both = high.astype(np.uint64) << np.uint64(32) | low
        out = both << by >> np.uint64(32) if left else both >> by
        return (out & np.uint64(0xFFFFFFFF)).astype(np.uint32)

    return apply(one, shifted, ["u32"] * 3)


@instruction("prmt")
def permute(one: Instruction, program: Program) -> Execute:
    """Four bytes out of eight, each given by four bits: three that choose, one for its sign."""
    only(one)

    def permuted(low, high, chosen):
        low, high, chosen = np.broadcast_arrays(low, high, chosen)
        eight = np.stack((low, high), 1).view(np.uint8)
        out = np.zeros((len(chosen), 4), np.uint8)
        for k in range(4):
            nibble = chosen >> np.uint32(4 * k) & np.uint32(15)
            byte = np.take_along_axis(eight, (nibble & 7)[:, None].astype(int), 1)[:, 0]
            sign = np.where(byte >> 7, np.uint8(255), np.uint8(0))
            out[:, k] = np.where(nibble & 8, sign, byte)
        return out.view(np.uint32)[:, 0]

    return apply(one, permuted, ["u32"] * 3)


@instruction("lop3")
def any_logic(one: Instruction, program: Program) -> Execute:
    """Bit by bit, what a table says of three bits."""
    only(one)
    *_, table = one.operands
    without_table = Instruction(one.position, one.text, one.name, one.modifiers, one.operands[:4])

    def combined(a, b, c):
        out = np.zeros(np.broadcast_shapes(a.shape, b.shape, c.shape), np.uint32)
        for k in range(8):
            if table.value >> k & 1:
                out |= (a if k & 4 else ~a) & (b if k & 2 else ~b) & (c if k & 1 else ~c)
        return out

    return apply(without_table, combined, ["u32"] * 3)


@instruction("bfe")
def extract(one: Instruction, program: Program) -> Execute:
    """A field of bits from a start on; of a signed type, extended by its last bit."""
    only(one)
    dtype = dtype_of(one.type)
    raw, bits = unsigned(dtype), 8 * dtype.itemsize

    def extracted(values, start, length):
        start, length = start & np.uint32(255), length & np.uint32(255)
        low = _down(values.view(raw), start, bits)
        mask = _low_bits(length, raw, bits)
        field = low & mask
        if dtype.kind == "u":
            return field
        last = np.minimum(start + length.astype(np.int64) - 1, bits - 1)
        negative = _down(values.view(raw), np.maximum(last, 0), bits) & raw.type(1) != 0
        return np.where(negative & (length > 0), field | ~mask, field).view(dtype)

    return apply(one, extracted, [one.type, "u32", "u32"])


@instruction("bfi")
def insert(one: Instruction, program: Program) -> Execute:
    """The low bits of the first source put into the second."""
    only(one)
    dtype = dtype_of(one.type)
    bits = 8 * dtype.itemsize

    def inserted(field, into, start, length):
        start, length = start & np.uint32(255), length & np.uint32(255)
        mask = _up(_low_bits(length, dtype, bits), start, bits)
        return into & ~mask | _up(field, start, bits) & mask

    return apply(one, inserted, [one.type, one.type, "u32", "u32"])


def _down(values: np.ndarray, by: np.ndarray, bits: int) -> np.ndarray:
    moved = values >> np.minimum(by, bits - 1).astype(values.dtype)
    return np.where(by >= bits, values.dtype.type(0), moved)


def _up(values: np.ndarray, by: np.ndarray, bits: int) -> np.ndarray:
    moved = values << np.minimum(by, bits - 1).astype(values.dtype)
    return np.where(by >= bits, values.dtype.type(0), moved)


def _low_bits(count: np.ndarray, dtype: np.dtype, bits: int) -> np.ndarray:
    """As many ones."""
    return ~_up(np.array([-1]).astype(dtype), count, bits)


@instruction("popc", "clz", "brev", "bfind")
def count(one: Instruction, program: Program) -> Execute:
    """Bits counted, the leading zeros, the bits backwards, the place of the highest one."""
    only(one, *(["shiftamt"] if one.name == "bfind" else []))
    bits = 8 * dtype_of(one.type).itemsize
    if dtype_of(one.type).kind == "i":
        raise not_known(one)
    if one.name == "brev":
        dtype = unsigned(dtype_of(one.type))
        return apply(one, lambda v: np.array([int(f"{x:0{bits}b}"[::-1], 2) for x in v], dtype))
    of_one = {
        "popc": lambda x: bin(x).count("1"),
        "clz": lambda x: bits - x.bit_length(),
        "bfind": lambda x: _highest(x, bits, "shiftamt" in one),
    }[one.name]
    return apply(one, lambda v: np.array([of_one(int(x)) for x in v], np.uint32))


def _highest(x: int, bits: int, shift: bool) -> int:
    if x == 0:
        return 0xFFFFFFFF
    place = x.bit_length() - 1
    return bits - 1 - place if shift else place
