"""Finding checkpoints by their names: their order, and what is left out."""

import os

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
