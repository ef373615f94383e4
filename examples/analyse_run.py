"""Analyse a run: tune a tiny prompt on SmolLM2, or take your own run, and picture its topology.

python examples/analyse_run.py            # tunes first: some minutes on a CPU
python examples/analyse_run.py runs/mine  # a folder of soft_prompt_epoch_N.pt or PEFT adapters
"""

import json
import sys
import tempfile
from pathlib import Path

from tsloss_fast.analysis.run import analyze


def tune_tiny(folder: Path) -> Path:
    """A real run of four epochs on sixteen additions."""
    from tsloss_fast.tuning.config import TuneConfig
    from tsloss_fast.tuning.run import tune

    data = folder / "data.jsonl"
    lines = [{"question": f"{a} + {b} =", "answer": str(a + b)} for a in range(4) for b in range(4)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = TuneConfig(
        data=str(data), epochs=4, batch_size=8, lr=3e-3, init="vocab", template="plain", balance=0.5
    )
    tune(config, folder / "run")
    return folder / "run"


def main() -> None:
    if len(sys.argv) > 1:
        run = Path(sys.argv[1])
    else:
        run = tune_tiny(Path(tempfile.mkdtemp(prefix="analyse_run_")))
    result = analyze(run, overwrite=True)
    first, last = result.topologies[0].features, result.topologies[-1].features
    for name in ("h0_mean_lifetime", "h1_count", "entropy"):
        print(f"{name:<18}{first[name]:.4g} -> {last[name]:.4g}")
    print(f"open {result.files[-1]}")


if __name__ == "__main__":
    main()
