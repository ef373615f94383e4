"""What commands write, and the status that they exit with."""

from __future__ import annotations

import sys

from tsloss_fast.analysis.names import printable

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def say(line: str) -> None:
    """Write one line of a command's answer."""
    sys.stdout.write(f"{printable(line)}\n")


def fail(status: int, message: str) -> int:
    """Write why a command ends, as one line whatever a name or a value in it holds."""
    sys.stderr.write(f"tsloss-fast: {printable(message)}\n")
    return status
