"""Timing of short calls: samples long enough for the clock, and how they are summed up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Shorter samples measure the clock and the interpreter's loop as much as the call.
LEAST_SAMPLE_SECONDS = 2e-3


@dataclass(frozen=True)
class Spread:
    """Seconds of one call over several samples: the median, and where the middle 60 % lie."""

    median_s: float
    p20_s: float
    p80_s: float
    samples: int

    def as_dict(self) -> dict[str, float]:
        """The fields as JSON takes them."""
        return asdict(self)


def spread(seconds: Sequence[float]) -> Spread:
    """Median, 20th and 80th percentile (linear between samples).

    Raises
    ------
    ValueError
        Without a sample, or if one is not a positive finite number.

    Examples
    --------
    >>> spread([3.0, 1.0, 2.0])
    Spread(median_s=2.0, p20_s=1.4, p80_s=2.6, samples=3)
    """
    if not seconds:
        raise ValueError("seconds: expected at least one sample, got none")
    for value in seconds:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"seconds: expected finite numbers > 0, got {value}")
    ordered = sorted(seconds)
    median, p20, p80 = (_quantile(ordered, q) for q in (0.5, 0.2, 0.8))
    return Spread(median, p20, p80, samples=len(ordered))


def _quantile(ordered: Sequence[float], q: float) -> float:
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def repeats_for(seconds: float) -> int:
    """How often a call of `seconds` is repeated so that one sample is long enough."""
    return max(1, min(10_000, math.ceil(LEAST_SAMPLE_SECONDS / max(seconds, 1e-9))))


def sample(call: Callable[[], Any], repeats: int = 1) -> float:
    """Seconds of one call: the mean over `repeats` calls in a row."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def show_seconds(seconds: float) -> str:
    """Seconds with their unit, three digits: 12.3 µs, 4.56 ms, 7.89 s.

    Examples
    --------
    >>> show_seconds(1.234e-5), show_seconds(0.25), show_seconds(75)
    ('12.3 µs', '250 ms', '75.0 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size or unit == "µs":
            value = seconds / size
            digits = max(0, 2 - math.floor(math.log10(max(value, 1e-2))))
            return f"{value:.{min(digits, 2)}f} {unit}"
    raise AssertionError("unreachable")
