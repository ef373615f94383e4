"""The command line as a user meets it: messages, exit statuses, and Ctrl-C."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import run
from tiny_lm import save_tiny, write_jsonl

import tsloss_fast
from tsloss_fast.tuning.data import Example

pytestmark = pytest.mark.model

ROOT = Path(tsloss_fast.__file__).parents[1]
EXAMPLES = [Example(f"{a} or {b} is", str(max(a, b))) for a in range(4) for b in range(4, 8)]
SETTINGS = ["--n-tokens", "3", "--batch-size", "4", "--lr", "0.01", "--threads", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def data(tmp_path):
    return write_jsonl(tmp_path / "data.jsonl", EXAMPLES)


@pytest.fixture
def no_loading(monkeypatch):
    """Fail the test if anything is loaded."""

    def refuse(*args, **options):
        raise AssertionError("loaded something before all arguments were checked")

    monkeypatch.setattr("tsloss_fast.tuning.models.load_tokenizer", refuse)
    monkeypatch.setattr("tsloss_fast.tuning.models.load_model", refuse)


def test_tune_then_resume_without_repeating_the_settings(capsys, model, data, tmp_path):
    out = tmp_path / "run"
    base = ["tune", "--data", data, "--model", model, "--out", out, "--epochs", 2, *SETTINGS]
    status, stdout, stderr = run(capsys, *base, "--holdout", 0.25, "--loss", "surrogate")
    assert status == 0
    assert "held-out accuracy after epoch 0: " in stdout
    assert f"prompt: {out / 'soft_prompt_epoch_002.pt'}" in stdout
    for shown in ("loss ", "L_H0 ", "L_H1 ", "% of step"):
        assert shown in stderr
    assert torch.load(out / "soft_prompt_epoch_002.pt", weights_only=True).shape == (3, 16)
    config = json.loads((out / "config.json").read_text())
    assert (config["loss"], config["epochs"], config["lr"]) == ("surrogate", 2, 0.01)
    assert run(capsys, "tune", "--out", out, "--resume", "--quiet")[0] == 0
    status, _, stderr = run(capsys, "tune", "--out", out, "--resume", "--lr", 0.02)
    assert status == 2
    assert "lr: the run in the folder has 0.01, got 0.02" in stderr
    status, _, stderr = run(capsys, *base)
    assert status == 2
    assert "holds a run already; --resume goes on with it, --overwrite replaces it" in stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "data: expected a file, got none"),
        (["--data", "DATA", "--lr", "-1"], "lr: expected a finite number > 0"),
        (["--data", "DATA", "--n-tokens", "0"], "n_tokens: expected at least 1, got 0"),
        (
            ["--data", "DATA", "--loss", "tda"],
            "loss: expected one of 'ce', 'tsloss', 'surrogate', 'l2'",
        ),
        (["--data", "DATA", "--protocol", "x"], "protocol: expected one of 'quick', 'paper'"),
        (["--data", "DATA", "--quantize", "4bit"], "quantize: expected none for a GGUF file"),
        (["--data", "DATA", "--n-tokens", "two"], "argument --n-tokens: invalid int value: 'two'"),
        (["--data", "DATA", "--model", "./none"], "model: no such folder: ./none"),
        (
            ["--data", "DATA", "--device", "abacus"],
            "device: expected one that works here, got 'abacus'",
        ),
        (["--data", "none.jsonl"], "none.jsonl: No such file or directory"),
        (["--data", "BAD"], "bad.jsonl:2: not JSON: Expecting value at column 14"),
        (["--data", "DATA", "--eval-data", "BAD"], "bad.jsonl:2: not JSON"),
        (["--data", "DATA", "--metric", "no_such:f"], "metric: cannot import 'no_such'"),
        (["--data", "DATA", "--question-column", "q"], "question_column: expected answer_column"),
        (["--data", "DATA", "--resume"], "holds no run to resume"),
        (["--data", "DATA", "--out", "FILE"], "out: cannot write to"),
        (["--data", "DATA", "--balance", "1", "--loss", "ce"], "balance: expected none"),
    ],
)
def test_wrong_arguments_are_found_before_anything_is_loaded(
    capsys, no_loading, data, tmp_path, args, words
):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "q", "answer": "a"}\n{"question": }\n')
    file = tmp_path / "file"
    file.write_text("mine")
    names = {"DATA": data, "BAD": bad, "FILE": file}
    out = ["--out", tmp_path / "run"] if "--out" not in args else []
    status, stdout, stderr = run(capsys, "tune", *(names.get(a, a) for a in args), *out)
    assert status == 2
    assert stdout == ""
    assert words in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "run").exists()
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "error: the following arguments are required: COMMAND"),
        (["frob"], "invalid choice: 'frob'"),
        (["tune"], "tsloss-fast tune: error: the following arguments are required: --out"),
        (["analyze"], "tsloss-fast analyze: error: the following arguments are required: PATH"),
        (["analyze", "run", "--layer", "x"], "argument --layer: invalid int value: 'x'"),
        (["analyze", "run", "--bogus"], "unrecognized arguments: --bogus"),
        (["bench", "--sizes", "x"], "argument --sizes: invalid int value: 'x'"),
        (["bench", "--sizes", "1"], "sizes: expected 2 to 65535 points, got 1"),
        (["bench", "--sizes", "65536"], "sizes: expected 2 to 65535 points, got 65536"),
        (["bench", "--dim", "0"], "dim: expected at least 1, got 0"),
        (["bench", "--threads", "0"], "threads: expected at least 1, got 0"),
        (["info", "x\x1b[2J"], "unrecognized arguments: x\\x1b[2J"),
    ],
)
def test_wrong_arguments_give_one_line(capsys, args, words):
    status, stdout, stderr = run(capsys, *args)
    assert (status, stdout) == (2, "")
    assert words in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["tune", "analyze", "bench", "info"])
def test_help(capsys, command):
    status, stdout, _ = run(capsys, command, "--help")
    assert status == 0
    assert f"usage: tsloss-fast {command}" in stdout
    status, stdout, _ = run(capsys, "--help")
    assert status == 0
    assert command in stdout
    assert "130 stopped by Ctrl-C" in " ".join(stdout.split())


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"tsloss-fast {tsloss_fast.__version__}\n")


def test_bench_that_does_not_fit_the_memory(capsys, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("[enforce fail]\nDefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr("tsloss_fast.cli.measure.rips_persistence", refuse)
    status, _, stderr = run(capsys, "bench", "--sizes", 9)
    assert status == 1
    assert stderr == "tsloss-fast: error: too large for the memory; try smaller --sizes or --dim\n"


def test_the_papers_protocol_and_a_setting_of_ones_own(capsys, model, data, tmp_path):
    out = tmp_path / "run"
    args = ["--data", data, "--model", model, "--out", out, "--n-tokens", 3, "--quiet"]
    assert run(capsys, "tune", "--protocol", "paper", "--epochs", 2, *args)[0] == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["init"], config["epochs"], config["lr"]) == ("normal", 2, 5e-5)
    # Resumed, it stays the run that it is.
    assert run(capsys, "tune", "--out", out, "--resume", "--quiet")[0] == 0
    stdout = run(capsys, "tune", *args, "--overwrite")[1]
    assert json.loads((out / "config.json").read_text())["init"] == "vocab"
    assert "mean training loss of the first epoch, 1: " in stdout
    assert "mean training loss of the last epoch, 5: " in stdout


def test_out_is_required(capsys, data):
    status, _, stderr = run(capsys, "tune", "--data", data)
    assert status == 2
    assert "--out" in stderr


def test_too_long_an_example_is_found_before_the_model_is_loaded(
    capsys, monkeypatch, model, data, tmp_path
):
    def refuse(*args, **options):
        raise AssertionError("loaded the model")

    monkeypatch.setattr("tsloss_fast.tuning.models.load_model", refuse)
    args = ["tune", "--data", data, "--model", model, "--out", tmp_path / "run"]
    status, _, stderr = run(capsys, *args, "--max-length", 7)
    assert status == 2
    assert f"{data}:1: expected at most 7 tokens (--max-length), got 8" in stderr


def test_a_model_that_is_nowhere(capsys, monkeypatch, data, tmp_path):
    """transformers says why in several lines."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    args = ["tune", "--data", data, "--model", "no/where", "--out", tmp_path / "run"]
    status, _, stderr = run(capsys, *args)
    assert status == 2
    assert "tsloss-fast: error: model: cannot load the tokenizer of no/where: " in stderr
    assert stderr.count("\n") == 1
    assert "\\n" not in stderr


