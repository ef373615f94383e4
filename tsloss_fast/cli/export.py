"""``tsloss-fast export``: a tuned prompt as a PEFT adapter."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from tsloss_fast.cli.of_run import add_run, read_run, reporting
from tsloss_fast.cli.output import EXIT_USAGE, fail, say


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "export",
        help="write the tuned prompt of a run as a PEFT adapter",
        description="Write the tuned prompt of a run as a PEFT prompt-tuning adapter, which "
        "PeftModel.from_pretrained loads.",
    )
    add_run(parser)
    add = parser.add_argument
    add("--out", metavar="DIR", required=True, help="the adapter's folder")
    add("--overwrite", action="store_true", help="replace the adapter in --out")


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    if importlib.util.find_spec("safetensors") is None:
        return fail(EXIT_USAGE, "missing safetensors; run: pip install safetensors")
    return reporting(args, _run_export)


def _run_export(args: dict[str, Any]) -> int:
    from tsloss_fast.tuning.export import export_peft

    folder = export_peft(read_run(args), args["out"], overwrite=args["overwrite"])
    say(f"PEFT adapter: {folder}; its README.md has the Python that uses it")
    return 0
