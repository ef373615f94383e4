"""A driver under which Triton compiles for a GPU and launches on CPU tensors, here.

Everything before the launch is Triton's own: its dispatch, its compiler, its cache. What is
compiled for sm_90 with `wgmma`, which the interpreter does not know, is compiled for sm_80 again.
"""

from __future__ import annotations

import importlib
import pkgutil
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.compiler.compiler import CompiledKernel
from triton.runtime import driver as active_driver

from tests.ptx.instructions import prepare
from tests.ptx.launch import Outcome, launch
from tests.ptx.memory import GlobalMemory
from tests.ptx.parsing import Program, parse

ARCHITECTURE, WITHOUT_WGMMA = 90, 80


@dataclass
class Launch:
    """One launch as it was made; `before` is the memory that it found, if it was recorded."""

    program: Program
    architecture: int
    grid: int
    parameters: list[int]
    shared: int
    outcome: Outcome
    seconds: float
    before: GlobalMemory | None = None


@dataclass
class Session:
    """All launches since the driver was put in place."""

    launches: list[Launch] = field(default_factory=list)
    recording: bool = False
    programs: dict[str, Program] = field(default_factory=dict)


SESSION = Session()


class _Utilities:
    """What Triton asks of a device before it launches: an H100's limits."""

    @staticmethod
    def get_device_properties(device: int) -> dict[str, int]:
        return {
            "max_shared_mem": 232448,
            "multiprocessor_count": 132,
            "warpSize": 32,
            "max_num_regs": 65536,
        }

    @staticmethod
    def load_binary(name: str, kernel: bytes, shared: int, device: int) -> tuple:
        return None, 1, 32, 0, 1024


class Launcher:
    """What a compiled kernel calls to be launched; it learns of the kernel after it is made."""

    compiled: CompiledKernel

    def __init__(self, src: object, metadata: object) -> None:
        self.ready: tuple[Program, int, int] | None = None

    def __call__(self, x: int, y: int, z: int, *rest: object) -> None:
        # Stream, function, metadata twice, and two hooks come before the kernel's arguments.
        arguments = rest[6:]
        if (y, z) != (1, 1):
            raise NotImplementedError(f"a grid along x alone is known, got {(x, y, z)}")
        if self.ready is None:
            self.ready = _prepared(self.compiled)
        program, architecture, shared = self.ready
        parameters, memory = _arguments(self.compiled.src.signature, arguments)
        # Behind the parameters come two for scratch, which no kernel here has.
        parameters += [0] * (len(program.parameters) - len(parameters))
        before = memory.copy() if SESSION.recording else None
        began = time.perf_counter()
        outcome = launch(program, x, parameters, memory, shared)
        memory.write_back()
        seconds = time.perf_counter() - began
        SESSION.launches.append(
            Launch(program, architecture, x, parameters, shared, outcome, seconds, before)
        )


def _prepared(compiled: CompiledKernel) -> tuple[Program, int, int]:
    """The program of a compiled kernel, its architecture and its bytes of shared memory."""
    architecture = ARCHITECTURE
    if "wgmma" in compiled.asm["ptx"]:
        architecture = WITHOUT_WGMMA
        names = ("num_warps", "num_stages", "enable_fp_fusion")
        options = {name: getattr(compiled.metadata, name) for name in names}
        target = GPUTarget("cuda", architecture, 32)
        compiled = triton.compile(compiled.src, target=target, options=options)
    ptx = compiled.asm["ptx"]
    if ptx not in SESSION.programs:
        SESSION.programs[ptx] = prepare(parse(ptx))
    return SESSION.programs[ptx], architecture, compiled.metadata.shared


def _arguments(signature: dict[str, str], arguments: tuple) -> tuple[list[int], GlobalMemory]:
    """The bits of the parameters, and the memory of the tensors among them."""
    parameters, extents = [], []
    for kind, value in zip(signature.values(), arguments, strict=True):
        if kind == "constexpr":
            continue
        if kind.startswith("*"):
            extents.append(extent(value))
            parameters.append(value.data_ptr())
        elif kind == "fp64":
            parameters.append(struct.unpack("<Q", struct.pack("<d", value))[0])
        elif kind == "fp32":
            parameters.append(struct.unpack("<I", struct.pack("<f", value))[0])
        else:
            parameters.append(int(value))
    return parameters, GlobalMemory(extents)


def extent(x: torch.Tensor) -> tuple[int, int]:
    """The first address of a tensor, and the bytes up to the end of its last entry."""
    if x.numel() == 0:
        return x.data_ptr(), 0
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), (last + 1) * x.element_size()


class Driver:
    """The driver of a GPU that is not there."""

    utils = _Utilities()
    launcher_cls = Launcher

    @staticmethod
    def is_active() -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", ARCHITECTURE, 32)

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        pass

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        return divmod(ARCHITECTURE, 10)


def install() -> None:
    """Make every launch of this process one of the interpreter's."""
    active_driver.set_active(Driver())
    make_launcher = CompiledKernel._init_handles

    def with_kernel(self: CompiledKernel) -> None:
        make_launcher(self)
        if isinstance(self._run, Launcher):
            self._run.compiled = self

    CompiledKernel._init_handles = with_kernel
    _compile_no_further()
    _take_cpu_tensors()


def _compile_no_further() -> None:
    """Leave out the assembler, for PTX is what is executed.

    What is cached so has no machine code, so a cache of its own keeps it.
    """
    CUDABackend.make_cubin = lambda self, source, metadata, *options: b""
    knobs.cache.dir = str(Path(knobs.cache.dir) / "ptx-alone")


def _take_cpu_tensors() -> None:
    """Let the launchers of the package take CPU tensors; what is on neither device they refuse."""
    package = importlib.import_module("tsloss_fast._engine.kernels")
    check = importlib.import_module("tsloss_fast._engine.kernels.checks").check_device

    def check_device(x: torch.Tensor, name: str, kernel: object) -> None:
        if x.device.type != "cpu":
            check(x, name, kernel)

    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(found.name)
        if hasattr(module, "check_device"):
            module.check_device = check_device
