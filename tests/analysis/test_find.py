"""Finding checkpoints by their names: their order, and what is left out."""

import os
from pathlib import Path

from tsloss_fast.analysis.find import find_checkpoints


def test_order_and_what_is_left_out(tmp_path):
    for name in (*map(str, range(12)), "003"):
        (tmp_path / f"soft_prompt_epoch_{name}.pt").touch()
    (tmp_path / "soft_prompt_epoch_77.pt").mkdir()
    os.mkfifo(tmp_path / "soft_prompt_epoch_78.pt")
    for name in ("other.pt", "trainer_state.pt", "notes.txt", "soft_prompt_interrupted.pt"):
        (tmp_path / name).touch()
    found, skipped = find_checkpoints(tmp_path)
    assert [one.position for one in found] == list(range(12))
    reasons = {one.file.name: one.reason for one in skipped}
    assert set(reasons) == {
        "soft_prompt_epoch_3.pt",
        "soft_prompt_epoch_77.pt",
        "soft_prompt_epoch_78.pt",
        "other.pt",
        "soft_prompt_interrupted.pt",
    }
    assert "epoch 3 is in soft_prompt_epoch_003.pt already" in reasons["soft_prompt_epoch_3.pt"]
    assert reasons["soft_prompt_epoch_77.pt"] == "a folder, expected a file"


def test_folders_of_the_trainer(tmp_path):
    for step in (20, 100, 3):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").touch()
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "adapter_model.safetensors").touch()
    found, skipped = find_checkpoints(tmp_path)
    assert [(one.position, one.unit) for one in found] == [(k, "step") for k in (3, 20, 100)]
    assert len(skipped) == 2


def test_names_that_are_not_quite_right_are_named(tmp_path):
    names = ("soft_prompt_epoch_-1.pt", "SOFT_PROMPT_EPOCH_2.PT", "soft_prompt_epoch_3.npy")
    # JavaScript, and so the page, cannot tell larger numbers apart.
    names += (f"soft_prompt_epoch_{10**15}.pt",)
    for name in (*names, f"soft_prompt_epoch_{10**15 - 1}.pt"):
        (tmp_path / name).touch()
    found, skipped = find_checkpoints(tmp_path)
    assert [one.position for one in found] == [10**15 - 1]
    assert {one.file.name for one in skipped} == set(names)


def test_what_cannot_be_looked_at_is_named(tmp_path, monkeypatch):
    (tmp_path / "soft_prompt_epoch_1.pt").touch()
    (tmp_path / "checkpoint-2").mkdir()

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    found, (skipped,) = find_checkpoints(tmp_path)
    assert [one.position for one in found] == [1]
    assert (skipped.file.name, skipped.reason) == ("checkpoint-2", "Permission denied")
