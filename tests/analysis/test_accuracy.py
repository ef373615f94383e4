"""The accuracy file: its forms, and errors that name the line."""

import pytest

from tsloss_fast.analysis.accuracy import read_accuracy
from tsloss_fast.analysis.find import AnalysisError


@pytest.mark.parametrize(
    "text",
    [
        "epoch,accuracy\n0,0.5\n3,0.75\n",
        "loss, accuracy, epoch\n1, 0.5, 0\n2, 0.75, 3\n",
        # As features.csv has it: unknown where it was not measured.
        "epoch,h1_count,accuracy\n0,7,0.5\n1,8,\n3,9,0.75\n",
        "epoch,accuracy\n0,0.5\n1\n3,0.75\n",
        '{"epoch": 0, "accuracy": 0.5}\n{"epoch": 1, "loss": 2}\n\n'
        '{"epoch": 3, "accuracy": 0.75}\n',
    ],
)
def test_forms(tmp_path, text):
    (tmp_path / "a").write_text(text)
    assert read_accuracy(tmp_path / "a") == {0: 0.5, 3: 0.75}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected columns epoch and accuracy, got nothing"),
        ("epoch,acc\n1,2\n", "expected columns epoch and accuracy, got epoch, acc"),
        ("epoch,accuracy\n1,high\n", "a:2: accuracy: expected a number, got 'high'"),
        ("epoch,accuracy\n1,nan\n", "a:2: accuracy: expected a number, got 'nan'"),
        ("epoch,accuracy\n1.5,1\n", "a:2: epoch: expected a whole number"),
        ("epoch,accuracy\n1,1\n1,2\n", "a:3: epoch 1 a second time"),
        ('{"epoch": 1}\n', "expected lines with epoch and accuracy, got none"),
        ('{"epoch": 1}\n{\n', "a:2: not JSON"),
        ('{"accuracy": 1, "epoch": ' + "9" * 400 + "}", "a:1: epoch: expected a number, got 999"),
        ('{"epoch": 1}\n{"a": ' + "[" * 100_000, "a:2: not JSON"),
        # What is too long for csv depends on a limit of the process, which others set, too.
        ("epoch,accuracy\n1," + "1" * 200_000, "a:2: (no CSV: field larger|accuracy: expected a)"),
        ("e" * 200_000 + ",accuracy\n1,1\n", "a:1: (no CSV: field larger|expected columns epoch)"),
    ],
)
def test_errors_name_the_line(tmp_path, text, words):
    (tmp_path / "a").write_text(text)
    with pytest.raises(AnalysisError, match=words):
        read_accuracy(tmp_path / "a")
