"""PTX as text into instructions, labels and registers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.ptx.faults import Fault
from tests.ptx.operands import (
    Address,
    FloatBits,
    Instruction,
    Integer,
    Negated,
    Operand,
    Pair,
    Register,
    Sink,
    Special,
    Symbol,
    Vector,
)

_SPECIAL = re.compile(r"%((?:tid|ntid|ctaid|nctaid)\.[xyz]|laneid|warpid)$")
_DIRECTIVES_TO_THE_END_OF_THE_LINE = (".loc", ".file")


@dataclass
class Program:
    """One kernel: its code, and the widths of its registers by index (``"pred"``, ``"b32"``...)."""

    name: str
    parameters: list[str]
    threads: int
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    registers: list[str] = field(default_factory=list)


def parse(ptx: str, name: str | None = None) -> Program:
    """The kernel of a PTX module that is so named, or else its first."""
    text = re.sub(r"//[^\n]*", "", ptx)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    # Where dynamic shared memory begins, which is all that a program here has.
    for dynamic in re.findall(r"\.extern\s+\.shared[^;]*?([\w$]+)\s*\[\]\s*;", text):
        text = re.sub(rf"(?<![\w$]){re.escape(dynamic)}(?![\w$])", "0", text)
    entry = re.escape(name) if name else r"[\w$]+"
    head = re.search(rf"\.entry\s+({entry})\s*\((.*?)\)\s*([^{{]*)\{{", text, re.S)
    if head is None:
        raise Fault("no kernel in the PTX")
    threads = re.search(r"\.(?:reqntid|maxntid)\s+(\d+)", head[3])
    if threads is None:
        raise Fault(f"{head[1]}: the PTX does not say how many threads a program has")
    parameters = [part.split()[-1] for part in split(head[2])]
    program = Program(head[1], parameters, int(threads[1]))
    _Body(program).read(_body(text, head.end()))
    return program


def _body(text: str, start: int) -> str:
    """From `start` to the brace that closes the kernel."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    raise Fault("the kernel's last brace is missing")


def split(text: str) -> list[str]:
    """The parts between commas that no bracket encloses."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()] if current.strip() else parts


def statements(body: str) -> list[str]:
    """Instructions and directives without semicolons, labels with a colon, braces of scopes."""
    found, current, depth = [], "", 0
    for character in body:
        before = current.strip()
        if (character == "{" and not before) or (character == "}" and depth == 0):
            found.append(character)
            current = ""
        elif character == ";":
            found.append(" ".join(current.split()))
            current = ""
        elif character == ":" and re.fullmatch(r"[\w$]+", before):
            found.append(before + ":")
            current = ""
        elif character == "\n" and before.startswith(_DIRECTIVES_TO_THE_END_OF_THE_LINE):
            current = ""
        else:
            depth += (character == "{") - (character == "}")
            current += character
    return [statement for statement in found if statement]


class _Body:
    """Reads statements into a program; a scope in braces has registers of its own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        # Of registers declared by prefix, `%r<10>`, the width by prefix; of others, the index.
        self.prefixes: dict[str, str] = {}
        self.indices: dict[str, int] = {}
        self.scopes: list[dict[str, int]] = []

    def read(self, body: str) -> None:
        for statement in statements(body):
            if statement == "{":
                self.scopes.append({})
            elif statement == "}":
                self.scopes.pop()
            elif statement.endswith(":"):
                self.program.labels[statement[:-1]] = len(self.program.instructions)
            elif statement.startswith(".reg"):
                self._declare(statement)
            elif statement.startswith("."):
                # Alignment, pragmas, debugging sections.
                if statement.split()[0] not in (".pragma", ".section", ".loc", ".file"):
                    raise Fault(f"directive not known: {statement}")
            else:
                self._instruction(statement)

    def _declare(self, statement: str) -> None:
        match = re.match(r"\.reg\s*\.(\w+)\s+(.*)", statement)
        for name in split(match[2]):
            if numbered := re.fullmatch(r"(%?[\w$]+)<\d+>", name):
                self.prefixes[numbered[1]] = match[1]
            else:
                (self.scopes[-1] if self.scopes else self.indices)[name] = self._new(match[1])

    def _new(self, width: str) -> int:
        self.program.registers.append(width)
        return len(self.program.registers) - 1

    def _register(self, name: str) -> Register | None:
        for scope in [*reversed(self.scopes), self.indices]:
            if name in scope:
                return Register(scope[name])
        width = self.prefixes.get(name.rstrip("0123456789"))
        if width is None:
            return None
        self.indices[name] = self._new(width)
        return Register(self.indices[name])

    def _instruction(self, text: str) -> None:
        guard, negated, rest = None, False, text
        if text.startswith("@"):
            predicate, rest = text[1:].split(None, 1)
            negated = predicate.startswith("!")
            guard = self._register(predicate.lstrip("!"))
        opcode, *operands = rest.split(None, 1)
        name, *modifiers = opcode.split(".")
        parts = [self.operand(part) for part in split(operands[0])] if operands else []
        position = len(self.program.instructions)
        self.program.instructions.append(
            Instruction(position, text, name, tuple(modifiers), parts, guard, negated)
        )

    def operand(self, text: str) -> Operand:
        if text.startswith("{"):
            return Vector(tuple(self.operand(part) for part in split(text[1:-1])))
        if text.startswith("["):
            match = re.fullmatch(r"\[\s*([^+\]\s]+?)\s*(?:\+\s*(-?\w+))?\s*\]", text)
            return Address(self.operand(match[1]), int(match[2], 0) if match[2] else 0)
        if "|" in text:
            return Pair(*(self.operand(part.strip()) for part in text.split("|")))
        if text.startswith("!"):
            return Negated(self.operand(text[1:].strip()))
        if special := _SPECIAL.match(text):
            return Special(special[1])
        if register := self._register(text):
            return register
        return _constant(text)


def _constant(text: str) -> Operand:
    if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", text):
        return FloatBits(int(text[2:], 16), 4)
    if re.fullmatch(r"0[dD][0-9a-fA-F]{16}", text):
        return FloatBits(int(text[2:], 16), 8)
    if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)U?", text):
        return Integer(int(text.rstrip("U"), 0))
    if text in ("true", "false"):
        return Integer(int(text == "true"))
    if text == "_":
        return Sink()
    if text.startswith("%"):
        raise Fault(f"register not known: {text}")
    return Symbol(text)
