"""Small programs of PTX, written and run."""

import numpy as np

from tests.ptx.instructions import prepare
from tests.ptx.launch import launch
from tests.ptx.memory import GlobalMemory
from tests.ptx.parsing import parse

REGISTERS = """
    .reg .pred %p<16>;
    .reg .b16 %h<16>;
    .reg .b32 %r<64>;
    .reg .b64 %rd<64>;
"""
# The thread in %r0, its number among all threads in %r1, the parameters in %rd0 to %rd3.
PROLOGUE = """
    ld.param.b64 %rd0, [k_param_0];
    ld.param.b64 %rd1, [k_param_1];
    ld.param.b64 %rd2, [k_param_2];
    ld.param.b64 %rd3, [k_param_3];
    mov.u32 %r0, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mad.lo.s32 %r1, %r2, %r3, %r0;
"""


def program(body, threads=32):
    parameters = ", ".join(f".param .u64 k_param_{k}" for k in range(4))
    head = f".visible .entry k({parameters})\n.reqntid {threads}\n"
    text = f"{head}{{{REGISTERS}{PROLOGUE}{body}\nret;\n}}"
    return prepare(parse(text))


def run(body, *arrays, threads=32, grid=1, shared=0, **options):
    """Run a body on arrays, whose addresses are in %rd0 and on."""
    extents = [(array.ctypes.data, array.nbytes) for array in arrays]
    parameters = [array.ctypes.data for array in arrays] + [0] * (4 - len(arrays))
    memory = GlobalMemory(extents)
    outcome = launch(program(body, threads), grid, parameters, memory, shared, **options)
    memory.write_back()
    return outcome


WIDTHS = {"b16": ("%h", 2), "b32": ("%r", 4), "b64": ("%rd", 8)}


def address(into, base, width, index="%r1"):
    """The address of the thread's entry."""
    return f"mul.wide.u32 {into}, {index}, {width}; add.s64 {into}, {into}, {base};"


def apply(instruction, *sources, result, predicate=False):
    """The instruction on arrays of 32 entries, a NumPy array of the result's dtype.

    Sources are in {a}, {b}, {c} of the instruction, the result in {d}.
    """
    out = np.zeros(32, np.uint32 if predicate else result)
    body, names = [], {}
    for k, array in enumerate(sources):
        prefix, width = WIDTHS[f"b{8 * array.itemsize}"]
        names["abc"[k]] = f"{prefix}{10 + k}"
        body.append(
            address(f"%rd{10 + k}" if prefix != "%rd" else f"%rd{20 + k}", f"%rd{k}", width)
        )
        at = f"%rd{10 + k}" if prefix != "%rd" else f"%rd{20 + k}"
        body.append(f"ld.global.b{8 * width} {prefix}{10 + k}, [{at}];")
    prefix, width = WIDTHS[f"b{8 * out.itemsize}"]
    names["d"] = "%p1" if predicate else f"{prefix}30"
    body.append(instruction.format(**names) + ";")
    if predicate:
        body.append("selp.b32 %r30, 1, 0, %p1;")
    body.append(address("%rd40", f"%rd{len(sources)}", width))
    body.append(f"st.global.b{8 * width} [%rd40], {prefix}30;")
    run("\n".join(body), *[np.ascontiguousarray(source) for source in sources], out)
    return out.astype(bool) if predicate else out
