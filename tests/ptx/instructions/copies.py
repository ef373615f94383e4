"""`cp.async`: copies from global to shared memory that arrive when they are waited for.

A copy may write from when it is issued to when it is waited for, so both are in the log of
accesses; the bytes themselves come at the wait, and what reads too early reads something else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.group import reader
from tests.ptx.instructions.memory import Access, address_reader, lanes_of
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction
from tests.ptx.parsing import Program
from tests.ptx.races import READ, WRITE


@dataclass
class Copies:
    """Copies under way of one instruction, an entry a lane; `number` is the group of each."""

    instruction: Instruction
    places: np.ndarray
    lanes: np.ndarray
    words: np.ndarray
    number: np.ndarray

    def where(self, chosen: np.ndarray) -> Copies:
        parts = (self.places, self.lanes, self.words, self.number)
        return Copies(self.instruction, *(part[chosen] for part in parts))


@instruction("cp")
def copy(one: Instruction, program: Program) -> Execute:
    if one.modifiers[:1] != ("async",):
        raise not_known(one)
    if one.modifiers[1] in ("commit_group", "wait_group", "wait_all"):
        return _group(one)
    only(one, "async", "ca", "cg", "shared", "global", "shared::cta", "L2::128B")
    to, source, whole, *taken = one.operands
    to, source, count = address_reader(to, program), address_reader(source, program), whole.value
    taken = reader(taken[0], "u32") if taken else None
    reads, writes = Access(one, "global"), Access(one, "shared")

    def execute(group, mask):
        lanes = lanes_of(group, mask)
        places = writes.places(group, to(group)[lanes], lanes, count)
        sizes = np.full(len(lanes), count)
        if taken is not None:
            sizes = np.broadcast_to(taken(group), group.lanes)[lanes].astype(np.int64)
        if not np.isin(sizes, (0, count)).all():
            raise Fault("a copy of some of its bytes")
        words = np.zeros((len(lanes), count // 4), np.uint32)
        full = sizes == count
        if full.any():
            addresses = source(group)[lanes][full]
            at = reads.places(group, addresses, lanes[full], count)
            reads.note(group, READ, at, lanes[full], count)
            for k in range(count // 4):
                words[full, k] = group.memory.load(at + 4 * k, 4)
        writes.note(group, WRITE, places, lanes, count, words)
        copies = Copies(one, places, lanes, words, group.committed[lanes])
        group.copying.append(copies)

    return execute


def _group(one: Instruction) -> Execute:
    kind = one.modifiers[1]
    left = one.operands[0].value if kind == "wait_group" else 0

    def execute(group, mask):
        active = group.alive if mask is None else mask
        if kind != "wait_group":
            group.committed[active] += 1
        if kind != "commit_group":
            waiting, group.copying = group.copying, []
            for copies in waiting:
                due = active[copies.lanes] & (copies.number < group.committed[copies.lanes] - left)
                _arrive(group, copies.where(due))
                if not due.all():
                    group.copying.append(copies.where(~due))

    return execute


def _arrive(group, copies: Copies) -> None:
    if not len(copies.lanes):
        return
    words = copies.words
    access = Access(copies.instruction, "shared")
    access.note(group, WRITE, copies.places, copies.lanes, 4 * words.shape[1], words)
    for k in range(words.shape[1]):
        group.shared.store(copies.places + 4 * k, words[:, k].copy())
