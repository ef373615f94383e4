"""TopologyLog: the file that TopologyMonitor writes, one JSON object a line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from tsloss_fast._files import write_atomically

FORMAT = "tsloss_fast.topology"
VERSION = 1


class TopologyLogError(ValueError):
    """A file that cannot be used as asked; the message names it and says why."""


class TopologyLog:
    """A file of JSON lines: a header, then one record a step, each written whole or not at all.

    Parameters
    ----------
    file : str or Path
        Made with its folders if it does not exist. Links are followed.
    metric : str
    max_edge_length : float, optional
        Both stand in the header, the second where there is one.
    resume : bool
        Go on with an existing file. A last line that was cut off is dropped.
    overwrite : bool
        Replace an existing file, if it is such a log.

    Attributes
    ----------
    file : Path
    steps : set of int
        The steps that have a record.

    Raises
    ------
    TopologyLogError
        For a foreign file, a folder or a device, which is never touched; for a log that holds
        records, without `resume` and `overwrite`, or is of another metric or longest edge; and
        where nothing can be written.

    Notes
    -----
    The first line is ``{"kind": "header", "format": "tsloss_fast.topology", "version": 1,
    "metric": "euclidean"}``. Readers should skip records of a kind that they do not know.
    `TopologyMonitor` says what the records hold.
    """

    def __init__(
        self,
        file: str | Path,
        metric: str,
        max_edge_length: float | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        if resume and overwrite:
            raise TopologyLogError("resume: expected one of resume and overwrite, got both")
        # Absolute, for the working folder may change, and a link must not be replaced.
        self.file = Path(os.path.realpath(file))
        self.steps: set[int] = set()
        self._header: dict[str, Any] = {
            "kind": "header",
            "format": FORMAT,
            "version": VERSION,
            "metric": metric,
        }
        if max_edge_length is not None:
            self._header["max_edge_length"] = max_edge_length
        try:
            self._open(resume, overwrite)
        except OSError as error:
            raise TopologyLogError(f"file: cannot use {file}: {error.strerror or error}") from error

    def append(self, record: dict[str, Any]) -> None:
        """Add a record, which has a ``"step"``.

        Raises
        ------
        OSError
            If it cannot be written; then the file is as it was.
        """
        line = _line(record)
        # Not in append mode, which would make a file that was moved away anew, without its header.
        with self.file.open("r+b", buffering=0) as out:
            end = out.seek(0, os.SEEK_END)
            try:
                if out.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                out.truncate(end)
                raise
        self.steps.add(record["step"])

    def _open(self, resume: bool, overwrite: bool) -> None:
        if self.file.exists() and not self.file.is_file():
            raise TopologyLogError(f"file: expected a regular file, or none yet: {self.file}")
        content = self.file.read_bytes() if self.file.exists() else b""
        if content:
            # Lines that are read, though not wanted, show that the file may be replaced.
            header, records = self._parsed(content)
            if records and not (resume or overwrite):
                raise TopologyLogError(
                    f"file: {self.file} exists already; resume=True goes on with it, "
                    "overwrite=True replaces it"
                )
            if resume:
                self._go_on(content, header, records)
                return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file, _line(self._header))

    def _go_on(self, content: bytes, header: dict[str, Any], records: list[dict[str, Any]]) -> None:
        if header != self._header:
            raise TopologyLogError(
                f"file: expected the header {self._header} in {self.file}, got {header}"
            )
        self.steps = {record["step"] for record in records}
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.file, whole)

    def _parsed(self, content: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The header and the whole lines after it."""
        try:
            header, *records = [json.loads(line) for line in content.split(b"\n")[:-1]]
            known = header["kind"] == "header" and header["format"] == FORMAT
            whole = all(isinstance(record["step"], int) for record in records)
        except (ValueError, KeyError, TypeError, RecursionError):
            known = whole = False
        if not (known and whole):
            raise TopologyLogError(
                f"file: expected a log of TopologyMonitor, got another file: {self.file}"
            )
        return header, records


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode()
