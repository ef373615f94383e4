"""Whether a computation fits into memory, asked before it begins.

Linux promises more memory than there is and ends a process that takes it at its word, so what can
never fit is better refused than tried.
"""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def require_memory(needed: int, name: str, got: str, remedy: str) -> None:
    """Raise a MemoryError if `needed` bytes are more than the process can still have.

    The message says that the argument `name` was `got`, and names the `remedy`.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise memory_error(available, name, got, remedy)


def memory_error(available: int, name: str, got: str, remedy: str) -> MemoryError:
    """What `require_memory` raises."""
    return MemoryError(
        f"{name}: expected what fits into the {in_gib(available)} of memory that are available, "
        f"got {got}. {remedy}"
    )


def in_gib(size: int) -> str:
    """A size in bytes as messages give it."""
    return f"{size / GIB:.1f} GiB"


def available_memory() -> int | None:
    """The bytes that this process can still have, or None where the system does not say."""
    sizes = [size for size in (_of_system(), _of_control_group()) if size is not None]
    return min(sizes, default=None)


def _of_system() -> int | None:
    """What Linux has to give without ending a process; elsewhere all memory there is."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        sizes = {name: int(value.split()[0]) for name, value in (x.split(":") for x in lines)}
        return 1024 * (sizes["MemAvailable"] + sizes["SwapFree"])
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_control_group() -> int | None:
    """What a container's limit leaves; its cached files do not count, for they can go."""
    try:
        limit = (_GROUP / "memory.max").read_text()
        used = int((_GROUP / "memory.current").read_text())
        lines = (_GROUP / "memory.stat").read_text().splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file")
        return int(limit) - used + cached
    except (OSError, ValueError):
        return None
