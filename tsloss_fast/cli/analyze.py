"""``tsloss-fast analyze``: picture the prompts of a run."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

from tsloss_fast.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, fail, say


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "analyze",
        help="picture the topology of a run's prompts, epoch by epoch",
        description="Read the prompt checkpoints of a run, compute their persistence diagrams, and "
        "write pictures (PNG, SVG), a CSV and one HTML page with a slider over the epochs.",
    )
    _add_arguments(parser)


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    needed = {"matplotlib": "analyze", "safetensors": "analyze", "scipy": "analyze"}
    needed |= {"tqdm": "analyze"} | ({} if args["model"] is None else {"transformers": "tune"})
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({needed[name] for name in missing}))
        return fail(
            EXIT_USAGE, f"missing {', '.join(missing)}; run: pip install 'tsloss-fast[{extras}]'"
        )
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        return _run_analyze(args)
    except KeyboardInterrupt:
        return fail(EXIT_INTERRUPTED, "stopped; no file is half written")
    except OSError as error:
        return fail(EXIT_FAILED, f"error: {error}")
    except ValueError as error:
        return fail(EXIT_USAGE, f"error: {error}")


def _run_analyze(args: dict[str, Any]) -> int:
    from tsloss_fast.analysis.run import analyze, metrics_hint, model_hint

    if args["nearest"] is not None and args["model"] is None:
        raise ValueError("nearest: expected --model beside it, got none")
    options = {} if args["nearest"] is None else {"nearest": args["nearest"]}
    result = analyze(
        args["path"],
        args["out"],
        epochs=_whole_numbers(args["epochs"], "epochs"),
        accuracy=args["accuracy"],
        layer=args["layer"],
        model=args["model"],
        **options,
        overwrite=args["overwrite"],
        progress=not args["quiet"],
    )
    read, skipped = len(result.checkpoints), len(result.skipped)
    say(f"{_count(read, 'checkpoint')} analysed, {_count(skipped, 'file')} skipped")
    if args["accuracy"] is None and (hint := metrics_hint(Path(args["path"]))):
        say(f"features against accuracy: add --accuracy {hint}")
    if args["model"] is None and (model := model_hint(result.checkpoints[0].file)):
        say(f"the tokens that its rows are like: add --model {model}")
    say(f"{', '.join(file.name for file in result.files[:-1])} and the page are in")
    say(str(result.files[-1]))
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _whole_numbers(text: str | None, name: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"{name}: expected whole numbers like 0,10,300, got {text!r}") from None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "path",
        metavar="PATH",
        help="folder with soft_prompt_epoch_N.pt files or PEFT adapters "
        "(adapter_model.safetensors, alone or in checkpoint-N folders)",
    )
    add("--out", metavar="DIR", help="where to write (PATH/analysis)")
    add(
        "--epochs", metavar="N,N,...", help="whose diagrams and barcodes to draw (4, spread evenly)"
    )
    add(
        "--accuracy",
        metavar="FILE",
        help="CSV or JSONL with epoch and accuracy, such as the metrics.jsonl of tune: adds the "
        "table of features against accuracy",
    )
    add(
        "--layer",
        type=int,
        metavar="N",
        help="which cloud of an adapter to look at: a layer of prefix tuning",
    )
    add(
        "--model",
        metavar="NAME",
        help="the model that the prompts were tuned for, as tune takes it: adds the tokens of its "
        "vocabulary that are nearest to each row",
    )
    add("--nearest", type=int, metavar="N", help="tokens for each row (5)")
    add("--overwrite", action="store_true", help="replace the analysis in --out")
    add("--quiet", action="store_true", help="no progress bar")
