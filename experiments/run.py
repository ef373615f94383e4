"""Make the runs of a plan: python -m experiments.run small | full --out DIR.

Runs that exist are passed over, so the command may be stopped (Ctrl-C, SIGTERM) and given again, as
often as one likes, and by several processes at once (``--workers``): an unfinished run goes on
from where it was, to the same numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.results import commit
from experiments import models, plan
from experiments.spec import RunSpec
from experiments.training import Run, Stopped
from tsloss_fast._files import write_atomically
from tsloss_fast.tuning.interrupt import InterruptFlag
from tsloss_fast.tuning.models import ModelError

RESULTS = Path(__file__).parent / "results"
# By the shell's custom: 128 and SIGINT's number.
STOPPED = 130


class Worker:
    """Makes one run after the other, those that no other process is at.

    Parameters
    ----------
    blocks : sequence of Block
    out : Path
        The folder of all results.
    precision, device, template : str
    deadline : float, optional
        The time, by `time.monotonic`, at which to stop.
    """

    def __init__(
        self,
        blocks: Sequence[plan.Block],
        out: Path,
        precision: str = "bfloat16",
        device: str = "cpu",
        template: str = "plain",
        deadline: float | None = None,
    ) -> None:
        self.blocks, self.out = blocks, out
        self.precision, self.device, self.template = precision, device, template
        self.deadline = deadline
        self._name, self._loaded = "", None
        self._flag = InterruptFlag()

    def work(self) -> bool:
        """Make all runs that can be made; False if it was stopped before."""
        with self._flag:
            try:
                while self._one():
                    pass
            except Stopped:
                return False
        return not self._is_stopped()

    def _one(self) -> bool:
        """Make the first run that no other process is at; False if there is none."""
        for spec in plan.pending(self.blocks, self.out):
            if self._is_stopped():
                return False
            with locked(spec.file(self.out).with_suffix(".lock")) as is_ours:
                # Another may have made it since the plan was looked at.
                if is_ours and not spec.file(self.out).is_file():
                    self.make(spec)
                    return True
        return False

    def make(self, spec: RunSpec) -> None:
        """Make one run and write its file."""
        file = spec.file(self.out)
        state = file.with_suffix(".pt")
        record = Run(spec, self._model(spec.cell.model), self.template, state).finish(
            self._is_stopped
        )
        record |= {
            "precision": self.precision,
            "template": self.template,
            "commit": commit(),
            "machine": about_this_machine(self.device),
        }
        write_atomically(file, (json.dumps(record, separators=(",", ":")) + "\n").encode())
        state.unlink(missing_ok=True)
        say(
            f"{spec.cell.name} {file.stem}: fit after {record['iterations_to_fit']}, "
            f"test {record['test_accuracy']:.3f}, {record['cpu_seconds']:.0f} s of a core"
        )

    def _model(self, name: str) -> models.Loaded:
        if name != self._name:
            self._loaded = None
            self._loaded = models.load(name, self.precision, self.device, self.out / "models")
            self._name = name
        return self._loaded

    def _is_stopped(self) -> bool:
        is_late = self.deadline is not None and time.monotonic() > self.deadline
        return bool(self._flag.raised) or is_late


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether the lock is ours; it goes with the process that holds it, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        path.unlink(missing_ok=True)


def about_this_machine(device: str) -> dict[str, Any]:
    """What the seconds, and the last digits, depend on."""
    is_cuda = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 when all is done, 130 if it was stopped, 1 where a model is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.run",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("plan", choices=("small", "full"), help="small: within an hour on two cores; full: hours")
    add("--out", type=Path, default=RESULTS, metavar="DIR", help="one JSON a run below it")
    add("--model", action="append", help="of the full plan, by name or path (again)")
    add("--task", action="append", default=[], help="a file that joins the full plan (again)")
    add("--precision", choices=tuple(models.PRECISIONS), default="bfloat16", help="of the model")
    add("--device", default="cpu")
    add("--template", choices=("auto", "chat", "plain"), default="plain")
    add("--minutes", type=float, help="stop after so many; the next call goes on")
    add("--workers", type=int, default=1, help="processes of one thread each")
    add("--list", action="store_true", help="list the runs that could be made now, and end")
    arguments = parser.parse_args(argv)
    blocks = plan.small()
    if arguments.plan == "full":
        names = arguments.model or (models.SMOLLM2, models.GEMMA3)
        blocks = plan.full(names, arguments.task)
    if arguments.list:
        for spec in plan.pending(blocks, arguments.out):
            say(str(spec.file(arguments.out).relative_to(arguments.out)))
        return 0
    if arguments.workers > 1:
        return _workers(arguments.workers, sys.argv[1:] if argv is None else argv)
    torch.set_num_threads(1)
    deadline = None if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    worker = Worker(
        blocks,
        arguments.out,
        arguments.precision,
        arguments.device,
        arguments.template,
        deadline,
    )
    try:
        return 0 if worker.work() else STOPPED
    except ModelError as error:
        say(str(error))
        return 1


def _workers(count: int, argv: Sequence[str]) -> int:
    """The same command in several processes; the worst of their statuses."""
    command = [sys.executable, "-m", "experiments.run", *argv, "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(command, env=environment) for _ in range(count)]
    with InterruptFlag() as flag:
        asked = False
        while any(process.poll() is None for process in processes):
            if flag.raised and not asked:
                asked = True
                for process in processes:
                    process.terminate()
            time.sleep(0.2)
    return max(process.returncode for process in processes)


if __name__ == "__main__":
    sys.exit(main())
