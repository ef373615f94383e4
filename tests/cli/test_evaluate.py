"""`tsloss-fast evaluate`, and generate on an adapter, as a user meets them."""

import json

import pytest
import torch
from commands import run
from tiny_lm import save_tiny, write_jsonl

from tsloss_fast.tuning.answering import Answering
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import Example
from tsloss_fast.tuning.export import export_peft
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.held_out import evaluate, held_out_examples
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model

EXAMPLES = [
    Example(f"{a} or {b} is", str(max(a, b))) for a, b in [(1, 2), (3, 4), (5, 6), (7, 8), (9, 0)]
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that held out two of five examples."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    data = write_jsonl(folder / "data.jsonl", EXAMPLES)
    model = str(save_tiny(folder / "model"))
    config = TuneConfig(
        data=str(data), model=model, n_tokens=4, epochs=20, lr=0.1, holdout=0.4, eval_every=5
    )
    tune(config, folder / "out", progress=False)
    return folder / "out"


def test_what_the_run_held_out_gives_the_numbers_of_the_run(capsys, trained):
    last = [
        record
        for record in map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
        if record["kind"] == "eval"
    ][-1]
    status, stdout, stderr = run(capsys, "evaluate", trained, "--quiet")
    assert (status, stderr) == (0, "")
    assert stdout == (
        f"accuracy: {last['accuracy']:.3f} of 2 examples\n"
        f"loss: {last['loss']:.4f} per token of the answers\n"
    )


def test_a_file_of_other_columns_and_what_was_said(capsys, trained, tmp_path):
    data = tmp_path / "held.csv"
    data.write_text("q,a\n" + "".join(f"{e.question},#### {e.answer}\n" for e in EXAMPLES))
    answers = tmp_path / "answers.jsonl"
    status, stdout, _ = run(
        capsys, "evaluate", trained, "--data", data, "--question-column", "q",
        "--answer-column", "a", "--extract", r"\d+", "--compare", "number",
        "--max-new-tokens", 3, "--answers", answers,
    )  # fmt: skip
    assert status == 0
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [line["question"] for line in lines] == [e.question for e in EXAMPLES]
    assert [line["expected"] for line in lines] == [f"#### {e.answer}" for e in EXAMPLES]
    answering = Answering(FinishedRun.read(trained), progress=False)
    said = answering([e.question for e in EXAMPLES], max_new_tokens=3)
    assert [line["answer"] for line in lines] == said
    scores = [line["score"] for line in lines]
    digits = [[c for c in text if c.isdigit()] for text in said]
    assert scores == [
        float(found[-1:] == [e.answer]) for found, e in zip(digits, EXAMPLES, strict=True)
    ]
    assert f"accuracy: {sum(scores) / 5:.3f} of 5 examples\n" in stdout


def test_a_metric_of_ones_own_and_an_earlier_prompt(capsys, trained, tmp_path, monkeypatch):
    (tmp_path / "mine_of_evaluate.py").write_text("def f(said, expected):\n    return 0.25\n")
    monkeypatch.chdir(tmp_path)
    for epoch in ("0", "best"):
        args = ["--metric", "mine_of_evaluate:f", "--epoch", epoch, "--quiet"]
        status, stdout, _ = run(capsys, "evaluate", trained, *args)
        assert (status, stdout.splitlines()[0]) == (0, "accuracy: 0.250 of 2 examples")


def test_code_that_a_folder_names_is_not_run_unasked(capsys, trained, tmp_path, monkeypatch):
    """A run of somebody else's chose the function that `evaluate` imported."""
    (tmp_path / "theirs_of_evaluate.py").write_text("raise SystemExit('ran')\n")
    for file in ("trainer_state.pt", "config.json"):
        (tmp_path / file).write_bytes((trained / file).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    theirs = {"metric": "theirs_of_evaluate:f"}
    (tmp_path / "config.json").write_text(json.dumps(config | theirs))
    monkeypatch.chdir(tmp_path)
    for command in (["evaluate", "."], ["tune", "--out", ".", "--resume"]):
        status, stdout, stderr = run(capsys, *command, "--quiet")
        assert (status, stdout) == (2, "")
        assert "code that a folder names is not run unasked; --metric takes it" in stderr
    args = ["--data", config["data"], "--quiet"]
    assert run(capsys, "generate", ".", "1 or 1", "--max-new-tokens", 1)[0] == 0
    (tmp_path / "theirs_of_evaluate.py").write_text("def f(said, expected):\n    return 1\n")
    status, stdout, _ = run(capsys, "evaluate", ".", "--metric", theirs["metric"], *args)
    assert (status, stdout.split()[1]) == (0, "1.000")


def test_too_long_examples_are_left_out_with_a_count(capsys, trained, tmp_path, caplog):
    data = write_jsonl(tmp_path / "d.jsonl", [EXAMPLES[0], Example("1 " * 20, "1"), EXAMPLES[1]])
    answers = tmp_path / "a"
    args = ["--data", data, "--max-length", 12, "--answers", answers, "--quiet"]
    status, stdout, _ = run(capsys, "evaluate", trained, *args)
    assert status == 0
    assert "of 2 examples" in stdout
    assert "held-out data: 1 of 3 examples are too long and left out" in caplog.text
    questions = [json.loads(line)["question"] for line in answers.read_text().splitlines()]
    assert questions == [EXAMPLES[0].question, EXAMPLES[1].question]


def test_an_adapter_is_asked_and_evaluated_like_its_run(capsys, trained, tmp_path):
    adapter = export_peft(FinishedRun.read(trained), tmp_path / "adapter")
    data = write_jsonl(tmp_path / "data.jsonl", EXAMPLES)
    of_run = run(capsys, "evaluate", trained, "--data", data, "--quiet")
    assert run(capsys, "evaluate", adapter, "--data", data, "--quiet") == of_run
    asked = ["generate", "FOLDER", EXAMPLES[0].question, "--max-new-tokens", 3]
    said = [run(capsys, *[folder if a == "FOLDER" else a for a in asked])
            for folder in (trained, adapter)]  # fmt: skip
    assert said[0] == said[1]
    assert said[0][0] == 0


def test_the_model_may_have_moved(capsys, trained, tmp_path):
    config = json.loads((trained / "config.json").read_text())
    for name in ("trainer_state.pt", "data.jsonl"):
        source = trained / name if name.endswith(".pt") else trained.parent / name
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model": "./gone"}))
    status, _, stderr = run(capsys, "evaluate", tmp_path, "--quiet")
    assert (status, stderr) == (2, "tsloss-fast: error: model: no such folder: ./gone\n")
    assert run(capsys, "evaluate", tmp_path, "--quiet", "--model", config["model"])[0] == 0


def test_a_template_of_another_kind_changes_the_answers(trained):
    finished = FinishedRun.read(trained)
    examples = held_out_examples(finished)
    other = finished.with_settings(template="plain")
    results = [
        evaluate(each, Answering(each, progress=False), examples, progress=False)
        for each in (finished, other)
    ]
    # The tiny tokenizer has no chat template, so that auto is plain.
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["NOWHERE"], "holds no run: it has no config.json"),
        (["RUN", "--epoch", "77"], "has no soft_prompt_epoch_077.pt"),
        (["RUN", "--epoch", "first"], "argument --epoch: invalid epoch value: 'first'"),
        (["RUN", "--data", "none.jsonl"], "none.jsonl: No such file or directory"),
        (["RUN", "--extract", "("], "extract: expected '####' or a regular expression"),
        (["RUN", "--compare", "digits"], "compare: expected one of 'text', 'number'"),
        (["RUN", "--metric", "no_such:f"], "metric: cannot import 'no_such'"),
        (["RUN", "--template", "chat"], "template: expected 'plain', the tokenizer has no chat"),
        (["RUN", "--max-length", "3"], "expected at most 3 tokens (--max-length)"),
        (["ADAPTER"], "data: expected a file, for the run has held nothing out, got none"),
        (["ADAPTER", "--epoch", "1"], "epoch: expected none with an adapter, got 1"),
        (["LORA"], "run: expected an adapter of prompt tuning or P-tuning"),
    ],
)
def test_wrong_arguments(capsys, trained, tmp_path, args, words):
    adapter = export_peft(FinishedRun.read(trained), tmp_path / "adapter")
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    names = {"RUN": trained, "NOWHERE": tmp_path / "no", "ADAPTER": adapter, "LORA": lora}
    status, stdout, stderr = run(capsys, "evaluate", *(names.get(a, a) for a in args))
    assert (status, stdout) == (2, "")
    assert words in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


def test_answers_that_cannot_be_written(capsys, trained, tmp_path, monkeypatch):
    """A folder that is missing is known before the model is loaded."""
    status, _, stderr = run(capsys, "evaluate", trained, "--quiet", "--answers", "/proc/nowhere")
    assert (status, "'/proc/nowhere'" in stderr) == (1, True)
    monkeypatch.setattr("tsloss_fast.tuning.models.load_model", None)
    file = tmp_path / "none" / "answers"
    status, _, stderr = run(capsys, "evaluate", trained, "--answers", file)
    assert (status, stderr) == (
        2,
        f"tsloss-fast: error: answers: expected a file in a folder that exists, got {file}\n",
    )
