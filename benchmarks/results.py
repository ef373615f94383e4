"""Results on disk: one JSON a machine, commit and date, never overwritten."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
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


def about_this_run(suite: str, threads: int, **more: Any) -> dict[str, Any]:
    """What a run's file says before there are rows: what, when, of which commit, on what."""
    return {
        "kind": "bench",
        "suite": suite,
        "date": now(),
        "commit": commit(),
        "complete": False,
        "machine": machine(threads),
        "load_at_start": load(),
        **more,
        "rows": [],
    }


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
            part.write_text(as_text(content), "utf-8")
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Give the name back, if nothing was written."""
        if self.path.stat().st_size == 0:
            self.path.unlink()


def as_text(content: dict[str, Any]) -> str:
    """The JSON of a run, a line a row."""
    head = json.dumps(content | {"rows": []}, indent=1, ensure_ascii=False)
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in content["rows"])
    before, after = head.rsplit('"rows": []', 1)
    return f'{before}"rows": [\n{rows}\n]{after}\n'


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
    if not isinstance(content, dict) or "suite" not in content:
        raise ValueError(f"{path}: expected the JSON of a run, got something else")
    return content


def latest(*suites: str, folder: Path = FOLDER) -> Path:
    """The newest complete result of one of the suites.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = []
    # A file without content is the name that a run has claimed.
    for path in (path for path in folder.glob("*.json") if path.stat().st_size):
        content = read(path)
        if content["suite"] in suites and content["complete"]:
            found.append((content["date"], path.name, path))
    if not found:
        raise FileNotFoundError(f"{folder}: no complete results of {' or '.join(suites)}")
    return max(found)[2]
