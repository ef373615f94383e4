"""The examples run in fewer steps, those that need a language model with a tiny one."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_lm import WORDS, tiny_model, tiny_tokenizer

import tsloss_fast as tsl

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def test_the_graph_closes_its_ring_sooner():
    pytest.importorskip("scipy")
    told = run("graph.py", "--steps", "60")
    before, after = map(float, re.findall(r"the ring waits for .* of ([\d.]+) minutes", told))
    assert 0 < after < 0.9 * before
    joined = re.findall(r"joined by roads of at most ([\d.]+) minutes", told)
    assert float(joined[1]) <= float(joined[0]) <= before


def test_the_rips_layer_writes_its_picture(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    told = run("rips_layer.py", "--out", str(tmp_path / "layer.gif"), "--steps", "60")
    first, last = map(float, re.search(r"longest H1 bar: ([\d.]+) -> ([\d.]+)", told).groups())
    assert last > first
    assert (tmp_path / "layer.gif").read_bytes().startswith(b"GIF89a")


@pytest.fixture
def with_tiny_model(monkeypatch, tmp_path):
    """The module of an example, and its `main` with arguments in an empty folder."""
    for package in ("transformers", "matplotlib", "tqdm", "peft"):
        pytest.importorskip(package)
    from tsloss_fast.tuning import models

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "load_model", lambda _: tiny_model(max_position_embeddings=512))
    monkeypatch.setattr(models, "load_tokenizer", lambda _: tiny_tokenizer())
    monkeypatch.setattr(models, "find_model", lambda _: None)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def main(*arguments):
            monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
            module.main()

        return module, main

    return load


def test_the_attention_scores_write_their_picture(with_tiny_model, tmp_path, capsys):
    _, main = with_tiny_model("attention_scores")
    main("--stories", "6", "--heads", "2")
    told = capsys.readouterr().out
    assert len(re.search(r"heads \(layer\.head\): (.*)", told)[1].split(", ")) == 2
    assert 0 <= float(re.search(r"area under the ROC curve: ([\d.]+)", told)[1]) <= 1
    assert (tmp_path / "attention_scores.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        main("--stories", "6")
    assert "attention_scores.png exists" in capsys.readouterr().err


def test_the_heads_that_tell_are_chosen(with_tiny_model):
    example, _ = with_tiny_model("attention_scores")
    true = torch.randn(8, 2, 3)
    made_up = true + torch.randn(8, 2, 3)
    made_up[:, 1, 2] = true[:, 1, 2] + 5 + torch.rand(8)
    made_up[:, 0, 1] = true[:, 0, 1] - 5
    assert example.chosen_heads(made_up, true, 1).tolist() == [5]
    assert example.area_under_roc(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0])) == 0.625


def test_the_stories_say_the_true_answer_alone(with_tiny_model):
    example, _ = with_tiny_model("attention_scores")
    for prompt, true, made_up in example.stories(40, seed=1):
        story, _ = prompt.split("\n\n")
        assert true.strip() in story
        assert made_up.strip() not in story


def test_the_dimension_of_texts_writes_its_picture(with_tiny_model, tmp_path, monkeypatch, capsys):
    example, main = with_tiny_model("text_dimension")
    tokens = torch.randint(2, len(WORDS), (1, example.TOKENS))
    monkeypatch.setattr(example, "chapter", lambda tokenizer, name: tokens)
    main("--texts", "2")
    means = r"mean +([-\d.]+) in layer 1, each: +([-\d.]+) +([-\d.]+)"
    kinds = re.findall(means, capsys.readouterr().out)
    assert len(kinds) == 3
    for mean, *each in kinds:
        assert float(mean) == pytest.approx(sum(map(float, each)) / 2, abs=0.011)
    assert (tmp_path / "text_dimension.png").read_bytes().startswith(b"\x89PNG")


def test_the_bridge_trainer_writes_its_picture(with_tiny_model, tmp_path, capsys):
    _, main = with_tiny_model("bridge_trainer")
    main("--sentences", "32", "--epochs", "2", "--weight", "20")
    told = capsys.readouterr().out
    terms = re.findall(r"(cross-entropy|alignment with bridges) +([\d.]+) -> ([\d.]+)", told)
    assert len(terms) == 4
    # Both runs begin alike; with so large a weight the second's steps turn to the bridges.
    assert terms[0][1] == terms[2][1]
    assert terms[1][1] == terms[3][1]
    assert float(terms[3][2]) < float(terms[1][2])
    assert (tmp_path / "bridge_trainer.png").read_bytes().startswith(b"\x89PNG")


def test_the_loss_of_the_bridge_trainer_is_cross_entropy_and_bridges(with_tiny_model, tmp_path):
    """Of transformers' Trainer, and of TRL's SFTTrainer where it is installed."""
    import transformers

    example, _ = with_tiny_model("bridge_trainer")
    model, tokens = tiny_model(), torch.randint(2, len(WORDS), (4, 9))
    batch = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "labels": tokens.clone(),
    }
    batch["labels"][:, :4] = -100
    batch["attention_mask"][2:, 7:], batch["labels"][2:, 7:] = 0, -100
    alone = torch.randn(4, model.config.hidden_size)
    plain = model(**batch, output_hidden_states=True)
    states = plain.hidden_states[-1]
    prompts = states[:, :4].mean(1)
    ends = (9, 9, 7, 7)
    answers = torch.stack([states[b, 4:end].mean(0) for b, end in enumerate(ends)])
    bridges = tsl.losses.bridge_alignment(prompts, alone, answers - prompts)
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none"}
    made = [(transformers.Trainer, transformers.TrainingArguments(**settings), {})]
    if importlib.util.find_spec("trl"):
        import trl

        config = trl.SFTConfig(
            **settings, bf16=False, dataset_kwargs={"skip_prepare_dataset": True}
        )
        made.append((trl.SFTTrainer, config, {"processing_class": tiny_tokenizer()}))
    for base, arguments, options in made:
        rows = [{"input_ids": tokens[0].tolist()}]
        if base is not transformers.Trainer:
            import datasets

            rows = datasets.Dataset.from_list(rows)
        trainer = example.with_bridges(base)(
            model, arguments, train_dataset=rows, weight=0.5, **options
        )
        found = trainer.compute_loss(model, {**batch, "alone": alone})
        torch.testing.assert_close(found, plain.loss + 0.5 * bridges, rtol=1e-5, atol=1e-6)
