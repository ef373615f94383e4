"""Argument checks: every message names the argument, what was expected and what was got."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._memory import available_memory, in_gib

# Vertices are 16 bits wide in the compiled module, so that an edge is one 32-bit word.
MAX_POINTS = 65535

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def describe(x: Tensor) -> str:
    """Dtype and shape, as error messages give them."""
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"


def is_dense(x: Tensor) -> bool:
    """Whether the tensor is neither sparse nor nested: its memory is that of its entries."""
    return x.layout is torch.strided and not x.is_nested


def check_dense(x: Tensor, name: str) -> None:
    """Raise for a sparse or nested tensor."""
    if is_dense(x):
        return
    if x.is_nested:
        layout, remedy = "nested", f"its clouds one at a time, {name}.unbind()"
    else:
        layout, remedy = str(x.layout).removeprefix("torch."), f"{name}.to_dense()"
    raise TypeError(f"{name}: expected a dense tensor, got a {layout} one: take {remedy}")


# torch.pdist and SciPy's give the entries above the diagonal, one after another.
_OF_CONDENSED = ": of the distances of pdist take scipy.spatial.distance.squareform(D)"


def check_floating(x: object, name: str, shape: str, of_vectors: str = "") -> None:
    """Raise unless `x` is a real floating tensor of rank 2 or more, on the CPU or on CUDA.

    `of_vectors` is the remedy for one of rank 1.
    """
    if not isinstance(x, Tensor):
        remedy = f": take torch.as_tensor({name})" if _is_like_a_tensor(x) else ""
        raise TypeError(f"{name}: expected a torch.Tensor {shape}, got {type(x).__name__}{remedy}")
    check_dense(x, name)
    if x.dtype not in FLOATING:
        raise TypeError(
            f"{name}: expected float16, bfloat16, float32 or float64, got {describe(x)}"
        )
    if x.ndim < 2:
        remedy = of_vectors if x.ndim == 1 else ""
        raise ValueError(f"{name}: expected {shape}, got {describe(x)}{remedy}")
    if x.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(
            f"{name}: expected a CPU or CUDA tensor, got one on {x.device}: move it with .cpu()"
        )


def _is_like_a_tensor(x: object) -> bool:
    """Whether ``torch.as_tensor`` takes it: arrays, and lists of numbers."""
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    return hasattr(x, "__array__") or (isinstance(x, Real) and not isinstance(x, bool))


def check_cloud(x: object, name: str = "x") -> Tensor:
    """Return `x`; raise unless it is a cloud [..., n, d] of at least one point and coordinate."""
    check_floating(x, name, "points [..., n, d]")
    assert isinstance(x, Tensor)
    n, d = x.shape[-2:]
    if n == 0 or d == 0:
        raise ValueError(f"{name}: expected at least one point and coordinate, got {describe(x)}")
    _check_size(n, name, x)
    return x


def check_square(D: object, name: str = "x") -> Tensor:
    """Return `D`; raise unless it has the shape of a distance matrix [..., n, n]."""
    check_floating(D, name, "a distance matrix [..., n, n]", _OF_CONDENSED)
    assert isinstance(D, Tensor)
    n, m = D.shape[-2:]
    if n != m or n == 0:
        raise ValueError(f"{name}: expected a distance matrix [..., n, n], got {describe(D)}")
    _check_size(n, name, D)
    return D


def _check_size(n: int, name: str, x: Tensor) -> None:
    if n > MAX_POINTS:
        available = available_memory()
        beside = "" if available is None else f", and {in_gib(available)} are available"
        raise ValueError(
            f"{name}: expected at most {MAX_POINTS} points, got {describe(x)}, of which one matrix "
            f"of distances takes {in_gib(n * n * max(4, x.element_size()))}{beside}. Take fewer "
            f"points, such as a subsample {name}[torch.randperm({n})[:10000]]"
        )


def check_choice(value: Any, name: str, allowed: Sequence[object]) -> Any:
    """Return `value`; raise unless it is one of `allowed`."""
    for choice in allowed:
        if value is choice:
            return value
    # type() too, because True == 1 and 1.0 == 1.
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        choices = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"{name}: expected one of {choices}, got {value!r}")
    return value


def check_number(
    value: object,
    name: str,
    *,
    least: float,
    open_below: bool = False,
    most: float = math.inf,
    open_above: bool = False,
    infinite: bool = False,
) -> float:
    """Return `value` as a float; raise unless it is finite and from `least` to `most`.

    Numbers are those of Python and of NumPy, and arrays and tensors of one element, such as
    ``D.median()``. `infinite` admits infinity too; `open_below` leaves out `least` itself, and
    `open_above` leaves out `most`.
    """
    if not isinstance(value, Real) and hasattr(value, "item"):
        # Of more than one element both kinds of arrays raise an error.
        with suppress(ValueError, RuntimeError):
            value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    too_small = value <= least if open_below else value < least
    too_large = not value < most if open_above else not value <= most
    if infinite and value == math.inf:
        return math.inf
    if not math.isfinite(value) or too_small or too_large:
        bounds = f"{'>' if open_below else '>='} {least:g}"
        if most < math.inf:
            bounds += f" and {'<' if open_above else '<='} {most:g}"
        raise ValueError(f"{name}: expected a finite number {bounds}, got {value!r}")
    return float(value)


def check_whole(value: object, name: str, *, least: int, most: int | None = None) -> int:
    """Return `value` as an int; raise unless it is a whole number from `least` to `most`.

    Whole numbers are those of Python and of NumPy, and integer tensors of one element.
    """
    if type(value) is int:
        number = value  # Or a symbol of torch.compile, which `index` would fix to its value.
    else:
        try:
            given: Any = None if isinstance(value, bool) else value
            number = operator.index(given)
        except TypeError:
            raise TypeError(f"{name}: expected an int, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{name}: expected at most {most}, got {number}")
    return number


def check_flag(value: object, name: str) -> bool:
    """Return `value`; raise unless it is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value
