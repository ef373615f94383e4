"""The demo's task, settings, table and picture, on a tiny random model."""

from dataclasses import replace

import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer

from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.persistence.summaries import topology_summary
from tsloss_fast.tuning import demo
from tsloss_fast.tuning.data import read_jsonl
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model


@pytest.fixture
def runs(tmp_path):
    torch.set_num_threads(1)
    config = replace(demo.write_task(tmp_path, seed=0, epochs=1), init="normal", n_tokens=6)
    loaded = (tiny_model(), tiny_tokenizer())
    return {
        name: tune(replace(config, **changes), tmp_path / name, loaded=loaded, progress=False)
        for name, changes in {
            "ce": {"loss": "ce"},
            "tsloss": {"loss": "tsloss", "balance": demo.BALANCE},
        }.items()
    }


def test_train_and_held_out_are_disjoint(tmp_path):
    config = demo.write_task(tmp_path, seed=0, epochs=1)
    train, held_out = read_jsonl(config.data), read_jsonl(config.eval_data)
    assert (len(train), len(held_out)) == (demo.TRAIN, demo.HELD_OUT)
    assert not {e.question for e in train} & {e.question for e in held_out}


def test_both_runs_start_alike(runs):
    starts = [
        torch.load(run.file.parent / "soft_prompt_epoch_000.pt", weights_only=True)
        for run in runs.values()
    ]
    assert torch.equal(*starts)
    ce, ts = ([m for m in run.metrics if m["kind"] == "step"] for run in runs.values())
    assert ce[0]["ce"] == ts[0]["ce"]
    assert [m["lr"] for m in ce] == [m["lr"] for m in ts]
    assert not torch.equal(runs["ce"].prompt, runs["tsloss"].prompt)


def test_table_holds_what_the_prompts_and_metrics_say(runs, tmp_path):
    before, *after = demo.table_rows(runs)
    assert before.accuracy == runs["ce"].accuracies()[0]
    for row, (name, run) in zip(after, runs.items(), strict=True):
        epoch = next(m for m in run.metrics if m["kind"] == "epoch")
        cells = dict(zip(demo.COLUMNS, row.cells(), strict=True))
        summary = topology_summary(run.prompt)
        assert cells["run"] == f"after {name}"
        assert float(cells["CE"]) == pytest.approx(epoch["ce"], abs=5e-4)
        h0 = TSLoss()(run.prompt, return_terms=True)[1]["h0"].item()
        assert float(cells["L_H0"]) == pytest.approx(h0, rel=5e-3)
        assert int(cells["H1 bars"]) == summary.h1_count
        assert float(cells["mean H0 life"]) == pytest.approx(
            summary.h0_mean_lifetime.item(), abs=5e-4
        )
        assert (cells["TSLoss of step"] == "-") == (name == "ce")


def test_results_are_written_where_they_are_said_to_be(runs, tmp_path):
    text = demo.write_results(tmp_path, runs)
    assert (tmp_path / "table.txt").read_text() == text + "\n"
    assert (tmp_path / "diagrams.png").read_bytes().startswith(b"\x89PNG")
    assert "after tsloss" in (tmp_path / "diagrams.svg").read_text()


def test_columns_line_up():
    lines = demo.format_table([["run", "x"], ["long name", "1.25"], ["b", "10"]]).splitlines()
    assert lines == ["run           x", "---------------", "long name  1.25", "b            10"]


def test_a_folder_of_the_users_own_is_left_alone(tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "out: expected a new folder or an earlier demo's" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["train.jsonl"]
    assert (tmp_path / "train.jsonl").read_text() == "mine"


def test_an_earlier_demo_may_be_replaced(tmp_path):
    first = demo.write_task(tmp_path, seed=0, epochs=1)
    assert demo.write_task(tmp_path, seed=0, epochs=1) == first
