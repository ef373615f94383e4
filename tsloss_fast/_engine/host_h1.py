"""H1 of distance matrices that lie on a CUDA device, computed by the engine on the host.

The matrices go to pinned memory on a stream of their own, a thread waits for that copy alone and
runs the engine without the GIL, and the edges go back when they are asked for. Meanwhile the device
and the calling thread go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine.arrays import _C, host_array, require_finite
from tsloss_fast._engine.pending import Pending


def start_bars(
    D: Tensor,
    points: Tensor,
    name: str,
    max_edge_length: float | None = None,
    lengths: Tensor | None = None,
    vertex_births: Tensor | None = None,
) -> Pending[list[Tensor]]:
    """Begin to compute the bars of H0 and H1 of ``D`` [..., n, n].

    `points` [..., n, d], from which ``D`` was computed, and their `name` are for the error if a
    distance is not finite; for a matrix given by the user they are the matrix.

    The result is the bars as `operators.rips_bars` gives them, on the device of ``D``. It waits for
    the host's thread and for nothing else, and raises a ValueError if a distance is NaN or
    infinite. With `max_edge_length` infinite edges and longer ones are absent, and nothing is
    checked. ``lengths`` [...] and ``vertex_births`` [..., n] are as in `operators.rips_bars`.
    """

    def begin() -> Callable[[], list[Tensor]]:
        bars = _bars_on_host(D, points, name, max_edge_length, lengths, vertex_births)
        return lambda: [_to_device(part, D.device) for part in bars.result()]

    return Pending(begin)


# The name of a class that `Pending` replaced, for those who import it; it is called the same way.
PendingBars = start_bars


def start_critical_edges(
    D: Tensor, points: Tensor, name: str, lengths: Tensor | None = None
) -> Pending[Tensor]:
    """As `start_bars`; the result is the `critical_edges` of the bars, sent by one copy."""

    def begin() -> Callable[[], Tensor]:
        bars = _bars_on_host(D, points, name, None, lengths)
        return lambda: _to_device(critical_edges(*bars.result()[::4]), D.device)

    return Pending(begin)


def _bars_on_host(
    D: Tensor,
    points: Tensor,
    name: str,
    max_edge_length: float | None,
    lengths: Tensor | None,
    vertex_births: Tensor | None = None,
) -> Future[list[Tensor]]:
    bars: Future[list[Tensor]] = Future()
    threads = torch.get_num_threads()
    given = {"D": D, "lengths": lengths, "vertex_births": vertex_births}
    parts = {name: x for name, x in given.items() if x is not None}

    def compute(on_host: list[Tensor], copied: torch.cuda.Event | None) -> None:
        try:
            if copied is not None:
                _wait_for(copied, D.device)
            arrays = dict(zip(parts, map(host_array, on_host), strict=True))
            if max_edge_length is None:
                require_finite(arrays["D"], points, name)
            found = _C.rips(**arrays, max_dim=1, threads=threads, max_edge_length=max_edge_length)
            bars.set_result(bar_tensors(found))
        except BaseException as error:
            bars.set_exception(error)

    if D.device.type == "cuda":
        # Not a daemon: Python would stop it at exit inside the engine's C++, which aborts.
        Thread(target=compute, args=_copy_to_host([*parts.values()]), name="h1").start()
    else:
        compute([*parts.values()], None)
    return bars


def bar_tensors(diagrams: Sequence[Any]) -> list[Tensor]:
    """The engine's diagrams as tensors, four a dimension: see `operators.rips_bars`."""
    fields = ("bars", "mask", "essential_edges", "essential_mask")
    return [torch.from_numpy(getattr(diagram, name)) for diagram in diagrams for name in fields]


def critical_edges(h0: Tensor, h1: Tensor) -> Tensor:
    """The edges [..., n - 1 + 2 K, 2] of bars: deaths of H0, births of H1, deaths of H1."""
    return torch.cat((h0[..., 2:], h1[..., :2], h1[..., 2:]), dim=-2)


def _copy_to_host(parts: list[Tensor]) -> tuple[list[Tensor], torch.cuda.Event]:
    """Pinned copies of tensors of one device, and the event after which they hold the values."""
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "H1 of CUDA tensors is computed on the host, which a CUDA graph cannot capture: "
            "capture mode='surrogate', H0 (max_dim=0) or the distances, or leave H1 out of it"
        )
    with torch.cuda.device(parts[0].device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            on_host = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in parts]
            for copy, x in zip(on_host, parts, strict=True):
                copy.copy_(x, non_blocking=True)
            # A blocking event lets the thread sleep while the caller launches the model.
            copied = torch.cuda.Event(blocking=True)
            copied.record()
        # The allocator must not hand their memory to others before the copy is done.
        for x in parts:
            x.record_stream(side)
    return on_host, copied


def _wait_for(copied: torch.cuda.Event, device: torch.device) -> None:
    # A new thread starts on device 0, where the wait would create a context that nobody needs.
    with torch.cuda.device(device):
        copied.synchronize()


def _to_device(part: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return part
    return part.pin_memory().to(device, non_blocking=True)
