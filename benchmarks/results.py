"""Results on disk: one JSON a machine, commit and date, never overwritten."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks" / "results"
# What a figure depends on; a README that was changed leaves the figures as they are.
SOURCES = ("csrc", "tsloss_fast", "benchmarks/*.py", "benchmarks/providers", "setup.py")


def machine(threads: int) -> dict[str, Any]:
    """What a figure has to be read with: processor, threads, versions."""
    from tsloss_fast import _C

    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "isa": _C.best_isa(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "python": platform.python_version(),
        **{name: package_version(name) for name in ("torch", "numpy", "tsloss-fast")},
    }


def processor() -> str:
    """The processor's name, as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def package_version(name: str) -> str:
    """Version of an installed package, or "not installed"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def load() -> list[float] | None:
    """How many processes wanted a core lately; None where the system does not say."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None


def commit() -> str:
    """The commit, with "-changed" where a file that figures depend on differs from it."""
    try:
        name = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--", *SOURCES)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-changed" if changed else name


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def now() -> str:
    """The date and time in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class ResultFile:
    """A new file for results, claimed before anything is measured.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    kind, processor, commit, date : str
        What the name is made of; ``-2``, ``-3`` ... follow where it is taken.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path, kind: str, processor: str, commit: str, date: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = "_".join(_slug(part) for part in (kind, processor, commit, date[:10]))
        count = 1
        while True:
            self.path = folder / (f"{stem}.json" if count == 1 else f"{stem}-{count}.json")
            try:
                # Exclusive, so that two runs at once cannot take the same name.
                self.path.open("x").close()
                return
            except FileExistsError:
                count += 1

    def write(self, content: dict[str, Any]) -> None:
        """Put `content` into the file, whole or not at all."""
        part = self.path.with_suffix(".part")
        try:
            part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Give the name back, if nothing was written."""
        if self.path.stat().st_size == 0:
            self.path.unlink()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def read(path: Path) -> dict[str, Any]:
    """The results in a file.

    Raises
    ------
    ValueError
        If it holds none.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected the JSON of a run, got: {error}") from error
    if not isinstance(content, dict) or "kind" not in content:
        raise ValueError(f"{path}: expected the JSON of a run, got something else")
    return content


def latest(kind: str, suites: Sequence[str] = (), folder: Path = FOLDER) -> Path:
    """The newest complete result of a kind, and of one of the suites where any are named.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.stat().st_size == 0:
            continue
        content = read(path)
        of_suite = not suites or content["suite"] in suites
        if content["kind"] == kind and content["complete"] and of_suite:
            found.append((content["date"], path.name, path))
    if not found:
        raise FileNotFoundError(f"{folder}: no complete results of kind {kind!r}")
    return max(found)[2]
