"""What the command ``tsloss-fast`` starts with; apart from the package, whose import takes torch.

So ``--version`` answers at once, and Ctrl-C is heard while everything is still being imported.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
from types import FrameType

EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the command on the process's arguments and return its exit status."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"tsloss-fast {importlib.metadata.version('tsloss-fast')}\n")
        return 0
    previous = signal.signal(signal.SIGINT, _stop)
    from tsloss_fast.cli import main as run

    signal.signal(signal.SIGINT, previous)
    return run()


def _stop(number: int, frame: FrameType | None) -> None:
    # Raised inside an import, an exception may be taken for a failure of the import.
    os.write(2, b"tsloss-fast: stopped\n")
    os._exit(EXIT_INTERRUPTED)
