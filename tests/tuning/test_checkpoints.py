"""A run's folder: what is written, and what a failure leaves."""

import os
import stat

import pytest
import torch
from failures import full_disk

from tsloss_fast.tuning.checkpoints import RunError, RunFolder, write_atomically, write_together


def test_write_replaces_and_leaves_nothing_beside(tmp_path):
    file = tmp_path / "a"
    write_atomically(file, b"one")
    write_atomically(file, b"two")
    assert file.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask


def test_files_that_belong_together_change_together(tmp_path):
    write_together(tmp_path, {"a": b"one", "b": b"one"})
    with full_disk(2000), pytest.raises(OSError, match="File too large"):
        write_together(tmp_path, {"a": b"two", "b": bytes(4000), "c": b"two"})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "a": b"one",
        "b": b"one",
    }
    write_together(tmp_path, {"a": b"three", "c": b"three"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes() == b"three"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_full_disk_leaves_the_old_file(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save_state({"step": 1, "prompt": torch.ones(4, 4)})
    folder.save_prompt(folder.prompt_file(1), torch.ones(4, 4))
    with full_disk(2000), pytest.raises(OSError, match=r"File too large: '.*/trainer_state\.pt'"):
        folder.save_state({"step": 2, "prompt": torch.zeros(400, 400)})
    with full_disk(2000), pytest.raises(OSError, match="File too large"):
        folder.save_prompt(folder.prompt_file(1), torch.zeros(400, 400))
    assert folder.load_state()["step"] == 1
    assert torch.equal(torch.load(folder.prompt_file(1), weights_only=True), torch.ones(4, 4))
    assert sorted(os.listdir(tmp_path)) == ["soft_prompt_epoch_001.pt", "trainer_state.pt"]


def test_full_disk_is_named_with_the_path_of_the_metrics(tmp_path):
    with full_disk(20), pytest.raises(OSError, match=r"File too large: '.*/metrics\.jsonl'"):
        RunFolder(tmp_path).append_metrics({"step": 1, "loss": "x" * 100})


def test_prompt_is_a_plain_tensor_of_its_own_size(tmp_path):
    folder = RunFolder(tmp_path)
    table = torch.randn(1000, 8, requires_grad=True)
    folder.save_prompt(folder.prompt_file(12), table[:3])
    file = tmp_path / "soft_prompt_epoch_012.pt"
    loaded = torch.load(file, weights_only=True)
    assert type(loaded) is torch.Tensor
    assert not loaded.requires_grad
    assert torch.equal(loaded, table[:3])
    assert file.stat().st_size < 4000


def test_metrics_are_cut_at_a_step_and_a_torn_line_is_dropped(tmp_path):
    folder = RunFolder(tmp_path)
    for step in range(4):
        folder.append_metrics({"step": step, "kind": "step"})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ki')
    assert [record["step"] for record in folder.read_metrics()] == [0, 1, 2, 3]
    folder.cut_metrics(2)
    folder.append_metrics({"step": 3, "kind": "again"})
    assert [r["kind"] for r in folder.read_metrics()] == ["step", "step", "step", "again"]


def test_clear_removes_the_runs_files_only(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.prepare()
    assert not folder.holds_run
    folder.save_prompt(folder.prompt_file(0), torch.ones(1, 1))
    folder.save_config({})
    other = folder.path / "notes.txt"
    other.write_text("mine")
    assert folder.holds_run
    folder.clear()
    assert not folder.holds_run
    assert [file.name for file in folder.path.iterdir()] == ["notes.txt"]


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="out: cannot write to"):
            RunFolder(path).prepare()
    assert (tmp_path / "file").read_text() == "mine"


def test_nothing_to_resume(tmp_path):
    with pytest.raises(RunError, match=r"resume: .* holds no run to resume"):
        RunFolder(tmp_path).load_config()
    with pytest.raises(RunError, match=r"resume: .* has no trainer_state\.pt"):
        RunFolder(tmp_path).load_state()
