"""The record of launches, and the table that the page shows of it."""

import json
from types import SimpleNamespace

import torch

from tests.executed.recording import Recorder, as_text
from tests.executed.table import PAGE, recorded, table, written


def launched(name):
    return SimpleNamespace(__name__=name, __module__="tsloss_fast._engine.kernels.some")


def test_the_page_has_the_table_of_what_was_recorded():
    page = PAGE.read_text()
    assert written(page, table(recorded())) == page


def test_launches_are_counted_by_size_and_written(tmp_path):
    recorder = Recorder(tmp_path / "found.json", "interpreter")
    for n in (7, 7, 300):
        recorder.note(launched("_some_kernel"), {"x": torch.zeros(1), "n": n, "d": 2})
    recorder.note(SimpleNamespace(__name__="own", __module__="tests.some"), {})
    recorder.pytest_testnodedown(
        SimpleNamespace(workeroutput={"executed": [["_some_kernel", "float32", 7, 2, None, 5]]})
    )
    recorder.pytest_sessionfinish(SimpleNamespace(config=SimpleNamespace()))
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["rows"] == [
        ["_some_kernel", "float32", 300, 2, None, 1],
        ["_some_kernel", "float32", 7, 2, None, 7],
    ]
    assert as_text(content) == (tmp_path / "found.json").read_text()
    line = next(line for line in table([content]).splitlines() if line.startswith("| some"))
    assert [cell.strip() for cell in line.split("|")[1:3]] == ["some", "7"]
    assert line.count(" 1 ") == 1
