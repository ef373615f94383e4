"""``tsloss-fast generate``: answers by a tuned prompt."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsloss_fast.cli.of_run import add_model, add_run, read_run, reporting
from tsloss_fast.cli.output import say


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "generate",
        help="answer questions with the tuned prompt of a run",
        description="Answer a question, or each line of a file or of what is typed, by the model "
        "of a run with its tuned prompt, greedily and in the template of the run.",
    )
    add_run(parser)
    add = parser.add_argument
    add("question", metavar="QUESTION", nargs="?", help="what to ask (each line typed)")
    add("--file", metavar="FILE", help="ask each line of this file instead; answers are JSON lines")
    add("--max-new-tokens", type=int, default=128, metavar="N", help="most tokens said (128)")
    add_model(parser)


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    return reporting(args, _run_generate)


def _run_generate(args: dict[str, Any]) -> int:
    from tsloss_fast._checks import check_whole
    from tsloss_fast.tuning.answering import Answering

    most = check_whole(args["max_new_tokens"], "max_new_tokens", least=1)
    if args["question"] is not None and args["file"] is not None:
        raise ValueError("file: expected none beside a question, got both")
    # Opened before the model is loaded, so that a missing file is known at once.
    lines = [] if args["file"] is None else _read_lines(Path(args["file"]))
    answering = Answering(read_run(args, "model", "template", "device"), progress=False)
    if args["file"] is not None:
        for question in lines:
            answer = answering([question], max_new_tokens=most)[0]
            record = {"question": question, "answer": answer}
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        return 0
    for question in _typed() if args["question"] is None else [args["question"]]:
        for line in answering([question], max_new_tokens=most)[0].split("\n"):
            say(line)
        sys.stdout.flush()
    return 0


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _typed() -> Iterator[str]:
    """Each line of standard input; on a terminal, asked for."""
    shown = sys.stdin.isatty()
    while True:
        if shown:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
