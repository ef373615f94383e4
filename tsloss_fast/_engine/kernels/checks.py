"""Argument checks that every launcher shares; none of them waits for the device."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from tsloss_fast._checks import FLOATING, describe

# Programs of a launch are counted along one grid axis.
MAX_PROGRAMS = 2**31 - 1


def check_tensor(x: object, name: str, shape: str, rank: int, dtypes: tuple[object, ...]) -> None:
    """Raise unless `x` is a tensor of this rank and one of these dtypes."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor {shape}, got {type(x).__name__}")
    if x.dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name}: expected {names}, got {describe(x)}")
    if x.ndim != rank:
        raise ValueError(f"{name}: expected {shape}, got {describe(x)}")


def check_points_and_edges(x: Tensor, edges: Tensor) -> None:
    """Raise unless `x` are points [B, n, d] and `edges` vertex pairs [B, K, 2] of these clouds."""
    check_tensor(x, "x", "points [B, n, d]", 3, FLOATING)
    check_tensor(edges, "edges", "vertex pairs [B, K, 2]", 3, (torch.int64,))
    B = len(x)
    if edges.shape != (B, edges.shape[1], 2):
        raise ValueError(f"edges: expected [{B}, K, 2], as x has {B} clouds, got {describe(edges)}")


def check_device(x: Tensor, name: str, kernel: object) -> None:
    """Raise unless `kernel`, compiled or interpreted, can read `x`."""
    if x.device.type == "cuda":
        return
    if x.device.type == "cpu" and not isinstance(kernel, triton.JITFunction):
        return
    raise ValueError(
        f"{name}: expected a CUDA tensor, got one on {x.device} (Triton's interpreter, which reads "
        "CPU tensors, needs TRITON_INTERPRET=1 before Triton is imported)"
    )


def check_same_device(x: Tensor, name: str, other: Tensor, other_name: str) -> None:
    """Raise unless both tensors are on one device."""
    if x.device != other.device:
        raise ValueError(
            f"{name}: expected a tensor on {other.device}, as {other_name} is, got {x.device}"
        )


def check_programs(programs: int, x: Tensor, name: str) -> None:
    """Raise if a launch over `x` would need more programs than a grid holds."""
    if programs > MAX_PROGRAMS:
        raise ValueError(
            f"{name}: expected a batch that {MAX_PROGRAMS} programs cover, got {describe(x)}, "
            f"which needs {programs}: split the batch"
        )
