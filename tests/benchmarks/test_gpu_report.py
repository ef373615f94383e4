"""The report of a CUDA machine, as far as it goes without one."""

import json
import sys

import pytest
import torch

from benchmarks import gpu_report
from benchmarks.gpu_report import Step, run, write


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
