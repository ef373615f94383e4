"""Files written whole or not at all, so that no failure harms what was there before."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

# What `_write_beside` names a file until it is whole.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}")


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, then take its place; on failure the old file is untouched."""
    write_together(path.parent, {path.name: content})


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write several files of a folder; on failure while they are written all are as they were."""
    written: list[tuple[Path, Path]] = []
    try:
        for name, content in contents.items():
            written.append((_write_beside(folder / name, content), folder / name))
        for beside, path in written:
            os.replace(beside, path)
    except BaseException:
        for beside, _ in written:
            beside.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in a folder that it wrote to."""
    for file in folder.iterdir():
        if _UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the system's errors on an open file, such as a full disk, the file's path."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _write_beside(path: Path, content: bytes) -> Path:
    """The content on the disk, in a new file of another name in the same folder."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # Not by tempfile, whose files only their owner can read; a run's files follow the umask.
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        # The user's own name for it.
        error.filename = str(path)
        raise
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside
