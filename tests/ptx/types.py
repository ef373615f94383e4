"""The types of PTX as those of NumPy."""

from __future__ import annotations

import numpy as np

from tests.ptx.faults import Fault

UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}

# Bits without a meaning are unsigned numbers, and so are the formats that NumPy has not.
_NAMES = {
    **{f"{kind}{8 * size}": f"u{size}" for kind in "bu" for size in (1, 2, 4, 8)},
    **{f"s{8 * size}": f"i{size}" for size in (1, 2, 4, 8)},
    **{"f16": "f2", "f32": "f4", "f64": "f8", "bf16": "u2", "tf32": "u4", "pred": "?"},
}
DTYPES = {name: np.dtype(code) for name, code in _NAMES.items()}


def dtype_of(name: str) -> np.dtype:
    """The dtype of a type's name, such as ``"s32"``."""
    if name not in DTYPES:
        raise Fault(f"type not known: {name}")
    return DTYPES[name]


def unsigned(dtype: np.dtype) -> np.dtype:
    """The unsigned integers of the same size."""
    return UNSIGNED[dtype.itemsize]


def bits_of(values: np.ndarray) -> np.ndarray:
    """The same bits as unsigned integers; predicates stay as they are."""
    return values if values.dtype == bool else values.view(unsigned(values.dtype))
