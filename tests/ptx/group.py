"""The lanes of a group of programs: their registers, their memory, the barriers they passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.memory import GlobalMemory, SharedMemory
from tests.ptx.operands import FloatBits, Integer, Negated, Operand, Register, Sink, Special, Symbol
from tests.ptx.parsing import Program
from tests.ptx.types import DTYPES, bits_of, dtype_of, unsigned

if TYPE_CHECKING:
    from tests.ptx.races import Log

WARP = 32
# What a register holds before anything is written to it.
UNDEFINED = 0xA5
# The kind of NumPy's dtype for predicates.
BOOL = "b"

Mask = np.ndarray | None
Reader = Callable[["Group"], np.ndarray]


class Group:
    """Some programs of a launch, lane after lane; arrays have one entry a lane: [L]."""

    def __init__(
        self,
        program: Program,
        which: np.ndarray,
        memory: GlobalMemory,
        shared: int,
        parameters: list[int],
        grid: int,
        log: Log | None,
    ) -> None:
        self.code = program
        self.lanes = len(which) * program.threads
        self.thread = np.tile(np.arange(program.threads), len(which))
        self.slot = np.repeat(np.arange(len(which)), program.threads)
        self.program = which[self.slot]
        self.alive = np.ones(self.lanes, bool)
        self.every_lane = np.arange(self.lanes)
        # How many barriers a lane's program has passed, and how many its warp has, of either kind.
        self.interval = np.zeros(self.lanes, np.int64)
        self.warp_interval = np.zeros(self.lanes, np.int64)
        self.memory, self.parameters, self.grid, self.log = memory, parameters, grid, log
        self.shared = SharedMemory(len(which), shared)
        self.registers: list[np.ndarray | None] = [None] * len(program.registers)
        self.widths = [DTYPES[name] for name in program.registers]
        # Copies under way from global to shared memory, and how many groups a lane has committed.
        self.copying: list = []
        self.committed = np.zeros(self.lanes, np.int64)

    @property
    def warps(self) -> int:
        return self.lanes // WARP

    def special(self, name: str) -> np.ndarray:
        """The register that the hardware fills; launches are along x alone."""
        if name == "laneid":
            return self.thread % WARP
        if name == "warpid":
            return self.thread // WARP
        register, axis = name.split(".")
        if axis != "x":
            return np.full(self.lanes, int(register in ("ntid", "nctaid")))
        along_x = {
            "tid": self.thread,
            "ctaid": self.program,
            "ntid": np.full(self.lanes, self.code.threads),
            "nctaid": np.full(self.lanes, self.grid),
        }
        return along_x[register]

    def read(self, index: int) -> np.ndarray:
        """The bits of a register."""
        values = self.registers[index]
        if values is None:
            width = self.widths[index]
            if width.kind == BOOL:
                return np.zeros(self.lanes, bool)
            return np.full(self.lanes * width.itemsize, UNDEFINED, np.uint8).view(width)
        return values

    def write(self, target: Operand, values: np.ndarray, mask: Mask) -> None:
        """Write a register where the mask is set, extended to its width as its dtype says."""
        if isinstance(target, Sink):
            return
        if not isinstance(target, Register):
            raise Fault(f"not a register: {target}")
        width = self.widths[target.index]
        if (values.dtype.kind == BOOL) != (width.kind == BOOL):
            raise Fault("a predicate and a number are not the same")
        if values.dtype.itemsize != width.itemsize:
            if values.dtype.itemsize > width.itemsize or values.dtype.kind == "f":
                raise Fault(f"{values.dtype} does not fit a register of {width}")
            wide = values.dtype.kind + str(width.itemsize)
            values = values.astype(wide)
        values = bits_of(values)
        if len(values) != self.lanes:
            values = np.broadcast_to(values, self.lanes)
        if mask is not None:
            values = np.where(mask, values, self.read(target.index))
        self.registers[target.index] = values


def reader(operand: Operand, type_name: str) -> Reader:
    """How to read an operand as a type: an array of all lanes, or of one entry for a constant."""
    dtype = dtype_of(type_name)
    if isinstance(operand, Register):
        return _register_reader(operand.index, dtype)
    if isinstance(operand, Special):
        return lambda group: group.special(operand.name).astype(dtype)
    if isinstance(operand, Negated):
        inner = reader(operand.operand, "pred")
        return lambda group: ~inner(group)
    value = constant(operand, dtype)
    return lambda group: value


def _register_reader(index: int, dtype: np.dtype) -> Reader:
    if dtype.kind == BOOL:
        return lambda group: group.read(index)
    raw = unsigned(dtype)

    def read(group: Group) -> np.ndarray:
        values = group.read(index)
        if values.dtype != raw:
            if values.dtype.itemsize < raw.itemsize or values.dtype == bool:
                raise Fault(f"a register of {values.dtype} read as {dtype}")
            values = values.astype(raw)
        return values.view(dtype)

    return read


def constant(operand: Operand, dtype: np.dtype) -> np.ndarray:
    """One entry with the value of a constant."""
    if dtype.kind == BOOL and isinstance(operand, Integer):
        return np.array([bool(operand.value)])
    if isinstance(operand, Integer):
        if dtype.kind == "f":
            raise Fault(f"the integer {operand.value} where a float is expected")
        bits = operand.value & (2 ** (8 * dtype.itemsize) - 1)
        return np.array([bits], unsigned(dtype)).view(dtype)
    if isinstance(operand, FloatBits):
        if operand.size != dtype.itemsize:
            raise Fault(f"a float of {operand.size} bytes where {dtype} is expected")
        return np.array([operand.bits], unsigned(dtype)).view(dtype)
    if isinstance(operand, Symbol) and operand.name.startswith("global_smem"):
        return np.zeros(1, dtype)
    raise Fault(f"not a value: {operand}")


def by_warp(group: Group, values: np.ndarray) -> np.ndarray:
    """[warps, 32]"""
    return np.broadcast_to(values, group.lanes).reshape(-1, WARP)


def whole_warps(group: Group, mask: Mask) -> None:
    """Refuse an operation of a warp in which some of its lanes do not take part."""
    if mask is not None:
        active = mask.reshape(-1, WARP)
        if (active.any(1) & ~active.all(1)).any():
            raise Fault("some lanes of a warp take part in its operation, and some do not")
