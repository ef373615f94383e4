"""The plugin of `--executed FILE`: launches of the package's kernels, counted by their sizes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# The arguments of a kernel that say how large its clouds are.
SIZES = ("n", "d", "K")

Note = Callable[[Any, dict[str, Any]], None]


class Recorder:
    """Counts launches; under xdist the workers hand theirs over to the process that writes."""

    def __init__(self, file: Path, way: str) -> None:
        self.file = file
        # Now, for the sources may change while the tests run.
        self.about = {"way": way, **versions()}
        self.launches: Counter[tuple] = Counter()

    def note(self, function: Any, arguments: dict[str, Any]) -> None:
        """Count a launch of a kernel's Python function."""
        if not function.__module__.startswith("tsloss_fast."):
            return
        first = next(a for a in arguments.values() if isinstance(a, torch.Tensor))
        dtype = str(first.dtype).removeprefix("torch.")
        sizes = (arguments.get(name) for name in SIZES)
        self.launches[(function.__name__, dtype, *sizes)] += 1

    def rows(self) -> list[list]:
        return [[*key, count] for key, count in self.launches.items()]

    def add(self, rows: list[list]) -> None:
        for *key, count in rows:
            self.launches[tuple(key)] += count

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        worker = getattr(session.config, "workeroutput", None)
        if worker is not None:
            worker["executed"] = self.rows()
            return
        columns = ["kernel", "dtype", *SIZES, "launches"]
        content = {**self.about, "columns": columns, "rows": sorted(self.rows(), key=str)}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(as_text(content))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.add(node.workeroutput.get("executed", []))


def as_text(content: dict[str, Any]) -> str:
    """JSON with a line a row."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in content["rows"])
    head = json.dumps({**content, "rows": []}, indent=1)
    return head.replace('"rows": []', f'"rows": [\n{rows}\n ]') + "\n"


def versions() -> dict[str, str]:
    """What a count has to be read with."""
    import numpy
    import triton

    from benchmarks.results import commit

    found = {"torch": torch.__version__, "triton": triton.__version__, "numpy": numpy.__version__}
    return {"commit": commit(), **found}


def watch(note: Note) -> None:
    """Have every launch of this process noted, interpreted or compiled."""
    if os.environ["TRITON_INTERPRET"] == "1":
        _watch_the_interpreter(note)
    else:
        _watch_compiled_kernels(note)


def _watch_the_interpreter(note: Note) -> None:
    from triton.runtime.interpreter import GridExecutor

    execute = GridExecutor.__call__

    def noted(self: Any, *arguments: Any, **options: Any) -> Any:
        note(self.fn, dict(zip(self.arg_names, arguments, strict=False)) | options)
        return execute(self, *arguments, **options)

    GridExecutor.__call__ = noted


def _watch_compiled_kernels(note: Note) -> None:
    from triton.runtime.jit import JITFunction

    from tsloss_fast._engine.kernels import launching

    # By way of Triton's dispatch, and past it.
    run, run_known = JITFunction.run, launching._run

    def noted(self: Any, *arguments: Any, warmup: bool, **options: Any) -> Any:
        if not warmup:
            note(self.fn, dict(zip(self.arg_names, arguments, strict=False)) | options)
        return run(self, *arguments, warmup=warmup, **options)

    def noted_known(compiled: Any, constants: tuple, programs: int, arguments: tuple) -> None:
        kernel = compiled.src.fn
        note(kernel.fn, dict(zip(kernel.arg_names, arguments, strict=False)))
        run_known(compiled, constants, programs, arguments)

    JITFunction.run, launching._run = noted, noted_known
