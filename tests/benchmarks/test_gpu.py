"""The rows of a CUDA device with the engine in its place, as far as they go without one."""

import pytest
import torch

pytest.importorskip("triton", reason="the interpreter's driver needs Triton")

from benchmarks import gpu
from tests.engine.cuda_h1 import executed
from tsloss_fast._engine.cuda_h1 import compiler
from tsloss_fast._engine.cuda_h1 import launch as h1


@pytest.fixture
def without_a_clock(monkeypatch):
    """Clouds on the CPU, and timers that call once."""

    def once(call, runs):
        call()
        return [1e-6]

    def each_once(calls, runs):
        return {name: once(call, runs) for name, call in calls.items()}

    def clouds(B, n, d):
        return torch.randn(B, n, 5, generator=torch.Generator().manual_seed(n))

    monkeypatch.setattr(gpu, "clouds", clouds)
    monkeypatch.setattr(gpu, "event_seconds", once)
    monkeypatch.setattr(gpu, "graph_seconds", once)
    monkeypatch.setattr(gpu, "host_seconds", each_once)


@pytest.mark.usefixtures("without_a_clock")
def test_losses_by_kernels_and_by_the_host():
    rows = [row["what"] for row in gpu.loss_rows(1)]
    for name in gpu.LOSSES:
        assert f"TSLoss {name}, forward + backward, n = 100, d = 2048" in rows
        is_captured = f"TSLoss {name}, the same as a CUDA graph, n = 100" in rows
        assert is_captured == (name != "persistence by the host")


@pytest.mark.usefixtures("without_a_clock")
def test_h1_is_timed_after_it_was_found_to_be_the_engines(monkeypatch):
    try:
        compiler.nvrtc_version()
    except compiler.CompileError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(gpu, "H1_GOALS", {(2, 12): 30e-6})
    with executed.interpreted() as launches:
        rows = list(gpu.h1_rows(1))
    assert len(launches) == 9
    assert [(row["what"].split(",")[0], row.get("goal_s")) for row in rows] == [
        ("H1 by kernels", 30e-6), ("H1 by kernels", 30e-6), ("H0 and H1 by the host", None)
    ]  # fmt: skip


def test_h1_that_is_not_the_engines_is_not_timed(monkeypatch):
    angles = torch.arange(8) * torch.pi / 4
    x = torch.stack((angles.cos(), angles.sin()), dim=-1)[None]
    no_bars = h1.Bars(torch.full((1, 128, 4), -1), torch.zeros(1), torch.zeros(1))
    monkeypatch.setattr(h1, "h1_bars", lambda D, h0: no_bars)
    with pytest.raises(SystemExit, match=r"H1 of .1, 8, 8. differs from the CPU engine's"):
        gpu.require_same_h1(torch.cdist(x, x), torch.zeros(1, 7, 4))
