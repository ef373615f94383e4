"""The report of a CUDA machine, as far as it goes without one."""

import ast
import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_report
from benchmarks.gpu_report import Step, run, write

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
# What has to be installed where the report is made; the rest is used where it is there.
INSTALLED = {"torch", "numpy", "triton", "pytest", "hypothesis", *sys.stdlib_module_names}


def ran(tmp_path, code, limit=20, left=100.0):
    step = Step("a step", [sys.executable, "-c", code], limit, lines=2)
    run(step, left, tmp_path / "log.txt")
    return step


def test_a_step_keeps_how_it_ended_and_its_last_lines(tmp_path):
    step = ran(tmp_path, "print('one'); print('two'); print('three')")
    assert (step.ended, step.last_lines) == ("ok", ["two", "three"])
    failed = ran(tmp_path, "raise SystemExit(3)")
    assert failed.ended == "FAILED, exit 3"
    assert "one\ntwo\nthree" in (tmp_path / "log.txt").read_text()


def test_a_step_that_takes_too_long_is_stopped_and_its_output_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_report, "LEAST_SECONDS", 1)
    step = ran(tmp_path, "print('begun', flush=True); import time; time.sleep(60)", limit=3)
    assert step.ended == "STOPPED after 3 s"
    assert step.last_lines == ["begun"]


def test_a_step_with_no_time_left_is_not_begun(tmp_path):
    assert ran(tmp_path, "print(1)", left=5).ended == "not begun: 5 s left"


def test_a_tool_that_is_missing_is_said(tmp_path):
    step = Step("tool", ["no-such-tool"], 20)
    run(step, 100, tmp_path / "log.txt")
    assert "no-such-tool" in step.ended


def test_the_report_holds_every_step(tmp_path):
    steps = [ran(tmp_path, "print('done')"), Step("later", ["x"], 5)]
    write(tmp_path, steps)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [step["ended"] for step in report["steps"]] == ["ok", "not begun"]
    assert "ok: a step" in (tmp_path / "report.txt").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_without_a_device_it_stops_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_report", "--out", str(tmp_path), "--half", "check"])
    assert gpu_report.main() == 2
    assert "without 'device' nothing else can run" in capsys.readouterr().err


def test_both_halves_end_within_their_minutes(tmp_path):
    assert gpu_report.HALF_SECONDS < 5 * 60
    # Ten seconds are left for what stands between the steps.
    assert 2 * gpu_report.HALF_SECONDS <= 9 * 60 - 10
    steps = [*gpu_report.check(), *gpu_report.measure(tmp_path)]
    assert all(step.limit_s <= gpu_report.HALF_SECONDS for step in steps)
    commands = [" ".join(step.command) for step in steps]
    assert sum("--gpu" in command for command in commands) == 2
    assert any("--only step" in command for command in commands)
    assert any("step_as_graph.py" in command for command in commands)
    assert {"memcheck", "racecheck"} <= {step.name for step in steps}


def imported_at_once(path):
    """Dotted names that a file imports as it is loaded, not those within its functions."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign_modules(paths):
    """What files of this repository import of others, by way of each other too, and where."""
    seen, todo, found = set(), [*paths], set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported_at_once(path):
            first, *rest = name.split(".")
            files = [HELPERS / f"{first}.py"]
            files += [ROOT.joinpath(first, *rest[:k]).with_suffix(".py") for k in (-1, len(rest))]
            ours = [file for file in files if file.exists()]
            todo += ours
            if not ours and not (ROOT / first).is_dir():
                found.add((first, path.relative_to(ROOT).as_posix()))
    return found


def test_what_a_cuda_machine_may_lack_is_imported_where_it_is_used_alone():
    """Else one test that needs it ends the collection of all."""
    commands = ("gpu_report", "gpu", "kernels_once")
    files = [ROOT / "benchmarks" / f"{name}.py" for name in commands]
    files += [ROOT / "conftest.py", ROOT / "tests" / "conftest.py"]
    found = foreign_modules([*files, *(ROOT / "tests" / "engine").rglob("*.py")])
    assert {"torch", "triton"} <= {module for module, _ in found}
    assert [(module, file) for module, file in found if module not in INSTALLED] == []
