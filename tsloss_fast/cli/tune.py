"""``tsloss-fast tune``: tune a soft prompt."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsloss_fast.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, fail, say


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `tsloss-fast`, and its arguments."""
    parser = commands.add_parser(
        "tune",
        help="tune a soft prompt for a causal language model",
        description="Tune a soft prompt for a causal language model. The defaults show in minutes "
        "whether it learns; --protocol paper has those of arXiv 2602.16500.",
        epilog="Settings that are not given on --resume are those of the run that is resumed.",
        # A setting left out must be told from one given, for --resume.
        argument_default=argparse.SUPPRESS,
    )
    _add_arguments(parser)


def run(args: dict[str, Any]) -> int:
    """Run the command on its parsed arguments; the answer is its exit status."""
    missing = [name for name in ("transformers", "tqdm") if importlib.util.find_spec(name) is None]
    if missing:
        return fail(
            EXIT_USAGE, f"missing {', '.join(missing)}; run: pip install 'tsloss-fast[tune]'"
        )
    out = args.pop("out")
    try:
        return _run_reporting(out, args)
    except KeyboardInterrupt:
        return fail(EXIT_INTERRUPTED, f"stopped; {_what_is_kept(out)}")


def _run_reporting(out: str, args: dict[str, Any]) -> int:
    """Run, and report what ends a run early but Ctrl-C, which may come during the imports."""
    from tsloss_fast.tuning.interrupt import Interrupted
    from tsloss_fast.tuning.trainer import TrainingDiverged

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tsloss_fast").setLevel(logging.INFO)
    try:
        return _run_tune(out, args)
    except Interrupted as error:
        # As a shell counts: 130 for Ctrl-C, 143 for SIGTERM.
        return fail(128 + error.signal, str(error))
    except (TrainingDiverged, OSError) as error:
        return fail(EXIT_FAILED, f"error: {error}")
    except (ValueError, TypeError) as error:
        return fail(EXIT_USAGE, f"error: {error}")


def _what_is_kept(out: str) -> str:
    if any(Path(out).glob("soft_prompt_*.pt")):
        return f"what was saved before is in {out}"
    return "nothing had been saved"


def _run_tune(out: str, args: dict[str, Any]) -> int:
    from tsloss_fast._checks import check_choice
    from tsloss_fast.tuning.checkpoints import RunFolder
    from tsloss_fast.tuning.config import PROTOCOLS, ConfigError, TuneConfig, config_names
    from tsloss_fast.tuning.run import tune

    resume = args.pop("resume", False)
    overwrite = args.pop("overwrite", False)
    quiet = args.pop("quiet", False)
    protocol = check_choice(args.pop("protocol", "quick"), "protocol", tuple(PROTOCOLS))
    settings = PROTOCOLS[protocol] | args
    if resume:
        old = RunFolder(out).load_config()
        if old.get("metric") and "metric" not in args:
            raise ConfigError(
                f"metric: expected one, since {out} was scored by {old['metric']!r}, and code that "
                "a folder names is not run unasked; --metric takes it"
            )
        settings = {name: old[name] for name in config_names() if name in old} | settings
    if "data" not in settings:
        raise ConfigError("data: expected a file, got none")
    result = tune(
        TuneConfig(**settings), out, resume=resume, overwrite=overwrite, progress=not quiet
    )
    losses = sorted(result.losses().items())
    for when, (epoch, loss) in (("first", losses[0]), ("last", losses[-1])):
        say(f"mean training loss of the {when} epoch, {epoch}: {loss:.4f}")
    for epoch, accuracy in sorted(result.accuracies().items()):
        sys.stdout.write(f"held-out accuracy after epoch {epoch}: {accuracy:.3f}\n")
    say(f"prompt: {result.file}")
    if result.best is not None:
        say(f"best prompt: {result.best}")
    return 0


def add_columns(add: Callable[..., Any]) -> None:
    """Add the arguments that name the columns of the data."""
    add("--question-column", metavar="NAME", help="the column that is asked")
    add("--answer-column", metavar="NAME", help="the column to be answered")
    add("--messages-column", metavar="NAME", help="the column of conversations, instead of both")


