"""Every kernel compiled ahead of time, without a GPU: what the interpreter cannot see."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton")

import compile_kernels

import tsloss_fast._engine.kernels
from tsloss_fast._engine.kernels.distances import direct, product

# Bytes of registers that a thread may spill to memory, each way.
MAX_SPILLED = 32
# Bytes of shared memory that a program may take on sm_86 and sm_89, the least of all since sm_80.
MAX_SHARED = 99 * 1024

# Kernels with an atomic operation, which is exact in any order.
TAKE_A_MINIMUM = {"nearest", "deaths"}

# What each kernel of H0 hands from one of its threads to another through memory, and by how many
# barriers.
SCRATCH = {
    "prim": ({"%bars"}, 4),
    "nearest": ({"%nearest"}, 1),
    "hook": ({"%parents", "%shortest"}, 4),
}

CASES = [(name, *form) for name in compile_kernels.cases() for form in compile_kernels.forms(name)]


def run(arguments, cache):
    """Python without the interpreter of Triton, which must be settled before Triton is imported."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture(scope="session")
def binaries(tmp_path_factory):
    """What the compiler said of each case."""
    done = run([compile_kernels.__file__, "--json"], tmp_path_factory.mktemp("triton"))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    return {(row["name"], row["variant"], row["architecture"]): row for row in rows}


def test_every_kernel_is_compiled(binaries):
    sources = Path(tsloss_fast._engine.kernels.__file__).parent.rglob("*.py")
    defined = re.findall(r"^def _(\w+_kernel)\(", "".join(p.read_text() for p in sources), re.M)
    compiled = {kernel.__name__ for kernel, *_ in compile_kernels.cases().values()}
    assert compiled == {f"_{name}" for name in defined}
    assert sorted(binaries) == sorted(CASES)


def test_registers_and_spills(binaries, record_property):
    beyond = []
    for row in binaries.values():
        line = compile_kernels.line(row)
        record_property("kernel", line)
        spilled = max(row["spill_stores"], row["spill_loads"])
        within = spilled <= MAX_SPILLED and row["shared"] <= MAX_SHARED
        if not (within and 0 < row["registers"] <= 255):
            beyond.append(line)
    assert beyond == []


# Registers of a thread on sm_90 with Triton 3.9, contiguous tensors; with 5 % for other versions.
REGISTERS = {
    "prim-32": 39, "prim-64": 50, "prim-128": 80, "prim-256": 72,
    "nearest-512": 80, "hook-512": 32, "deaths-512": 64,
    "share-fp32": 156, "join-fp32": 146, "direct-fp32": 168,
    "surrogate-32-fp32": 80, "surrogate-64-fp32": 88,
    "softmax-100-fp32": 62, "shortfalls-100-fp32": 128, "weights-100-fp32": 64,
    "persistence_terms-fp32": 142, "scatter-fp32": 61, "scatter-factors-fp32": 61,
}  # fmt: skip


@pytest.mark.parametrize("name", REGISTERS)
def test_registers_stay_as_few(binaries, name):
    row = binaries[name, "contiguous", 90]
    assert row["registers"] <= 1.05 * REGISTERS[name]
    assert (row["spill_stores"], row["spill_loads"]) == (0, 0)


def test_no_float_is_added_atomically(binaries):
    for (name, *_), row in binaries.items():
        expected = ["gpu.relaxed.min.s64"] if name.split("-")[0] in TAKE_A_MINIMUM else []
        assert row["atomics"] == expected, name


# The exp of float32, whose error the launcher's docstring states. All others are parts of CUDA's
# own log and exp, right to a unit in the last place, where they meet no subnormal numbers.
SURROGATE_INEXACT = {
    "fp32": {"ex2.approx.f32", "fma.rn.ftz.f32"},
    "fp64": {"abs.ftz.f32", "rcp.approx.ftz.f64"},
}


def test_no_arithmetic_is_approximate(binaries):
    for (name, *_), row in binaries.items():
        idea, dtype = name.split("-")[0], name.split("-")[-1]
        exponentials = idea in {"surrogate", "softmax", "shortfalls", "weights"}
        allowed = SURROGATE_INEXACT[dtype] if exponentials else set()
        if name.startswith("persistence_terms-power"):
            allowed = SURROGATE_INEXACT["fp64"]  # exp and log of powers other than 2
        inexact = {word for word in row["inexact"] if name != "product" or "tf32" not in word}
        assert inexact <= allowed, name


def test_a_step_of_the_product_is_short(binaries):
    """Triton's own three-term product also keeps NaN apart in every sum: 400 instructions."""
    step = binaries["product", "contiguous", 90]["loops"][0]
    assert step["HGMMA"] == 3 * product.BLOCK_K / 8
    assert sum(step.values()) <= 230


