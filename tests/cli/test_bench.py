"""`tsloss-fast bench`: what it prints, what it checks, and what it says without gudhi."""

import pytest
import torch

from tsloss_fast import cli
from tsloss_fast.cli import measure as bench


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
    monkeypatch.setattr(bench, "SAMPLES", 2)
    monkeypatch.setattr(bench, "repeats_for", lambda seconds: 1)


def run(capsys, *arguments):
    status = cli.main(["bench", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_every_row_is_checked_where_gudhi_is(capsys):
    threads = torch.get_num_threads()
    status, stdout, _ = run(capsys, "--sizes", 9, "--dim", 5)
    assert status == 0
    assert torch.get_num_threads() == threads
    lines = stdout.splitlines()
    assert lines[0] == "1 thread(s), gaussian points of dimension 5, medians"
    assert lines[2].split()[:2] == ["what", "tsloss_fast"]
    assert [line.split(",")[0].split()[0] for line in lines[3:]] == ["H0", "TSLoss", "TSLoss"]
    assert lines[3].endswith("as gudhi")
    assert all(line.endswith("within 1e-06 in float64") for line in lines[4:])


def test_without_gudhi_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(bench, "_has_gudhi", lambda: False)
    status, stdout, _ = run(capsys, "--sizes", 9, "--dim", 5)
    assert status == 0
    assert stdout.count("not checked: gudhi is not installed") == 2
    # The surrogate's reference is eager PyTorch, which is always there.
    assert stdout.splitlines()[-1].endswith("within 1e-06 in float64")


def test_a_wrong_diagram_is_told(capsys, monkeypatch):
    right = bench.rips_persistence
    monkeypatch.setattr(bench, "rips_persistence", lambda x, **o: right(1.001 * x, **o))
    status, stdout, stderr = run(capsys, "--sizes", 9, "--dim", 5)
    assert status == 1
    assert "differs" in stdout
    assert "differs from the reference: H0 + H1, n = 9" in stderr


def test_a_wrong_loss_is_told(capsys, monkeypatch):
    class Wrong(bench.TSLoss):
        def forward(self, prompt):
            return 1.00001 * super().forward(prompt)

    monkeypatch.setattr(bench, "TSLoss", Wrong)
    status, stdout, _ = run(capsys, "--sizes", 9, "--dim", 5)
    assert status == 1
    assert stdout.count("off by 1.0e-05") == 2


def test_a_loss_of_nan_is_told_also_where_the_first_cloud_is_right(capsys, monkeypatch):
    first = 0.02 * torch.randn(9, 5, generator=torch.Generator().manual_seed(0))

    class Wrong(bench.TSLoss):
        def forward(self, prompt):
            right = torch.allclose(prompt.float(), first)
            return super().forward(prompt) * (1.0 if right else float("nan"))

    monkeypatch.setattr(bench, "TSLoss", Wrong)
    status, stdout, _ = run(capsys, "--sizes", 9, "--dim", 5)
    assert status == 1
    assert stdout.count("off by nan") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sizes", 1), "sizes: expected 2 to 65535 points, got 1"),
        (("--dim", 0), "dim: expected at least 1, got 0"),
        (("--threads", 0), "threads: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments(capsys, arguments, words):
    status, stdout, stderr = run(capsys, *arguments)
    assert (status, stdout) == (2, "")
    assert words in stderr
