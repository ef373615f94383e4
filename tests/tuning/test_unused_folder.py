"""A run that does not begin leaves the folder, and its absence, as they were."""

import os
import signal
from dataclasses import replace

import pytest
from tiny_lm import save_tiny, tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast.tuning.checkpoints import RunFolder
from tsloss_fast.tuning.config import ConfigError, TuneConfig
from tsloss_fast.tuning.data import Example
from tsloss_fast.tuning.models import ModelError
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model


@pytest.fixture
def config(tmp_path):
    data = write_jsonl(tmp_path / "data.jsonl", [Example("1 or 2 is", "2")] * 4)
    return TuneConfig(data=str(data), n_tokens=4, epochs=1, batch_size=2)


def test_a_model_that_cannot_be_loaded_leaves_no_folder(config, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        tune(replace(config, model=str(folder)), tmp_path / "deep" / "run", progress=False)
    assert not (tmp_path / "deep").exists()


def test_a_model_that_cannot_be_loaded_leaves_an_empty_folder_that_was_there(config, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (tmp_path / "run").mkdir()
    with pytest.raises(ModelError):
        tune(replace(config, model=str(folder)), tmp_path / "run", progress=False)
    assert os.listdir(tmp_path / "run") == []


def test_a_prompt_too_long_for_the_model_is_refused_before_the_model_is_loaded(
    config, tmp_path, monkeypatch
):
    def refuse(*args, **options):
        raise AssertionError("loaded the model")

    monkeypatch.setattr("tsloss_fast.tuning.models.load_model", refuse)
    model = save_tiny(tmp_path / "model")
    wrong = replace(config, model=str(model), n_tokens=125)
    with pytest.raises(ConfigError, match=r"n_tokens: .* the model's 128 positions"):
        tune(wrong, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_got_files_of_others_meanwhile_is_left(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.prepare()
    (tmp_path / "deep" / "notes.txt").write_text("mine")
    folder.withdraw()
    assert os.listdir(tmp_path / "deep") == ["notes.txt"]


def test_sigterm_keeps_the_steps_as_ctrl_c_does(config, tmp_path, monkeypatch):
    from tsloss_fast.tuning import trainer as trainer_module
    from tsloss_fast.tuning.interrupt import Interrupted

    train_step = trainer_module.Trainer._train_step

    def step_and_stop(self, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batch)

    monkeypatch.setattr(trainer_module.Trainer, "_train_step", step_and_stop)
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(Interrupted, match="stopped after step 1 of 2") as caught:
            tune(config, tmp_path / "run", loaded=(tiny_model(), tiny_tokenizer()), progress=False)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert caught.value.signal == signal.SIGTERM
    assert RunFolder(tmp_path / "run").load_state()["step"] == 1
