"""Conversions between types."""

from __future__ import annotations

import numpy as np

from tests.ptx.floats import canonical
from tests.ptx.group import reader
from tests.ptx.instructions.table import Execute, instruction, not_known, only
from tests.ptx.operands import Instruction
from tests.ptx.parsing import Program
from tests.ptx.types import DTYPES, dtype_of

_TO_WHOLE = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}


@instruction("cvt")
def cvt(one: Instruction, program: Program) -> Execute:
    only(one, "rn", "rna", *_TO_WHOLE)
    if len(one.operands) != 2:
        raise not_known(one)
    to, source = (name for name in one.modifiers if name in DTYPES)
    value = reader(one.operands[1], source)
    convert = _conversion(one, to, source)
    return lambda group, mask: group.write(one.operands[0], convert(value(group)), mask)


def _conversion(one: Instruction, to: str, source: str):
    if to == "tf32":
        return rounded_to_tf32 if source == "f32" and "rna" in one else _refuse(one)
    if "bf16" in (to, source):
        known = {("bf16", "f32"): rounded_to_bf16, ("f32", "bf16"): from_bf16}
        return known.get((to, source)) or _refuse(one)
    whole = next((_TO_WHOLE[name] for name in one.modifiers if name in _TO_WHOLE), None)
    target = dtype_of(to)
    if dtype_of(source).kind != "f":
        return lambda values: values.astype(target)
    if target.kind != "f":
        return (lambda values: to_integer(whole(values), target)) if whole else _refuse(one)
    rounded = whole or (lambda values: values)
    return lambda values: canonical(rounded(values).astype(target))


def _refuse(one: Instruction):
    raise not_known(one)


def to_integer(values: np.ndarray, target: np.dtype) -> np.ndarray:
    """Whole floats as integers: what is too large is the largest, a NaN is 0."""
    info = np.iinfo(target)
    low, high = values <= float(info.min), values >= float(info.max)
    inside = np.where(low | high | np.isnan(values), 0, values).astype(target)
    return np.where(low, target.type(info.min), np.where(high, target.type(info.max), inside))


def rounded_to_tf32(values: np.ndarray) -> np.ndarray:
    """10 bits of the fraction, to the nearest, ties away from zero."""
    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(values), rounded, bits)


def rounded_to_bf16(values: np.ndarray) -> np.ndarray:
    """The upper half of the bits, to the nearest, ties to even."""
    bits = values.view(np.uint32)
    odd = bits >> np.uint32(16) & np.uint32(1)
    rounded = bits + np.uint32(0x7FFF) + odd >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FFF), rounded).astype(np.uint16)


def from_bf16(values: np.ndarray) -> np.ndarray:
    return canonical((values.astype(np.uint32) << np.uint32(16)).view(np.float32))