def add_answers(add: Callable[..., Any]) -> None:
    """Add the arguments by which answers are decoded and scored."""
    add("--eval-batch-size", type=int, metavar="N", help="examples decoded at once (16)")
    add("--max-new-tokens", type=int, metavar="N", help="where decoding stops (longest answer)")
    add("--extract", metavar="REGEX", help="the answer's part that counts, or #### as in GSM8K")
    add("--compare", metavar="HOW", help="text, or number: 7.0 is 7 (text)")
    add("--metric", metavar="MODULE:FUNCTION", help="scores an answer and the one expected instead")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add(
        "--data",
        metavar="FILE",
        help="JSONL, CSV or Parquet, a folder or a hub name of Hugging Face datasets, with columns "
        "question and answer, prompt and completion, instruction, input and output, or messages",
    )
    add_columns(add)
    add("--split", metavar="NAME", help="part of --data, if it has several (train)")
    add("--eval-data", metavar="FILE", help="held-out examples of the same form")
    add("--eval-split", metavar="NAME", help="part of --eval-data, if it has several (test)")
    add("--holdout", type=float, metavar="SHARE", help="hold out this share of --data instead")
    add("--template", metavar="NAME", help="chat, plain, or auto: chat if the model has one (auto)")
    add("--max-length", type=int, metavar="N", help="most tokens of an example (512)")
    add("--long-examples", metavar="WHAT", help="skip those that have more, or truncate (skip)")

    add = parser.add_argument_group("model and prompt").add_argument
    add("--model", metavar="NAME", help="folder, GGUF file or hub name (smollm2-135m-instruct)")
    add("--device", metavar="NAME", help="a torch device (cpu)")
    add("--dtype", metavar="NAME", help="auto (as saved), float32, bfloat16 or float16 (auto)")
    add("--quantize", metavar="BITS", help="4bit or 8bit, by bitsandbytes (off)")
    add("--threads", type=int, metavar="N", help="CPU threads (torch's own choice)")
    add("--n-tokens", type=int, metavar="N", help="rows of the prompt (20)")
    add(
        "--init",
        metavar="NAME",
        help="normal, vocab (rows of the vocabulary), text, or a prompt to start from: a .pt file, "
        "a run, or a PEFT adapter (vocab)",
    )
    add("--init-text", metavar="TEXT", help="the text, repeated or cut to --n-tokens tokens")
    add("--init-std", type=float, metavar="X", help="standard deviation of --init normal (0.02)")

    add = parser.add_argument_group("loss").add_argument
    add("--loss", metavar="NAME", help="ce, tsloss, surrogate, or l2: mean of ||row||^2 (tsloss)")
    add("--lambda-ts", type=float, metavar="X", help="weight of what is added to the CE loss (1)")
    add(
        "--balance",
        type=float,
        metavar="R",
        help="set the weight in each step so that its gradient norm is R times that of the CE "
        "loss; ours, not the paper's (off)",
    )
    add("--log-grad-norms", action="store_true", help="put both gradient norms into the metrics")

    add = parser.add_argument_group("training").add_argument
    add(
        "--protocol",
        metavar="NAME",
        help="quick: the defaults here; or paper: --init normal --epochs 300 --lr 5e-5 (quick)",
    )
    add("--epochs", type=int, metavar="N", help="passes over the data (5)")
    add("--batch-size", type=int, metavar="N", help="examples that go through at once (8)")
    add("--accumulation", type=int, metavar="N", help="such batches that make one step (1)")
    add("--lr", type=float, metavar="X", help="AdamW's learning rate at its top (3e-3)")
    add("--weight-decay", type=float, metavar="X", help="AdamW's weight decay (0.01)")
    add("--warmup", type=float, metavar="SHARE", help="share of steps with a rising rate (0.1)")
    add("--seed", type=int, metavar="N", help="of the start, the hold-out and the order (0)")

    add = parser.add_argument_group("evaluation").add_argument
    add("--eval-every", type=int, metavar="N", help="epochs between evaluations (start and end)")
    add(
        "--early-stopping",
        type=int,
        metavar="N",
        help="stop after N evaluations in a row that are not better (off)",
    )
    add_answers(add)

    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="DIR", required=True, help="the run's folder")
    add("--save-every", type=int, metavar="N", help="epochs between prompts kept (1)")
    add("--tensorboard", action="store_true", help="write OUT/tensorboard, too")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--overwrite", action="store_true", help="replace the run in --out")
    add("--quiet", action="store_true", help="no progress bar")
