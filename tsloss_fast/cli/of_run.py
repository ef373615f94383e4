"""What commands that use a tuned prompt share: which one, of which model, and what goes wrong."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

from tsloss_fast.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, fail


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which prompt."""
    add = parser.add_argument
    add("run", metavar="RUN", help="folder that tune wrote, or a PEFT prompt-tuning adapter")
    add("--epoch", type=_epoch, metavar="N", help="the prompt after this epoch, or best (newest)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how its model is loaded and asked."""
    add = parser.add_argument
    add("--model", metavar="NAME", help="where the model lies now, as in tune (the run's)")
    add("--template", metavar="NAME", help="chat, plain or auto (the run's)")
    add("--device", metavar="NAME", help="a torch device (the run's)")


def read_run(args: dict[str, Any], *names: str) -> Any:
    """The prompt that the arguments name, with those of `names` that are given as its settings."""
    from tsloss_fast.tuning.finished import FinishedRun

    given = {name: args[name] for name in names if args[name] is not None}
    return FinishedRun.read(args["run"], args["epoch"]).with_settings(**given)


def reporting(args: dict[str, Any], run: Callable[[dict[str, Any]], int]) -> int:
    """Run a command; what it raises becomes a line and an exit status."""
    if importlib.util.find_spec("transformers") is None:
        return fail(EXIT_USAGE, "missing transformers; run: pip install 'tsloss-fast[tune]'")
    try:
        return run(args)
    except KeyboardInterrupt:
        return fail(EXIT_INTERRUPTED, "stopped")
    except OSError as error:
        return fail(EXIT_FAILED, f"error: {error}")
    except (ValueError, TypeError) as error:
        return fail(EXIT_USAGE, f"error: {error}")


def _epoch(text: str) -> int | str:
    return text if text == "best" else int(text)


# What argparse calls it in its message.
_epoch.__name__ = "epoch"