@pytest.mark.parametrize(
    ("name", "variant", "architecture", "most"),
    [
        ("share-fp32", "contiguous", 90, 575),
        ("direct-fp32", "contiguous", 90, 580),
        ("direct-fp32", "strided", 80, 720),
        ("share-bf16", "contiguous", 90, 670),
        ("share-fp64", "contiguous", 90, 190),
    ],
)
def test_a_step_of_a_distance_is_two_instructions_a_coordinate(
    binaries, name, variant, architecture, most
):
    """A thread's tile takes 4 coordinates a step; what is beyond two instructions each is counted.

    Triton's default layout deals the pairs of a tile out to the registers, or all this is undone.
    """
    step = binaries[name, variant, architecture]["loops"][0]
    wide = name.endswith("fp64")
    held = direct.TILES[torch.float64 if wide else torch.float32]["HELD"]
    adds, fmas = ("DADD", "DFMA") if wide else ("FADD", "FFMA")
    assert step[adds] == step[fmas] == 4 * held**2
    assert "SHFL" not in step
    assert sum(step.values()) <= most


def test_the_product_rounds_to_tf32_and_sums_its_steps_outside_the_tensor_cores(binaries):
    """The bound on its error rests on both."""
    for (name, *_), row in binaries.items():
        if name == "product":
            assert "tensor<64x64xf32>" in row["ttir"]
            dots = re.findall(
                r"(%\w+) = tt\.dot %\w+, %\w+, (%\w+), inputPrecision = (\w+)", row["ttir"]
            )
            zeros = re.findall(r"(%\w+) = arith\.constant dense<0\.0+e\+00>", row["ttir"])
            (small, first, _), (smaller, second, _), (_, third, _) = dots
            assert first in zeros
            assert (second, third) == (small, smaller)
            assert {precision for *_, precision in dots} == {"tf32"}
            # Rounded to nearest by integers: half a unit added, 13 bits masked off.
            assert "dense<4096> : tensor<64x16xi32>" in row["ttir"]
            assert "dense<-8192> : tensor<64x16xi32>" in row["ttir"]


def unrolled(ttir):
    """The lines with the body of each loop twice, for a loop's end comes before its start."""
    bodies, opened = [[]], []
    for line in ttir.splitlines():
        if line.strip().startswith("}"):
            body = bodies.pop()
            bodies[-1] += body * (2 if opened.pop() else 1)
        bodies[-1].append(line)
        if line.endswith("{"):
            bodies.append([])
            opened.append("scf.for" in line)
    assert len(bodies) == 1
    return bodies[0]


def scratch_hazards(ttir):
    """Arrays with two accesses, one of them a store, and no barrier between; and all arrays seen.

    The interpreter runs all threads in step, so a missing barrier never shows there.
    """
    base, pending, hazards, seen = {}, {}, set(), set()
    for line in unrolled(ttir):
        if re.search(r"\bbarrier\b", line):
            pending = {}
        if made := re.match(r"\s*(%\w+) = tt\.(?:splat|addptr) (%\w+)", line):
            base[made[1]] = made[2]
        if access := re.search(r"tt\.(load|store|atomic_rmw) (?:\w+, )*(%\w+)", line):
            kind, pointer = access.groups()
            while pointer in base:
                pointer = base[pointer]
            before = pending.setdefault(pointer, set())
            # Loads do not disturb each other, nor do atomics, nor stores, which all go to slot v.
            if before - {kind}:
                hazards.add(pointer)
            before.add(kind)
            seen.add(pointer)
    return hazards, seen


def test_scratch_is_fenced(binaries):
    for (name, *_), row in binaries.items():
        hazards, seen = scratch_hazards(row["ttir"])
        # The check does not tell the values of a row apart: what these load, they never store.
        apart = {"%scratch"} if name.split("-")[0] in {"softmax", "shortfalls"} else set()
        assert hazards <= apart, name
        scratch, _ = SCRATCH.get(name.split("-")[0], (set(), 0))
        assert scratch <= seen, name


@pytest.mark.parametrize("name", ["prim-64", "nearest-512", "hook-65535"])
def test_every_barrier_is_needed(binaries, name):
    """Without any one of them there is a hazard, which also shows that the check sees them."""
    lines = binaries[name, "contiguous", 80]["ttir"].splitlines()
    barriers = [k for k, line in enumerate(lines) if re.search(r"\bbarrier\b", line)]
    assert len(barriers) == SCRATCH[name.split("-")[0]][1]
    for k in barriers:
        hazards, _ = scratch_hazards("\n".join(lines[:k] + lines[k + 1 :]))
        assert hazards, lines[k]


def test_the_compiler_refuses_cpu_tensors(tmp_path):
    code = """
import torch
from tsloss_fast._engine.kernels import distances, edge_lengths, h0, scatter, surrogate

edges = torch.zeros(1, 3, 2, dtype=torch.int64)
calls = [
    lambda: distances.pairwise_distances(torch.zeros(1, 3, 3)),
    lambda: h0.h0_critical_edges(torch.zeros(1, 3, 3)),
    lambda: scatter.scatter_edges(torch.zeros(1, 3, 3), edges, torch.zeros(1, 3)),
    lambda: surrogate.surrogate_terms(torch.zeros(1, 3, 3), *[1.0] * 6, *[False] * 3),
    lambda: edge_lengths.edge_lengths(torch.zeros(1, 3, 3), edges),
    lambda: scatter.scatter_differences(torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)),
]
for call in calls:
    try:
        call()
    except ValueError as error:
        print(error)
"""
    done = run(["-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    refusal = "expected a CUDA tensor, got one on cpu"
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == [
        f"x: {refusal}",
        f"D: {refusal}",
        f"x: {refusal}",
        f"D: {refusal}",
        f"x: {refusal}",
        f"x: {refusal}",
    ]
