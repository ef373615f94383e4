"""The group's lanes run: which instruction is next, and for which of them.

Of lanes that have parted, those at the lowest position go first, which lets them meet again behind
loops and branches as compilers lay them out. At a barrier, and at an operation of a whole warp,
lanes wait until all that are alive have come.
"""

from __future__ import annotations

import math

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.group import WARP, Group, Mask
from tests.ptx.operands import Instruction
from tests.ptx.races import FULL


class Machine:
    """Runs a group to its end; `dropped` are the positions of barriers that it passes over.

    A program that runs more than `most` instructions is at fault: it may not end.
    """

    def __init__(
        self, group: Group, dropped: frozenset[int] = frozenset(), most: float = math.inf
    ) -> None:
        self.group, self.dropped, self.most = group, dropped, most
        self.code, self.labels = group.code.instructions, group.code.labels
        # The position of all lanes while they have one, else None and those of each lane.
        self.position: int | None = 0
        self.positions = np.zeros(group.lanes, np.int64)
        self.waiting = np.zeros(group.lanes, bool)
        # Instructions run, counted once a warp of which a lane takes part.
        self.executed = 0
        # The lanes that are alive, None while all are.
        self.alive: Mask = None

    def run(self) -> None:
        while self.alive is None or self.alive.any():
            position, active = self._next()
            if position >= len(self.code):
                self._end(active)
                continue
            instruction = self.code[position]
            self.executed += self._warps(active)
            if self.executed > self.most:
                raise Fault(f"{self.group.code.name}: more than {self.most} instructions")
            self._advance(position, active)
            mask = self._guarded(instruction, active)
            try:
                self._step(instruction, active, mask)
            except Fault as fault:
                where = f"{self.group.code.name} [{position}] {instruction.text}"
                raise Fault(f"{where}: {fault}") from None

    def _warps(self, active: Mask) -> int:
        if active is None:
            return self.group.warps
        return int(active.reshape(-1, WARP).any(1).sum())

    def _next(self) -> tuple[int, Mask]:
        """The position to run, and the lanes at it (None: all of the group)."""
        if self.position is not None:
            return self.position, self.alive
        ready = self.group.alive & ~self.waiting
        while ready.any():
            position = int(self.positions[ready].min())
            here = ready & (self.positions == position)
            if position < len(self.code) and _takes_a_warp(self.code[position]):
                here = self._complete_warps(here, ready)
            if here.any():
                self._meet(position, here)
                return position, None if here.all() else here
            ready &= self.positions != position
        raise Fault(f"{self.group.code.name}: lanes wait for each other")

    def _complete_warps(self, here: np.ndarray, ready: np.ndarray) -> np.ndarray:
        """Of the lanes at an operation of a warp, those whose warps have all come."""
        missing = (self.group.alive & ~here).reshape(-1, WARP).any(1)
        return here & ~np.repeat(missing, WARP)

    def _meet(self, position: int, here: np.ndarray) -> None:
        if (here == self.group.alive).all():
            self.position = position

    def _part(self) -> None:
        if self.position is not None:
            self.positions[:] = self.position
            self.position = None

    def _advance(self, position: int, active: Mask) -> None:
        if self.position is not None:
            self.position = position + 1
        else:
            self.positions[active] = position + 1

    def _guarded(self, instruction: Instruction, active: Mask) -> Mask:
        """The lanes among the active ones whose guard lets them (None: all of the group)."""
        if instruction.guard is None:
            return active
        passed = self.group.read(instruction.guard.index)
        passed = ~passed if instruction.guard_negated else passed
        passed = passed if active is None else passed & active
        return None if active is None and passed.all() else passed

    def _step(self, instruction: Instruction, active: Mask, mask: Mask) -> None:
        if instruction.name == "bra":
            self._branch(self.labels[instruction.operands[-1].name], active, mask)
        elif instruction.name in ("ret", "exit"):
            self._end(mask)
        elif instruction.position in self.dropped:
            instruction.execute(self.group, mask)
        elif is_barrier(instruction):
            self._barrier(instruction, active, mask)
        elif mask is None or mask.any():
            instruction.execute(self.group, mask)

    def _branch(self, target: int, active: Mask, mask: Mask) -> None:
        everyone = self.group.alive if active is None else active
        taken = everyone if mask is None else mask
        if self.position is not None and (taken == everyone).all():
            self.position = target
        elif taken.any():
            self._part()
            self.positions[taken] = target

    def _end(self, mask: Mask) -> None:
        self._part()
        self.group.alive &= np.zeros_like(self.group.alive) if mask is None else ~mask
        self.alive = self.group.alive
        self._release()

    def _barrier(self, instruction: Instruction, active: Mask, mask: Mask) -> None:
        if mask is not active and not (mask == active).all():
            raise Fault("a barrier that only some lanes reach")
        if instruction.modifiers[0] == "warp":
            taken = 1 if mask is None else mask
            self.group.warp_interval = self.group.warp_interval + taken
            return
        if self.position is not None:
            self._pass(self.group.alive)
            if self.group.log is not None and self.group.log.entries > FULL:
                self.group.log.search()
            return
        self.waiting |= active
        self._release()

    def _release(self) -> None:
        """Let the programs go on whose lanes that are alive all wait at one barrier."""
        threads = self.group.code.threads
        alive = self.group.alive.reshape(-1, threads)
        waiting = self.waiting.reshape(-1, threads)
        full = alive.any(1) & (waiting | ~alive).all(1) & waiting.any(1)
        for program in np.flatnonzero(full):
            part = slice(program * threads, (program + 1) * threads)
            live = self.group.alive[part]
            if len(np.unique(self.positions[part][live])) > 1:
                raise Fault("lanes of a program wait at different barriers")
            lanes = np.zeros(self.group.lanes, bool)
            lanes[part] = live
            self.waiting[part] = False
            self._pass(lanes)

    def _pass(self, lanes: np.ndarray) -> None:
        # New arrays, for the log keeps those of before.
        self.group.interval = self.group.interval + lanes
        self.group.warp_interval = self.group.warp_interval + lanes


def is_barrier(instruction: Instruction) -> bool:
    return instruction.name in ("bar", "barrier")


def _takes_a_warp(instruction: Instruction) -> bool:
    """Whether lanes wait here for their warp, as `shfl.sync` and `bar.warp.sync` say."""
    waits_for_all = is_barrier(instruction) and instruction.modifiers[0] != "warp"
    return "sync" in instruction and not waits_for_all


def check_barrier(instruction: Instruction) -> None:
    """Refuse barriers of some of a program's threads, which nothing here models."""
    kind, operands = instruction.modifiers, instruction.operands
    known = {("sync",): 0, ("sync", "aligned"): 0, ("warp", "sync"): -1}
    if kind not in known or [getattr(operand, "value", None) for operand in operands] not in (
        [known[kind]],
        [known[kind] & 0xFFFFFFFF],
    ):
        raise Fault(f"not known: {instruction.text}")
