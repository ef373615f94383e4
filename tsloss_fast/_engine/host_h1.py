"""H1 of distance matrices that lie on a CUDA device, computed by the engine on the host.

The matrices go to pinned memory on a stream of their own, a thread waits for that copy alone, runs
the engine without the GIL and puts what is asked for into pinned memory, from which it goes back
when it is asked for. Meanwhile the device and the calling thread go on.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine.arrays import _C, host_array, require_finite
from tsloss_fast._engine.pending import Pending

# Prompts whose H1 is computed at once; a thread is made when it is first needed.
THREADS = 8

# From the engine's diagrams of H0 and H1 to the tensors that go back.
Pack = Callable[[Sequence[Any]], list[Tensor]]


def start_bars(
    D: Tensor, points: Tensor, name: str, max_edge_length: float | None = None
) -> Pending[list[Tensor]]:
    """Begin to compute the bars of H0 and H1 of ``D`` [..., n, n].

    `points` [..., n, d], from which ``D`` was computed, and their `name` are for the error if a
    distance is not finite; for a matrix given by the user they are the matrix.

    The result is the bars as `operators.rips_bars` gives them, on the device of ``D``. It waits for
    the host's thread and for nothing else, and raises a ValueError if a distance is NaN or
    infinite. With `max_edge_length` infinite edges and longer ones are absent, and nothing is
    checked.
    """
    return Pending(lambda: _begin(D, points, name, max_edge_length, bar_tensors))


# The name of a class that `Pending` replaced, for those who import it; it is called the same way.
PendingBars = start_bars


def start_critical_edges(D: Tensor, points: Tensor, name: str) -> Pending[Tensor]:
    """As `start_bars`; the result is the `critical_edges` of the bars, sent by one copy."""

    def pack(diagrams: Sequence[Any]) -> list[Tensor]:
        return [critical_edges(*(torch.from_numpy(diagram.bars) for diagram in diagrams))]

    def begin() -> Callable[[], Tensor]:
        take = _begin(D, points, name, None, pack)
        return lambda: take()[0]

    return Pending(begin)


def _begin(
    D: Tensor, points: Tensor, name: str, max_edge_length: float | None, pack: Pack
) -> Callable[[], list[Tensor]]:
    found = _on_host(D, points, name, max_edge_length, pack)
    return lambda: [part.to(D.device, non_blocking=True) for part in found.result()]


def _on_host(
    D: Tensor, points: Tensor, name: str, max_edge_length: float | None, pack: Pack
) -> Future[list[Tensor]]:
    threads = torch.get_num_threads()

    def compute(on_host: Tensor) -> list[Tensor]:
        matrices = host_array(on_host)
        if max_edge_length is None:
            require_finite(matrices, points, name)
        return pack(_C.rips(matrices, 1, None, threads, max_edge_length=max_edge_length))

    if D.device.type == "cuda":
        on_host, copied = _copy_to_host(D)

        def compute_when_copied() -> list[Tensor]:
            # A new thread starts on device 0, where a context would be made that nobody needs.
            with torch.cuda.device(D.device):
                copied.synchronize()
                return [part.pin_memory() for part in compute(on_host)]

        return _threads(os.getpid()).submit(compute_when_copied)
    found: Future[list[Tensor]] = Future()
    try:
        found.set_result(compute(D))
    except Exception as error:
        found.set_exception(error)
    return found


@functools.cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The threads of this process, for a fork takes none along.

    To start one for each call takes longer than to wake one. At its end Python waits for them, as
    it must: it would stop daemons inside the engine's C++, which aborts.
    """
    return ThreadPoolExecutor(THREADS, "h1")


def bar_tensors(diagrams: Sequence[Any]) -> list[Tensor]:
    """The engine's diagrams as tensors, four a dimension: see `operators.rips_bars`."""
    fields = ("bars", "mask", "essential_edges", "essential_mask")
    return [torch.from_numpy(getattr(diagram, name)) for diagram in diagrams for name in fields]


def critical_edges(h0: Tensor, h1: Tensor) -> Tensor:
    """The edges [..., n - 1 + 2 K, 2] of bars: deaths of H0, births of H1, deaths of H1."""
    return torch.cat((h0[..., 2:], h1[..., :2], h1[..., 2:]), dim=-2)


def _copy_to_host(D: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """A pinned copy of ``D``, and the event after which it holds the values."""
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "H1 of CUDA tensors is computed on the host, which a CUDA graph cannot capture: "
            "capture mode='surrogate', H0 (max_dim=0) or the distances, or leave H1 out of it"
        )
    side = _side_stream(D.device)
    side.wait_stream(torch.cuda.current_stream(D.device))
    with torch.cuda.stream(side):
        on_host = torch.empty(D.shape, dtype=D.dtype, pin_memory=True)
        on_host.copy_(D, non_blocking=True)
        # A blocking event lets the thread sleep while the caller launches the model.
        copied = torch.cuda.Event(blocking=True)
        copied.record()
    # The allocator must not hand the memory of D to others before the copy is done.
    D.record_stream(side)
    return on_host, copied


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all copies to the host."""
    return torch.cuda.Stream(device)
