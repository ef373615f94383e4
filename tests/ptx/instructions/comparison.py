"""Comparisons, and choices by a predicate."""

from __future__ import annotations

import numpy as np

from tests.ptx.faults import Fault
from tests.ptx.group import reader
from tests.ptx.instructions.arithmetic import apply
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction, Pair
from tests.ptx.parsing import Program
from tests.ptx.types import dtype_of

_COMPARE = {
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal},
    **{"gt": np.greater, "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal},
    **{"hi": np.greater, "hs": np.greater_equal},
}
_JOIN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def compare(how: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of floats, a NaN makes a comparison false, or true if it ends in `u`."""
    if a.dtype.kind != "f":
        return _COMPARE[how](a, b)
    unordered = (a != a) | (b != b)
    if how in ("nan", "num"):
        return unordered if how == "nan" else ~unordered
    if how in _COMPARE:
        return _COMPARE[how](a, b) & ~unordered
    return _COMPARE[how.removesuffix("u")](a, b) | unordered


@instruction("setp")
def setp(one: Instruction, program: Program) -> Execute:
    how, *rest = one.modifiers
    join = rest[0] if rest[0] in _JOIN else None
    only(one, how, *([join] if join else []))
    known = _COMPARE.keys() | {"nan", "num", *(f"{name}u" for name in _COMPARE)}
    if how not in known or one.type in ("f16", "bf16") or isinstance(one.operands[0], Pair):
        raise not_known(one)
    if join is None:
        return apply(one, lambda a, b: compare(how, a, b))
    types = [one.type, one.type, "pred"]
    return apply(one, lambda a, b, p: _JOIN[join](compare(how, a, b), p), types)


@instruction("selp")
def selp(one: Instruction, program: Program) -> Execute:
    """The first source where the predicate holds, else the second."""
    only(one)
    choose = lambda a, b, p: np.where(p, a, b)  # noqa: E731
    return apply(one, choose, [one.type, one.type, "pred"])


@instruction("testp")
def testp(one: Instruction, program: Program) -> Execute:
    tests = {
        "notanumber": np.isnan,
        "number": lambda x: ~np.isnan(x),
        "infinite": np.isinf,
        "finite": np.isfinite,
    }
    only(one, *tests)
    if dtype_of(one.type).kind != "f":
        raise Fault("a test of floats")
    value = reader(one.operands[1], one.type)
    test = tests[one.modifiers[0]]
    return lambda group, mask: group.write(one.operands[0], test(value(group)), mask)
