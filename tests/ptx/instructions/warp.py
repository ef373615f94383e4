"""Operations of a whole warp: shuffles, votes, reductions."""

from __future__ import annotations

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.group import WARP, by_warp, reader, whole_warps
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction, Pair
from tests.ptx.parsing import Program
from tests.ptx.types import dtype_of

LANES = np.arange(WARP)


@instruction("shfl")
def shuffle(one: Instruction, program: Program) -> Execute:
    only(one, "sync", "up", "down", "bfly", "idx")
    how, result = one.modifiers[1], one.operands[0]
    target, inside = (result.first, result.second) if isinstance(result, Pair) else (result, None)
    value = reader(one.operands[1], "b32")
    other, limits = (reader(operand, "u32") for operand in one.operands[2:4])

    def execute(group, mask):
        chosen, ok = source_lanes(how, by_warp(group, other(group)), by_warp(group, limits(group)))
        if mask is not None:
            active = mask.reshape(-1, WARP)
            if (active & ~np.take_along_axis(active, chosen, 1)).any():
                raise Fault("a shuffle from a lane that does not take part")
        taken = np.take_along_axis(by_warp(group, value(group)), chosen, 1)
        group.write(target, taken.reshape(-1), mask)
        if inside is not None:
            group.write(inside, ok.reshape(-1), mask)

    return execute


def source_lanes(how: str, other: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lane that each lane reads, its own where the other is out of its segment: [warps, 32]."""
    other, limits = other.astype(int) & 31, limits.astype(int)
    segment, clamp = limits >> 8 & 31, limits & 31
    first, last = LANES & segment, LANES & segment | clamp & ~segment
    if how == "up":
        lane = LANES - other
        ok = lane >= last
    elif how == "idx":
        lane = first | other & ~segment
        ok = lane <= last
    else:
        lane = LANES + other if how == "down" else LANES ^ other
        ok = lane <= last
    return np.where(ok, lane, LANES), ok


_REDUCE = {
    **{"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and},
    **{"or": np.bitwise_or, "xor": np.bitwise_xor},
}


@instruction("redux")
def reduce(one: Instruction, program: Program) -> Execute:
    """One number of 32 integers."""
    only(one, "sync", *_REDUCE)
    dtype = dtype_of(one.type)
    if dtype.kind == "f":
        raise not_known(one)
    function, value = _REDUCE[one.modifiers[1]], reader(one.operands[1], one.type)

    def execute(group, mask):
        whole_warps(group, mask)
        reduced = function.reduce(by_warp(group, value(group)), axis=1, dtype=dtype)
        group.write(one.operands[0], np.repeat(reduced, WARP), mask)

    return execute


@instruction("vote")
def vote(one: Instruction, program: Program) -> Execute:
    only(one, "sync", "ballot", "any", "all", "uni")
    how, value = one.modifiers[1], reader(one.operands[1], "pred")

    def execute(group, mask):
        whole_warps(group, mask)
        votes = by_warp(group, value(group))
        if how == "ballot":
            result = (votes.astype(np.uint32) << LANES.astype(np.uint32)).sum(1, dtype=np.uint32)
        else:
            every, some = votes.all(1), votes.any(1)
            result = {"all": every, "any": some, "uni": every | ~some}[how]
        group.write(one.operands[0], np.repeat(result, WARP), mask)

    return execute


@instruction("elect")
def elect(one: Instruction, program: Program) -> Execute:
    """The first lane of each warp."""
    only(one, "sync")
    result = one.operands[0]

    def execute(group, mask):
        whole_warps(group, mask)
        group.write(result.first, np.zeros(group.lanes, np.uint32), mask)
        group.write(result.second, group.thread % WARP == 0, mask)

    return execute
