"""Accesses out of bounds and races, planted: each is reported, and its mended form is not."""

import numpy as np
import pytest

from tests.ptx.faults import Fault
from tests.ptx.memory import GlobalMemory, merged
from tests.ptx.tests.writing import address, run

ENTRY = address("%rd10", "%rd0", 4)


def races(body, *arrays, **options):
    return sorted({str(race).split(":")[0] for race in run(body, *arrays, **options).races})


def zeros(count=64):
    return np.zeros(count, np.uint32)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ld.global.b32 %r10, [%rd10+4]", "bytes behind the end"),
        ("ld.global.b32 %r10, [%rd10+-4]", "global access"),
        ("st.global.b32 [%rd10+4], %r0", "bytes behind the end"),
        ("st.global.b32 [%rd10+2], %r0", "4 does not divide"),
        ("ld.global.v2.b32 {%r10, %r11}, [%rd10+4]", "8 does not divide"),
        ("red.global.gpu.relaxed.add.u32 [%rd10+4], %r0", "bytes behind the end"),
        ("ld.shared.b32 %r10, [%r0+64]", "shared access up to byte"),
        ("st.shared.b64 [%r0+64], %rd10", "shared access up to byte"),
        ("cp.async.ca.shared.global [%r5], [%rd10+4], 4", "bytes behind the end"),
    ],
)
def test_accesses_out_of_bounds_are_faults(text, what):
    # Both neighbours are there, so that only the bounds are in the way.
    memory = np.zeros(96, np.uint32)
    inner = memory[32:64]
    with pytest.raises(Fault, match=what) as fault:
        run(f"mov.b32 %r5, 0; {ENTRY} {text};", inner, shared=64)
    assert text.split()[0] in str(fault.value)


def test_a_guard_keeps_lanes_from_memory():
    x = zeros(16)
    run(f"{ENTRY} setp.lt.u32 %p1, %r0, 16; @%p1 st.global.b32 [%rd10], %r0;", x)
    assert np.array_equal(x, np.arange(16))


def test_overlapping_extents_are_one_region():
    assert merged([(100, 8), (96, 8), (104, 4), (0, 0), (108, 4)]) == [(96, 12), (108, 4)]
    x = zeros(8)
    base = x.ctypes.data
    memory = GlobalMemory([(base, 16), (base + 8, 16)])
    at = memory.offsets(np.array([base + 20], np.uint64), 4, np.zeros(1, int))
    memory.store(at, np.array([7], np.uint32))
    copy = memory.copy()
    copy.store(at, np.array([9], np.uint32))
    assert (x[5], memory.load(at, 4)[0], copy.load(at, 4)[0]) == (0, 7, 9)
    memory.write_back()
    assert x[5] == 7


EXCHANGE = """
mul.lo.u32 %r10, %r0, 4;
{store} [{mine}], %r0;
{barrier}
xor.b32 %r11, %r0, {other};
{other_address}
{load} %r12, [{theirs}];
"""


def exchange(space, barrier, other):
    """Each thread stores its number, and loads that of another."""
    if space == "shared":
        names = {"mine": "%r10", "theirs": "%r13", "other_address": "mul.lo.u32 %r13, %r11, 4;"}
    else:
        other_address = address("%rd11", "%rd0", 4, "%r11")
        names = {"mine": "%rd10", "theirs": "%rd11", "other_address": other_address}
    text = EXCHANGE.format(
        store=f"st.{space}.b32", load=f"ld.{space}.b32", barrier=barrier, other=other, **names
    )
    return f"{ENTRY} {text} {address('%rd12', '%rd1', 4)} st.global.b32 [%rd12], %r12;"


@pytest.mark.parametrize("space", ["shared", "global"])
@pytest.mark.parametrize("other", [1, 32])
def test_a_missing_barrier_is_a_race(space, other):
    scope = "between lanes" if other == 1 else "between warps"
    out = zeros()
    body = exchange(space, "bar.sync 0;", other)
    assert races(body, zeros(), out, threads=64, shared=256) == []
    assert np.array_equal(out, np.arange(64) ^ other)
    body = exchange(space, "", other)
    assert scope in races(body, zeros(), out, threads=64, shared=256)
    # A barrier of the warp is enough for the lanes of one warp alone.
    body = exchange(space, "bar.warp.sync -1;", other)
    found = races(body, zeros(), out, threads=64, shared=256)
    assert found == ([] if other == 1 else ["between warps"])


def test_a_load_before_anothers_store_is_a_race():
    body = f"""{ENTRY} xor.b32 %r11, %r0, 32; {address("%rd11", "%rd0", 4, "%r11")}
    ld.global.b32 %r12, [%rd11]; {{barrier}} st.global.b32 [%rd10], %r0;"""
    assert races(body.format(barrier="bar.sync 0;"), zeros(), threads=64) == []
    assert races(body.format(barrier=""), zeros(), threads=64) == ["between warps"]


def test_the_barrier_of_one_side_of_a_loop_is_not_enough():
    """The next step's store meets the load of the step before."""
    body = f"""mov.b32 %r20, 0;
    LOOP: {{}}
    mul.lo.u32 %r10, %r0, 4; add.s32 %r21, %r20, %r0; st.shared.b32 [%r10], %r21;
    bar.sync 0;
    xor.b32 %r11, %r10, 128; ld.shared.b32 %r12, [%r11];
    add.s32 %r20, %r20, 1; setp.lt.s32 %p1, %r20, 3; @%p1 bra LOOP;
    {ENTRY} st.global.b32 [%rd10], %r12;"""
    options = {"threads": 64, "shared": 256}
    assert races(body.format("bar.sync 0;"), zeros(), **options) == []
    assert races(body.format(""), zeros(), **options) == ["between warps"]


