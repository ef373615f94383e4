"""Data sets by their names on the hub; the library `datasets` is played by a module of the test."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from tsloss_fast.tuning.data import Columns, DataError, ExampleFile
from tsloss_fast.tuning.data.hub_files import _rows

ROWS = {
    "train": [{"question": "1 or 2", "answer": "2"}, {"question": "3 or 4", "answer": "4"}],
    "test": [{"question": "5", "answer": "6"}],
}


@pytest.fixture
def asked(monkeypatch):
    """What the library was asked for; it knows one data set, of one subset."""
    calls = []

    def load_dataset(name, subset, split):
        calls.append((name, subset, split))
        if (name, subset) != ("openai/gsm8k", "main"):
            raise RuntimeError(f"Dataset '{name}' doesn't exist\n  on the Hub")
        if split not in ROWS:
            raise ValueError(f'Unknown split "{split}"')
        return ROWS[split]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset
    module.utils = SimpleNamespace(
        are_progress_bars_disabled=lambda: False,
        disable_progress_bars=lambda: calls.append("no bars"),
        enable_progress_bars=lambda: calls.append("bars"),
    )
    module.__spec__ = ModuleSpec("datasets", None)
    monkeypatch.setitem(sys.modules, "datasets", module)
    _rows.cache_clear()
    yield calls
    _rows.cache_clear()


def test_a_subset_and_a_split(asked):
    examples = list(ExampleFile("openai/gsm8k:main"))
    assert [(e.question, e.answer) for e in examples] == [("1 or 2", "2"), ("3 or 4", "4")]
    assert examples[1].source == "openai/gsm8k:main: train: row 1"
    (held,) = ExampleFile("openai/gsm8k:main", split="test")
    assert held.answer == "6"
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]


def test_it_is_loaded_once_however_often_it_is_read(asked):
    file = ExampleFile("openai/gsm8k:main", Columns("question", "answer"))
    assert list(file) == list(file)
    assert len(asked) == 1


def test_bars_are_off_while_it_is_loaded_quietly(asked):
    assert list(ExampleFile("openai/gsm8k:main", progress=False))
    assert asked == ["no bars", ("openai/gsm8k", "main", "train"), "bars"]


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        (
            "no/where",
            "train",
            "no/where: no such file, and no data set on the hub: Dataset 'no/where' doesn't exist "
            "on the Hub",
        ),
        (
            "openai/gsm8k:main",
            "dev",
            'openai/gsm8k:main: no such file, and no data set on the hub: Unknown split "dev"',
        ),
    ],
)
def test_what_is_not_there(asked, name, split, words):
    with pytest.raises(DataError) as caught:
        list(ExampleFile(name, split=split))
    assert str(caught.value) == words


@pytest.mark.parametrize(
    "name", ["data/train.jsonl", "data/train.csv", "./data/train", "train", "a/b/c", "/a/b"]
)
def test_a_missing_file_is_no_data_set(asked, name):
    with pytest.raises(DataError, match="No such file or directory"):
        list(ExampleFile(name))
    assert asked == []


def test_a_file_of_such_a_name_is_read(asked, tmp_path, monkeypatch):
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "gsm8k").write_text('{"question": "q", "answer": "a"}\n')
    monkeypatch.chdir(tmp_path)
    assert [e.answer for e in ExampleFile("openai/gsm8k")] == ["a"]
    assert asked == []


def test_without_the_library(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _rows.cache_clear()
    with pytest.raises(DataError, match="datasets is missing; run: pip install datasets"):
        list(ExampleFile("openai/gsm8k"))
