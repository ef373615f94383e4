"""The command line: ``tsloss-fast tune``, ``analyze``, ``bench`` and ``info``."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tsloss_fast import __version__
from tsloss_fast.analysis.names import printable

# Those whose versions decide what works.
INFO_PACKAGES = ("triton", "transformers", "accelerate", "peft", "gguf", "matplotlib", "scipy")
INFO_PACKAGES += ("safetensors", "gudhi")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done. 1: failed on the way (diverged, disk full). 2: wrong arguments or data, nothing was
    changed. 130: stopped by Ctrl-C.
    """
    parser = _parser()
    args = vars(parser.parse_args(argv))
    command = args.pop("command")
    return {"tune": _tune, "analyze": _analyze, "bench": _bench, "info": _info}[command](args)


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
    tune = commands.add_parser(
        "tune",
        help="tune a soft prompt for a causal language model",
        description="Tune a soft prompt for a causal language model. Defaults are the paper's "
        "(arXiv 2602.16500) where it names one.",
        epilog="Settings that are not given on --resume are those of the run that is resumed.",
        # A setting left out must be told from one given, for --resume.
        argument_default=argparse.SUPPRESS,
    )
    _add_tune_arguments(tune)
    analyze = commands.add_parser(
        "analyze",
        help="picture the topology of a run's prompts, epoch by epoch",
        description="Read the prompt checkpoints of a run, compute their persistence diagrams, and "
        "write pictures (PNG, SVG), a CSV and one HTML page with a slider over the epochs.",
    )
    _add_analyze_arguments(analyze)
    bench = commands.add_parser(
        "bench",
        help="time persistence and TSLoss on this machine",
        description="Time persistence and TSLoss on this machine, beside the reference. Rows are "
        "checked against gudhi where it is installed; status 1 if one differs.",
    )
    add = bench.add_argument
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
    shown = "versions, the compiled module and the default model"
    commands.add_parser("info", help=f"show {shown}", description=f"Show {shown}.")
    return parser


def _add_tune_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--data", metavar="FILE", help='JSONL lines of {"question": ..., "answer": ...}')
    add("--eval-data", metavar="FILE", help="held-out examples of the same form")
    add("--holdout", type=float, metavar="SHARE", help="hold out this share of --data instead")
    add("--template", metavar="NAME", help="chat, plain, or auto: chat if the model has one (auto)")
    add("--max-length", type=int, metavar="N", help="most tokens of an example (512)")

    add = parser.add_argument_group("model and prompt").add_argument
    add("--model", metavar="NAME", help="folder, GGUF file or hub name (smollm2-135m-instruct)")
    add("--device", metavar="NAME", help="a torch device (cpu)")
    add("--threads", type=int, metavar="N", help="CPU threads (torch's own choice)")
    add("--n-tokens", type=int, metavar="N", help="rows of the prompt (20)")
    add("--init", metavar="NAME", help="normal, vocab (rows of the vocabulary) or text (normal)")
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
    add("--epochs", type=int, metavar="N", help="passes over the data (300)")
    add("--batch-size", type=int, metavar="N", help="examples in a step (8)")
    add("--lr", type=float, metavar="X", help="AdamW's learning rate at its top (5e-5)")
    add("--weight-decay", type=float, metavar="X", help="AdamW's weight decay (0.01)")
    add("--warmup", type=float, metavar="SHARE", help="share of steps with a rising rate (0.1)")
    add("--seed", type=int, metavar="N", help="of the start, the hold-out and the order (0)")

    add = parser.add_argument_group("evaluation").add_argument
    add("--eval-every", type=int, metavar="N", help="epochs between evaluations (start and end)")
    add("--eval-batch-size", type=int, metavar="N", help="examples decoded at once (16)")
    add("--max-new-tokens", type=int, metavar="N", help="where decoding stops (longest answer)")

    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="DIR", required=True, help="the run's folder")
    add("--save-every", type=int, metavar="N", help="epochs between prompts kept (1)")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--overwrite", action="store_true", help="replace the run in --out")
    add("--quiet", action="store_true", help="no progress bar")


def _add_analyze_arguments(parser: argparse.ArgumentParser) -> None:
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
        help="which cloud to look at: a layer of prefix tuning, or of an encoder-decoder the "
        "encoder's prompt (0) or the decoder's (1)",
    )
    add("--overwrite", action="store_true", help="replace the analysis in --out")
    add("--quiet", action="store_true", help="no progress bar")


def _analyze(args: dict[str, Any]) -> int:
    needed = ("matplotlib", "safetensors", "scipy", "tqdm")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(
            EXIT_USAGE, f"missing {', '.join(missing)}; run: pip install 'tsloss-fast[analyze]'"
        )
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        return _run_analyze(args)
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "stopped; no file is half written")
    except OSError as error:
        return _fail(EXIT_FAILED, f"error: {error}")
    except ValueError as error:
        return _fail(EXIT_USAGE, f"error: {error}")


