"""The compiled kernels of H1, executed by the interpreter of PTX: bars, bounds, races, barriers."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="the interpreter's driver needs Triton")

from tests.engine.cuda_h1 import executed, twin
from tests.engine.cuda_h1.examples import KINDS, batch, wheel
from tests.ptx.mutations import mutations
from tsloss_fast import _C
from tsloss_fast._engine.cuda_h1 import compiler, sizes
from tsloss_fast._engine.cuda_h1 import launch as h1

try:
    compiler.nvrtc_version()
except compiler.CompileError as error:
    pytest.skip(str(error), allow_module_level=True)

# Room for every generator that matrices far from a metric have.
AMPLE = sizes.Room(generators=384, annotation_words=1 << 16)


def bars_of(D, room=None):
    h0 = torch.from_numpy(_C.rips(D.numpy(), max_dim=0)[0].bars.copy())
    return h1.h1_bars(D, h0, room)


def assert_bars_are_the_engines(D, room=None):
    with executed.interpreted() as launches:
        bars, count, flags = bars_of(D, room)
    assert executed.races(launches) == []
    assert flags.tolist() == [0] * len(D)
    for b, cloud in enumerate(D):
        found = [tuple(bar) for bar in bars[b].tolist()]
        expected = twin.engine_bars(cloud)
        assert found == expected + [(-1,) * 4] * (len(found) - len(expected))
        assert count[b] == len(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 12, 26])
def test_bars_without_races_or_accesses_out_of_bounds(kind, n):
    assert_bars_are_the_engines(batch(kind, n, 2), AMPLE)


# Larger clouds are for `make test-ptx`.
LARGE = pytest.mark.ptx


@pytest.mark.parametrize(
    ("kind", "n"),
    [
        *[("high", 40), ("ties", 33), ("circle", 70)],
        *[pytest.param("grid", 100, marks=LARGE), pytest.param("high", 128, marks=LARGE)],
    ],
)
def test_wider_forms(kind, n):
    """Two and four words of vertices, and 16 and 32 warps a cloud."""
    assert_bars_are_the_engines(batch(kind, n, 1), sizes.Room(1024, 1 << 18))


@pytest.mark.parametrize(
    ("n", "levels"),
    [(257, 4), pytest.param(300, 10**4, marks=LARGE), pytest.param(512, 4, marks=LARGE)],
)
def test_the_form_of_more_than_256_points(n, levels):
    """Sixteen words of vertices, and the relations of the dead in global memory."""
    form = sizes.form_for(n, sizes.room_for(n), executed.SHARED)
    assert (form.words, form.is_shared) == (16, False)
    assert_bars_are_the_engines(wheel(n, levels)[None])


@pytest.mark.parametrize("kind", ["high", "ties"])
def test_relations_in_global_memory(kind, monkeypatch):
    monkeypatch.setattr(executed, "SHARED", 0)
    assert_bars_are_the_engines(batch(kind, 20, 2), AMPLE)


def test_every_barrier_is_missed():
    """Each barrier dropped and each atomic taken apart, in clouds that use all of them.

    Two atomics of one line are reached by several warps in larger clouds alone.
    """
    with executed.interpreted(record=True) as launches:
        for kind, n in (("ties", 24), ("high", 30)):
            bars_of(batch(kind, n, 1), AMPLE)
    found = mutations(launches)
    barriers = [mutation for mutation in found if mutation.text.startswith("bar")]
    assert len(barriers) > 20
    assert [mutation for mutation in barriers if not mutation.noticed] == []
    missed = [one for one in found if one.executed and not one.noticed]
    assert {(one.kernel, one.text.split()[0]) for one in missed} <= {
        ("find_classes", "atom.shared.add.u32")
    }
    assert len(missed) <= 2
