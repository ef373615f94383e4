"""Compile every kernel ahead of time, without a GPU, and say what each takes.

`python tests/helpers/compile_kernels.py [80 90 100]` prints a table; with --json, what the tests
read. TRITON_INTERPRET must not be 1, for an interpreted kernel has nothing to compile.
"""

import contextlib
import io
import json
import re
import sys

import sass
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tsloss_fast._checks import MAX_POINTS
from tsloss_fast._engine.kernels import edge_lengths, persistence_terms
from tsloss_fast._engine.kernels.distances import direct, product
from tsloss_fast._engine.kernels.h0 import elder as h0_elder
from tsloss_fast._engine.kernels.h0 import large as h0_large
from tsloss_fast._engine.kernels.h0 import small as h0_small
from tsloss_fast._engine.kernels.launching import FUSING
from tsloss_fast._engine.kernels.scatter import differences as scatter_differences
from tsloss_fast._engine.kernels.scatter import edges as scatter
from tsloss_fast._engine.kernels.surrogate import launch as surrogate
from tsloss_fast._engine.kernels.surrogate import tiled as surrogate_tiled

ARCHITECTURES = (80, 90, 100)
# The ideas of kernels whose loops the tests look at: to take machine code apart costs a quarter
# second.
LOOPING = ("direct", "share", "product")
# What a launcher itself allocates or rounds up is divisible by 16 in every launch.
ALWAYS_DIVISIBLE = {"width", "centred", "norms", "doubtful", "partial", "mean"}
TRITON_NAMES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}


def widened():
    """Each dtype of points with that of its sums, and the names of both in Triton."""
    for dtype, name in TRITON_NAMES.items():
        total = torch.float64 if dtype == torch.float64 else torch.float32
        yield total, name, TRITON_NAMES[total]


def distance_cases():
    """The kernels of direct distances."""
    found = {}
    for total, name, wide in widened():
        tile, share = direct.direct_options(total), direct.sum_options(total)
        pointers = {"x": name, "D": wide}
        halves = {"x": name, "partial": wide}
        warps = {"num_warps": direct.WARPS[total]}
        found[f"direct-{name}"] = (direct._direct_kernel, pointers, tile, warps)
        found[f"share-{name}"] = (direct._share_kernel, halves, share, warps)
        found[f"join-{name}"] = (direct._join_kernel, pointers | halves, tile, warps)
    return found


def product_cases():
    """The kernels of distances by a product, which has one dtype whatever the points have."""
    found = {
        "product": (
            product._product_kernel,
            {"centred": "fp32", "norms": "fp32", "D": "fp32", "doubtful": "i8"},
            product.product_options(),
            product.LAUNCH,
        )
    }
    for total, name, wide in widened():
        if total == torch.float64:
            continue
        rows = {"x": name, "mean": wide, "centred": wide, "norms": wide}
        anew = {"x": name, "doubtful": "i8", "D": wide}
        size = {"BLOCK_ROW": product.BLOCK_ROW}
        mean = {"x": name, "mean": wide}
        found[f"mean-{name}"] = (product._mean_kernel, mean, product.MEAN_BLOCKS, {})
        found[f"centre-{name}"] = (product._centre_kernel, rows, size, {})
        found[f"anew-{name}"] = (product._anew_kernel, anew, product.anew_options(), {})
    return found


