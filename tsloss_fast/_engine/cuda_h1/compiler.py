"""CUDA C++ compiled at run time by NVRTC, and its machine code kept on disk.

NVRTC is called through its C interface, which is stable, and which torch's CUDA builds bring with
them. So nothing more is installed: torch's own wrapper is private and keeps nothing on disk, and
cuda-core would be one dependency more.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from tsloss_fast._files import write_atomically

_SUCCESS = 0
# Newer ones first, for a CPU build of torch does not say which it goes with.
_MAJORS = (13, 12)


class CompileError(RuntimeError):
    """NVRTC is missing, or does not compile for this device."""


def source_root() -> Path:
    """The folder that holds `cuda/`: beside this file where it is installed, else in csrc."""
    here = Path(__file__).parent
    return here if (here / "cuda").is_dir() else Path(__file__).parents[3] / "csrc"


def machine_code(macros: dict[str, int], architecture: int) -> bytes:
    """The cubin of csrc/cuda/h1.cu for an architecture such as 90, from the disk if it is there."""
    options = _options(macros, f"sm_{architecture}")
    key = hashlib.sha256(repr((nvrtc_version(), options)).encode())
    for path in sorted((source_root() / "cuda").iterdir()):
        key.update(path.name.encode() + path.read_bytes())
    kept = _cache_folder() / f"h1-sm{architecture}-{key.hexdigest()[:32]}.cubin"
    with contextlib.suppress(OSError):
        return kept.read_bytes()
    cubin = _compile(options, "CUBIN")
    # A folder that cannot be written to costs a second at each start, and nothing else.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, cubin)
    return cubin


def ptx(macros: dict[str, int], architecture: int) -> str:
    """The PTX of csrc/cuda/h1.cu, for which no device and no driver is needed."""
    return _compile(_options(macros, f"compute_{architecture}"), "PTX").rstrip(b"\0").decode()


def nvrtc_version() -> tuple[int, int]:
    """The version of NVRTC, such as (12, 9)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def _options(macros: dict[str, int], target: str) -> list[str]:
    defined = [f"-D{name}={value}" for name, value in macros.items()]
    # Host functions of the headers, such as sizes, are not called here but may stand there.
    return [f"--gpu-architecture={target}", "--std=c++17", "-default-device", *defined]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tsloss_fast"


@functools.cache
def _nvrtc() -> ctypes.CDLL:
    for name in _library_names():
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise CompileError(
        "NVRTC, which compiles the kernels of H1, is not found. torch's CUDA builds bring it; else "
        "`pip install nvidia-cuda-nvrtc-cu12`, or compute H1 on the host: h1='host'"
    )


def _library_names() -> Iterator[str]:
    """By the system's search first, in which what torch has loaded is found; then from wheels."""
    given = torch.version.cuda
    majors = (int(given.partition(".")[0]),) if given else _MAJORS
    yield from (f"libnvrtc.so.{major}" for major in majors)
    wheels = importlib.util.find_spec("nvidia")
    for folder in wheels.submodule_search_locations or () if wheels else ():
        for major in majors:
            yield from map(str, sorted(Path(folder).glob(f"*/lib/libnvrtc.so.{major}")))


def _check(status: int) -> None:
    if status != _SUCCESS:
        name = _nvrtc().nvrtcGetErrorString
        name.restype = ctypes.c_char_p
        raise CompileError(f"NVRTC: {name(status).decode()}")


def _compile(options: list[str], kind: str) -> bytes:
    """Compile csrc/cuda/h1.cu; `kind` is what is wanted, "PTX" or "CUBIN"."""
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    root = source_root()
    source = (root / "cuda" / "h1.cu").read_bytes()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"h1.cu", 0, None, None))
    try:
        given = [option.encode() for option in [*options, f"-I{root}"]]
        status = nvrtc.nvrtcCompileProgram(
            program, len(given), (ctypes.c_char_p * len(given))(*given)
        )
        if status != _SUCCESS:
            log = _taken(program, "ProgramLog").rstrip(b"\0").decode()
            raise CompileError(f"NVRTC does not compile the kernels of H1 with {options}:\n{log}")
        return _taken(program, kind)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _taken(program: ctypes.c_void_p, what: str) -> bytes:
    """What NVRTC has of a program: its "PTX", its "CUBIN" or its "ProgramLog"."""
    nvrtc, size = _nvrtc(), ctypes.c_size_t()
    _check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.raw
