"""Everything that a CUDA machine can show, in one command: `make gpu-report`.

    python -m benchmarks.gpu_report                  # both halves
    python -m benchmarks.gpu_report --half check     # build, each kernel once, the tests
    python -m benchmarks.gpu_report --half measure   # build, the timings, the sanitizers
    python -m benchmarks.gpu_report --out FOLDER     # where the results go

For a machine without a network: torch with CUDA, Triton, a C++ compiler, pybind11, pytest and
hypothesis must be there; pytest-xdist, SciPy, transformers and compute-sanitizer are used where
they are. Each step has a limit of its own and each half one of 265 seconds, so that what was found
is never lost. FOLDER receives report.json (each step: how it ended, its seconds, its last lines),
report.txt, log.txt (all output), and the JSON of `benchmarks.gpu`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
HALF_SECONDS = 265
# Less is not worth beginning a step for.
LEAST_SECONDS = 10
# Steps without which no other makes sense.
NEEDED = ("device", "build")
SANITIZERS = ("/usr/local/cuda/bin/compute-sanitizer",)


@dataclass
class Step:
    """One command, what it may take, and how it went."""

    name: str
    command: list[str]
    limit_s: int
    lines: int = 5  # of its output, for the report
    environment: dict[str, str] = field(default_factory=dict)
    ended: str = "not begun"
    seconds: float = 0.0
    last_lines: list[str] = field(default_factory=list)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def prepare() -> list[Step]:
    """What either half begins with."""
    about = (
        "import torch, triton, numpy; p = torch.cuda.get_device_properties(0); "
        "print(p.name, 'multiprocessors', p.multi_processor_count, 'L2', p.L2_cache_size); "
        "print(*(f'{m.__name__} {m.__version__}' for m in (torch, triton, numpy)))"
    )
    steps = [Step("device", python("-c", about), 60, 2)]
    if subprocess.run(python("-c", "import tsloss_fast"), cwd=ROOT, capture_output=True).returncode:
        steps.append(Step("build", python("setup.py", "-q", "build_ext", "--inplace"), 150))
    return steps


def check() -> list[Step]:
    """Whether the kernels are right on this device."""
    # -v names a test as it ends, so that a run that its limit cuts off has named what failed.
    pytest = python("-m", "pytest", "--gpu", "-v", "-p", "no:cacheprovider")
    # Hundreds of forms of kernels are compiled, half a second each, into one cache on disk.
    several = ["-n", "8", "--dist", "worksteal"] if importlib.util.find_spec("xdist") else []
    return [
        Step("kernels once", python("-m", "benchmarks.kernels_once"), 90, 45),
        Step("tests of the kernels", [*pytest, *several, "tests/engine/kernels"], 150, 25),
        # Alone: they look at what waits for the device, which others would disturb.
        Step(
            "tests on the device",
            [*pytest, "tests/engine", "--ignore=tests/engine/kernels"],
            90,
            25,
        ),
    ]


def measure(out: Path) -> list[Step]:
    """What they cost, and whether they touch what is not theirs."""
    gpu = python("-m", "benchmarks.gpu", "--out", str(out), "--runs", "30")
    steps = [
        Step(
            "timings",
            [*gpu, *(f"--only={name}" for name in ("kernels", "h1", "losses", "large"))],
            120,
            80,
        ),
        Step("a step of Gemma-2B's shape", [*gpu, "--only", "step"], 60, 8),
        Step("a whole step as one graph", python("examples/step_as_graph.py"), 60, 8),
    ]
    for tool in ("memcheck", "racecheck"):
        once = python("-m", "benchmarks.kernels_once", "--only-run")
        watched = [
            sanitizer(),
            "--tool",
            tool,
            "--error-exitcode",
            "9",
            "--print-limit",
            "20",
            *once,
        ]
        # Parts of one large block would never be out of bounds.
        whole_blocks = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        steps.append(Step(tool, watched, 70, 6, whole_blocks))
    return steps


def sanitizer() -> str:
    """compute-sanitizer, or the name by which the step will say that it is missing."""
    found = shutil.which("compute-sanitizer")
    return found or next((path for path in SANITIZERS if Path(path).exists()), "compute-sanitizer")


def run(step: Step, left_s: float, log: Path) -> None:
    """Run one step within its limit and what is left, and keep its output."""
    limit = min(step.limit_s, left_s)
    if limit < LEAST_SECONDS:
        step.ended = f"not begun: {left_s:.0f} s left"
        return
    environment = {
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        **step.environment,
    }
    began, started_at = time.monotonic(), log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        output.write(f"===== {step.name}: {' '.join(step.command)}\n".encode())
        output.flush()
        try:
            done = subprocess.run(
                step.command, cwd=ROOT, env=os.environ | environment, stdout=output,
                stderr=subprocess.STDOUT, timeout=limit,
            )  # fmt: skip
            step.ended = "ok" if done.returncode == 0 else f"FAILED, exit {done.returncode}"
        except subprocess.TimeoutExpired:
            step.ended = f"STOPPED after {limit:.0f} s"
        except OSError as error:
            step.ended = f"not run: {error}"
    step.seconds = round(time.monotonic() - began, 1)
    text = log.read_bytes()[started_at:].decode(errors="replace").splitlines()[1:]
    step.last_lines = [line[:220] for line in text[-step.lines :]]


def write(out: Path, steps: list[Step]) -> None:
    """The report as JSON and as text, after every step."""
    report = {"host": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    report["steps"] = [asdict(step) for step in steps]
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = []
    for step in steps:
        lines += [f"{step.ended}: {step.name}, {step.seconds} s", *step.last_lines, ""]
    (out / "report.txt").write_text("\n".join(lines))


def main() -> int:
    """Run the steps of the halves that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_report", description=__doc__)
    parser.add_argument("--half", choices=("check", "measure"), action="append")
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-report")
    parser.add_argument("--limit", type=float, default=HALF_SECONDS, help="seconds a half may take")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    halves = {"check": check, "measure": lambda: measure(out)}
    done: list[Step] = []
    for half in arguments.half or halves:
        ends = time.monotonic() + arguments.limit
        for step in [*prepare(), *halves[half]()]:
            done.append(step)
            run(step, ends - time.monotonic(), out / "log.txt")
            write(out, done)
            print(f"{step.ended}: {step.name}, {step.seconds} s", flush=True)
            if step.ended != "ok":
                print("\n".join(step.last_lines), flush=True)
            if step.name in NEEDED and step.ended != "ok":
                print(f"without '{step.name}' nothing else can run", file=sys.stderr)
                return 2
    print(f"written: {out / 'report.txt'}")
    return 0 if all(step.ended == "ok" for step in done) else 1


if __name__ == "__main__":
    sys.exit(main())