def gradient_cases():
    """The kernels of edge lengths, and of the gradients of edges and of all distances."""
    found = {}
    blocks = {"BLOCK_K": scatter.BLOCK_K, "BLOCK_D": scatter.BLOCK_D}
    for total, name, wide in widened():
        sums = {"x": name, "edges": "i64", "weights": wide, "out": wide}
        ends = sums | {"order": "i64", "starts": "i64"}
        for idea, kernel, pointers in (
            ("scatter", scatter._scatter_kernel, sums),
            ("scatter_sorted", scatter._scatter_sorted_kernel, ends),
        ):
            factors = {"grad": wide, "scales": "fp64"}
            without = blocks | dict.fromkeys(factors) | {"grad_b": 0}
            found[f"{idea}-{name}"] = (kernel, pointers, without, {})
            found[f"{idea}-factors-{name}"] = (kernel, pointers | factors, blocks, {})
        found[f"scatter_differences-{name}"] = (
            scatter_differences._scatter_differences_kernel,
            {"x": name, "weights": wide, "out": wide},
            scatter_differences.difference_options(),
            {},
        )
        if name == wide:
            terms = dict.fromkeys(("lengths", "loss", "h0_term", "h1_term", "weights"), name)
            kernel = persistence_terms._persistence_terms_kernel
            scaled = terms | {"scales": "fp64"}
            for form, power in {"": 2.0, "power-": 1.5}.items():
                options = persistence_terms.power_options(power)
                found[f"persistence_terms-{form}{name}"] = (kernel, scaled, options, {})
            unscaled = persistence_terms.power_options(2.0) | {"scales": None}
            found[f"persistence_terms-unscaled-{name}"] = (kernel, terms, unscaled, {})
        found[f"edge_lengths-{name}"] = (
            edge_lengths._edge_lengths_kernel,
            {"x": name, "edges": "i64", "lengths": wide},
            edge_lengths.edge_options(total),
            {},
        )
    return found


def h0_cases():
    """The kernels of H0, by the most points that a form is for."""
    found = {}
    for size in (16, 32, 64, 128, 256):
        options = h0_small.prim_options(size)
        pointers = {"D": "fp32", "bars": "i64"}
        warps = {"num_warps": options["WARPS"]}
        found[f"prim-{size}"] = (h0_small._prim_kernel, pointers, options, warps)
    for n in (512, 1024, 2048, MAX_POINTS):
        options = h0_large.boruvka_options(n)
        round_ = {"labels": "i32", "components": "i32"}
        if n in (512, MAX_POINTS):
            pointers = {"D": "fp32", **round_, "nearest": "i64", "shortest": "i64"}
            constants = {"ROWS": options["ROWS"], "COLS": options["COLS"]}
            found[f"nearest-{n}"] = (h0_large._nearest_kernel, pointers, constants, {})
        before = {"shortest": "i64", **round_, "heights": "i64", "parents": "i32"}
        after = {"labels_after": "i32", "components_after": "i32", "heights_after": "i64"}
        constants = {"BLOCK": options["BLOCK"], "ROUNDS": options["ROUNDS"]}
        warps = {"num_warps": h0_large.hook_warps(options["BLOCK"])}
        found[f"hook-{n}"] = (h0_large._hook_kernel, before | after, constants, warps)
        constants = h0_elder.deaths_options(n)
        pointers = {**round_, "order": "i64", "heights": "i64", "deaths": "i64"}
        warps = {"num_warps": h0_elder.deaths_warps(constants["BLOCK"])}
        found[f"deaths-{n}"] = (h0_elder._deaths_kernel, pointers, constants, warps)
    return found


def surrogate_cases():
    """The kernels of the surrogate loss, with the flags that leave nothing out."""
    found = {}
    flags = {"SCALE_BY_MEAN": True, "SELF_PAIRS": False, "DETACH_SCALES": False}
    one_warp = {"num_warps": surrogate_tiled.WARPS}
    for dtype, largest in surrogate.MAX_POINTS.items():
        name = TRITON_NAMES[dtype]
        results = dict.fromkeys(("loss", "h0_term", "h1_term", "weights"), name)
        for size in (size for size in surrogate.WARPS if size <= largest):
            found[f"surrogate-{size}-{name}"] = (
                surrogate._surrogate_kernel,
                {"D": name, **results},
                {**flags, "PITCH": 4, "SIZE": size},
                {"num_warps": surrogate.WARPS[size], **surrogate.COMPILER},
            )
        for n in (100, 1000):
            tiles = surrogate_tiled.pass_options(dtype, n)
            pairs = {"SCALE_BY_MEAN": True, "SELF_PAIRS": False, **tiles}
            scratch = {"D": name, "scratch": "fp64"}
            tiled = {
                "means": (surrogate_tiled._means_kernel, scratch, {}),
                "softmax": (surrogate_tiled._softmax_kernel, scratch, pairs),
                "shortfalls": (surrogate_tiled._shortfalls_kernel, scratch, pairs),
                "weights": (surrogate_tiled._weights_kernel, scratch | results, flags | tiles),
            }
            for idea, (kernel, pointers, constants) in tiled.items():
                if idea != "means":
                    found[f"{idea}-{n}-{name}"] = (kernel, pointers, constants, one_warp)
                elif n == 100:
                    sizes = {key: tiles[key] for key in ("PITCH", "ROWS", "COLUMNS")}
                    found[f"{idea}-{name}"] = (kernel, pointers, sizes, one_warp)
    return found


