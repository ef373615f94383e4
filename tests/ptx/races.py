"""Accesses that no barrier keeps apart.

Two accesses of one word are a race if one of them is a plain store, or one is an atomic and the
other is not, and nothing orders them: between lanes of different warps of a program, a barrier of
the program; between lanes of one warp, that or a barrier of the warp; between programs of a launch,
nothing at all. Stores of one value by several lanes are no race, for replicated layouts do so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    @staticmethod
    def joined(parts: list[Accesses]) -> Accesses:
        return Accesses(*map(np.concatenate, zip(*(vars(p).values() for p in parts), strict=True)))


@dataclass
class Row:
    """The accesses of one instruction as it made them, of `count` words from `first` on, by lane.

    Most are never taken apart into words, for what no store meets is no race.
    """

    position: int
    kind: int
    first: np.ndarray
    count: int
    values: np.ndarray | None
    lanes: np.ndarray
    # Of all lanes of the group, as they were at the time.
    program: np.ndarray
    thread: np.ndarray
    interval: np.ndarray
    warp_interval: np.ndarray

    def where(self, chosen: np.ndarray) -> Row:
        """Loads of some of the lanes."""
        return replace(self, first=self.first[chosen], lanes=self.lanes[chosen])

    def words(self) -> np.ndarray:
        """The words of each lane in turn."""
        return (self.first[:, None] + np.arange(self.count)).reshape(-1)

    def accesses(self) -> Accesses:
        """Word by word."""
        word = self.words()
        value = np.full(len(word), -1, np.int64) if self.values is None else self.values
        kind, position = np.full(len(word), self.kind, np.int8), np.full(len(word), self.position)
        lanes = np.repeat(self.lanes, self.count)
        columns = (self.program, self.thread, self.interval, self.warp_interval)
        return Accesses(word, kind, value, position, *(column[lanes] for column in columns))


def stored_size(instruction: Instruction) -> int:
    """The bytes of the smallest part that an instruction stores; 4 where it stores none or more."""
    if instruction.name not in ("st", "atom", "red"):
        return 2 if instruction.name == "stmatrix" else 4
    return min(4, dtype_of(instruction.type).itemsize)


class Log:
    """The accesses of a launch, and the races found among them."""

    def __init__(self, code: list[Instruction], grid: int, global_size: int) -> None:
        self.code = code
        # Bytes of a word: smaller ones would tell apart bytes that no store tells apart.
        self.unit = min([4, *map(stored_size, code)])
        self.races: dict[tuple[str, str, int, int], Race] = {}
        self.entries = 0
        self._rows: dict[str, list[Row]] = {"global": [], "shared": []}
        # One program meets no other.
        self._programs = Programs(global_size // self.unit) if grid > 1 else None

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
        if values is not None:
            values = values.view(f"u{self.unit}").reshape(-1).astype(np.int64)
        who = (group.program, group.thread, group.interval, group.warp_interval)
        count = max(size // self.unit, 1)
        self._rows[space].append(
            Row(instruction.position, kind, places // self.unit, count, values, lanes, *who)
        )
        self.entries += len(places)

    def search(self) -> None:
        """Look for races inside of programs; all lanes have to be at a barrier or at the end."""
        for space, rows in self._rows.items():
            stores = [row.accesses() for row in rows if row.kind != READ]
            loads = [row for row in rows if row.kind == READ]
            if stores:
                self._search(space, stores, loads)
            if space == "global" and self._programs is not None:
                for row in loads:
                    self._programs.load(row)
                for accesses in stores:
                    self._programs.store(accesses)
            rows.clear()
        self.entries = 0

    def _search(self, space: str, stores: list[Accesses], loads: list[Row]) -> None:
        met = [row.where(met) for row, met in zip(loads, meeting(stores, loads), strict=True)]
        accesses = Accesses.joined(stores + [row.accesses() for row in met if len(row.lanes)])
        warp = accesses.program * WARP + accesses.thread // WARP
        self._find("between warps", space, accesses, warp, accesses.program, accesses.interval)
        self._find("between lanes", space, accesses, accesses.thread, warp, accesses.warp_interval)

    def search_between_programs(self) -> None:
        """Look for races between the programs, when the last of them is done."""
        if self._programs is not None:
            for word, *positions in self._programs.races():
                self._name("between programs", "global", word, *positions)

    def _find(
        self,
        scope: str,
        space: str,
        accesses: Accesses,
        owner: np.ndarray,
        place: np.ndarray,
        time: np.ndarray,
    ) -> None:
        """Name words that two owners touch at one place and time, one of them by a store."""
        for first, second in conflicts(accesses, owner, place, time):
            positions = (int(accesses.position[k]) for k in (first, second))
            self._name(scope, space, int(accesses.word[first]), *positions)

    def _name(self, scope: str, space: str, word: int, first: int, second: int) -> None:
        race = Race(scope, space, self.code[first], self.code[second], word * self.unit)
        self.races.setdefault((scope, space, first, second), race)


def meeting(stores: list[Accesses], loads: list[Row]) -> list[np.ndarray]:
    """Which lanes of each load touch a word that is stored."""
    beyond = max(int(part.word.max()) for part in stores) + 1
    widest = max((row.count for row in loads), default=0)
    stored = np.zeros(beyond + widest, bool)
    for part in stores:
        stored[part.word] = True
    found = []
    for row in loads:
        first = np.minimum(row.first, beyond)
        touched = stored[first]
        for k in range(1, row.count):
            touched |= stored[first + k]
        found.append(touched)
    return found


NOBODY = np.iinfo(np.int32).max


class Programs:
    """By word of global memory, which programs touched it and what they stored, from all groups.

    The least and the greatest program, kind and value say whether two programs race.
    """

    def __init__(self, words: int) -> None:
        def column(value: int, dtype: type = np.int32) -> np.ndarray:
            return np.full(words, value, dtype)

        self.load_low, self.load_high, self.load_at = column(NOBODY), column(-1), column(-1)
        self.low, self.high = column(NOBODY), column(-1)
        self.kind_low, self.kind_high = column(9, np.int8), column(-1, np.int8)
        self.value_low, self.value_high = column(2**63 - 1, np.int64), column(-1, np.int64)
        self.first_at, self.last_at = column(-1), column(-1)

    def load(self, row: Row) -> None:
        """Loads of one instruction, from words of which most are not news."""
        word, program = row.words(), np.repeat(row.program[row.lanes], row.count)
        news = (program < self.load_low[word]) | (program > self.load_high[word])
        if news.any():
            word, program = word[news], program[news]
            np.minimum.at(self.load_low, word, program)
            np.maximum.at(self.load_high, word, program)
            self.load_at[word] = row.position

    def store(self, accesses: Accesses) -> None:
        """Stores and atomics of one instruction."""
        word = accesses.word
        for least, most, values in (
            (self.low, self.high, accesses.program),
            (self.kind_low, self.kind_high, accesses.kind),
            (self.value_low, self.value_high, accesses.value),
        ):
            np.minimum.at(least, word, values.astype(least.dtype))
            np.maximum.at(most, word, values.astype(most.dtype))
        new = self.first_at[word] < 0
        self.first_at[word[new]] = accesses.position[new]
        self.last_at[word] = accesses.position

    def races(self) -> list[tuple[int, int, int]]:
        """Some words that programs race for: each with the positions of a store and another."""
        loaded = self.load_high >= 0
        several = np.minimum(self.low, self.load_low) != np.maximum(self.high, self.load_high)
        all_atomic = (self.kind_low == ATOMIC) & ~loaded
        one_value = (self.kind_high == WRITE) & (self.value_low == self.value_high) & ~loaded
        racing = (self.high >= 0) & several & ~all_atomic & ~one_value
        found = []
        for word in np.flatnonzero(racing)[:NAMED].tolist():
            # Whether a load is of another program than the store.
            others = loaded[word] and (
                self.load_low[word] != self.low[word] or self.load_high[word] != self.high[word]
            )
            second = self.load_at[word] if others else self.first_at[word]
            found.append((word, int(self.last_at[word]), int(second)))
        return found


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