def test_divergence(capsys, model, data, tmp_path):
    out = tmp_path / "run"
    args = ["--model", model, "--out", out, "--epochs", 2, *SETTINGS, "--lr", "1e30", "--quiet"]
    status, _, stderr = run(capsys, "tune", "--data", data, *args)
    assert status == 1
    assert "training diverged in epoch 1, step 2: " in stderr
    assert f"The last good checkpoint is {out / 'soft_prompt_epoch_000.pt'}" in stderr


def test_missing_extras_say_what_to_install(capsys, monkeypatch, data, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "transformers" else find_spec(n)
    )
    status, _, stderr = run(capsys, "tune", "--data", data, "--out", tmp_path / "run")
    assert status == 2
    assert "missing transformers; run: pip install 'tsloss-fast[tune]'" in stderr


def test_info_names_what_is_installed(capsys):
    status, stdout, _ = run(capsys, "info")
    rows = dict(line.split(maxsplit=1) for line in stdout.splitlines() if "  " in line)
    assert status == 0
    assert rows["tsloss_fast"] == tsloss_fast.__version__
    assert rows["torch"] == torch.__version__
    assert rows["threads"] == str(torch.get_num_threads())
    assert "_C" in stdout
    assert "smollm2" in stdout.lower()


def start(*args):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tsloss_fast.cli", *(str(arg) for arg in args)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_steps(file, count, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.is_file() and file.read_text().count('"kind": "step"') >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {count} steps: {process.poll()} {process.stderr.read()}")


