"""H1 of distance matrices that lie on a CUDA device, computed by the engine on the host.

The matrices go to pinned memory on a stream of their own, a thread waits for that copy alone and
runs the engine without the GIL, and the edges go back when they are asked for. Meanwhile the device
and the calling thread go on. The thread stops once nobody is left to ask: Ctrl-C where the result
is waited for, or a result that was thrown away.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine.arrays import _C, host_array, require_finite
from tsloss_fast._engine.pending import Pending
from tsloss_fast._engine.room import require_room_for_h1


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


class _AwaitedBars:
    """The bars that a thread computes, held by whoever may still ask for them."""

    def __init__(self) -> None:
        self.future: Future[list[Tensor]] = Future()
        self.is_given_up = False

    def result(self) -> list[Tensor]:
        try:
            return self.future.result()
        except KeyboardInterrupt:
            self.is_given_up = True
            raise


class _H1Thread(threading.Thread):
    """A thread that computes H1 for others."""


def _bars_on_host(
    D: Tensor,
    points: Tensor,
    name: str,
    max_edge_length: float | None,
    lengths: Tensor | None,
    vertex_births: Tensor | None = None,
) -> _AwaitedBars:
    bars = _AwaitedBars()
    # The thread holds the future alone, so that it sees when nobody holds the bars.
    future, still_wanted = bars.future, partial(_require_wanted, weakref.ref(bars))
    threads = torch.get_num_threads()
    given = {"D": D, "lengths": lengths, "vertex_births": vertex_births}
    parts = {key: x for key, x in given.items() if x is not None}

    def compute(on_host: list[Tensor], copied: torch.cuda.Event | None) -> None:
        try:
            if copied is not None:
                _wait_for(copied, D.device)
            arrays = dict(zip(parts, map(host_array, on_host), strict=True))
            if max_edge_length is None:
                require_finite(arrays["D"], points, name)
            require_room_for_h1(on_host[0], 1, max_edge_length)
            found = _C.rips(
                **arrays,
                max_dim=1,
                threads=threads,
                max_edge_length=max_edge_length,
                meanwhile=still_wanted,
            )
            future.set_result(bar_tensors(found))
        except BaseException as error:
            future.set_exception(error)

    if D.device.type == "cuda":
        # Not a daemon: Python would stop it at exit inside the engine's C++, which aborts.
        _H1Thread(target=compute, args=_copy_to_host([*parts.values()]), name="h1").start()
    else:
        compute([*parts.values()], None)
    return bars


def _require_wanted(bars: weakref.ref[_AwaitedBars]) -> None:
    """Raise a CancelledError where nobody will ask for the bars, which ends the engine's call."""
    awaited = bars()
    if awaited is None or awaited.is_given_up or _python_ends():
        raise CancelledError("nobody waits for H1 any more")


def _python_ends() -> bool:
    """Whether Python, at its end, waits for such threads alone: their results have no reader."""
    if threading.main_thread().is_alive():
        return False
    others = [thread for thread in threading.enumerate() if not isinstance(thread, _H1Thread)]
    return all(thread.daemon for thread in others if thread is not threading.main_thread())


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
            "this H1 of CUDA tensors is computed on the host, which a CUDA graph cannot capture: "
            "capture TSLoss(h1='device') of at most 512 points, mode='surrogate', H0 (max_dim=0) "
            "or the distances, or leave H1 out of it"
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
