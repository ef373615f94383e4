"""A tiny random model in place of every model."""

import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer

from experiments.models import Loaded


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def loaded():
    return Loaded(tiny_model().requires_grad_(False), tiny_tokenizer())


@pytest.fixture
def tiny(monkeypatch, loaded):
    """The tiny model by any name, and held-out parts of a few examples."""
    monkeypatch.setattr("experiments.models.load", lambda *args: loaded)
    monkeypatch.setattr("experiments.training.VALIDATION", 4)
    monkeypatch.setattr("experiments.training.TEST", 6)
    return loaded