def test_ctrl_c_leaves_a_checkpoint_and_resume_ends_as_if_never_stopped(
    capsys, model, data, tmp_path
):
    args = ["tune", "--data", data, "--model", model, *SETTINGS, "--epochs", 40, "--quiet"]
    args += ["--save-every", 40]
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    process = start(*args, "--out", parts)
    wait_for_steps(parts / "metrics.jsonl", 3, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "stopped after step " in stderr
    assert f"the prompt is in {parts / 'soft_prompt_interrupted.pt'}" in stderr
    assert "--resume goes on from here" in stderr
    assert "Traceback" not in stderr
    state = torch.load(parts / "trainer_state.pt", weights_only=True)
    saved = torch.load(parts / "soft_prompt_interrupted.pt", weights_only=True)
    assert torch.equal(saved, state["prompt"])
    assert 3 <= state["step"] < 160
    assert run(capsys, "tune", "--out", parts, "--resume", "--quiet")[0] == 0
    assert run(capsys, *args, "--out", whole)[0] == 0
    name = "soft_prompt_epoch_040.pt"
    ends = [torch.load(folder / name, weights_only=True) for folder in (parts, whole)]
    assert torch.equal(*ends)


@pytest.mark.parametrize("saved", [False, True])
def test_ctrl_c_while_loading_says_what_is_there(capsys, monkeypatch, model, data, tmp_path, saved):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    args = ["tune", "--data", data, "--model", model, "--out", tmp_path / "run", "--quiet"]
    if saved:
        assert run(capsys, *args, *SETTINGS, "--epochs", 1)[0] == 0
        args += ["--overwrite"]
    monkeypatch.setattr("tsloss_fast.tuning.models.load_model", interrupt)
    status, _, stderr = run(capsys, *args)
    assert status == 130
    kept = f"what was saved before is in {tmp_path / 'run'}" if saved else "nothing had been saved"
    assert stderr == f"tsloss-fast: stopped; {kept}\n"
    assert (tmp_path / "run").exists() == saved


def test_sigterm_leaves_a_checkpoint(model, data, tmp_path):
    out = tmp_path / "run"
    args = ["tune", "--data", data, "--model", model, *SETTINGS, "--epochs", 400, "--quiet"]
    process = start(*args, "--save-every", 400, "--out", out)
    wait_for_steps(out / "metrics.jsonl", 2, process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    assert "--resume goes on from here" in stderr
    assert torch.load(out / "trainer_state.pt", weights_only=True)["step"] >= 2


def test_quiet_shows_no_bar(capfd, model, data, tmp_path):
    args = ["tune", "--data", data, "--model", model, *SETTINGS, "--epochs", 1, "--quiet"]
    assert run(capfd, *args, "--out", tmp_path / "run")[::2] == (0, "")


def test_a_hub_name_without_a_network_is_refused_after_one_request(
    capsys, monkeypatch, data, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # Nothing listens on port 9.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    args = ["tune", "--data", data, "--model", "no/where", "--out", tmp_path / "run"]
    started = time.monotonic()
    status, _, stderr = run(capsys, *args)
    assert status == 2
    assert "cannot load the tokenizer of no/where: the hub cannot be reached" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
    # Retries take most of a minute; importing transformers takes seconds on a busy machine.
    assert time.monotonic() - started < 30
