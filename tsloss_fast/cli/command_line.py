"""The command line: the commands of ``tsloss-fast``, a file each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from tsloss_fast import __version__
from tsloss_fast.analysis.names import printable
from tsloss_fast.cli import analyze, bench, evaluate, export, generate, info, tune
from tsloss_fast.cli.output import EXIT_INTERRUPTED, EXIT_USAGE, fail

# In the order in which the help shows them.
COMMANDS: dict[str, Any] = {
    "tune": tune,
    "generate": generate,
    "evaluate": evaluate,
    "export": export,
    "analyze": analyze,
    "bench": bench,
    "info": info,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done. 1: failed on the way (diverged, disk full). 2: wrong arguments or data, nothing was
    changed. 130: stopped by Ctrl-C; 143: by SIGTERM.
    """
    parser = _parser()
    args = vars(parser.parse_args(argv))
    command = args.pop("command")
    try:
        status: int = COMMANDS[command].run(args)
        return status
    except KeyboardInterrupt:
        return fail(EXIT_INTERRUPTED, "stopped")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; argparse's own print the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: error: {printable(message)}; try {self.prog} -h\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tsloss-fast",
        description="Soft prompt tuning with the topological loss TSLoss.",
        epilog="Exit status: 0 done, 1 failed on the way, 2 wrong arguments or data, 130 stopped "
        "by Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add_parser(commands)
    return parser
