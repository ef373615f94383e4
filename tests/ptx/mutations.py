"""A barrier dropped or an atomic made plain, in launches that were recorded: who notices?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.ptx.driver import Launch
from tests.ptx.faults import Fault
from tests.ptx.instructions.memory import plain
from tests.ptx.launch import launch
from tests.ptx.machine import is_barrier
from tests.ptx.operands import Instruction


@dataclass
class Mutation:
    """One instruction of a kernel, changed, and what the launches of the kernel then reported."""

    kernel: str
    position: int
    # How many barriers, or atomics, of the kernel come before it.
    ordinal: int
    text: str
    executed: bool
    reports: list[str]

    @property
    def noticed(self) -> bool:
        return bool(self.reports)


def mutable(instruction: Instruction) -> bool:
    return is_barrier(instruction) or instruction.name in ("atom", "red")


def mutations(launches: Iterable[Launch]) -> list[Mutation]:
    """Every mutation of the kernels launched, run over all recorded launches until one reports."""
    by_program: dict[int, list[Launch]] = {}
    for one in launches:
        by_program.setdefault(id(one.program), []).append(one)
    found = []
    for same in by_program.values():
        candidates = [one for one in same[0].program.instructions if mutable(one)]
        for ordinal, instruction in enumerate(candidates):
            found.append(_mutated(same, instruction, ordinal))
    return found


def _mutated(launches: list[Launch], instruction: Instruction, ordinal: int) -> Mutation:
    reports: list[str] = []
    executed = False
    for one in launches:
        ran, reports = replay(one, instruction)
        executed |= ran
        if reports:
            break
    name = launches[0].program.name
    return Mutation(name, instruction.position, ordinal, instruction.text, executed, reports)


def replay(one: Launch, instruction: Instruction) -> tuple[bool, list[str]]:
    """Whether a recorded launch came by the instruction, and its reports with it changed."""
    memory = one.before.copy()
    dropped = frozenset({instruction.position} if is_barrier(instruction) else ())
    original = instruction.execute
    changed = plain(instruction, one.program) if not dropped else original
    came_by: list[bool] = []

    def execute(group, mask) -> None:
        came_by.append(True)
        changed(group, mask)

    instruction.execute = execute
    try:
        outcome = launch(
            one.program, one.grid, one.parameters, memory, one.shared, dropped=dropped,
            most=10 * one.outcome.instructions,
        )  # fmt: skip
    except Fault as fault:
        return True, [f"fault: {fault}"]
    finally:
        instruction.execute = original
    return bool(came_by), [str(race) for race in outcome.races]
