"""The instructions that are known, by name, and the refusal of all others."""

from __future__ import annotations

from collections.abc import Callable

from tests.ptx.faults import Fault
from tests.ptx.group import Group, Mask
from tests.ptx.machine import check_barrier
from tests.ptx.operands import Instruction
from tests.ptx.parsing import Program
from tests.ptx.types import DTYPES

Execute = Callable[[Group, Mask], None]
Build = Callable[[Instruction, Program], Execute]

_BUILDERS: dict[str, Build] = {}


def instruction(*names: str) -> Callable[[Build], Build]:
    """Make a function the builder of the instructions of these names."""

    def register(build: Build) -> Build:
        for name in names:
            _BUILDERS[name] = build
        return build

    return register


def prepare(program: Program) -> Program:
    """Give each instruction what it does, or refuse the program by the first one not known."""
    for one in program.instructions:
        one.execute = _build(one, program)
    return program


def _build(one: Instruction, program: Program) -> Execute:
    if one.name not in _BUILDERS:
        raise not_known(one)
    try:
        return _BUILDERS[one.name](one, program)
    except Fault as fault:
        raise Fault(f"{program.name} [{one.position}] {one.text}: {fault}") from None


def not_known(one: Instruction) -> Fault:
    return Fault(f"not known: {'.'.join([one.name, *one.modifiers])}")


def only(one: Instruction, *modifiers: str) -> None:
    """Refuse an instruction with modifiers other than types and these."""
    if {*one.modifiers} - {*modifiers} - DTYPES.keys():
        raise not_known(one)


def _nothing(group: Group, mask: Mask) -> None:
    pass


@instruction("bra", "ret", "exit")
def _control(one: Instruction, program: Program) -> Execute:
    """What the machine itself does."""
    only(one, "uni")
    return _nothing


@instruction("bar", "barrier")
def _barrier(one: Instruction, program: Program) -> Execute:
    check_barrier(one)
    return _nothing
