"""Arithmetic of floats as PTX defines it: fused products, zeros with signs, flushed subnormals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

# The NaN that instructions on float32 give.
NAN_BITS = np.uint32(0x7FFFFFFF)
SPLIT = 2.0**27 + 1
# Between these the parts of a float64 product are exact.
SAFE = 2.0**-400, 2.0**400


def canonical(values: np.ndarray) -> np.ndarray:
    """The values with every NaN of float32 the one that the hardware gives."""
    if values.dtype == np.float32:
        bad = values != values
        if bad.any():
            return np.where(bad, NAN_BITS, values.view(np.uint32)).view(np.float32)
    return values


def flushed(values: np.ndarray) -> np.ndarray:
    """Subnormal numbers as zeros of their sign."""
    small = np.abs(values) < np.finfo(values.dtype).tiny
    return np.where(small, np.copysign(values.dtype.type(0), values), values)


def two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a + b as its rounded value and the exact rest."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def rounded_to_odd(total: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """total + rest of `two_sum`, to the neighbour with an odd last bit where it is not exact.

    Rounding that once more, to fewer bits, is right where rounding the nearest again is not.
    """
    even = (total.view(np.uint64) & np.uint64(1)) == 0
    inexact = np.isfinite(total) & np.isfinite(rest) & (rest != 0) & even
    toward = np.where(rest > 0, np.inf, -np.inf)
    return np.where(inexact, np.nextafter(total, toward), total)


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c, rounded once."""
    if a.dtype == np.float32:
        product = a.astype(np.float64) * b.astype(np.float64)
        exact = rounded_to_odd(*two_sum(product, c.astype(np.float64)))
        return canonical(exact.astype(np.float32))
    return _fma64(*np.broadcast_arrays(a, b, c))


def _fma64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    high, low = two_product(a, b)
    above, below = two_sum(c, low)
    total, rest = two_sum(high, above)
    result = total + rounded_to_odd(*two_sum(rest, below))
    exact = np.ones(len(a), bool)
    for factor in (a, b, c):
        size = np.abs(factor)
        exact &= (size > SAFE[0]) & (size < SAFE[1]) | (factor == 0)
    for k in np.flatnonzero(~exact):
        result[k] = _one_fma(float(a[k]), float(b[k]), float(c[k]))
    # A sum of zeros has the sign that IEEE gives it.
    return np.where(result == 0, np.where(exact, high + c, result), result)


def two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a * b as its rounded value and the exact rest."""
    product = a * b
    a_high = a * SPLIT - (a * SPLIT - a)
    b_high = b * SPLIT - (b * SPLIT - b)
    a_low, b_low = a - a_high, b - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest


def _one_fma(a: float, b: float, c: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return float(np.float64(a) * np.float64(b) + np.float64(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return float(np.float64(a) * np.float64(b) + np.float64(c))
    try:
        value = exact.numerator / exact.denominator
    except OverflowError:
        value = math.inf
    return math.copysign(value, 1 if exact > 0 else -1)


def minimum(a: np.ndarray, b: np.ndarray, keep_nan: bool) -> np.ndarray:
    """-0 is less than 0, and a NaN gives way to a number unless it is to be kept."""
    return _extremum(a, b, keep_nan, np.fmin, np.bitwise_or)


def maximum(a: np.ndarray, b: np.ndarray, keep_nan: bool) -> np.ndarray:
    return _extremum(a, b, keep_nan, np.fmax, np.bitwise_and)


def _extremum(
    a: np.ndarray, b: np.ndarray, keep_nan: bool, choose: np.ufunc, join: np.ufunc
) -> np.ndarray:
    bits = f"u{a.dtype.itemsize}"
    # Equal numbers have equal bits but for the sign of zero.
    chosen = np.where(a == b, join(a.view(bits), b.view(bits)).view(a.dtype), choose(a, b))
    if keep_nan:
        chosen = np.where((a != a) | (b != b), a.dtype.type(np.nan), chosen)
    return canonical(chosen)
