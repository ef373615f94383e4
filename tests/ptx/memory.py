"""Memory with bounds: the global memory that a launch was given, and a program's shared memory."""

from __future__ import annotations

import bisect
import ctypes
from dataclasses import dataclass

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.types import UNSIGNED

# What shared memory holds before anything is stored.
POISON = 0xAB


@dataclass
class Region:
    """Bytes from the address `base` on; `start` is their place with all regions in a row."""

    base: int
    data: np.ndarray
    start: int = 0

    @property
    def end(self) -> int:
        return self.base + len(self.data)


class GlobalMemory:
    """The extents of the tensors of a launch; overlapping ones are one region.

    The gaps between rows of a strided tensor belong to its extent; other addresses are faults.
    """

    def __init__(self, extents: list[tuple[int, int]]) -> None:
        """`extents`: the first address of each tensor and its bytes; the memory itself is used."""
        self.regions: list[Region] = []
        for base, size in merged(extents):
            buffer = (ctypes.c_uint8 * size).from_address(base)
            self._append(Region(base, np.ctypeslib.as_array(buffer)))

    def _append(self, region: Region) -> None:
        region.start = self.size
        self.regions.append(region)

    @property
    def size(self) -> int:
        """The bytes of all regions in a row, each from a multiple of 16 on."""
        if not self.regions:
            return 0
        last = self.regions[-1]
        return -(-(last.start + last.base % 16 + len(last.data)) // 16) * 16

    def copy(self) -> GlobalMemory:
        """The same addresses with bytes of their own."""
        other = GlobalMemory([])
        for region in self.regions:
            # Through 8 bytes a number, for NumPy aligns these.
            data = np.zeros(-(-len(region.data) // 8), np.uint64).view(np.uint8)
            data = data[: len(region.data)]
            data[:] = region.data
            other._append(Region(region.base, data))
        return other

    def regions_of(
        self, addresses: np.ndarray, size: int
    ) -> list[tuple[Region, np.ndarray | None]]:
        """The regions that hold accesses of `size` bytes, with the mask of those in each."""
        low, high = int(addresses.min()), int(addresses.max()) + size
        first = self._region(low)
        if first is not None and high <= first.end:
            return [(first, None)]
        found, left = [], np.ones(len(addresses), bool)
        for region in self.regions:
            inside = addresses >= np.uint64(region.base)
            inside &= addresses + np.uint64(size) <= np.uint64(region.end)
            if inside.any():
                found.append((region, inside))
                left &= ~inside
        if left.any():
            worst = int(addresses[left][0])
            raise Fault(f"global access at {worst:#x} ({size} bytes) {self._where(worst)}")
        return found

    def _region(self, address: int) -> Region | None:
        at = bisect.bisect_right(self.regions, address, key=lambda region: region.base) - 1
        return self.regions[at] if at >= 0 else None

    def _where(self, address: int) -> str:
        below = self._region(address)
        if below is None:
            return "before all tensors of the launch"
        return f"outside: {address - below.end} bytes behind the end of the tensor before it"

    def load(self, addresses: np.ndarray, size: int) -> np.ndarray:
        check_alignment(addresses, size)
        values = np.zeros(len(addresses), UNSIGNED[size])
        for region, mask in self.regions_of(addresses, size):
            mine = slice(None) if mask is None else mask
            words, at = _words(region, addresses[mine], size)
            values[mine] = words[at]
        return values

    def store(self, addresses: np.ndarray, values: np.ndarray) -> None:
        size = values.dtype.itemsize
        check_alignment(addresses, size)
        for region, mask in self.regions_of(addresses, size):
            mine = slice(None) if mask is None else mask
            words, at = _words(region, addresses[mine], size)
            words[at] = values[mine]

    def offsets(self, addresses: np.ndarray, size: int) -> np.ndarray:
        """The places of addresses when all regions are in a row."""
        places = np.zeros(len(addresses), np.int64)
        for region, mask in self.regions_of(addresses, size):
            mine = slice(None) if mask is None else mask
            # The remainder keeps what is aligned in memory aligned in the row.
            shift = region.start + region.base % 16 - region.base
            places[mine] = addresses[mine].astype(np.int64) + shift
        return places


class SharedMemory:
    """The shared memory of each program of a group, from address 0 on."""

    def __init__(self, programs: int, size: int) -> None:
        self.pitch = -(-max(size, 16) // 16) * 16
        self.limit = size
        self.data = np.full(programs * self.pitch, POISON, np.uint8)
        self.views = {n: self.data.view(dtype) for n, dtype in UNSIGNED.items()}

    @property
    def size(self) -> int:
        return len(self.data)

    def offsets(self, addresses: np.ndarray, size: int, programs: np.ndarray) -> np.ndarray:
        """The places of a program's addresses among the bytes of all programs."""
        high = int(addresses.max()) + size
        if high > self.limit:
            raise Fault(f"shared access up to byte {high} of the {self.limit} that the program has")
        check_alignment(addresses, size)
        return addresses.astype(np.int64) + programs * self.pitch

    def load(self, places: np.ndarray, size: int) -> np.ndarray:
        return self.views[size][places // size]

    def store(self, places: np.ndarray, values: np.ndarray) -> None:
        size = values.dtype.itemsize
        self.views[size][places // size] = values


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


def _words(region: Region, addresses: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The region as words of `size` bytes, and the places of aligned addresses among them."""
    lead = -region.base % size
    whole = (len(region.data) - lead) // size * size
    words = region.data[lead : lead + whole].view(UNSIGNED[size])
    return words, (addresses - np.uint64(region.base + lead)).astype(np.int64) // size
