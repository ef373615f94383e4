"""A run end to end with providers that misbehave: each gets a row that says how."""

import argparse
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import cases, harness, plans, results, run
from benchmarks.cases import Case, points
from benchmarks.harness import Bench, Side, goes_on, samples_for, takes_part
from benchmarks.providers import NAMES
from benchmarks.run import choose
from benchmarks.truth import Truth
from benchmarks.worker import ProviderFailed, ProviderStopped, TimeExceeded, Worker

SMALL = Case("h1", "gaussian", 12, 8)


@pytest.fixture
def fakes(monkeypatch):
    for name in (
        "Right",
        "Wrong",
        "WrongOnOneInput",
        "Slow",
        "Crashing",
        "Hungry",
        "Eating",
        "Missing",
    ):
        monkeypatch.setitem(NAMES, name, f"fake_providers:{name}")


def suite(*timed, memory=(), **changes):
    limits = {"limit_s": 3.0, "truth_limit_s": 60.0, "budget_s": 0.01, "memory_gib": 0.0}
    return plans.Suite("tiny", tuple(timed), tuple(memory), **(limits | changes))


def measure(case, names, **changes):
    bench = Bench(suite(case, **changes), names)
    try:
        return {row["provider"]: row for row in bench.measure(case)}
    finally:
        bench.pool.stop()


def test_who_is_wrong_slow_crashing_or_missing_gets_no_figure(fakes):
    rows = measure(SMALL, ["Right", "Wrong", "Slow", "Crashing", "Missing"])
    right = rows["Right"]
    assert (right["checked"], right["against"]) == ("edges", "gudhi")
    assert 0 < right["p20_s"] <= right["median_s"] <= right["p80_s"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "Right": "ok",
        "Wrong": "disagrees",
        "Slow": "exceeded its time",
        "Crashing": "crashed",
        "Missing": "unavailable",
    }
    assert "where gudhi has" in rows["Wrong"]["reason"]
    assert "SIGABRT" in rows["Crashing"]["reason"]
    assert "no_such_package_here" in rows["Missing"]["reason"]
    assert all("median_s" not in row for row in rows.values() if row["status"] != "ok")


def test_calls_take_different_inputs_in_turn_and_all_are_checked(fakes):
    rows = measure(SMALL, ["Right", "WrongOnOneInput"])
    assert rows["Right"]["inputs"] == cases.inputs_in_turn(12, 1) > 1
    assert rows["WrongOnOneInput"]["status"] == "disagrees"


def test_samples_on_several_threads_last_longer(fakes):
    """A hundred times, for whatever the call takes in each of the two cases."""
    one, two = (measure(replace(SMALL, threads=threads), ["Right"])["Right"] for threads in (1, 2))
    assert two["calls_per_sample"] > 10 * one["calls_per_sample"]


def test_a_worker_takes_its_inputs_in_turn():
    """The calls of a sample go on where those of the last one stopped, warm-up included."""
    worker = Worker("fake_providers:Counting")
    try:
        worker.ask("start", limit_s=60)
        sizes = [np.zeros((1, n, n), dtype=np.float32) for n in (6, 7, 8)]
        worker.ask("prepare", "h1", sizes[0], limit_s=60)
        assert worker.ask("prepare_others", "h1", sizes[1:], limit_s=60) == [[6, 7], [6, 7, 8]]
        for repeats, warm_up in ((2, True), (4, False), (1, False)):
            worker.ask("sample", repeats, warm_up, limit_s=60)
        last = worker.ask("prepare", "h1", sizes[0], limit_s=60)["result"]
    finally:
        worker.stop()
    calls = last[3:-1]  # without those of the preparations
    assert sorted(calls) == [6] * 3 + [7] * 3 + [8] * 2


def test_who_gave_up_is_not_asked_for_more(fakes):
    bench = Bench(suite(limit_s=1.0), ["Slow"])
    try:
        first, second = (bench.measure(Case("h1", "gaussian", n, 8))[0] for n in (12, 13))
    finally:
        bench.pool.stop()
    assert first["status"] == "exceeded its time"
    assert second["status"] == "not tried"
    assert "n = 12" in second["reason"]