def _run_analyze(args: dict[str, Any]) -> int:
    from tsloss_fast.analysis.run import analyze, metrics_hint

    result = analyze(
        args["path"],
        args["out"],
        epochs=_whole_numbers(args["epochs"], "epochs"),
        accuracy=args["accuracy"],
        layer=args["layer"],
        overwrite=args["overwrite"],
        progress=not args["quiet"],
    )
    read, skipped = len(result.checkpoints), len(result.skipped)
    _say(f"{_count(read, 'checkpoint')} analysed, {_count(skipped, 'file')} skipped")
    if args["accuracy"] is None and (hint := metrics_hint(Path(args["path"]))):
        _say(f"features against accuracy: add --accuracy {hint}")
    _say(f"{', '.join(file.name for file in result.files[:-1])} and the page are in")
    _say(str(result.files[-1]))
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


def _tune(args: dict[str, Any]) -> int:
    missing = [name for name in ("transformers", "tqdm") if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(
            EXIT_USAGE, f"missing {', '.join(missing)}; run: pip install 'tsloss-fast[tune]'"
        )
    from tsloss_fast.tuning.interrupt import Interrupted
    from tsloss_fast.tuning.trainer import TrainingDiverged

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tsloss_fast").setLevel(logging.INFO)
    out = args.pop("out")
    try:
        return _run_tune(out, args)
    except Interrupted as error:
        return _fail(EXIT_INTERRUPTED, str(error))
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, f"stopped; what was saved before is in {out}")
    except (TrainingDiverged, OSError) as error:
        return _fail(EXIT_FAILED, f"error: {error}")
    except (ValueError, TypeError) as error:
        return _fail(EXIT_USAGE, f"error: {error}")


def _run_tune(out: str, args: dict[str, Any]) -> int:
    from tsloss_fast.tuning.checkpoints import RunFolder
    from tsloss_fast.tuning.config import ConfigError, TuneConfig, config_names
    from tsloss_fast.tuning.run import tune

    resume = args.pop("resume", False)
    overwrite = args.pop("overwrite", False)
    quiet = args.pop("quiet", False)
    settings = args
    if resume:
        old = RunFolder(out).load_config()
        settings = {name: old[name] for name in config_names() if name in old} | args
    if "data" not in settings:
        raise ConfigError("data: expected a JSONL file, got none")
    result = tune(
        TuneConfig(**settings), out, resume=resume, overwrite=overwrite, progress=not quiet
    )
    for epoch, accuracy in sorted(result.accuracies().items()):
        sys.stdout.write(f"held-out accuracy after epoch {epoch}: {accuracy:.3f}\n")
    _say(f"prompt: {result.file}")
    return 0


def _bench(args: dict[str, Any]) -> int:
    import torch

    from tsloss_fast.bench import HEADER, bench, format_rows

    if args["threads"] < 1:
        return _fail(EXIT_USAGE, f"error: threads: expected at least 1, got {args['threads']}")
    threads = torch.get_num_threads()
    torch.set_num_threads(args["threads"])
    rows = []
    try:
        for row in bench(args["sizes"], args["dim"]):
            rows.append(row)
            sys.stderr.write(f"{row.what}: {row.cells()[1]}\n")
    except ValueError as error:
        return _fail(EXIT_USAGE, f"error: {error}")
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "stopped")
    except (MemoryError, RuntimeError) as error:
        # torch's own allocator raises a plain RuntimeError.
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        too_large = "error: too large for the memory; try smaller --sizes or --dim"
        return _fail(EXIT_FAILED, too_large)
    finally:
        torch.set_num_threads(threads)
    title = f"{args['threads']} thread(s), gaussian points of dimension {args['dim']}, medians"
    table = format_rows([HEADER, *(row.cells() for row in rows)])
    sys.stdout.write("\n".join([title, "", *table]) + "\n")
    different = [row.what for row in rows if not row.agrees]
    if different:
        return _fail(EXIT_FAILED, f"differs from the reference: {'; '.join(different)}")
    return 0


def _info(args: dict[str, Any]) -> int:
    import torch

    from tsloss_fast.tuning.models import DEFAULT_MODEL, ModelError, find_model

    try:
        source = find_model(DEFAULT_MODEL)
        model = f"{source.name}/{source.gguf_file}"
    except ModelError as error:
        model = str(error)
    compiled = importlib.util.find_spec("tsloss_fast._C")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = {
        "tsloss_fast": __version__,
        "compiled module": compiled.origin if compiled else "missing; run: pip install .",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "CUDA devices": ", ".join(devices) or "none",
        **{name: _version(name) for name in INFO_PACKAGES},
        "default model": model,
    }
    for name, value in rows.items():
        sys.stdout.write(f"{name:<16}{value}\n")
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _say(line: str) -> None:
    sys.stdout.write(f"{printable(line)}\n")


def _fail(status: int, message: str) -> int:
    # One line, whatever a name or a value in it holds.
    sys.stderr.write(f"tsloss-fast: {printable(message)}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
