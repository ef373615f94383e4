"""Loads, stores and atomics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.group import Group, Mask, Reader, reader
from tests.ptx.instructions.moves import load_parameter
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.memory import check_alignment
from tests.ptx.operands import Address, Instruction, Register, Vector
from tests.ptx.parsing import Program
from tests.ptx.races import ATOMIC, READ, WRITE
from tests.ptx.types import dtype_of, unsigned

# Hints to caches, and orders between atomics that nothing here tells apart.
_HINTS = ("L1::evict_last", "L1::evict_first", "L1::no_allocate", "L2::evict_first", "nc")
_SHAPES = {"v2": 2, "v4": 4}


def lanes_of(group: Group, mask: Mask) -> np.ndarray:
    return np.arange(group.lanes) if mask is None else np.flatnonzero(mask)


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

    def places(self, group: Group, addresses: np.ndarray, lanes: np.ndarray, size: int):
        """Where the addresses are among the bytes of the space."""
        if self.space == "shared":
            return group.shared.offsets(addresses, size, group.slot[lanes])
        check_alignment(addresses, size)
        return group.memory.offsets(addresses, size)

    def note(self, group, kind, places, lanes, size, values=None) -> None:
        if group.log is not None:
            group.log.add(group, self.one, self.space, kind, places, size, lanes, values)

    def get(self, group: Group, addresses: np.ndarray, places: np.ndarray, size: int):
        if self.space == "shared":
            return group.shared.load(places, size)
        return group.memory.load(addresses, size)

    def put(self, group: Group, addresses, places, values: np.ndarray) -> None:
        if self.space == "shared":
            group.shared.store(places, values)
        else:
            group.memory.store(addresses, values)


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
        addresses = where(group)[lanes]
        places = access.places(group, addresses, lanes, size * len(targets))
        access.note(group, READ, places, lanes, size * len(targets))
        for k, target in enumerate(targets):
            values = np.zeros(group.lanes, raw)
            values[lanes] = access.get(
                group, addresses + np.uint64(k * size), places + k * size, size
            )
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
        addresses = where(group)[lanes]
        places = access.places(group, addresses, lanes, size * len(sources))
        values = [np.broadcast_to(source(group), group.lanes)[lanes] for source in sources]
        access.note(group, WRITE, places, lanes, size * len(sources), np.stack(values, 1))
        for k, value in enumerate(values):
            access.put(group, addresses + np.uint64(k * size), places + k * size, value)

    return execute


_ATOMIC: dict[str, Callable] = {
    **{"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and},
    **{"or": np.bitwise_or, "xor": np.bitwise_xor, "exch": lambda old, new: new},
}


@instruction("atom", "red")
def atomic(one: Instruction, program: Program) -> Execute:
    """Lane after lane; relaxed orders alone, which order nothing else."""
    only(one, "global", "shared", "shared::cta", "gpu", "cta", "sys", "relaxed", *_ATOMIC)
    function = next((_ATOMIC[name] for name in one.modifiers if name in _ATOMIC), None)
    if function is None or (dtype_of(one.type).kind == "f" and "add" not in one):
        raise not_known(one)
    *target, address, source = one.operands
    where, value = address_reader(address, program), reader(source, one.type)
    access, size = Access(one, space_of(one)), dtype_of(one.type).itemsize

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        addresses, new = where(group)[lanes], np.broadcast_to(value(group), group.lanes)[lanes]
        places = access.places(group, addresses, lanes, size)
        access.note(group, ATOMIC, places, lanes, size)
        old = np.zeros(group.lanes, new.dtype)
        for k, lane in enumerate(lanes):
            at, place = addresses[k : k + 1], places[k : k + 1]
            before = access.get(group, at, place, size).view(new.dtype)
            old[lane] = before[0]
            after = function(before, new[k : k + 1]).astype(new.dtype)
            access.put(group, at, place, after.view(unsigned(new.dtype)))
        if target:
            group.write(target[0], old, mask)

    return execute


def plain(one: Instruction, program: Program) -> Execute:
    """An atomic taken apart: all lanes load, then all lanes store, as mutation tests have it."""
    function = next(_ATOMIC[name] for name in one.modifiers if name in _ATOMIC)
    *target, address, source = one.operands
    where, value = address_reader(address, program), reader(source, one.type)
    access, size = Access(one, space_of(one)), dtype_of(one.type).itemsize

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        addresses, new = where(group)[lanes], np.broadcast_to(value(group), group.lanes)[lanes]
        places = access.places(group, addresses, lanes, size)
        before = access.get(group, addresses, places, size).view(new.dtype)
        after = function(before, new).astype(new.dtype).view(unsigned(new.dtype))
        access.note(group, READ, places, lanes, size)
        access.note(group, WRITE, places, lanes, size, after[:, None])
        access.put(group, addresses, places, after)
        if target:
            old = np.zeros(group.lanes, new.dtype)
            old[lanes] = before
            group.write(target[0], old, mask)

    return execute