def test_several_stores_of_one_value_are_no_race_and_of_two_are():
    one = "mov.b32 %r10, 5; st.global.b32 [%rd0], %r10;"
    assert races(one, zeros(1), threads=64, grid=3) == []
    two = "st.global.b32 [%rd0], %r0;"
    assert races(two, zeros(1), threads=64) == ["between lanes", "between warps"]
    assert races("st.global.b32 [%rd0], %r2;", zeros(1), grid=3) == ["between programs"]


def test_programs_that_touch_one_word_race_unless_all_are_atomic():
    x = zeros(1)
    add = "red.global.gpu.relaxed.add.u32 [%rd0], 1;"
    assert races(add, x, threads=64, grid=5, lanes=128) == []
    assert x[0] == 320
    assert races(add + "ld.global.b32 %r10, [%rd0];", zeros(1), grid=2) != []
    neighbour = f"{ENTRY} xor.b32 %r11, %r1, 32; {address('%rd11', '%rd0', 4, '%r11')}"
    body = f"{neighbour} st.global.b32 [%rd10], %r1; bar.sync 0; ld.global.b32 %r12, [%rd11];"
    for lanes in (32, 64):
        assert races(body, zeros(), grid=2, lanes=lanes) == ["between programs"]


def test_neighbouring_bytes_of_two_programs_are_no_race():
    body = "cvt.u64.u32 %rd10, %r2; add.s64 %rd10, %rd10, %rd0; st.global.b8 [%rd10], {};"
    x = np.zeros(8, np.uint8)
    store = "cvt.u16.u32 %h1, %r2;"
    assert races(store + body.format("%h1"), x, grid=8) == []
    assert x.tolist() == list(range(8))
    same_byte = store + "st.global.b8 [%rd0], %h1;"
    assert races(same_byte, x, grid=8) == ["between programs"]


def test_atomics_give_each_lane_what_was_there():
    x, out = np.array([50], np.uint32), zeros(32)
    body = f"""atom.global.gpu.relaxed.add.u32 %r10, [%rd0], 2;
    {address("%rd11", "%rd1", 4)} st.global.b32 [%rd11], %r10;"""
    assert races(body, x, out) == []
    assert sorted(out.tolist()) == list(range(50, 114, 2))
    x = np.array([5], np.int64)
    run("cvt.s64.s32 %rd10, %r0; red.global.gpu.relaxed.min.s64 [%rd0], %rd10;", x)
    assert x[0] == 0
    x = np.array([5], np.uint32)
    run("atom.global.gpu.relaxed.exch.b32 %r10, [%rd0], %r0;", x)
    assert x[0] == 31


COPY = """
mul.lo.u32 %r10, %r0, 4;
cp.async.ca.shared.global [%r10], [%rd10], 4;
cp.async.commit_group;
cp.async.commit_group;
cp.async.wait_group {left};
{barrier}
xor.b32 %r11, %r10, 128;
ld.shared.b32 %r12, [%r11];
"""


def test_a_copy_is_there_only_after_its_wait_and_a_barrier():
    x, out = np.arange(64, dtype=np.uint32), zeros()
    end = f"{address('%rd12', '%rd1', 4)} st.global.b32 [%rd12], %r12;"

    def found(left, barrier):
        body = ENTRY + COPY.format(left=left, barrier=barrier) + end
        return races(body, x, out, threads=64, shared=256)

    assert found(1, "bar.sync 0;") == []
    assert np.array_equal(out, x ^ 32)
    assert found(2, "bar.sync 0;") == []
    assert (out == 0xABABABAB).all()
    assert found(1, "") == ["between warps"]


def test_lanes_part_and_meet():
    """Each lane goes round as often as its number says, and the warp adds up afterwards."""
    out = zeros(64)
    body = f"""mov.b32 %r10, 0; mov.b32 %r11, 0;
    LOOP: setp.ge.u32 %p1, %r10, %r0; @%p1 bra DONE;
    add.s32 %r11, %r11, %r10; add.s32 %r10, %r10, 1; bra.uni LOOP;
    DONE: redux.sync.add.s32 %r12, %r11, -1; bar.sync 0;
    {ENTRY} st.global.b32 [%rd10], %r12;"""
    assert races(body, out, threads=64) == []
    sums = [sum(sum(range(k)) for k in range(first, first + 32)) for first in (0, 32)]
    assert out.tolist() == [sums[0]] * 32 + [sums[1]] * 32


def test_a_barrier_that_not_all_lanes_reach_is_a_fault():
    parted = "setp.lt.u32 %p1, %r0, 40; @%p1 bra A; bar.sync 0; bra.uni B; A: bar.sync 0; B: {}"
    with pytest.raises(Fault, match="different barriers"):
        run(parted.format(""), threads=64)
    with pytest.raises(Fault, match="only some lanes"):
        run("setp.lt.u32 %p1, %r0, 40; @%p1 bar.sync 0;", threads=64)


def test_lanes_that_have_ended_are_not_waited_for():
    out = zeros(64)
    body = f"setp.lt.u32 %p1, %r0, 32; @%p1 ret; bar.sync 0; {ENTRY} st.global.b32 [%rd10], %r0;"
    assert races(body, out, threads=64) == []
    assert out[:32].sum() == 0
    assert np.array_equal(out[32:], np.arange(32, 64))


def test_a_shuffle_from_a_lane_that_is_not_there_is_a_fault():
    with pytest.raises(Fault, match="does not take part"):
        run("setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.idx.b32 %r10, %r0, 20, 31, -1;")
