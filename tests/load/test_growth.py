"""Thousands of steps take no more memory than hundreds.

STEPS=10000 pytest -s tests/load/test_growth.py
"""

import ctypes
import gc
import os
from pathlib import Path

import pytest
import torch

import tsloss_fast as tsl

STEPS = int(os.environ.get("STEPS", "500"))
STATM = Path("/proc/self/statm")

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="needs /proc")


def resident():
    """MiB of this process."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Mallinfo(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = (("numbers", ctypes.c_size_t * 10),)


def allocated():
    """MiB that malloc has given out, without its own free pages; 0 where it does not say."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return 0
    ask.restype = Mallinfo
    gc.collect()
    numbers = ask().numbers
    mapped, used = numbers[4], numbers[7]
    return (mapped + used) / 2**20


def train(steps):
    """Steps that take all ways through the engine: losses, diagrams, cycles, unequal clouds."""
    generator = torch.Generator().manual_seed(0)
    losses = tsl.TSLoss(), tsl.TSLoss("surrogate"), tsl.TSLoss(metric="cosine")
    prompt = torch.randn(24, 32, generator=generator).requires_grad_()
    optimizer = torch.optim.AdamW([prompt], lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        part = prompt[: 20 + step % 5]
        loss = sum(each(part) for each in losses)
        _, h1 = tsl.rips_persistence(part)
        loss = loss + h1.lifetimes.sum() + tsl.TSLoss()([prompt[:7], prompt[7 + step % 3 :]])
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            tsl.representative_cycles(part.detach())
        if step % 50 == 0:
            # What every caller is told is an error leaves nothing behind either.
            with pytest.raises(ValueError, match="x: "):
                tsl.rips_persistence(torch.full((3, 2), torch.nan))


def test_memory_does_not_grow_with_the_steps():
    train(200)
    given, objects = allocated(), len(gc.get_objects())
    train(STEPS // 2)
    # Until here malloc finds how many pages it needs between the blocks: some MiB, once.
    before = resident()
    train(STEPS // 2)
    growth, leaked, more = resident() - before, allocated() - given, len(gc.get_objects()) - objects
    print(f"{STEPS} steps: {leaked:.3f} MiB and {more} objects more; second half: {growth:.2f} MiB")
    # A leak of 100 bytes a step is 1 MiB in 10,000.
    assert growth < 1
    assert leaked < 0.1
    assert more < 100
