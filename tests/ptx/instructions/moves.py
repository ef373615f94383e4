"""Moves between registers, and from parameters."""

from __future__ import annotations

import numpy as np

from tests.ptx.group import reader
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction, Vector
from tests.ptx.parsing import Program
from tests.ptx.types import dtype_of, unsigned


@instruction("mov")
def mov(one: Instruction, program: Program) -> Execute:
    """A register, a constant, or parts packed into a wider register and back."""
    only(one)
    target, source = one.operands
    if isinstance(target, Vector):
        return _unpack(one, target, source)
    if isinstance(source, Vector):
        return _pack(one, target, source)
    value = reader(source, one.type)
    return lambda group, mask: group.write(target, value(group), mask)


def part_type(whole: str, parts: int) -> str:
    return f"b{8 * dtype_of(whole).itemsize // parts}"


def _unpack(one: Instruction, target: Vector, source: object) -> Execute:
    value, count = reader(source, one.type), len(target.parts)
    part = dtype_of(part_type(one.type, count))

    def execute(group, mask):
        parts = np.ascontiguousarray(value(group)).view(part).reshape(-1, count)
        for k, register in enumerate(target.parts):
            group.write(register, parts[:, k].copy(), mask)

    return execute


def _pack(one: Instruction, target: object, source: Vector) -> Execute:
    part = part_type(one.type, len(source.parts))
    values = [reader(operand, part) for operand in source.parts]
    whole = unsigned(dtype_of(one.type))

    def execute(group, mask):
        parts = [np.broadcast_to(value(group), group.lanes) for value in values]
        group.write(target, np.stack(parts, 1).view(whole).reshape(-1), mask)

    return execute


@instruction("cvta")
def cvta(one: Instruction, program: Program) -> Execute:
    """Global addresses are generic ones here; those of other spaces are refused."""
    only(one, "to", "global")
    if "global" not in one:
        raise not_known(one)
    value = reader(one.operands[1], one.type)
    return lambda group, mask: group.write(one.operands[0], value(group), mask)


def load_parameter(one: Instruction, program: Program) -> Execute:
    """`ld.param`"""
    only(one, "param")
    target, address = one.operands
    index = program.parameters.index(address.base.name)
    dtype = dtype_of(one.type)

    def execute(group, mask):
        raw = (group.parameters[index] >> 8 * address.offset) & (2 ** (8 * dtype.itemsize) - 1)
        group.write(target, np.array([raw], unsigned(dtype)).view(dtype), mask)

    return execute
