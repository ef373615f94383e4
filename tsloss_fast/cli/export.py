"""``tsloss-fast export``: a tuned prompt as a PEFT adapter."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from tsloss_fast.cli.output import EXIT_FAILED, EXIT_USAGE, fail, say


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "export",
        help="write the tuned prompt of a run as a PEFT adapter",
        description="Write the tuned prompt of a run as a PEFT prompt-tuning adapter, which "
        "PeftModel.from_pretrained loads.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder that tune wrote")
    add("--out", metavar="DIR", required=True, help="the adapter's folder")
    add("--epoch", type=int, metavar="N", help="the prompt after this epoch (the newest)")
    add("--overwrite", action="store_true", help="replace the adapter in --out")


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    missing = [n for n in ("transformers", "safetensors") if importlib.util.find_spec(n) is None]
    if missing:
        return fail(EXIT_USAGE, f"missing {', '.join(missing)}; run: pip install {missing[-1]}")
    from tsloss_fast.tuning.export import export_peft
    from tsloss_fast.tuning.finished import FinishedRun

    try:
        finished = FinishedRun.read(args["run"], args["epoch"])
        folder = export_peft(finished, args["out"], overwrite=args["overwrite"])
    except OSError as error:
        return fail(EXIT_FAILED, f"error: {error}")
    except (ValueError, TypeError) as error:
        return fail(EXIT_USAGE, f"error: {error}")
    say(f"PEFT adapter: {folder}")
    return 0
