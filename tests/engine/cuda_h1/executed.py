"""The compiled kernels of H1 in the interpreter of PTX: bounds of each array, and races."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.ptx.driver import Launch
from tests.ptx.instructions import prepare
from tests.ptx.launch import launch
from tests.ptx.memory import GlobalMemory
from tests.ptx.parsing import Program, parse
from tsloss_fast._engine.cuda_h1 import compiler, driver
from tsloss_fast._engine.cuda_h1 import launch as h1
from tsloss_fast._engine.cuda_h1.sizes import Form, Room

ARCHITECTURE = 90
# An H100's shared memory of a block.
SHARED = 232448
# Bytes between two arrays, which no access may touch.
GAP = 256
# What memory holds before anything is stored.
POISON = -0x54545455

Extents = list[tuple[int, int]]


@functools.cache
def programs(form: Form) -> dict[str, Program]:
    """The kernels of a form by their names."""
    text = compiler.ptx(dict(form.macros), ARCHITECTURE)
    return {name: prepare(parse(text, name)) for name in driver.KERNELS}


class GuardedWorkspace(h1.Workspace):
    """A workspace whose arrays lie apart, with the extent of each."""

    current: GuardedWorkspace

    def __init__(self, B: int, n: int, room: Room, form: Form, device: torch.device) -> None:
        self.extents: Extents = []
        self.arrays: list[torch.Tensor] = []
        super().__init__(B, n, room, form, device)
        if not form.is_shared:
            self.dead_rows = self._take(B * h1.sizes.dead_row_words(room.generators))
        GuardedWorkspace.current = self

    def _take(self, words: int) -> int:
        array = torch.full((words + GAP // 4,), POISON, dtype=torch.int32)
        self.arrays.append(array)
        self.extents.append((array.data_ptr(), 4 * words))
        return array.data_ptr()


class ExecutedKernel:
    """A kernel whose launches the interpreter does."""

    def __init__(
        self,
        program: Program,
        others: list[torch.Tensor],
        launches: list[Launch],
        record: bool,
        watch: bool,
    ) -> None:
        self.program, self.others, self.launches = program, others, launches
        self.record, self.watch = record, watch

    def launch(self, grid: int, threads: int, shared: int, arguments: list[int]) -> None:
        assert threads == self.program.threads
        given = [(x.data_ptr(), x.numel() * x.element_size()) for x in self.others]
        memory = GlobalMemory([*given, *GuardedWorkspace.current.extents])
        before = memory.copy() if self.record else None
        outcome = launch(self.program, grid, arguments, memory, shared, watch=self.watch)
        memory.write_back()
        self.launches.append(
            Launch(self.program, ARCHITECTURE, grid, arguments, shared, outcome, 0.0, before)
        )


@contextmanager
def interpreted(record: bool = False, watch: bool = True) -> Iterator[list[Launch]]:
    """`launch.h1_bars` on CPU tensors: its launches, with the races in them if `watch`."""
    launches: list[Launch] = []
    tensors: list[torch.Tensor] = []
    empty = torch.empty

    def kernels_on(device: torch.device, form: Form) -> dict[str, ExecutedKernel]:
        return {
            name: ExecutedKernel(program, tensors, launches, record, watch)
            for name, program in programs(form).items()
        }

    def kept_empty(*shape: int, **options: object) -> torch.Tensor:
        out = empty(*shape, **options)
        tensors.append(out)
        return out

    def check(D: torch.Tensor, h0_bars: torch.Tensor) -> None:
        tensors[:] = [D, h0_bars]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h1, "Workspace", GuardedWorkspace)
        patch.setattr(h1, "kernels_on", kernels_on)
        patch.setattr(h1, "form_on", lambda device, n, room: h1.sizes.form_for(n, room, SHARED))
        patch.setattr(h1, "_check", check)
        patch.setattr(h1.torch, "empty", kept_empty)
        yield launches


def races(launches: list[Launch]) -> list[str]:
    return [f"{one.program.name}: {race}" for one in launches for race in one.outcome.races]