def cases():
    """Each kernel in each form it is launched in: name -> (kernel, types, constants, launch)."""
    distances = distance_cases() | product_cases() | gradient_cases()
    return distances | h0_cases() | surrogate_cases()


def source(kernel, pointers, constants, variant):
    """The kernel as a launch would hand it to the compiler, with its integers specialised.

    "strided": as little as can be; "wide": strides of 64 bits; "contiguous": inner strides of 1,
    all others divisible by 16; "ones": all of them 1.
    """
    names = kernel.arg_names
    floats = {param.name: param.annotation_type for param in kernel.params if param.annotation_type}
    known = {*pointers, *constants, *floats}
    integers = [name for name in names if name not in known]
    fixed = dict(constants)
    if variant == "ones":
        # A cloud of one point never reaches the kernels of H0 and of the losses.
        has_pairs = any(
            part in kernel.fn.__module__ for part in (".h0.", "surrogate", "persistence_terms")
        )
        never = {"width", "n"} if has_pairs else {"width"}
        fixed |= {name: 1 for name in integers if name not in never}
    if variant == "contiguous":
        innermost = {"stride_d", "stride_j", "x_d", "edges_end", "weights_k", "weights_j"}
        fixed |= {name: 1 for name in integers if name in innermost}
    types = {name: f"*{pointers[name]}" for name in pointers} | floats
    types |= {name: "constexpr" if name in fixed else "i32" for name in names if name not in types}
    if variant == "wide":
        types |= {name: "i64" for name in integers if name.startswith("stride")}
    divisible = set(ALWAYS_DIVISIBLE)
    if variant not in ("strided", "wide"):
        divisible |= {*pointers, *(integers if variant == "contiguous" else [])}
    attributes = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(names)
        if name in divisible and name not in fixed
    }
    return ASTSource(kernel, {name: types[name] for name in names}, fixed, attributes)


def resources(log):
    """Registers of a thread and bytes it spills, from the report of ptxas."""
    registers = int(re.search(r"Used (\d+) registers", log).group(1))
    stores, loads = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log).groups()
    return {"registers": registers, "spill_stores": int(stores), "spill_loads": int(loads)}


def compiled(name, variant, architecture):
    """One kernel compiled: its resources, and the instructions that the tests look at."""
    kernel, pointers, constants, launch = cases()[name]
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        binary = triton.compile(
            source(kernel, pointers, constants, variant),
            target=GPUTarget("cuda", architecture, 32),
            options=FUSING | launch,
        )
    ptx = binary.asm["ptx"]
    is_looked_at = name.split("-")[0] in LOOPING
    return {
        "name": name,
        "variant": variant,
        "architecture": architecture,
        **resources(log.getvalue()),
        "shared": binary.metadata.shared,
        "atomics": sorted(set(re.findall(r"\b(?:atom|red)\.global\.([\w.]+)", ptx))),
        "inexact": sorted(set(re.findall(r"\b\w+\.[\w.]*(?:approx|ftz|tf32)[\w.]*", ptx))),
        "ttir": binary.asm["ttir"],
        "loops": sass.innermost_loops(binary.asm["cubin"]) if is_looked_at else [],
    }


def forms(name, wanted=ARCHITECTURES):
    """The (variant, architecture) that a kernel is compiled for.

    The variants differ in the front of the compiler, the dtypes, sizes and architectures in its
    back, so not every pair is compiled; dtypes other than float32 for one architecture alone.
    """
    if name.endswith(("-fp16", "-bf16", "-fp64")):
        wanted = (wanted[len(wanted) // 2],)
    found = [("contiguous", architecture) for architecture in wanted]
    if name.endswith(("-fp32", "-64", "product", f"-{MAX_POINTS}")):
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
        f"{row['name']:<24} {row['variant']:<10} sm_{row['architecture']:<3} "
        f"{row['registers']:>3} registers, {row['spill_stores']:>3} + {row['spill_loads']:>3} "
        f"bytes of spill stores + loads, {row['shared']:>6} shared"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
