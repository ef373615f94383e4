"""analyze: the files that it writes, what it skips, and the command's messages."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import torch
from clouds import cloud
from failures import full_disk

import tsloss_fast
from tsloss_fast import cli
from tsloss_fast.analysis.run import OUTPUTS, TOKENS_FILE, analyze
from tsloss_fast.persistence.summaries import topology_summary

ROOT = Path(tsloss_fast.__file__).parents[1]
ROWS = cloud("gaussian", 8, 5, dtype=torch.float32)


def save(value, file):
    torch.save(value, file)
    return file


def write_run(folder, epochs=5):
    """Equal rows first, then a growing cloud, in the authors' shape."""
    folder.mkdir(exist_ok=True)
    for epoch in range(epochs):
        save((epoch * ROWS)[None], folder / f"soft_prompt_epoch_{epoch}.pt")
    return folder


def run(capsys, *args):
    return commands.run(capsys, "analyze", *args, "--quiet")


def test_files_and_numbers(capsys, caplog, tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "soft_prompt_epoch_9.pt").write_bytes(b"")
    accuracy = folder / "accuracy.csv"
    accuracy.write_text("epoch,accuracy\n0,0.1\n1,0.2\n4,0.9\n")
    status, out, _ = run(capsys, folder, "--accuracy", accuracy, "--epochs", "0,4")
    assert status == 0
    assert "5 checkpoints analysed, 1 file skipped" in out
    assert "soft_prompt_epoch_9.pt: empty file" in caplog.text
    made = folder / "analysis"
    assert {file.name for file in made.iterdir()} == set(OUTPUTS) - {TOKENS_FILE}
    with (made / "features.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("01234")
    assert [row["accuracy"] for row in rows] == ["0.1", "0.2", "", "", "0.9"]
    summary = topology_summary(4 * ROWS)
    assert float(rows[4]["h0_mean_lifetime"]) == pytest.approx(summary.h0_mean_lifetime.item())
    assert (rows[0]["h0_count"], rows[4]["h0_count"]) == ("1", "8")
    assert (made / "diagrams.png").read_bytes().startswith(b"\x89PNG")
    assert "epoch 4" in (made / "barcodes.svg").read_text()


def test_old_output_stays_unless_it_is_to_go(capsys, tmp_path):
    folder, out = write_run(tmp_path / "run"), tmp_path / "out"
    out.mkdir()
    (out / "accuracy.svg").write_text("from before")
    (out / "mine.txt").write_text("mine")
    status, _, err = run(capsys, folder, "--out", out)
    assert status == 2
    assert "holds an analysis already (accuracy.svg); --overwrite replaces it" in err
    assert {file.name for file in out.iterdir()} == {"accuracy.svg", "mine.txt"}
    assert run(capsys, folder, "--out", out, "--overwrite")[0] == 0
    assert not (out / "accuracy.svg").exists()
    assert (out / "mine.txt").read_text() == "mine"


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_full_disk_leaves_the_old_analysis_whole(capsys, tmp_path):
    folder, out = write_run(tmp_path / "run"), tmp_path / "out"
    assert run(capsys, folder, "--out", out)[0] == 0
    before = contents(out)
    save(2 * ROWS, folder / "soft_prompt_epoch_7.pt")
    # The table fits, the pictures do not.
    assert len(before["features.csv"]) < 4000 < len(before["features.png"])
    with full_disk(4000):
        status, _, err = run(capsys, folder, "--out", out, "--overwrite")
    assert status == 1
    assert err == (
        f"tsloss-fast: error: [Errno 27] File too large: cannot write to {out}; its files are as "
        "they were\n"
    )
    assert contents(out) == before


@pytest.mark.parametrize("where", ["topologies", "render_figure", "render_page"])
def test_ctrl_c_leaves_the_old_analysis_whole(capsys, monkeypatch, tmp_path, where):
    folder, out = write_run(tmp_path / "run"), tmp_path / "out"
    assert run(capsys, folder, "--out", out)[0] == 0
    before = contents(out)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"tsloss_fast.analysis.run.{where}", interrupt)
    status, _, err = run(capsys, folder, "--out", out, "--overwrite")
    assert (status, err) == (130, "tsloss-fast: stopped; no file is half written\n")
    assert contents(out) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--epochs", "0,x"], "epochs: expected whole numbers like 0,10,300, got '0,x'"),
        (
            ["--epochs", "7"],
            "epochs: expected epochs from 0 to 4 that have a checkpoint, got 7",
        ),
        (["--epochs", "0,1,2,3,4,5,6"], "epochs: expected 1 to 6 of them, got 7"),
        (["--accuracy", "none.csv"], "accuracy: cannot read none.csv: No such file"),
    ],
)
def test_wrong_arguments_change_nothing(capsys, tmp_path, args, words):
    folder = write_run(tmp_path / "run")
    status, _, err = run(capsys, folder, *args)
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert not (folder / "analysis").exists()


def test_nothing_readable(capsys, tmp_path):
    status, _, err = run(capsys, tmp_path / "none")
    assert status == 2
    assert "path: expected soft_prompt_epoch_N.pt files" in err
    write_run(tmp_path / "ce")
    status, _, err = run(capsys, tmp_path)
    assert status == 2
    assert "there are some in its folders ce" in err


def test_an_empty_folder_gives_one_line(capsys, tmp_path):
    assert cli.main(["analyze", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_shapes_one_checkpoint_and_one_row(tmp_path):
    for epoch, shape in enumerate([(8, 5), (3, 5), (1, 5), (8, 2)]):
        save(torch.randn(shape), tmp_path / f"soft_prompt_epoch_{epoch}.pt")
    result = analyze(tmp_path, progress=False)
    assert [(one.n, one.d) for one in result.topologies] == [(8, 5), (3, 5), (1, 5), (8, 2)]
    single = analyze(tmp_path / "soft_prompt_epoch_2.pt", tmp_path / "one", progress=False)
    assert len(single.checkpoints) == 1


def test_one_prompt_that_is_too_large_does_not_end_the_rest(capsys, caplog, tmp_path):
    folder = write_run(tmp_path / "run")
    save(3e38 * ROWS.sign(), folder / "soft_prompt_epoch_9.pt")
    status, out, _ = run(capsys, folder)
    assert status == 0
    assert "5 checkpoints analysed, 1 file skipped" in out
    assert "soft_prompt_epoch_9.pt: expected values of at most 1e+30" in caplog.text


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\x1b[2J\nr\u202eun", r"\x1b[2J\nr\u202eun"), (os.fsdecode(b"r\xffun"), r"r\udcffun")],
    ids=["control-characters", "not-utf8"],
)
def test_names_that_a_terminal_must_not_get(tmp_path, name, shown):
    """In a process, for its output has to be encoded."""
    folder = write_run(tmp_path / name, epochs=1)
    file = save(ROWS, folder / f"{name}.pt")
    (folder / "soft_prompt_epoch_7.pt").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    for path, out in ((folder, "a"), (file, "b"), (tmp_path / f"none{name}", "c")):
        command = [sys.executable, "-m", "tsloss_fast.cli", "analyze", path, "--quiet"]
        done = subprocess.run(
            [*command, "--out", folder / out], env=environment, capture_output=True, check=False
        )
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == (2 if out == "c" else 0), text
        assert shown in text
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "Traceback" not in text
    assert f"{shown}.pt" in (folder / "b" / "features.csv").read_text()


def test_output_is_the_same_on_every_run(tmp_path):
    folder = write_run(tmp_path / "run")
    results = [analyze(folder, tmp_path / name, progress=False) for name in "ab"]
    for one, other in zip(*(result.files for result in results), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
