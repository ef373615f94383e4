"""Peak memory of a call, in a process of its own."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_memory(call: Callable[[], Any]) -> int:
    """Bytes by which the resident memory rises above its state before the call, at its peak.

    The process should be fresh: memory that was freed but not given back hides what a call takes.
    Linux's peak is reset before the call; elsewhere the peak so far stands in for the state before.
    """
    before = _reset_peak()
    call()
    return max(0, _peak() - before)


def _reset_peak() -> int:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status: expected a line {name}, got none")
    return int(found.group(1)) * 1024


def limit_memory(gib: float) -> None:
    """Let this process ask for at most so much address space; 0 means no limit."""
    if gib > 0:
        size = int(gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
