"""The compiled module, how tensors get in and out of it, and the checks of values it makes.

The host reads the values here; those of a CUDA tensor are copied first, which waits for the device.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import DLDeviceType, to_dlpack

from tsloss_fast._checks import describe

try:
    import tsloss_fast._C as _C
except ImportError as error:
    raise ImportError(
        "tsloss_fast._C, the compiled module, is missing or does not load. Build it with "
        "`pip install .` (or `pip install -e .` to work on it) in the source folder; that needs "
        "a C++17 compiler. If it is installed, Python was started in the source folder, which "
        f"hides what `pip install .` installed: start it in another. The cause: {error}"
    ) from error

__all__ = [
    "_C",
    "batch_of",
    "clouds",
    "host_array",
    "host_memory",
    "matrix_error",
    "raise_not_finite",
    "require_distance_matrix",
    "require_finite",
    "require_finite_points",
]


def batch_of(x: Tensor) -> tuple[int, ...]:
    """The leading dimensions of [..., n, d]."""
    return tuple(x.shape[:-2])


def clouds(x: Tensor, trailing: int = 2) -> Tensor:
    """A tensor [..., ...] as [B, ...] with `trailing` dimensions behind B, out of its graph."""
    # B is computed, since reshape cannot infer a -1 where there are no clouds.
    lead = math.prod(x.shape[: x.ndim - trailing])
    return x.detach().reshape(lead, *x.shape[x.ndim - trailing :])


def host_memory(x: Tensor) -> Any:
    """The memory of a tensor, contiguous and on the CPU, as a DLPack capsule."""
    # Not .numpy(): after it the tensor's storage can never be resized, and FSDP resizes it.
    if not (x.is_cpu and x.is_contiguous()):
        x = x.detach().contiguous().cpu()
    return to_dlpack(x)


def host_array(x: Tensor) -> Any:
    """The same as a NumPy array, which takes three times as long to make."""
    return np.from_dlpack(_Memory(host_memory(x)))


class _Memory:
    """A capsule for NumPy; a tensor's own `__dlpack__` takes a microsecond longer."""

    __slots__ = ("_capsule",)

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return int(DLDeviceType.kDLCPU), 0


def require_finite(result: Any, x: Tensor, name: str) -> None:
    """Raise a ValueError with the cause if `result`, computed from all distances, is not finite."""
    if _C.first_nonfinite(result) >= 0:
        raise_not_finite(x, name)


def raise_not_finite(x: Tensor, name: str) -> NoReturn:
    """Raise a ValueError with the cause why what was computed from all distances is not finite.

    Every NaN or infinity among the points reaches the distances, so the points themselves are
    looked at only once something is wrong.
    """
    require_finite_points(x, name)
    dtype = describe(x).split()[0]
    raise ValueError(
        f"{name}: expected rows whose distances and loss {dtype} can hold, got an overflow"
    )


def require_finite_points(x: Tensor, name: str = "x") -> None:
    """Raise a ValueError that names the first NaN or infinity of `x` [..., n, d]."""
    values = host_array(x)
    index = _C.first_nonfinite(values)
    if index < 0:
        return
    value = values.reshape(-1)[index]
    where = ", ".join(str(int(k)) for k in torch.unravel_index(torch.tensor(index), x.shape))
    raise ValueError(f"{name}: expected finite values, got {name}[{where}] = {value}")


def require_distance_matrix(D: Tensor, name: str = "x") -> None:
    """Raise a ValueError that names the first entry of ``D`` [..., n, n] that is at fault."""
    fault = _C.first_matrix_fault(host_array(D))
    if fault is not None:
        raise matrix_error(D, fault, name)


def matrix_error(D: Tensor, fault: tuple[str, int, int, int], name: str = "x") -> ValueError:
    """The error that names an entry of ``D`` [..., n, n]: what is wrong, and b, i, j of it."""
    what, b, i, j = fault
    entries = host_array(D)
    matrix = entries.reshape(-1, *entries.shape[-2:])[b]
    lead = "".join(f"{int(k)}, " for k in torch.unravel_index(torch.tensor(b), batch_of(D)))
    return _fault_error(what, name, f"[{lead}", matrix, i, j)


def packed_matrix_error(D: Tensor, lengths: Tensor, fault: tuple[str, int, int, int]) -> ValueError:
    """The same of matrices that lie one behind the other in ``D``, of as many rows as `lengths`."""
    what, b, i, j = fault
    sizes = lengths.flatten().tolist()
    start = sum(m * m for m in sizes[:b])
    matrix = host_array(D)[start : start + sizes[b] ** 2].reshape(sizes[b], sizes[b])
    place = torch.unravel_index(torch.tensor(b), tuple(lengths.shape))
    of = f"[{', '.join(str(int(k)) for k in place)}][" if lengths.ndim else "["
    return _fault_error(what, "x", of, matrix, i, j)


def _fault_error(what: str, name: str, of: str, matrix: Any, i: int, j: int) -> ValueError:
    return ValueError(
        f"{name}: expected a symmetric, non-negative matrix with zero diagonal, up to rounding, "
        f"got one that is {what}: {name}{of}{i}, {j}] = {matrix[i, j]}, "
        f"{name}{of}{j}, {i}] = {matrix[j, i]}{_REMEDIES.get(what, '')}"
    )


_REMEDIES = {
    "asymmetric": ". If that is meant, pass (D + D.mT) / 2; if one triangle is filled, D + D.mT",
    "non-zero on the diagonal": ". If these are distances, set it to 0: D.fill_diagonal_(0)",
    "negative": ". If that is rounding, pass D.clamp(min=0)",
    "not a number": ". Say that there is no edge by infinity",
}
