"""Loads, stores and atomics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.group import Group, Mask, Reader, reader
from tests.ptx.instructions.moves import load_parameter
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.memory import Memory
from tests.ptx.operands import Address, Instruction, Register, Vector
from tests.ptx.parsing import Program
from tests.ptx.races import ATOMIC, READ, WRITE
from tests.ptx.types import dtype_of, unsigned

# Hints to caches, and orders between atomics that nothing here tells apart.
_HINTS = ("L1::evict_last", "L1::evict_first", "L1::no_allocate", "L2::evict_first", "nc")
_SHAPES = {"v2": 2, "v4": 4}


def lanes_of(group: Group, mask: Mask) -> np.ndarray:
    return group.every_lane if mask is None else np.flatnonzero(mask)


def address_reader(address: Address, program: Program) -> Reader:
    """Addresses as 64 bits; those of shared memory may come in registers of 32."""
    kind = "b64"
    if isinstance(address.base, Register):
        kind = f"b{8 * dtype_of(program.registers[address.base.index]).itemsize}"
    base, offset = reader(address.base, kind), np.uint64(address.offset & (2**64 - 1))

    def read(group: Group) -> np.ndarray:
        return np.broadcast_to(base(group).astype(np.uint64) + offset, group.lanes)

    return read


def space_of(one: Instruction) -> str:
    """``"global"`` or ``"shared"``; local memory and generic addresses are refused."""
    if "shared" in one or "shared::cta" in one:
        return "shared"
    if "global" not in one:
        raise not_known(one)
    return "global"


class Access:
    """Accesses of one instruction to one space: with bounds, alignment and an entry in the log."""

    def __init__(self, one: Instruction, space: str) -> None:
        self.one, self.space = one, space

    def memory(self, group: Group) -> Memory:
        return group.shared if self.space == "shared" else group.memory

    def places(self, group: Group, addresses: np.ndarray, lanes: np.ndarray, size: int):
        """Where the addresses are among the bytes of the space."""
        return self.memory(group).offsets(addresses, size, group.slot[lanes])

    def note(self, group, kind, places, lanes, size, values=None) -> None:
        if group.log is not None:
            group.log.add(group, self.one, self.space, kind, places, size, lanes, values)


def _shape(one: Instruction, data: object) -> list:
    """The registers of the data, one for each part of a vector."""
    parts = list(data.parts) if isinstance(data, Vector) else [data]
    count = next((_SHAPES[name] for name in one.modifiers if name in _SHAPES), 1)
    if len(parts) != count:
        raise not_known(one)
    return parts


@instruction("ld")
def load(one: Instruction, program: Program) -> Execute:
    if "param" in one:
        return load_parameter(one, program)
    only(one, "global", "shared", "shared::cta", *_SHAPES, *_HINTS)
    targets, where = _shape(one, one.operands[0]), address_reader(one.operands[1], program)
    access, dtype = Access(one, space_of(one)), dtype_of(one.type)
    size, raw = dtype.itemsize, unsigned(dtype)

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        places = access.places(group, where(group)[lanes], lanes, size * len(targets))
        access.note(group, READ, places, lanes, size * len(targets))
        words = access.memory(group).views[size]
        at = places // size
        for k, target in enumerate(targets):
            values = words[at + k]
            if mask is not None:
                values, taken = np.zeros(group.lanes, raw), values
                values[lanes] = taken
            group.write(target, values.view(dtype), mask)

    return execute


@instruction("st")
def store(one: Instruction, program: Program) -> Execute:
    only(one, "global", "shared", "shared::cta", *_SHAPES, *_HINTS)
    parts, where = _shape(one, one.operands[1]), address_reader(one.operands[0], program)
    access, dtype = Access(one, space_of(one)), unsigned(dtype_of(one.type))
    sources, size = [reader(part, f"b{8 * dtype.itemsize}") for part in parts], dtype.itemsize

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        places = access.places(group, where(group)[lanes], lanes, size * len(sources))
        values = [np.broadcast_to(source(group), group.lanes)[lanes] for source in sources]
        access.note(group, WRITE, places, lanes, size * len(sources), np.stack(values, 1))
        words = access.memory(group).views[size]
        for k, value in enumerate(values):
            words[places // size + k] = value

    return execute


_ATOMIC: dict[str, Callable] = {
    **{"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and},
    **{"or": np.bitwise_or, "xor": np.bitwise_xor, "exch": lambda old, new: new},
}


@instruction("atom", "red")
def atomic(one: Instruction, program: Program) -> Execute:
    """As if lane after lane; relaxed orders alone, which order nothing else."""
    only(one, "global", "shared", "shared::cta", "gpu", "cta", "sys", "relaxed", *_ATOMIC)
    function = next((_ATOMIC[name] for name in one.modifiers if name in _ATOMIC), None)
    if function is None or (dtype_of(one.type).kind == "f" and "add" not in one):
        raise not_known(one)
    *target, address, source = one.operands
    where, value = address_reader(address, program), reader(source, one.type)
    access, size = Access(one, space_of(one)), dtype_of(one.type).itemsize

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        new = np.broadcast_to(value(group), group.lanes)[lanes]
        places = access.places(group, where(group)[lanes], lanes, size)
        access.note(group, ATOMIC, places, lanes, size)
        words, at = access.memory(group).views[size], places // size
        old = np.zeros(group.lanes, new.dtype)
        turns = turns_of(places)
        for turn in range(int(turns.max()) + 1):
            now = turns == turn
            before = words[at[now]].view(new.dtype)
            old[lanes[now]] = before
            words[at[now]] = function(before, new[now]).astype(new.dtype).view(words.dtype)
        if target:
            group.write(target[0], old, mask)

    return execute


def turns_of(places: np.ndarray) -> np.ndarray:
    """How many lanes before each one have its place: lanes of one turn do not meet."""
    order = np.argsort(places, kind="stable")
    number = np.arange(len(places))
    first = np.r_[True, np.diff(places[order]) != 0]
    turns = np.empty_like(number)
    turns[order] = number - np.maximum.accumulate(np.where(first, number, 0))
    return turns


def plain(one: Instruction, program: Program) -> Execute:
    """An atomic taken apart: all lanes load, then all lanes store, as mutation tests have it."""
    function = next(_ATOMIC[name] for name in one.modifiers if name in _ATOMIC)
    *target, address, source = one.operands
    where, value = address_reader(address, program), reader(source, one.type)
    access, size = Access(one, space_of(one)), dtype_of(one.type).itemsize

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        new = np.broadcast_to(value(group), group.lanes)[lanes]
        places = access.places(group, where(group)[lanes], lanes, size)
        memory = access.memory(group)
        before = memory.load(places, size).view(new.dtype)
        after = function(before, new).astype(new.dtype).view(unsigned(new.dtype))
        access.note(group, READ, places, lanes, size)
        access.note(group, WRITE, places, lanes, size, after[:, None])
        memory.store(places, after)
        if target:
            old = np.zeros(group.lanes, new.dtype)
            old[lanes] = before
            group.write(target[0], old, mask)

    return execute
