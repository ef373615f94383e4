"""``tsloss-fast evaluate``: held-out accuracy and loss of a tuned prompt."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from tsloss_fast.cli.of_run import add_model, add_run, read_run, reporting
from tsloss_fast.cli.output import say
from tsloss_fast.cli.tune import add_answers, add_columns

# Settings of the run that may be others here.
SETTINGS = (
    "model",
    "template",
    "device",
    "question_column",
    "answer_column",
    "messages_column",
    "eval_split",
    "max_length",
    "extract",
    "compare",
    "metric",
    "max_new_tokens",
    "eval_batch_size",
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="accuracy and loss of a tuned prompt on a data file",
        description="Have the tuned prompt of a run answer the questions of a data file, greedily, "
        "and compare with the answers there. Settings that are not given are the run's.",
    )
    add_run(parser)
    add = parser.add_argument
    add("--data", metavar="FILE", help="examples, as tune takes them (what the run held out)")
    add_columns(parser.add_argument)
    add("--eval-split", metavar="NAME", help="part of --data, if it has several (test)")
    add("--max-length", type=int, metavar="N", help="most tokens of an example; longer are skipped")
    add_answers(parser.add_argument)
    add_model(parser)
    add("--answers", metavar="FILE", help="write each answer as a JSON line")
    add("--quiet", action="store_true", help="no progress bar")


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    return reporting(args, _run_evaluate)


def _run_evaluate(args: dict[str, Any]) -> int:
    from tsloss_fast._files import write_atomically
    from tsloss_fast.tuning.answering import Answering
    from tsloss_fast.tuning.held_out import evaluate, held_out_examples

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    out = None if args["answers"] is None else Path(args["answers"])
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"answers: expected a file in a folder that exists, got {out}")
    finished = read_run(args, *SETTINGS)
    finished.score()  # Before the model is loaded.
    examples = held_out_examples(finished, args["data"], progress=not args["quiet"])
    answering = Answering(finished, progress=False)
    result = evaluate(finished, answering, examples, progress=not args["quiet"])
    if out is not None:
        lines = [json.dumps(vars(each), ensure_ascii=False) + "\n" for each in result.answers]
        write_atomically(out, "".join(lines).encode())
    say(f"accuracy: {result.accuracy:.3f} of {len(result.answers)} examples")
    say(f"loss: {result.loss:.4f} per token of the answers")
    return 0