class HerePool:
    """Answers as the truth's process would, without one."""

    def ask(self, name, threads, operation, phase, array, limit_s):
        call = Truth().call(phase, array)
        return {"result": call.read(call.run())}


def test_a_wrong_gradient_is_no_matter_of_rounding():
    case = Case("loss_backward", "gaussian", 12, 8)
    x = points("gaussian", 12, 8)
    bench = Bench(suite(case), [])
    bench.pool = HerePool()
    truth = bench.pool.ask("truth", 1, "prepare", "loss", x, limit_s=1)["result"]
    for factor, status in ((1.0, "ok"), (1.1, "disagrees")):
        row = {"provider": "x", "status": "ok", "edges": True}
        side = Side("x", row, results=[(truth[0], factor * truth[1])])
        bench._check(case, [x], [side], [truth], None)
        assert row["status"] == status


def test_where_gudhi_does_not_finish_nothing_is_timed_unchecked(fakes, monkeypatch):
    monkeypatch.setattr(harness, "TRUTH", "fake_providers:Slow")
    row = measure(SMALL, ["Right"], truth_limit_s=0.5)["Right"]
    assert row["status"] == "not checked"
    assert "gudhi: no answer in 0.5 s" in row["reason"]


def test_memory_is_limited_and_measured(fakes):
    bench = Bench(suite(memory_gib=8.0), ["Eating", "Hungry"])
    try:
        eating, hungry = bench.memory(Case("h1", "gaussian", 12, 8))
    finally:
        bench.pool.stop()
    assert eating["peak_bytes"] == pytest.approx(2**26, rel=0.1)
    assert hungry["status"] == "failed"
    assert "out of the 8 GiB" in hungry["reason"]


def test_a_worker_goes_on_after_an_error():
    worker = Worker("fake_providers:Eating")
    try:
        worker.ask("start", limit_s=60)
        D = np.zeros((1, 5, 5), dtype=np.float32)
        with pytest.raises(ProviderFailed, match="NotImplementedError"):
            worker.ask("memory", "distances", D, D, limit_s=60)
        assert worker.ask("memory", "h1", D, D, limit_s=60) < 2**22
    finally:
        worker.stop()


def test_a_worker_that_exceeds_its_time_is_stopped():
    worker = Worker("fake_providers:Slow")
    worker.ask("start", limit_s=60)
    with pytest.raises(TimeExceeded, match=r"no answer in 0\.2 s"):
        worker.ask("prepare", "h1", np.zeros((1, 9, 9), dtype=np.float32), limit_s=0.2)
    assert not worker._process.is_alive()
    with pytest.raises((ProviderStopped, OSError)):
        worker.ask("start", limit_s=1)


@pytest.mark.parametrize(
    ("cost_s", "count"), [(1e-3, 15), (0.05, 5), (1.0, 3)], ids=["quick", "between", "slow"]
)
def test_samples_cost_about_the_budget(cost_s, count):
    assert samples_for(cost_s, 0.25) == count


