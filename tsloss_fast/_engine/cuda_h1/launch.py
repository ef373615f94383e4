"""The bars of H1 of a batch of clouds on a CUDA device, in three launches without a wait."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tsloss_fast._checks import describe
from tsloss_fast._engine.cuda_h1 import driver, sizes
from tsloss_fast._engine.cuda_h1.sizes import Form, Room


class Bars(NamedTuple):
    """The bars of each cloud: the first of them count, the others are padding."""

    bars: Tensor  # [B, K, 4] int64: birth edge, death edge; -1 where padded
    counts: Tensor  # [B] int32
    flags: Tensor  # [B] int32: 0, or what a cloud had too much of, and then it has no bars


class Kernel(Protocol):
    """What launches a kernel: see `driver.Kernel`."""

    def launch(self, grid: int, threads: int, shared: int, arguments: list[int]) -> None: ...


def h1_bars(D: Tensor, h0_bars: Tensor, room: Room | None = None) -> Bars:
    """Compute the bars of H1 in the order of the engine, zero lengths left out.

    Parameters
    ----------
    D : Tensor [B, n, n]
        float32, contiguous, symmetric, none negative, all finite; n at most 512. Where float64
        lengths were replaced by their ranks, as `kernels.h0.length_ranks` does, these are the bars
        of the float64 lengths.
    h0_bars : Tensor [B, n - 1, 4]
        int64, contiguous: the bars of H0 of the same clouds.
    room : Room, optional
        What a cloud may need. `room_for` says what is taken otherwise; K is its generators.
    """
    B, n, _ = D.shape
    _check(D, h0_bars)
    room = room or sizes.room_for(n)
    device = D.device
    bars = torch.empty(B, room.generators, 4, dtype=torch.int64, device=device)
    if B == 0 or n < 4:
        zeros = torch.zeros(2, B, dtype=torch.int32, device=device)
        return Bars(bars.fill_(-1), *zeros)
    form = form_on(device, n, room)
    count, flags = torch.empty(2, B, dtype=torch.int32, device=device)
    m = n * (n - 1) // 2
    work = Workspace(B, n, room, form, device)
    given = D.data_ptr()
    kernels = kernels_on(device, form)
    with torch.cuda.device_of(D):
        threads = 32 * form.warps
        order = [given, n, work.edges, work.killed, work.ranks, work.kept, work.listed_count]
        kernels["order_edges"].launch(B, threads, 4 * sizes.order_shared_words(form), order)

        blocks = -(-m // sizes.LUNE_WARPS)
        lunes = [work.edges, work.ranks, work.kept, n, blocks]
        lunes += [work.label, work.further, work.listed, work.listed_count]
        kernels["examine_lunes"].launch(B * blocks, 32 * sizes.LUNE_WARPS, 0, lunes)

        classes = [given, work.edges, work.ranks, work.kept, h0_bars.data_ptr()]
        classes += [work.listed, work.listed_count, n, room.generators, room.annotation_words]
        classes += [work.label, work.further, work.relation_edge, work.relation_vertex, work.killed]
        classes += [work.needed, work.slot, work.asked, work.known, work.fresh, work.annotations]
        classes += [work.born, work.dead_rows, bars.data_ptr(), count.data_ptr(), flags.data_ptr()]
        shared = 4 * sizes.class_shared_words(form, room.generators)
        kernels["find_classes"].launch(B, threads, shared, classes)
    return Bars(bars, count, flags)


class Workspace:
    """Addresses of the scratch arrays of a batch, all in one tensor, which is theirs alone."""

    def __init__(self, B: int, n: int, room: Room, form: Form, device: torch.device) -> None:
        words = B * sizes.scratch_words(n, room, form)
        self.memory = torch.empty(words, dtype=torch.int32, device=device)
        self._next = self.memory.data_ptr()
        m = B * (n * (n - 1) // 2)
        # The lists of relations have two words for each.
        self.listed = self._take(2 * m)
        self.edges, self.killed, self.label, self.further = (self._take(m) for _ in range(4))
        self.relation_edge, self.relation_vertex = self._take(m), self._take(m)
        self.needed, self.slot, self.asked = (self._take(m) for _ in range(3))
        self.known, self.fresh = self._take(m), self._take(m)
        self.ranks = self._take(B * n * n)
        self.kept, self.listed_count = self._take(B), self._take(B)
        self.annotations = self._take(B * room.annotation_words)
        self.born = self._take(B * room.generators)
        self.dead_rows = self._next

    def _take(self, words: int) -> int:
        at = self._next
        self._next += 4 * words
        return at


def why_not(x: Tensor) -> str | None:
    """Why the kernels do not take clouds ``x`` [..., n, d], or None where they do.

    That depends on the device, on n, and on the room for as many clouds, never on values: it is
    known before anything is launched.
    """
    return _why_not(x.device, x.shape[-2], x.shape[:-2].numel())


@functools.lru_cache(1024)
def _why_not(device: torch.device, n: int, clouds: int) -> str | None:
    if device.type != "cuda":
        return f"the prompt lies on {device}"
    if n > sizes.MAX_POINTS:
        return f"the kernels take at most {sizes.MAX_POINTS} points, and these are {n}"
    capability = torch.cuda.get_device_capability(device)
    if capability < sizes.MIN_CAPABILITY:
        return f"the kernels need compute capability 8.0, and this device has {capability}"
    return _why_no_room(device, n, clouds) or _why_not_loaded(device, n)


def _why_no_room(device: torch.device, n: int, clouds: int) -> str | None:
    """At most an eighth of the device's memory, which the distances of large batches take too."""
    room = sizes.room_for(n)
    needed = clouds * 4 * sizes.scratch_words(n, room, form_on(device, n, room))
    most = torch.cuda.get_device_properties(device).total_memory // 8
    if needed <= most:
        return None
    return f"{clouds} clouds of {n} points need {needed:,} bytes, of {most:,} that they may take"


def _why_not_loaded(device: torch.device, n: int) -> str | None:
    """Compiles the kernels and loads them, where that is not done."""
    try:
        kernels_on(device, form_on(device, n, sizes.room_for(n)))
    except (RuntimeError, OSError) as error:
        return str(error)
    return None


def form_on(device: torch.device, n: int, room: Room) -> Form:
    """The form for n points on a device."""
    properties = torch.cuda.get_device_properties(device)
    # Builds of torch that do not say have what every device has.
    most = getattr(properties, "shared_memory_per_block_optin", 48 * 1024)
    return sizes.form_for(n, room, most)


def kernels_on(device: torch.device, form: Form) -> Mapping[str, Kernel]:
    """The kernels of a form, compiled and loaded when they are first asked for."""
    return driver.load(form.macros, device.index)


def _check(D: Tensor, h0_bars: Tensor) -> None:
    B, n, columns = D.shape
    if n != columns or n > sizes.MAX_POINTS or D.dtype != torch.float32 or not D.is_contiguous():
        raise ValueError(
            f"D: expected float32 distances [B, n, n], contiguous, n at most {sizes.MAX_POINTS}, "
            f"got {describe(D)}"
        )
    if h0_bars.shape != (B, n - 1, 4) or h0_bars.dtype != torch.int64:
        raise ValueError(f"h0_bars: expected int64 [{B}, {n - 1}, 4], got {describe(h0_bars)}")
    if not h0_bars.is_contiguous():
        raise ValueError("h0_bars: expected contiguous memory, got strides")
