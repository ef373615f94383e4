"""What cannot fit into memory is refused before it is taken, by an error that says what to do."""

import numpy as np
import pytest
import torch

import tsloss_fast as tsl
from tsloss_fast import _memory
from tsloss_fast._engine import room

MANY = 60_000


@pytest.fixture(autouse=True)
def four_gib(monkeypatch):
    """A machine that has 4 GiB left, less than anything here would take."""
    monkeypatch.setattr("tsloss_fast._memory.available_memory", lambda: 4 * _memory.GIB)
    monkeypatch.setattr("tsloss_fast._checks.available_memory", lambda: 4 * _memory.GIB)


def points(dtype=torch.float64, B=None):
    """Points that take no memory."""
    return torch.zeros(1, 1, dtype=dtype).expand(*([] if B is None else [B]), MANY, 2)


def matrix(dtype=torch.float32, n=MANY):
    return torch.zeros(1, 1, dtype=dtype).expand(n, n)


def graph(n=MANY):
    """A sparse matrix with one edge."""
    sparse = pytest.importorskip("scipy.sparse")
    return sparse.coo_array((np.ones(1), ([0], [1])), shape=(n, n))


@pytest.mark.parametrize(
    ("call", "name", "needed", "remedy"),
    [
        (lambda: tsl.pairwise_distances(points()), "x", "distances take 26.8 GiB", "float32"),
        (
            lambda: tsl.pairwise_distances(points(), "cityblock"),
            "x",
            "distances take 26.8 GiB",
            "subsample",
        ),
        (
            lambda: tsl.rips_persistence(points()),
            "x",
            "distances take 26.8 GiB and H1's work takes 8.0 GiB",
            "max_edge_length",
        ),
        (
            lambda: tsl.rips_persistence(points(torch.float16), max_dim=0),
            "x",
            "distances take 13.4 GiB",
            "subsample",
        ),
        (
            lambda: tsl.rips_persistence(points(torch.float32), max_edge_length=1.0),
            "x",
            "distances take 13.4 GiB and H1's work takes 1.3 GiB",
            "max_dim=0",
        ),
        (
            lambda: tsl.representative_cycles(points()),
            "x",
            "distances take 26.8 GiB and H1's work takes 14.7 GiB",
            "(a subsample), or float32, or a threshold (max_edge_length)",
        ),
        (lambda: tsl.TSLoss()(points()), "prompt", "distances take 26.8 GiB and H1", "subsample"),
        (lambda: tsl.TSLoss("surrogate")(points()), "prompt", "distances take 53.6 G", "float32"),
        (
            lambda: tsl.pairwise_distances(torch.zeros(1, 1, 1).expand(3, 20_000, 2)),
            "x",
            "distances take 4.5 GiB",
            "subsample",
        ),
        (
            lambda: tsl.rips_persistence(graph(), metric="precomputed"),
            "x",
            "distances take 53.6 GiB",
            "float32",
        ),
    ],
)
def test_what_cannot_fit_is_refused(call, name, needed, remedy):
    with pytest.raises(MemoryError) as error:
        call()
    message = str(error.value)
    assert message.startswith(f"{name}: expected what fits into the 4.0 GiB of memory")
    assert needed in message
    assert remedy in message


def test_h1_of_a_matrix_that_is_there_counts_its_own_work(monkeypatch):
    """H1 of 600 points takes 835 kB, and a sixth of it where edges are missing."""
    monkeypatch.setattr(room, "_ASKED_FROM", 0)
    monkeypatch.setattr("tsloss_fast._memory.available_memory", lambda: 500_000)
    D = torch.ones(600, 600).fill_diagonal_(0)
    with pytest.raises(MemoryError, match=r"^x: .*got float32 \[600, 600\], whose H1's work"):
        tsl.rips_persistence(D, metric="precomputed")
    D[0, 1:] = D[1:, 0] = torch.inf
    h0, _ = tsl.rips_persistence(D, metric="precomputed")
    assert h0.mask.sum() == 598
    tsl.rips_persistence(D, max_dim=0, metric="precomputed")


