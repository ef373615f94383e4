"""Accumulation, early stopping and the best prompt, precision, TensorBoard."""

import json
from dataclasses import replace

import pytest
import torch
from tiny_lm import DIM, save_tiny, tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast.tuning import models, trainer
from tsloss_fast.tuning.config import ConfigError, TuneConfig
from tsloss_fast.tuning.data import Encoded, Example
from tsloss_fast.tuning.evaluate import mean_loss
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model

# Answers of different lengths, so that batches have unequal numbers of targets.
EXAMPLES = [
    Example(f"{a} or {b} is", "True and not False" if a < b else "False")
    for a, b in [(1, 2), (5, 3), (2, 9), (7, 0), (4, 6), (8, 1), (0, 9), (3, 2)]
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def config(tmp_path):
    return TuneConfig(
        data=str(write_jsonl(tmp_path / "data.jsonl", EXAMPLES)),
        n_tokens=4,
        epochs=2,
        batch_size=2,
        lr=0.01,
        lambda_ts=100.0,
    )


def run(config, folder, **options):
    loaded = tiny_model(), tiny_tokenizer()
    return tune(config, folder, loaded=loaded, progress=False, **options)


def records(result, kind):
    return [record for record in result.metrics if record["kind"] == kind]


class TestAccumulation:
    @pytest.mark.parametrize("loss", ["ce", "tsloss"])
    def test_a_step_is_that_of_one_large_batch(self, config, tmp_path, loss):
        """Targets are counted over the step, and TSLoss once."""
        config = replace(config, loss=loss)
        whole = run(replace(config, batch_size=8), tmp_path / "whole")
        parts = run(replace(config, accumulation=4), tmp_path / "parts")
        for a, b in zip(records(whole, "step"), records(parts, "step"), strict=True):
            for name in ("loss", "ce", "ts", "h0", "h1", "lr"):
                assert b[name] == pytest.approx(a[name], rel=1e-5)
        # Sums in another order; AdamW divides what is near 0 by itself.
        torch.testing.assert_close(parts.prompt, whole.prompt, rtol=0, atol=1e-4)

    def test_the_last_step_of_an_epoch_has_what_is_left(self, config, tmp_path):
        result = run(replace(config, accumulation=3), tmp_path / "run")
        assert [record["step"] for record in records(result, "step")] == [1, 2, 3, 4]
        assert [record["epoch"] for record in records(result, "epoch")] == [1, 2]

    def test_norms_are_means_over_the_passes(self, config, tmp_path, monkeypatch):
        seen = []
        run_pass = trainer.Trainer._pass

        def watched(self, batch, share):
            seen.append(run_pass(self, batch, share))
            return seen[-1]

        monkeypatch.setattr(trainer.Trainer, "_pass", watched)
        config = replace(config, accumulation=4, epochs=1, log_grad_norms=True)
        (step,) = records(run(config, tmp_path / "run"), "step")
        norms = [each["grad_norms"]["ce"].item() for each in seen]
        assert len(set(norms)) == 4
        assert step["grad_norms"]["ce"] == pytest.approx(sum(norms) / 4)


class TestEvaluation:
    def test_loss_is_the_mean_over_all_targets(self):
        from tsloss_fast.prompt import PromptTunedLM, SoftPrompt

        lm = PromptTunedLM(tiny_model(), SoftPrompt(3, DIM))
        examples = [Encoded([5, 9], [7, 1], ""), Encoded([4], [8, 3, 6, 1], "")]
        got = mean_loss(lm, tiny_tokenizer(), examples, batch_size=2)
        total = 0.0
        for example in examples:
            ids = torch.tensor([example.prefix + example.target])
            logits = lm(ids).logits[0, 3:].log_softmax(-1)
            for at, token in enumerate(example.target, len(example.prefix)):
                total -= logits[at - 1, token].item()
        assert got == pytest.approx(total / 6, rel=1e-5)
        assert mean_loss(lm, tiny_tokenizer(), examples, batch_size=1) == pytest.approx(got)

    def test_the_best_prompt_is_kept(self, config, tmp_path, monkeypatch):
        accuracies = iter([0.1, 0.5, 0.5, 0.2])
        losses = iter([1.0, 2.0, 1.5, 0.1])
        monkeypatch.setattr(trainer, "exact_match", lambda *a, **k: next(accuracies))
        monkeypatch.setattr(trainer, "mean_loss", lambda *a, **k: next(losses))
        config = replace(config, epochs=3, holdout=0.25, eval_every=1)
        result = run(config, tmp_path / "run")
        evaluations = records(result, "eval")
        assert [record["loss"] for record in evaluations] == [1.0, 2.0, 1.5, 0.1]
        best = torch.load(result.best, weights_only=True)
        second = torch.load(tmp_path / "run" / "soft_prompt_epoch_002.pt", weights_only=True)
        assert torch.equal(best, second)
        assert torch.equal(FinishedRun.read(tmp_path / "run", "best").prompt, second)
        assert not torch.equal(FinishedRun.read(tmp_path / "run").prompt, second)

    def test_nothing_is_best_without_evaluation(self, config, tmp_path):
        result = run(config, tmp_path / "run")
        assert result.best is None
        assert not (tmp_path / "run" / "soft_prompt_best.pt").exists()

    def stopping(self, config, monkeypatch, accuracies):
        values = iter(accuracies)
        monkeypatch.setattr(trainer, "exact_match", lambda *a, **k: next(values))
        monkeypatch.setattr(trainer, "mean_loss", lambda *a, **k: 1.0)
        return replace(config, holdout=0.25, eval_every=1, early_stopping=2)

    def test_stops_early_and_goes_on_when_asked(self, config, tmp_path, monkeypatch, caplog):
        folder = tmp_path / "run"
        config = self.stopping(config, monkeypatch, [0.1, 0.3, 0.2, 0.3, 0.4, 0.0])
        # Its prompt is kept though it is not one of every fifth.
        config = replace(config, epochs=5, save_every=5)
        with caplog.at_level("INFO"):
            result = run(config, folder)
        assert list(result.accuracies()) == [0, 1, 2, 3]
        assert "stopped early after epoch 3: no better evaluation since epoch 1" in caplog.text
        assert result.file == folder / "soft_prompt_epoch_003.pt"
        assert torch.equal(torch.load(result.file, weights_only=True), result.prompt)
        again = run(config, folder, resume=True)
        assert list(again.accuracies()) == [0, 1, 2, 3]
        longer = run(replace(config, early_stopping=3), folder, resume=True)
        assert longer.accuracies()[4] == 0.4
        assert list(longer.accuracies()) == [0, 1, 2, 3, 4, 5]
        best = torch.load(longer.best, weights_only=True)
        assert not torch.equal(best, result.prompt)

    def test_does_not_stop_while_it_gets_better(self, config, tmp_path, monkeypatch):
        config = self.stopping(config, monkeypatch, [0.1, 0.0, 0.2, 0.1, 0.3])
        assert list(run(replace(config, epochs=4), tmp_path / "run").accuracies()) == [
            0,
            1,
            2,
            3,
            4,
        ]

    def test_an_older_run_without_losses_is_resumed(self, config, tmp_path):
        config = replace(config, holdout=0.25, eval_every=1)
        run(replace(config, epochs=1), tmp_path / "run")
        file = tmp_path / "run" / "metrics.jsonl"
        old = [json.loads(line) for line in file.read_text().splitlines()]
        for record in old:
            if record["kind"] == "eval":
                del record["loss"]
        file.write_text("".join(json.dumps(record) + "\n" for record in old))
        result = run(config, tmp_path / "run", resume=True)
        assert list(result.accuracies()) == [0, 1, 2]


class TestPrecision:
    def test_of_the_model_alone(self, config, tmp_path):
        folder = save_tiny(tmp_path / "model")
        source = models.find_model(str(folder))
        assert models.load_model(source).dtype == torch.float32
        assert models.load_model(source, dtype="bfloat16").dtype == torch.bfloat16
        config = replace(config, model=str(folder), epochs=1)
        half = tune(replace(config, dtype="bfloat16"), tmp_path / "half", progress=False)
        full = tune(config, tmp_path / "full", progress=False)
        assert half.prompt.dtype == torch.float32
        losses = [result.losses()[1] for result in (half, full)]
        assert losses[0] == pytest.approx(losses[1], rel=0.05)
        assert losses[0] != losses[1]

    def test_quantized_without_bitsandbytes(self, config, tmp_path, monkeypatch):
        folder = save_tiny(tmp_path / "model")
        find_spec = models.importlib.util.find_spec
        monkeypatch.setattr(
            models.importlib.util,
            "find_spec",
            lambda name: None if name == "bitsandbytes" else find_spec(name),
        )
        config = replace(config, model=str(folder), quantize="4bit")
        with pytest.raises(models.ModelError, match="quantize: '4bit' needs bitsandbytes, which"):
            tune(config, tmp_path / "run", progress=False)
        assert not (tmp_path / "run").exists()

    def test_a_gguf_file_is_not_quantized(self, config, tmp_path):
        (tmp_path / "a.gguf").touch()
        config = replace(config, model=str(tmp_path / "a.gguf"), quantize="8bit")
        with pytest.raises(models.ModelError, match="quantize: expected none for a GGUF file"):
            tune(config, tmp_path / "run", progress=False)

    @pytest.mark.parametrize("bits", models.QUANTIZATIONS)
    def test_a_quantized_model_is_tuned(self, config, tmp_path, bits):
        pytest.importorskip("bitsandbytes")
        config = replace(config, model=str(save_tiny(tmp_path / "model")), quantize=bits, lr=0.1)
        result = tune(replace(config, epochs=10), tmp_path / "run", progress=False)
        losses = result.losses()
        assert losses[10] < 0.8 * losses[1]


class TestTensorBoard:
    def scalars(self, folder):
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator"
        ).EventAccumulator(str(folder / "tensorboard"))
        accumulator.Reload()
        return {
            name: [(each.step, each.value) for each in accumulator.Scalars(name)]
            for name in accumulator.Tags()["scalars"]
        }

    def test_has_the_numbers_of_the_metrics(self, config, tmp_path):
        config = replace(config, tensorboard=True, holdout=0.25, eval_every=1)
        result = run(config, tmp_path / "run")
        got = self.scalars(tmp_path / "run")
        for name, kind in (("train", "step"), ("eval", "eval")):
            for value in ("loss", "accuracy" if kind == "eval" else "h0"):
                expected = [(each["step"], each[value]) for each in records(result, kind)]
                assert [step for step, _ in got[f"{name}/{value}"]] == [s for s, _ in expected]
                assert [v for _, v in got[f"{name}/{value}"]] == pytest.approx(
                    [v for _, v in expected]
                )

    def test_goes_on_and_is_overwritten_with_its_run(self, config, tmp_path):
        config = replace(config, tensorboard=True, epochs=1)
        run(config, tmp_path / "run")
        run(replace(config, epochs=2), tmp_path / "run", resume=True)
        steps = [step for step, _ in self.scalars(tmp_path / "run")["train/loss"]]
        assert steps == list(range(1, 9))
        run(config, tmp_path / "run", overwrite=True)
        steps = [step for step, _ in self.scalars(tmp_path / "run")["train/loss"]]
        assert steps == list(range(1, 5))

    def test_without_the_package(self, config, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="tensorboard: expected the package tensorboard"):
            run(replace(config, tensorboard=True), tmp_path / "run")
        assert not (tmp_path / "run").exists()
