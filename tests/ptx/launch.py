"""A launch: its programs in groups, the groups in random order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tests.ptx.group import Group
from tests.ptx.machine import Machine
from tests.ptx.memory import GlobalMemory
from tests.ptx.parsing import Program
from tests.ptx.races import Log, Race

# Lanes that run in step.
LANES = 2048


@dataclass
class Outcome:
    """What a launch did: instructions run, counted once a warp, and the races found."""

    instructions: int = 0
    races: list[Race] = field(default_factory=list)


def launch(
    program: Program,
    grid: int,
    parameters: list[int],
    memory: GlobalMemory,
    shared: int = 0,
    *,
    dropped: frozenset[int] = frozenset(),
    watch: bool = True,
    seed: int = 0,
    lanes: int = LANES,
    most: float = math.inf,
) -> Outcome:
    """Run every program of a launch.

    Parameters
    ----------
    parameters : list of int
        The bits of the kernel's parameters.
    shared : int
        Bytes of shared memory of a program.
    dropped : frozenset of int
        Positions of barriers to pass over.
    watch : bool
        Whether accesses are kept and races sought.
    lanes : int
        About how many lanes run in step.
    most : float
        Instructions of such a group of lanes, beyond which the program is at fault.
    """
    log = Log(program.instructions, grid, memory.size) if watch else None
    outcome = Outcome()
    order = np.random.default_rng(seed).permutation(grid)
    together = max(1, lanes // program.threads)
    with np.errstate(all="ignore"):
        for start in range(0, grid, together):
            which = order[start : start + together]
            group = Group(program, which, memory, shared, parameters, grid, log)
            machine = Machine(group, dropped, most)
            machine.run()
            outcome.instructions += machine.executed
            if log is not None:
                log.search()
        if log is not None:
            log.search_between_programs()
            outcome.races = list(log.races.values())
    return outcome
