"""Compile every kernel ahead of time, without a GPU, and say what each takes.

`python tests/compile_kernels.py [80 90 100]` prints a table; with --json, what the tests read.
TRITON_INTERPRET must not be 1, for an interpreted kernel has nothing to compile.
"""

import contextlib
import io
import json
import re
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tsloss_fast.kernels import (
    distances,
    h0_elder,
    h0_large,
    h0_small,
    scatter,
    surrogate,
    surrogate_tiled,
)
from tsloss_fast.validation import MAX_POINTS

ARCHITECTURES = (80, 90, 100)
TRITON_NAMES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}


def cases():
    """Each kernel in each form it is launched in: name -> (kernel, types, constants, warps)."""
    found = {}
    for dtype, name in TRITON_NAMES.items():
        total = torch.float64 if dtype == torch.float64 else torch.float32
        wide = TRITON_NAMES[total]
        found[f"distances-{name}"] = (
            distances._distances_kernel,
            {"x": name, "D": wide},
            distances.tile_options(total),
            4,
        )
        found[f"scatter-{name}"] = (
            scatter._scatter_kernel,
            {"x": name, "edges": "i64", "weights": wide, "out": wide},
            {"BLOCK_K": scatter.BLOCK_K, "BLOCK_D": scatter.BLOCK_D},
            4,
        )
    return found | h0_cases() | surrogate_cases()


def h0_cases():
    """The kernels of H0, by the most points that a form is for."""
    found = {}
    for size in (16, 32, 64, 128, 256):
        options = h0_small.tile_options(size)
        scratch = {"labels": "i32", "parents": "i32", "shortest": "i64"}
        pointers = {"D": "fp32", **scratch, "tree": "i64"}
        found[f"boruvka-{size}"] = (h0_small._boruvka_kernel, pointers, options, 4)
        pointers = {"tree": "i64", "bars": "i64"}
        found[f"elder-{size}"] = (h0_small._elder_kernel, pointers, {"SIZE": options["SIZE"]}, 1)
    for n in (512, 1024, 2048, MAX_POINTS):
        options = h0_large.tile_options(n)
        round_ = {"labels": "i32", "components": "i32"}
        if n in (512, MAX_POINTS):
            pointers = {"D": "fp32", **round_, "nearest": "i64", "shortest": "i64"}
            constants = {"ROWS": options["ROWS"], "COLS": options["COLS"]}
            found[f"nearest-{n}"] = (h0_large._nearest_kernel, pointers, constants, 4)
        before = {"shortest": "i64", **round_, "heights": "i64", "parents": "i32"}
        after = {"labels_after": "i32", "components_after": "i32", "heights_after": "i64"}
        constants = {"BLOCK": options["BLOCK"], "ROUNDS": options["ROUNDS"]}
        warps = h0_large.hook_warps(options["BLOCK"])
        found[f"hook-{n}"] = (h0_large._hook_kernel, before | after, constants, warps)
        constants = h0_elder.tile_options(n)
        pointers = {**round_, "order": "i64", "heights": "i64", "deaths": "i64"}
        warps = h0_elder.deaths_warps(constants["BLOCK"])
        found[f"deaths-{n}"] = (h0_elder._deaths_kernel, pointers, constants, warps)
    return found


def surrogate_cases():
    """The kernels of the surrogate loss, with the flags that leave nothing out."""
    found = {}
    flags = {"SCALE_BY_MEAN": True, "SELF_PAIRS": False, "DETACH_SCALES": False}
    tiles = {"ROWS": surrogate_tiled.ROWS, "COLUMNS": surrogate_tiled.COLUMNS}
    pairs = {"SELF_PAIRS": False, **tiles}
    by_mean = {"SCALE_BY_MEAN": True, **pairs}
    tiled = {
        "extents": (surrogate_tiled._extents_kernel, pairs),
        "softmax": (surrogate_tiled._softmax_kernel, by_mean),
        "shortfalls": (surrogate_tiled._shortfalls_kernel, by_mean),
        "slopes": (surrogate_tiled._slopes_kernel, flags | tiles),
    }
    for dtype, largest in surrogate.MAX_POINTS.items():
        name = TRITON_NAMES[dtype]
        results = dict.fromkeys(("loss", "h0_term", "h1_term", "weights"), name)
        for size in (size for size in surrogate.WARPS if size <= largest):
            found[f"surrogate-{size}-{name}"] = (
                surrogate._surrogate_kernel,
                {"D": name, **results},
                {**flags, "SIZE": size},
                surrogate.WARPS[size],
            )
        scratch = {"D": name, "rows": "fp64", "totals": "fp64"}
        for idea, (kernel, constants) in tiled.items():
            pointers = scratch | results if idea == "slopes" else scratch
            pointers = {key: pointers[key] for key in kernel.arg_names if key in pointers}
            found[f"{idea}-{name}"] = (kernel, pointers, constants, 4)
    for first, last in surrogate_tiled.TOTALS:
        found[f"totals-{first}"] = (
            surrogate_tiled._totals_kernel,
            {"rows": "fp64", "totals": "fp64"},
            {"FIRST": first, "COUNT": last - first + 1, "BLOCK": surrogate_tiled.BLOCK},
            4,
        )
    return found


