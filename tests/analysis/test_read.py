"""Reading one prompt: forms, dtypes, and what is refused."""

import json
import os
import pickle

import pytest
import torch
from clouds import cloud

from tsloss_fast.analysis.read import UnreadablePrompt, read_prompt
from tsloss_fast.persistence import pairwise_distances

ROWS = cloud("gaussian", 8, 5, dtype=torch.float32)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def save(value, file):
    torch.save(value, file)
    return file


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn],
    ids=str,
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: x[None],
        lambda x: {"prompt": x, "epoch": 3},
        lambda x: {"prompt": x, "step": torch.tensor(3)},
        lambda x: {"state": {"weight": x}},
        lambda x: torch.nn.Parameter(x),
    ],
    ids=["rows", "batch-of-one", "dict", "dict-with-a-step", "nested", "parameter"],
)
def test_forms_and_dtypes(tmp_path, dtype, wrap):
    x = ROWS.to(dtype)
    rows = read_prompt(save(wrap(x), tmp_path / "p.pt"))
    assert rows.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(rows, x.to(rows.dtype))
    assert not rows.requires_grad


# torch says before it refuses that a pickle is of a newer protocol than its own.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_code_in_a_pickle_is_not_run(tmp_path):
    for name, write in (
        ("zip.pt", lambda file: torch.save(Bomb(tmp_path / "boom"), file)),
        ("raw.pt", lambda file: file.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))),
    ):
        write(tmp_path / name)
        with pytest.raises(UnreadablePrompt):
            read_prompt(tmp_path / name)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(2, 3, 4), r"expected floats \[n, d\] or \[1, n, d\], got float32 \[2, 3"),
        (torch.zeros(3), r"got float32 \[3\]"),
        (torch.zeros(3, 2, dtype=torch.int64), r"got int64 \[3, 2\]"),
        (torch.zeros(0, 4), r"got float32 \[0, 4\]"),
        (torch.full((2, 2), float("nan")), "holds NaN or infinity"),
        ({"a": ROWS, "b": ROWS}, "expected one tensor, got a dict with 2 of them"),
        # The same name twice must not hide one of them.
        ({"a": {"w": ROWS}, "b": {"w": ROWS}}, "expected one tensor, got a dict with 2 of them"),
        ([1, 2], "expected one tensor, got a list with none"),
        (3, "expected one tensor, got an int with none"),
        # Their distances would be more than float32, or a page's script, can hold.
        (1e31 * torch.eye(3), "expected values of at most 1e\\+30, got 1e\\+31"),
        (1e300 * torch.eye(3, dtype=torch.float64), "expected values of at most"),
        (torch.zeros(1).expand(5000, 4), "expected a prompt of at most 4096 rows"),
        (ROWS.to_sparse(), "expected a plain tensor"),
        (torch.nn.Linear(2, 2), "holds Python objects, not tensors alone"),
    ],
)
def test_what_is_refused(tmp_path, value, words):
    with pytest.raises(UnreadablePrompt, match=words):
        read_prompt(save(value, tmp_path / "p.pt"))


def test_the_largest_values_that_are_read_have_distances(tmp_path):
    for dtype in (torch.float32, torch.float64):
        x = torch.full((1, 4096), 9e29, dtype=dtype)
        rows = read_prompt(save(torch.cat([x, -x]), tmp_path / "p.pt"))
        assert pairwise_distances(rows)[0, 1].item() == pytest.approx(128 * 9e29, rel=1e-6)


def test_damaged_files(tmp_path):
    whole = save(ROWS, tmp_path / "p.pt").read_bytes()
    for content, words in (
        (b"", "empty file"),
        (b"hello world", "no file that torch.save wrote, or a damaged one"),
        (whole[: len(whole) // 2], "no file that torch.save wrote, or a damaged one"),
    ):
        (tmp_path / "p.pt").write_bytes(content)
        with pytest.raises(UnreadablePrompt, match=words):
            read_prompt(tmp_path / "p.pt")


def test_adapters(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    file = tmp_path / "adapter_model.safetensors"
    save_file({"prompt_embeddings": ROWS.bfloat16()}, file)
    assert torch.equal(read_prompt(file), ROWS.bfloat16().float())
    save_file({"lora_A": ROWS}, file)
    with pytest.raises(UnreadablePrompt, match="expected prompt_embeddings, got lora_A"):
        read_prompt(file)
    file.write_bytes(b"12345678901")
    with pytest.raises(UnreadablePrompt, match="no file that safetensors wrote"):
        read_prompt(file)


def test_prefix_tuning_has_a_cloud_a_layer(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    file = tmp_path / "adapter_model.safetensors"
    # [n, layers, key and value, d] = [4, 3, 2, 5]
    prefix = cloud("gaussian", 4, 30, dtype=torch.float32)
    save_file({"prompt_embeddings": prefix}, file)
    config = {"peft_type": "PREFIX_TUNING", "num_layers": 3}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    for layer in range(3):
        assert torch.equal(read_prompt(file, layer), prefix.reshape(4, 3, 10)[:, layer])
    with pytest.raises(UnreadablePrompt, match="expected --layer from 0 to 2, got none"):
        read_prompt(file)
    # The configuration is the adapter's; a prompt that lies beside it has one cloud.
    assert torch.equal(read_prompt(save(prefix, tmp_path / "p.pt")), prefix)
    with pytest.raises(UnreadablePrompt, match="holds one cloud: expected no --layer, got 1"):
        read_prompt(tmp_path / "p.pt", 1)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"num_layers": 4}))
    with pytest.raises(UnreadablePrompt, match="got 30 columns and num_layers 4"):
        read_prompt(file, 0)
