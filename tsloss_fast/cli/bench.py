"""``tsloss-fast bench``: print what `measure` found."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch

from tsloss_fast.cli.measure import HEADER, bench, format_rows
from tsloss_fast.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, fail


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "bench",
        help="time persistence and TSLoss on this machine",
        description="Time persistence and TSLoss on this machine, beside the reference. Rows are "
        "checked against gudhi where it is installed; status 1 if one differs.",
    )
    add = parser.add_argument
    add(
        "--sizes",
        type=int,
        nargs="+",
        default=[20, 50, 100],
        metavar="N",
        help="numbers of points (20 50 100)",
    )
    add("--dim", type=int, default=768, metavar="D", help="dimension of the points (768)")
    add("--threads", type=int, default=1, metavar="N", help="CPU threads (1)")


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    if args["threads"] < 1:
        return fail(EXIT_USAGE, f"error: threads: expected at least 1, got {args['threads']}")
    threads = torch.get_num_threads()
    torch.set_num_threads(args["threads"])
    rows = []
    try:
        for row in bench(args["sizes"], args["dim"]):
            rows.append(row)
            sys.stderr.write(f"{row.what}: {row.cells()[1]}\n")
    except ValueError as error:
        return fail(EXIT_USAGE, f"error: {error}")
    except KeyboardInterrupt:
        return fail(EXIT_INTERRUPTED, "stopped")
    except (MemoryError, RuntimeError) as error:
        # torch's own allocator raises a plain RuntimeError.
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        too_large = "error: too large for the memory; try smaller --sizes or --dim"
        return fail(EXIT_FAILED, too_large)
    finally:
        torch.set_num_threads(threads)
    title = f"{args['threads']} thread(s), gaussian points of dimension {args['dim']}, medians"
    table = format_rows([HEADER, *(row.cells() for row in rows)])
    sys.stdout.write("\n".join([title, "", *table]) + "\n")
    different = [row.what for row in rows if not row.agrees]
    if different:
        return fail(EXIT_FAILED, f"differs from the reference: {'; '.join(different)}")
    return 0
