"""The machine code that a kernel is compiled to, taken apart by the disassembler Triton brings."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import triton

NVDISASM = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"


def innermost_loops(cubin):
    """How often each instruction stands in each innermost loop of a kernel, in their order."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [NVDISASM, "-c", file.name], capture_output=True, text=True, check=True
        )
    instructions, labels = [], {}
    for line in done.stdout.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(instructions)
        if instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?)\s*;", line):
            instructions.append(instruction[1])
    loops = []
    for end, instruction in enumerate(instructions):
        jump = re.search(r"\bBRA\b.*(\.L_\w+)", instruction)
        if jump and labels[jump[1]] < end:
            loops.append((labels[jump[1]], end))
    inner = [a for a in loops if not any(a[0] <= b[0] and b[1] <= a[1] for b in loops if a != b)]
    return [
        Counter(opcode(instruction) for instruction in instructions[start : end + 1])
        for start, end in inner
    ]


def opcode(instruction):
    """The operation of an instruction, without its predicate and modifiers."""
    return re.sub(r"^@\S+\s+", "", instruction).split()[0].split(".")[0]
