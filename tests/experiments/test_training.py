"""One run through each arm on a tiny random model, stopped and resumed, and its record."""

import json
import math

import pytest
import torch
from tiny_runs import CELL

from experiments import plan
from experiments.spec import RunSpec
from experiments.training import Run, Stopped
from tsloss_fast import TSLoss

pytestmark = pytest.mark.model

RATE = 0.03
# Seconds are all that differs from call to call.
TIMES = ("seconds", "penalty_seconds", "cpu_seconds")


def run(spec, loaded, file, is_stopped=lambda: False):
    return Run(spec, loaded, "plain", file).finish(is_stopped)


def without_times(record):
    return {key: value for key, value in record.items() if key not in TIMES}


@pytest.mark.parametrize("arm", sorted({arm for block in plan.full() for arm in block.arms}))
def test_each_arm_runs(arm, tiny, tmp_path):
    record = run(RunSpec(CELL, arm, RATE, seed=0), tiny, tmp_path / "state.pt")
    assert not record["diverged"]
    assert len(record["ce"]) == CELL.steps
    assert all(map(math.isfinite, record["ce"] + record["ce_norm"] + record["weight"]))
    assert (max(record["penalty_norm"]) > 0) == (arm != "ce")
    assert 0 <= record["test_accuracy"] <= 1
    assert len(json.dumps(record)) < 10_000


@pytest.mark.parametrize("start", ["normal", "vocab", "token"])
def test_arms_start_alike(start, tiny, tmp_path):
    from dataclasses import replace

    cell = replace(CELL, start=start)
    prompts = {
        (arm, seed): Run(RunSpec(cell, arm, RATE, seed), tiny, "plain", tmp_path / "no").prompt
        for arm in ("ce", "exact-b0.5")
        for seed in (0, 1)
    }
    assert torch.equal(prompts["ce", 0].weight, prompts["exact-b0.5", 0].weight)
    assert not torch.equal(prompts["ce", 0].weight, prompts["ce", 1].weight)
    assert (len(prompts["ce", 0].weight.unique(dim=0)) == 1) == (start == "token")


def test_the_balance_holds_the_ratio_of_the_norms(tiny, tmp_path):
    record = run(RunSpec(CELL, "exact-b0.5", RATE, seed=0), tiny, tmp_path / "state.pt")
    ce, penalty, weight = (record[key][0] for key in ("ce_norm", "penalty_norm", "weight"))
    assert weight * penalty / ce == pytest.approx(0.5, rel=1e-3)


def test_a_step_is_adamw_on_the_sum_of_both_gradients(tiny, tmp_path):
    """AdamW's first step is by the rate against the sign, beside the weight decay."""
    spec = RunSpec(CELL, "exact-l1", RATE, seed=0)
    trained = Run(spec, tiny, "plain", tmp_path / "state.pt")
    before = trained.prompt.weight.detach().clone()
    trained._train_step()
    after = trained.prompt.weight.detach()
    # Four steps have no warm-up.
    expected = before * (1 - 0.01 * RATE) - RATE * trained.prompt.weight.grad.sign()
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)
    norm = torch.autograd.grad(TSLoss()(x := before.requires_grad_()), x)[0].norm().item()
    assert trained.history.penalty_norm[0] == pytest.approx(norm, rel=1e-5)


def test_a_stopped_run_goes_on_to_the_same_numbers(tiny, tmp_path):
    spec = RunSpec(CELL, "exact-b0.5", RATE, seed=0)
    whole = run(spec, tiny, tmp_path / "whole.pt")
    for after in (0, 1, 2, 3):
        file = tmp_path / f"{after}.pt"
        calls = iter(range(100))
        with pytest.raises(Stopped):
            run(spec, tiny, file, lambda calls=calls, after=after: next(calls) == after)
        assert without_times(run(spec, tiny, file)) == without_times(whole)


def test_iterations_to_fit_are_the_updates_before_all_samples_were_right(tiny, tmp_path):
    trained = Run(RunSpec(CELL, "ce", RATE, seed=0), tiny, "plain", tmp_path / "state.pt")
    record = trained.finish(lambda: False)
    assert (record["iterations_to_fit"] is None) == (1 not in record["fitted"])
    trained.history.fitted = [0.5, 0.75, 1.0, 0.9]
    assert trained._record()["iterations_to_fit"] == 2


def test_a_long_run_leaves_a_short_record(tiny, tmp_path):
    trained = Run(RunSpec(CELL, "exact-l1", RATE, seed=0), tiny, "plain", tmp_path / "state.pt")
    trained.finish(lambda: False)
    for name, values in vars(trained.history).items():
        if name != "looks":
            setattr(trained.history, name, [0.123456789e-5] * 599 + values[:1])
    trained.history.fitted = [0.5] * 444 + [1.0] * 156
    record = trained._record()
    assert record["iterations_to_fit"] == 444
    assert record["every"] == 6
    assert len(record["ce"]) == len(record["fitted"]) == 100
    assert len(json.dumps(record)) < 10_000


def test_divergence_is_an_answer(tiny, tmp_path):
    record = run(RunSpec(CELL, "ce", 1e30, seed=0), tiny, tmp_path / "state.pt")
    assert record["diverged"]
    assert record["test_accuracy"] == 0
    json.dumps(record, allow_nan=False)
