"""`tsloss-fast generate` and `export`, as a user meets them."""

import io
import json

import pytest
import torch
from commands import run
from tiny_lm import save_tiny, tiny_model, write_jsonl

from tsloss_fast.tuning.answering import Answering
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import Example
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    data = write_jsonl(folder / "data.jsonl", [Example("1", "True"), Example("2", "False")])
    model = str(save_tiny(folder / "model"))
    config = TuneConfig(data=str(data), model=model, n_tokens=4, epochs=2, lr=0.1, init_std=0.5)
    tune(config, folder / "out", progress=False)
    return folder / "out"


@pytest.fixture(scope="module")
def answers(trained):
    """What is to be said, by question."""
    questions = ["1 or 2 is", "3", "4 and 5 or 6 is"]
    answering = Answering(FinishedRun.read(trained), progress=False)
    said = dict(zip(questions, answering(questions, max_new_tokens=9), strict=True))
    assert len(set(said.values())) > 1
    return said


@pytest.fixture
def generate(capsys, trained):
    return lambda *args: run(capsys, "generate", trained, *args, "--max-new-tokens", 9)


def test_one_question(generate, answers):
    for question, answer in answers.items():
        assert generate(question) == (0, f"{answer}\n", "")


def test_a_file_of_questions(generate, answers, tmp_path):
    (tmp_path / "questions").write_text("\n\n".join(answers) + "\n")
    status, stdout, _ = generate("--file", tmp_path / "questions")
    assert status == 0
    assert [json.loads(line) for line in stdout.splitlines()] == [
        {"question": question, "answer": answer} for question, answer in answers.items()
    ]


def test_typed_questions(generate, monkeypatch, answers):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n".join(answers)))
    assert generate() == (0, "".join(f"{answer}\n" for answer in answers.values()), "")


def test_an_answer_of_several_lines_is_shown_as_such(generate, monkeypatch):
    monkeypatch.setattr(Answering, "__call__", lambda *args, **options: ["one\n\x1b[2Jtwo"])
    assert generate("q") == (0, "one\n\\x1b[2Jtwo\n", "")


def test_export_is_an_adapter_that_peft_loads(capsys, trained, tmp_path):
    peft = pytest.importorskip("peft")
    out = tmp_path / "adapter"
    status, stdout, stderr = run(capsys, "export", trained, "--out", out)
    assert (status, stderr) == (0, "")
    assert stdout == f"PEFT adapter: {out}; its README.md has the Python that uses it\n"
    model = peft.PeftModel.from_pretrained(tiny_model(), out)
    state = torch.load(trained / "trainer_state.pt", weights_only=True)
    assert torch.equal(model.get_prompt_embedding_to_save("default"), state["prompt"])
    status, _, stderr = run(capsys, "export", trained, "--out", out)
    assert (status, stderr.count("\n")) == (2, 1)
    assert "holds an adapter already; --overwrite replaces it" in stderr
    assert run(capsys, "export", trained, "--out", out, "--epoch", 0, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["generate", "NOWHERE", "q"], "holds no run: it has no config.json"),
        (["generate", "RUN", "q", "--epoch", "7"], "has no soft_prompt_epoch_007.pt"),
        (["generate", "RUN", "q", "--file", "x"], "file: expected none beside a question"),
        (["generate", "RUN", "q", "--max-new-tokens", "0"], "max_new_tokens: expected at least 1"),
        (["export", "NOWHERE", "--out", "OUT"], "holds no run: it has no config.json"),
        (["export", "RUN"], "the following arguments are required: --out"),
    ],
)
def test_wrong_arguments(capsys, trained, tmp_path, args, words):
    names = {"RUN": trained, "NOWHERE": tmp_path / "nowhere", "OUT": tmp_path / "out"}
    status, stdout, stderr = run(capsys, *(names.get(a, a) for a in args))
    assert (status, stdout, stderr.count("\n")) == (2, "", 1)
    assert words in stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_has_gone_is_named(capsys, trained, tmp_path):
    config = json.loads((trained / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model": "./gone"}))
    (tmp_path / "trainer_state.pt").write_bytes((trained / "trainer_state.pt").read_bytes())
    status, _, stderr = run(capsys, "generate", tmp_path, "1")
    assert (status, stderr) == (2, "tsloss-fast: error: model: no such folder: ./gone\n")