def source(kernel, pointers, constants, variant):
    """The kernel as a launch would hand it to the compiler, with its integers specialised.

    "strided": not at all; "wide": strides of 64 bits; "contiguous": inner strides of 1, all others
    divisible by 16; "ones": all of them 1.
    """
    names = kernel.arg_names
    floats = {param.name: param.annotation_type for param in kernel.params if param.annotation_type}
    known = {*pointers, *constants, *floats}
    integers = [name for name in names if name not in known]
    fixed = dict(constants)
    if variant == "ones":
        # A cloud of one point never reaches the kernels of H0 and of the surrogate.
        has_pairs = ".h0_" in kernel.fn.__module__ or "surrogate" in kernel.fn.__module__
        fixed |= {name: 1 for name in integers if not (has_pairs and name == "n")}
    if variant == "contiguous":
        innermost = {"stride_d", "stride_j", "x_d", "edges_end", "weights_k"}
        fixed |= {name: 1 for name in integers if name in innermost}
    types = {name: f"*{pointers[name]}" for name in pointers} | floats
    types |= {name: "constexpr" if name in fixed else "i32" for name in names if name not in types}
    divisible = [*pointers, *(integers if variant == "contiguous" else [])]
    if variant == "wide":
        types |= {name: "i64" for name in integers if name.startswith("stride")}
    attributes = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(names)
        if name in divisible and name not in fixed and variant not in ("strided", "wide")
    }
    return ASTSource(kernel, {name: types[name] for name in names}, fixed, attributes)


def resources(log):
    """Registers of a thread and bytes it spills, from the report of ptxas."""
    registers = int(re.search(r"Used (\d+) registers", log).group(1))
    stores, loads = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log).groups()
    return {"registers": registers, "spill_stores": int(stores), "spill_loads": int(loads)}


def compiled(name, variant, architecture):
    """One kernel compiled: its resources, and the instructions that the tests look at."""
    kernel, pointers, constants, warps = cases()[name]
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        binary = triton.compile(
            source(kernel, pointers, constants, variant),
            target=GPUTarget("cuda", architecture, 32),
            options={"num_warps": warps},
        )
    ptx = binary.asm["ptx"]
    return {
        "name": name,
        "variant": variant,
        "architecture": architecture,
        **resources(log.getvalue()),
        "atomics": sorted(set(re.findall(r"\b(?:atom|red)\.global\.([\w.]+)", ptx))),
        "inexact": sorted(set(re.findall(r"\b\w+\.[\w.]*(?:approx|ftz|tf32)[\w.]*", ptx))),
        "ttir": binary.asm["ttir"],
    }


def forms(name, wanted=ARCHITECTURES):
    """The (variant, architecture) that a kernel is compiled for.

    The variants differ in the front of the compiler, the dtypes, sizes and architectures in its
    back, so not every pair is compiled.
    """
    found = [("contiguous", architecture) for architecture in wanted]
    if name.endswith(("-fp32", "-64", f"-{MAX_POINTS}")):
        found += [("strided", wanted[0]), ("ones", wanted[0])]
    if name == f"nearest-{MAX_POINTS}":
        found.append(("wide", wanted[0]))
    return found


def main(arguments):
    triton.knobs.nvidia.dump_ptxas_log = True
    triton.knobs.compilation.always_compile = True
    as_json = "--json" in arguments
    wanted = tuple(int(a) for a in arguments if a != "--json") or ARCHITECTURES
    rows = []
    for name in cases():
        for variant, architecture in forms(name, wanted):
            rows.append(compiled(name, variant, architecture))
            if not as_json:
                print(line(rows[-1]), flush=True)
    if as_json:
        json.dump(rows, sys.stdout)


def line(row):
    """One row of the table."""
    return (
        f"{row['name']:<18} {row['variant']:<10} sm_{row['architecture']:<3} "
        f"{row['registers']:>3} registers, {row['spill_stores']:>3} + {row['spill_loads']:>3} "
        "bytes of spill stores + loads"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
