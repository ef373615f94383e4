"""`--init FILE`: a start from a prompt that is there: a file, a run, an adapter of PEFT."""

from dataclasses import replace

import pytest
import torch
from tiny_lm import DIM, tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast.tuning.config import ConfigError, TuneConfig
from tsloss_fast.tuning.data import Example
from tsloss_fast.tuning.export import export_peft
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model


@pytest.fixture
def config(tmp_path):
    data = write_jsonl(tmp_path / "data.jsonl", [Example("1 or 2 is", "2")] * 2)
    return TuneConfig(data=str(data), n_tokens=4, epochs=1)


def start_of(config, folder):
    tune(config, folder, loaded=(tiny_model(), tiny_tokenizer()), progress=False)
    return torch.load(folder / "soft_prompt_epoch_000.pt", weights_only=True)


@pytest.fixture
def rows(tmp_path):
    rows = torch.randn(4, DIM)
    torch.save(rows, tmp_path / "rows.pt")
    return rows


def test_a_file(config, tmp_path, rows):
    config = replace(config, init=str(tmp_path / "rows.pt"))
    assert torch.equal(start_of(config, tmp_path / "run"), rows)


def test_a_run_and_what_was_exported_of_it(config, tmp_path):
    start_of(config, tmp_path / "first")
    first = FinishedRun.read(tmp_path / "first")
    adapter = export_peft(first, tmp_path / "adapter")
    for name, source in (("a", first.folder.path), ("b", adapter)):
        assert torch.equal(
            start_of(replace(config, init=str(source)), tmp_path / name), first.prompt
        )


def test_an_adapter_that_peft_saved(config, tmp_path):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        tiny_model(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    expected = adapted.get_prompt_embedding_to_save("default")
    config = replace(config, init=str(tmp_path / "adapter"))
    assert torch.equal(start_of(config, tmp_path / "run"), expected)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(5, DIM), "n_tokens: expected 5, the rows of .*rows.pt, got 4"),
        (torch.ones(4), r"init: expected a tensor \[n, d\] in .*rows.pt, got float32 \[4\]"),
        ({"a": 1}, r"init: expected a tensor \[n, d\] in .*rows.pt, got dict"),
        (torch.full((4, DIM), torch.nan), "init: expected finite values in .*rows.pt"),
    ],
)
def test_a_file_of_something_else(config, tmp_path, value, words):
    torch.save(value, tmp_path / "rows.pt")
    with pytest.raises(ConfigError, match=words):
        start_of(replace(config, init=str(tmp_path / "rows.pt")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_read(config, tmp_path):
    (tmp_path / "rows.pt").write_text("no tensor")
    with pytest.raises(ConfigError, match=r"init: cannot read .*rows\.pt: "):
        start_of(replace(config, init=str(tmp_path / "rows.pt")), tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"init: expected a run or an adapter in .*empty"):
        start_of(replace(config, init=str(tmp_path / "empty")), tmp_path / "run")


def test_another_width_is_named_before_anything_is_written(config, tmp_path):
    torch.save(torch.ones(4, DIM + 1), tmp_path / "rows.pt")
    with pytest.raises(ValueError, match=rf"init: expected shape \[4, {DIM}\], got \(4, 17\)"):
        start_of(replace(config, init=str(tmp_path / "rows.pt")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_needs_its_file_no_longer(config, tmp_path, rows):
    config = replace(config, init=str(tmp_path / "rows.pt"))
    start_of(config, tmp_path / "run")
    (tmp_path / "rows.pt").unlink()
    loaded = (tiny_model(), tiny_tokenizer())
    tune(replace(config, epochs=2), tmp_path / "run", resume=True, loaded=loaded, progress=False)