@pytest.mark.parametrize("samples", [0, 3, 7, 15])
def test_slow_sides_take_part_evenly(samples):
    rounds = [round_ for round_ in range(15) if takes_part(round_, 15, samples)]
    assert len(rounds) == samples
    assert all(b - a <= 15 // samples + 1 for a, b in pairwise(rounds))


def arguments(**changes):
    nothing = {"what": None, "phase": None, "family": None, "n": None, "threads": 1}
    nothing |= {"step_rounds": 5}
    return argparse.Namespace(**(nothing | changes))


def test_selection():
    timed, weighed, rounds = choose(
        plans.quick(), arguments(phase=["h1"], n=[100], family=["gaussian"])
    )
    assert {(c.phase, c.n, c.family) for c in timed} == {("h1", 100, "gaussian")}
    assert {c.threads for c in timed} == {1, 2}
    assert (weighed, rounds) == ([], 0)
    timed, weighed, rounds = choose(plans.quick(), arguments(threads=4))
    assert {c.threads for c in timed} == {2, 4}
    assert rounds == 5
    chosen = choose(plans.quick(), arguments(what=["memory"]))
    assert chosen == ([], list(plans.quick().memory), 0)


def test_command_writes_a_new_file_each_time(tmp_path, capsys):
    command = ["quick", "--phase", "h1", "--n", "20", "--family", "gaussian"]
    command += ["--provider", "gudhi SimplexTree", "--step-rounds", "0", "--out", str(tmp_path)]
    assert run.main(command) == 0
    assert run.main(command) == 0
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    content = json.loads(files[0].read_text())
    assert (content["kind"], content["suite"], content["complete"]) == ("bench", "selection", True)
    assert [row["status"] for row in content["rows"]] == ["ok"]
    assert content["machine"]["threads"] == 1
    assert content["providers"]["gudhi SimplexTree"]["version"] != "not asked"
    assert "gudhi SimplexTree" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        results.latest("quick", "full", folder=tmp_path)


def test_ctrl_c_keeps_what_was_measured(tmp_path, monkeypatch, capsys):
    measured = []

    def measure_once(self, case):
        if measured:
            raise KeyboardInterrupt
        measured.append(case)
        return [{"what": "time", "provider": "x", "status": "failed", "reason": "y"}]

    monkeypatch.setattr(Bench, "measure", measure_once)
    assert run.main(["quick", "--phase", "h1", "--out", str(tmp_path)]) == 130
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    assert content["complete"] is False
    assert len(content["rows"]) == 1


@pytest.mark.parametrize("phase", ["distances", "h0", "h1", "loss_backward", "surrogate_backward"])
def test_growth_measures_each_path(phase):
    bench = Bench(replace(plans.growth(), limit_s=60.0, memory_gib=0.0), [])
    rows = []
    for n in (5, 21):
        rows += bench.growth(Case(phase, "gaussian", n, 7), rows)
    assert [(row["n"], row["status"]) for row in rows] == [(5, "ok"), (21, "ok")], rows
    assert all(row["median_s"] > 0 and row["peak_bytes"] >= 0 for row in rows)


def test_growth_stops_a_path_before_the_limit():
    def grown(*seconds):
        case = Case("h1", "gaussian", 1).as_dict()
        sizes = zip((100, 200), seconds, strict=False)
        return [case | {"n": n, "median_s": s, "status": "ok"} for n, s in sizes]

    assert goes_on(grown(1.0), 200, 0.5)
    assert goes_on(grown(0.1, 0.4), 400, 2.0)
    assert not goes_on(grown(0.1, 0.8), 400, 2.0)
    bench = Bench(replace(plans.growth(), limit_s=2.0), [])
    rows = grown(0.1, 0.8)
    (last,) = bench.growth(Case("h1", "gaussian", 400), rows)
    assert (last["status"], last["reason"]) == ("not tried", "by its growth over 2 s")
    assert bench.growth(Case("h1", "gaussian", 800), [*rows, last]) == []


def test_h0_that_differs_from_another_engine_is_not_a_figure(monkeypatch):
    bench = Bench(plans.growth(), [])
    monkeypatch.setattr(harness, "FROM_POINTS", "fake_providers:WrongH0")
    (row,) = bench.growth(Case("h0", "gaussian", 12, 7), [])
    assert (row["status"], row["reason"]) == ("failed", "H0 differs from persist0-tda's")
    assert "median_s" not in row


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["quick", "--threads", "0"], "--threads: expected at least 1, got 0"),
        (["quick", "--limit", "-1"], "--limit: expected seconds > 0, got -1"),
        (["quick", "--phase", "h1", "--n", "21"], "expected a selection with at least one case"),
        (["quick", "--out", "FILE"], "--out: cannot write to"),
        (["slow"], "invalid choice: 'slow'"),
    ],
)
def test_wrong_arguments(command, words, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SystemExit) as error:
        run.main([str(file) if word == "FILE" else word for word in command])
    assert error.value.code == 2
    assert words in capsys.readouterr().err
    assert file.read_text() == "mine"
