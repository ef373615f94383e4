"""The plan: its order, how rates are chosen, and that a finished run is made once."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_lm import save_tiny
from tiny_runs import CELL

from experiments import plan
from experiments.run import Worker, locked, main
from experiments.spec import RunSpec

ARMS = ("ce", "exact-l1")
BLOCK = plan.Block(CELL, arms=ARMS, seeds=(0, 1), rates=(0.01, 0.03), sweep_seeds=(1000,))


def write(spec, out, validation=0.5, fit=3):
    file = spec.file(out)
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {"validation_accuracy": validation, "iterations_to_fit": fit, "steps": 4}
    file.write_text(json.dumps(record))


def test_the_sweep_comes_first_and_all_arms_before_the_next_seed(tmp_path):
    made = []
    while spec := next(plan.pending([BLOCK], tmp_path), None):
        write(spec, tmp_path)
        made.append((spec.seed, spec.rate, spec.arm))
    sweep = [(1000, rate, arm) for rate in (0.01, 0.03) for arm in ARMS]
    assert made == [*sweep, *((seed, 0.01, arm) for seed in (0, 1) for arm in ARMS)]


def test_each_arm_gets_the_rate_of_its_best_validation(tmp_path):
    accuracies = {("ce", 0.01): 0.5, ("ce", 0.03): 0.6, ("exact-l1", 0.01): 0.7}
    for spec in BLOCK.sweep():
        write(spec, tmp_path, accuracies.get((spec.arm, spec.rate), 0.4))
    assert BLOCK.chosen_rates(tmp_path) == {"ce": 0.03, "exact-l1": 0.01}


def test_equal_accuracy_is_decided_by_iterations_to_fit(tmp_path):
    for spec in BLOCK.sweep():
        # None is all steps, more than 3.
        write(spec, tmp_path, fit=3 if spec.rate == 0.03 else None)
    assert BLOCK.chosen_rates(tmp_path) == {"ce": 0.03, "exact-l1": 0.03}


def test_an_unfinished_sweep_chooses_nothing_and_is_passed_over(tmp_path):
    first, *rest = BLOCK.sweep()
    for spec in rest:
        write(spec, tmp_path)
    assert BLOCK.comparison(tmp_path) is None
    other = replace(BLOCK, cell=replace(CELL, start="normal"))
    assert list(plan.pending([BLOCK, other], tmp_path)) == [first, *other.sweep()]


def test_a_fixed_rate_needs_no_sweep(tmp_path):
    fixed = replace(BLOCK, fixed_rate=5e-5)
    assert [spec.rate for spec in plan.pending([fixed], tmp_path)] == [5e-5] * 4


def test_runs_have_files_of_their_own(tmp_path):
    specs = {spec for block in plan.full() for spec in block.sweep()}
    specs |= {
        RunSpec(block.cell, arm, 5e-5, seed)
        for block in plan.full()
        for arm in block.arms
        for seed in block.seeds
    }
    assert len({spec.file(tmp_path) for spec in specs}) == len(specs)
    assert not set(plan.SWEEP_SEEDS) & {seed for b in plan.full() for seed in b.seeds}


def test_the_small_plan_is_the_beginning_of_the_full_one(tmp_path):
    small, full = (list(plan.pending(blocks, tmp_path)) for blocks in (plan.small(), plan.full()))
    assert full[: len(small)] == small


@pytest.mark.model
def test_a_worker_makes_every_run_once(tiny, tmp_path, capsys):
    Worker([BLOCK], tmp_path, "float32").work()
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 8
    assert not [*tmp_path.rglob("*.lock"), *tmp_path.rglob("*.pt")]
    assert len(capsys.readouterr().out.splitlines()) == 8
    contents = [file.read_bytes() for file in files]
    assert Worker([BLOCK], tmp_path, "float32").work()
    assert [file.read_bytes() for file in files] == contents
    assert capsys.readouterr().out == ""
    record = json.loads(contents[0])
    assert {"arm", "rate", "seed", "model", "precision", "machine"} <= record.keys()


@pytest.mark.model
def test_a_run_that_another_process_is_at_is_left_to_it(tiny, tmp_path):
    first = BLOCK.sweep()[0]
    with locked(first.file(tmp_path).with_suffix(".lock")):
        Worker([BLOCK], tmp_path, "float32").work()
    assert len(list(tmp_path.rglob("*.json"))) == 3
    assert not first.file(tmp_path).exists()


@pytest.mark.model
def test_a_stopped_worker_goes_on(tiny, tmp_path):
    late = Worker([BLOCK], tmp_path, "float32", deadline=0.0)
    assert not late.work()
    assert not list(tmp_path.rglob("*.json"))
    worker = Worker([BLOCK], tmp_path, "float32")
    calls = iter(range(100))
    worker._is_stopped = lambda: next(calls) > 8
    assert not worker.work()
    done = len(list(tmp_path.rglob("*.json")))
    assert done < 8
    assert len(list(tmp_path.rglob("*.pt"))) == 1
    assert Worker([BLOCK], tmp_path, "float32").work()
    assert len(list(tmp_path.rglob("*.json"))) == 8


def test_the_command_lists_what_is_to_be_done(tmp_path, capsys):
    assert main(["small", "--list", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, *at_one_rate = plan.small()
    runs_at_one_rate = sum(len(block.arms) * len(block.seeds) for block in at_one_rate)
    assert len(lines) == len(first.sweep()) + runs_at_one_rate
    assert lines[0] == f"{plan.FIRST.name}/ce_lr0.003_seed1000.json"


@pytest.mark.model
def test_sigterm_ends_the_workers_and_leaves_whole_files(tmp_path, capsys):
    """Two processes of the real command; what they made is passed over by the next call."""
    save_tiny(tmp_path / "tiny")
    out, root = tmp_path / "out", Path(__file__).parents[2]
    argv = ["full", "--out", str(out), "--model", str(tmp_path / "tiny"), "--precision", "float32"]
    command = [sys.executable, "-m", "experiments.run", *argv, "--workers", "2"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    try:
        begun = time.monotonic()
        while len(list(out.rglob("*.json"))) < 3 and time.monotonic() - begun < 120:
            time.sleep(0.2)
        process.terminate()
        assert process.wait(60) == 130
    finally:
        process.kill()
    made = {str(file.relative_to(out)) for file in out.rglob("*.json")}
    assert len(made) >= 3
    assert all(json.loads((out / name).read_text())["steps"] == 24 for name in made)
    main([*argv, "--list"])
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) > 10
    assert not made & set(listed)
