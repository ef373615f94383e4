"""Memory with bounds: the global memory that a launch was given, and a program's shared memory.

Both keep their bytes in a row; an access finds out its place there once, with bounds and alignment.
"""

from __future__ import annotations

import bisect
import ctypes
from dataclasses import dataclass

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.types import UNSIGNED

# What shared memory holds before anything is stored.
POISON = 0xAB


class Memory:
    """Bytes in a row, read and written as words at places that are multiples of their size."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.views = {size: data.view(dtype) for size, dtype in UNSIGNED.items()}

    @property
    def size(self) -> int:
        return len(self.data)

    def offsets(self, addresses: np.ndarray, size: int, slots: np.ndarray) -> np.ndarray:
        """The places of accesses of `size` bytes by programs of the group at these slots."""
        raise NotImplementedError

    def load(self, places: np.ndarray, size: int) -> np.ndarray:
        return self.views[size][places // size]

    def store(self, places: np.ndarray, values: np.ndarray) -> None:
        size = values.dtype.itemsize
        self.views[size][places // size] = values


@dataclass(frozen=True)
class Region:
    """A stretch of addresses, and its place among the bytes of the memory."""

    base: int
    size: int
    place: int

    @property
    def end(self) -> int:
        return self.base + self.size

    @property
    def part(self) -> slice:
        return slice(self.place, self.place + self.size)


class GlobalMemory(Memory):
    """The extents of the tensors of a launch, copied; overlapping ones are one region.

    The gaps between rows of a strided tensor belong to its extent; other addresses are faults.
    """

    def __init__(self, extents: list[tuple[int, int]]) -> None:
        """`extents`: the first address of each tensor and its bytes."""
        self.regions: list[Region] = []
        size = 0
        for base, length in merged(extents):
            # What is aligned in memory is aligned here.
            self.regions.append(Region(base, length, size + base % 16))
            size = -(-(size + base % 16 + length) // 16) * 16
        super().__init__(np.zeros(size, np.uint8))
        for region in self.regions:
            self.data[region.part] = _bytes_at(region)

    def write_back(self) -> None:
        """Give the tensors what was stored."""
        for region in self.regions:
            _bytes_at(region)[:] = self.data[region.part]

    def copy(self) -> GlobalMemory:
        """The same addresses with bytes of their own."""
        other = GlobalMemory([])
        Memory.__init__(other, self.data.copy())
        other.regions = self.regions
        return other

    def offsets(self, addresses: np.ndarray, size: int, slots: np.ndarray) -> np.ndarray:
        check_alignment(addresses, size)
        low, high = int(addresses.min()), int(addresses.max()) + size
        first = self._region(low)
        if first is not None and high <= first.end:
            return addresses.astype(np.int64) + (first.place - first.base)
        places = np.full(len(addresses), -1, np.int64)
        for region in self.regions:
            inside = addresses >= np.uint64(region.base)
            inside &= addresses + np.uint64(size) <= np.uint64(region.end)
            places[inside] = addresses[inside].astype(np.int64) + (region.place - region.base)
        if (places < 0).any():
            worst = int(addresses[places < 0][0])
            raise Fault(f"global access at {worst:#x} ({size} bytes) {self._where(worst)}")
        return places

    def _region(self, address: int) -> Region | None:
        at = bisect.bisect_right(self.regions, address, key=lambda region: region.base) - 1
        return self.regions[at] if at >= 0 else None

    def _where(self, address: int) -> str:
        below = self._region(address)
        if below is None:
            return "before all tensors of the launch"
        return f"outside: {address - below.end} bytes behind the end of the tensor before it"


class SharedMemory(Memory):
    """The shared memory of each program of a group, from address 0 on."""

    def __init__(self, programs: int, size: int) -> None:
        self.pitch = -(-max(size, 16) // 16) * 16
        self.limit = size
        super().__init__(np.full(programs * self.pitch, POISON, np.uint8))

    def offsets(self, addresses: np.ndarray, size: int, slots: np.ndarray) -> np.ndarray:
        high = int(addresses.max()) + size
        if high > self.limit:
            raise Fault(f"shared access up to byte {high} of the {self.limit} that the program has")
        check_alignment(addresses, size)
        return addresses.astype(np.int64) + slots * self.pitch


def check_alignment(addresses: np.ndarray, size: int) -> None:
    if (addresses & np.uint64(size - 1)).any():
        raise Fault(f"access of {size} bytes at an address that {size} does not divide")


def merged(extents: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(base, size) in order, overlapping ones joined and empty ones left out."""
    joined: list[list[int]] = []
    for base, size in sorted(extent for extent in extents if extent[1] > 0):
        if joined and base < joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], base + size)
        else:
            joined.append([base, base + size])
    return [(base, end - base) for base, end in joined]


def _bytes_at(region: Region) -> np.ndarray:
    """The memory of this process at the addresses of a region."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * region.size).from_address(region.base))
