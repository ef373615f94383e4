"""Matrices of 8 by 8 between shared memory and registers, and products of TF32 by tensor cores."""

from __future__ import annotations

import numpy as np

from tests.ptx.group import WARP, Group, by_warp, reader, whole_warps
from tests.ptx.instructions.memory import Access, address_reader
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction, Vector
from tests.ptx.parsing import Program
from tests.ptx.races import READ, WRITE

_COUNTS = {"x1": 1, "x2": 2, "x4": 4}
_LANES = np.arange(WARP)
# Where a lane's two numbers of 16 bits are in a matrix.
_ROW, _COLUMN = _LANES // 4, _LANES % 4 * 2


def _matrices(one: Instruction) -> tuple[int, bool]:
    only(one, "sync", "aligned", "m8n8", *_COUNTS, "trans", "shared", "shared::cta")
    return next(_COUNTS[name] for name in one.modifiers if name in _COUNTS), "trans" in one


def _parts(operand: object) -> list:
    return list(operand.parts) if isinstance(operand, Vector) else [operand]


def _rows(group: Group, mask: np.ndarray | None, count: int) -> np.ndarray:
    """The lanes whose addresses are those of the rows: the first 8 for each matrix."""
    active = np.ones(group.lanes, bool) if mask is None else mask
    return np.flatnonzero(active & (group.thread % WARP < 8 * count))


@instruction("ldmatrix")
def load_matrices(one: Instruction, program: Program) -> Execute:
    count, trans = _matrices(one)
    targets, where = _parts(one.operands[0]), address_reader(one.operands[1], program)
    access = Access(one, "shared")

    def execute(group, mask):
        whole_warps(group, mask)
        lanes = _rows(group, mask, count)
        places = access.places(group, where(group)[lanes], lanes, 16)
        # A lane gives the address of a row; four others receive its numbers, and read it so.
        receivers = lanes // WARP * WARP + lanes % 8 * 4
        for k in range(4):
            access.note(group, READ, places + 4 * k, receivers + k, 4)
        words = [group.shared.load(places + 2 * k, 2) for k in range(8)]
        found = np.stack(words, 1).reshape(-1, count, 8, 8)  # [warps, count, row, column]
        found = found.swapaxes(2, 3) if trans else found
        low, high = found[..., _ROW, _COLUMN], found[..., _ROW, _COLUMN + 1]
        both = low.astype(np.uint32) | high.astype(np.uint32) << np.uint32(16)
        for k, target in enumerate(targets):
            values = np.zeros(group.lanes, np.uint32)
            values[slice(None) if mask is None else mask] = both[:, k].reshape(-1)
            group.write(target, values, mask)

    return execute


@instruction("stmatrix")
def store_matrices(one: Instruction, program: Program) -> Execute:
    count, trans = _matrices(one)
    where = address_reader(one.operands[0], program)
    sources = [reader(part, "b32") for part in _parts(one.operands[1])]
    access = Access(one, "shared")

    def execute(group, mask):
        whole_warps(group, mask)
        lanes = _rows(group, mask, count)
        places = access.places(group, where(group)[lanes], lanes, 16)
        warps = np.unique(lanes // WARP)
        found = np.zeros((len(warps), count, 8, 8), np.uint16)
        for k, source in enumerate(sources):
            values = by_warp(group, source(group))[warps]
            found[:, k, _ROW, _COLUMN] = values.astype(np.uint16)
            found[:, k, _ROW, _COLUMN + 1] = (values >> np.uint32(16)).astype(np.uint16)
        found = found.swapaxes(2, 3) if trans else found
        rows = np.ascontiguousarray(found).reshape(-1, 8)
        access.note(group, WRITE, places, lanes, 16, rows)
        for k in range(8):
            group.shared.store(places + 2 * k, rows[:, k].copy())

    return execute


@instruction("mma")
def multiply(one: Instruction, program: Program) -> Execute:
    """D = A B + C of 16 by 8 by 8 numbers, in float64 and rounded once.

    A device rounds otherwise, and keeps fewer bits of the small terms of a sum.
    """
    only(one, "sync", "aligned", "m16n8k8", "row", "col")
    if one.modifiers[-4:] != ("f32", "tf32", "tf32", "f32"):
        raise not_known(one)
    out = one.operands[0].parts
    a_parts, b_parts, c_parts = (
        [reader(part, "f32") for part in operand.parts] for operand in one.operands[1:]
    )
    row, column = _LANES >> 2, _LANES & 3

    def execute(group, mask):
        whole_warps(group, mask)
        a = np.zeros((group.warps, 16, 8))
        b, c = np.zeros((group.warps, 8, 8)), np.zeros((group.warps, 16, 8))
        for k, value in enumerate(a_parts):
            a[:, row + 8 * (k & 1), column + 4 * (k >> 1)] = _tf32(by_warp(group, value(group)))
        for k, value in enumerate(b_parts):
            b[:, column + 4 * k, row] = _tf32(by_warp(group, value(group)))
        for k, value in enumerate(c_parts):
            c[:, row + 8 * (k >> 1), 2 * column + (k & 1)] = by_warp(group, value(group))
        product = (a @ b + c).astype(np.float32)
        for k, target in enumerate(out):
            taken = product[:, row + 8 * (k >> 1), 2 * column + (k & 1)]
            group.write(target, taken.reshape(-1), mask)

    return execute


def _tf32(values: np.ndarray) -> np.ndarray:
    """The bits that tensor cores look at."""
    bits = np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32)