def test_cycles_of_a_matrix_that_is_there_count_their_own_work(monkeypatch):
    """H1 of 600 points with a record of the edges takes 1.58 MB, and a twelfth without edges."""
    monkeypatch.setattr(room, "_ASKED_FROM", 0)
    D = torch.ones(600, 600).fill_diagonal_(0)
    for available in (1_570_000, 1_580_000):
        monkeypatch.setattr("tsloss_fast._memory.available_memory", lambda size=available: size)
        if available > 1_575_000:
            tsl.representative_cycles(D, metric="precomputed")
        else:
            with pytest.raises(
                MemoryError, match=r"^x: .*\[600, 600\], whose H1's work .*max_edge"
            ):
                tsl.representative_cycles(D, metric="precomputed")


def test_short_loops_that_cannot_fit_are_refused(monkeypatch):
    """How much they take shows in the sweep, before it is taken; each thread takes as much."""
    monkeypatch.setattr(room, "_ASKED_FOR_LOOPS_FROM", 0)
    x = torch.randn(3, 80, 16, generator=torch.Generator().manual_seed(0))
    sums = tsl.representative_cycles(x, shorten=False)[1]
    expected = tsl.representative_cycles(x)[1]
    monkeypatch.setattr("tsloss_fast._memory.available_memory", lambda: 30_000)
    for cloud in (x, x[0], list(x), x.double()):
        with pytest.raises(MemoryError) as error:
            tsl.representative_cycles(cloud)
        message = str(error.value)
        assert message.startswith("x: expected what fits into the 0.0 GiB of memory that are avail")
        assert "got a cloud of 80 points, whose short loops take 0.0 GiB to find." in message
        assert message.endswith("a threshold (max_edge_length), or shorten=False")
    assert tsl.representative_cycles(x, shorten=False)[1] == sums
    monkeypatch.setattr("tsloss_fast._memory.available_memory", lambda: 3_000_000)
    assert tsl.representative_cycles(x)[1] == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tsl.pairwise_distances(x),
        lambda x: tsl.rips_persistence(x, metric="precomputed"),
        lambda x: tsl.TSLoss()(x),
    ],
)
def test_more_points_than_the_engine_takes(call):
    with pytest.raises(ValueError, match=r": expected at most 65535 points") as error:
        call(matrix(torch.float64, 200_000))
    assert "takes 298.0 GiB, and 4.0 GiB are available" in str(error.value)
    assert "subsample" in str(error.value)


def test_a_sparse_matrix_of_more_points():
    with pytest.raises(ValueError, match=r"^x: expected at most 65535 points, got float64"):
        tsl.rips_persistence(graph(200_000), metric="precomputed")


def test_what_fits_is_computed(monkeypatch):
    monkeypatch.undo()
    available = _memory.available_memory()
    assert available is None or available > 2**20
    monkeypatch.setattr(room, "_ASKED_FROM", 0)
    for size in (available, None):
        monkeypatch.setattr("tsloss_fast._memory.available_memory", lambda size=size: size)
        assert tsl.rips_persistence(torch.zeros(9, 1))[0].mask.all()


def test_the_control_group_and_the_system_are_asked(tmp_path, monkeypatch):
    for name, content in (
        ("memory.max", "1000\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 600\ninactive_file 50\n"),
    ):
        (tmp_path / name).write_text(content)
    monkeypatch.undo()
    monkeypatch.setattr(_memory, "_GROUP", tmp_path)
    assert _memory.available_memory() == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory._of_control_group() is None
    monkeypatch.setattr(_memory, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  3 kB\nSwapFree: 2 kB\n")
    assert _memory.available_memory() == 5 * 1024
    (tmp_path / "meminfo").write_text("")
    assert _memory._of_system() > 0
