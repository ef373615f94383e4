"""Accesses that no barrier keeps apart.

Two accesses of one word are a race if one of them is a plain store, or one is an atomic and the
other is not, and nothing orders them: between lanes of different warps of a program, a barrier of
the program; between lanes of one warp, that or a barrier of the warp; between programs of a launch,
nothing at all. Stores of one value by several lanes are no race, for replicated layouts do so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.ptx.group import WARP, Group
from tests.ptx.operands import Instruction
from tests.ptx.types import dtype_of

READ, WRITE, ATOMIC = 0, 1, 2
# Entries after which what is behind a barrier is looked through.
FULL = 1_000_000
# Races that one search names.
NAMED = 8


@dataclass(frozen=True)
class Race:
    """The two instructions, and who ran them: ``"between warps"`` of a program, for example."""

    scope: str
    space: str
    first: Instruction
    second: Instruction
    place: int

    def __str__(self) -> str:
        return (
            f"{self.scope}: {self.space} byte {self.place:#x}: [{self.first.position}] "
            f"{self.first.text} against [{self.second.position}] {self.second.text}"
        )


@dataclass
class Accesses:
    """Words touched, one entry each: by which instruction, how, by whom, and what was stored."""

    word: np.ndarray
    kind: np.ndarray
    value: np.ndarray
    position: np.ndarray
    program: np.ndarray
    thread: np.ndarray
    interval: np.ndarray
    warp_interval: np.ndarray

    def __len__(self) -> int:
        return len(self.word)

    def where(self, chosen: np.ndarray) -> Accesses:
        return Accesses(*(column[chosen] for column in vars(self).values()))

    @staticmethod
    def joined(parts: list[Accesses]) -> Accesses:
        return Accesses(*map(np.concatenate, zip(*(vars(p).values() for p in parts), strict=True)))


def stored_size(instruction: Instruction) -> int:
    """The bytes of the smallest part that an instruction stores; 4 where it stores none or more."""
    if instruction.name not in ("st", "atom", "red"):
        return 2 if instruction.name == "stmatrix" else 4
    return min(4, dtype_of(instruction.type).itemsize)


class Log:
    """The accesses of a launch, and the races found among them."""

    def __init__(self, code: list[Instruction]) -> None:
        self.code = code
        # Bytes of a word: smaller ones would tell apart bytes that no store tells apart.
        self.unit = min([4, *map(stored_size, code)])
        self.races: dict[tuple[str, str, int, int], Race] = {}
        self.entries = 0
        self._rows: dict[str, list[tuple]] = {"global": [], "shared": []}
        self._global: list[Accesses] = []

    def add(
        self,
        group: Group,
        instruction: Instruction,
        space: str,
        kind: int,
        places: np.ndarray,
        size: int,
        lanes: np.ndarray,
        values: np.ndarray | None = None,
    ) -> None:
        """Note accesses of `size` bytes at `places` by `lanes`; `values` are the words stored."""
        who = (group.program[lanes], group.thread[lanes])
        when = (group.interval[lanes], group.warp_interval[lanes])
        self._rows[space].append((instruction.position, kind, places, size, values, *who, *when))
        self.entries += len(places)

    def search(self) -> None:
        """Look for races inside of programs; all lanes have to be at a barrier or at the end."""
        for space, rows in self._rows.items():
            if not rows:
                continue
            unit = self.unit
            accesses = Accesses.joined([_words(row, unit) for row in rows])
            warp = accesses.program * WARP + accesses.thread // WARP
            self._find("between warps", space, unit, accesses, warp, accesses.program,
                       accesses.interval)  # fmt: skip
            self._find("between lanes", space, unit, accesses, accesses.thread, warp,
                       accesses.warp_interval)  # fmt: skip
            if space == "global":
                self._keep(accesses)
            rows.clear()
        self.entries = 0

    def _keep(self, accesses: Accesses) -> None:
        """Of global loads, one of a word by a program is enough; stores differ in values."""
        programs = int(accesses.program.max()) + 1
        loads = np.flatnonzero(accesses.kind == READ)
        key = accesses.word[loads] * programs + accesses.program[loads]
        _, first = np.unique(key, return_index=True)
        others = np.flatnonzero(accesses.kind != READ)
        self._global.append(accesses.where(np.r_[loads[first], others]))

    def search_between_programs(self) -> None:
        """Look for races between the programs, when the last of them is done."""
        if self._global:
            accesses = Accesses.joined(self._global)
            zero = np.zeros(len(accesses), np.int64)
            self._find(
                "between programs", "global", self.unit, accesses, accesses.program, zero, zero
            )

    def _find(
        self,
        scope: str,
        space: str,
        unit: int,
        accesses: Accesses,
        owner: np.ndarray,
        place: np.ndarray,
        time: np.ndarray,
    ) -> None:
        """Name words that two owners touch at one place and time, one of them by a store."""
        for first, second in conflicts(accesses, owner, place, time):
            pair = [self.code[accesses.position[k]] for k in (first, second)]
            key = (scope, space, pair[0].position, pair[1].position)
            self.races.setdefault(key, Race(scope, space, *pair, int(accesses.word[first]) * unit))


def _words(row: tuple, unit: int) -> Accesses:
    """The accesses of one instruction, word by word."""
    position, kind, places, size, values, *rest = row
    count = max(size // unit, 1)
    first = places // unit
    word = (first[:, None] + np.arange(count)).reshape(-1)
    if values is None:
        value = np.full(len(word), -1, np.int64)
    else:
        value = values.view(f"u{unit}").reshape(-1).astype(np.int64)
    columns = (np.repeat(column, count) for column in rest)
    same = np.full(len(word), position), np.full(len(word), kind, np.int8)
    return Accesses(word, same[1], value, same[0], *columns)


def conflicts(
    accesses: Accesses, owner: np.ndarray, place: np.ndarray, time: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs of accesses (a store or an atomic, another owner's) that race; a few of them."""
    if not len(accesses):
        return []
    stored = np.zeros(int(accesses.word.max()) + 1, bool)
    stored[accesses.word[accesses.kind != READ]] = True
    candidates = np.flatnonzero(stored[accesses.word])
    if not len(candidates):
        return []
    word, kind, value = (
        column[candidates] for column in (accesses.word, accesses.kind, accesses.value)
    )
    who, key = owner[candidates], (place[candidates] * (int(time.max()) + 1) + time[candidates])
    key = key * len(stored) + word
    order = np.argsort(key, kind="stable")
    key, kind, value, who = key[order], kind[order], value[order], who[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])

    def least_and_most(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.minimum.reduceat(column, starts), np.maximum.reduceat(column, starts)

    (who_low, who_high), (kind_low, kind_high) = least_and_most(who), least_and_most(kind)
    value_low, value_high = least_and_most(value)
    one_value = (kind_low == WRITE) & (kind_high == WRITE) & (value_low == value_high)
    racing = (who_low != who_high) & (kind_high != READ) & (kind_low != ATOMIC) & ~one_value
    ends = np.r_[starts[1:], len(key)]
    found = []
    for k in np.flatnonzero(racing)[:NAMED]:
        part = slice(starts[k], ends[k])
        at = np.arange(part.start, part.stop)
        first = at[kind[part] != READ][0]
        second = at[who[part] != who[first]][0]
        found.append((int(candidates[order[first]]), int(candidates[order[second]])))
    return found
