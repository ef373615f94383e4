"""Clouds of different sizes, as callers have them: lists, nested tensors, batches with lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._checks import (
    FLOATING,
    MAX_POINTS,
    check_cloud,
    check_floating,
    check_square,
    describe,
)
from tsloss_fast._engine import eager
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.padding import pairs_of, rows_of

# The numbers of points of a batch's clouds, as callers give them: one a cloud.
Lengths = Tensor | Sequence[int]

# Clouds of different sizes, or distance matrices: one tensor each, a nested tensor, or a batch.
Clouds = Tensor | Sequence[Tensor]


def is_ragged(x: Any) -> bool:
    """Whether `x` itself says how many points each cloud has: a list, a tuple, a nested tensor."""
    if isinstance(x, Tensor):
        return x.is_nested
    return isinstance(x, (list, tuple)) and len(x) > 0 and isinstance(x[0], Tensor)


def padded_points(x: Clouds, lengths: Lengths | None, name: str = "x") -> tuple[Tensor, Tensor]:
    """One tensor [..., n, d] of all clouds, n > 0, and their numbers of points [...], int64.

    What the padding holds is left as it is where `x` is a batch, and 0 elsewhere.
    """
    if is_ragged(x):
        clouds = _listed(x, lengths, name)
        _check_alike(clouds, name, same_width=True)
        n = max(1, *(len(cloud) for cloud in clouds))
        rows = torch.nn.utils.rnn.pad_sequence([ops.at_least_float32(c) for c in clouds], True)
        rows = torch.nn.functional.pad(rows, (0, 0, 0, n - rows.shape[1]))
        return rows, sizes_of(clouds)
    x = check_cloud(x, name)
    return ops.at_least_float32(x), _checked_lengths(lengths, x)


def plain_clouds(x: Clouds, lengths: Lengths | None, name: str = "x") -> list[Tensor] | None:
    """The clouds [m, d] of a list or nested tensor, if the engine can read them where they are."""
    if not is_ragged(x):
        return None
    clouds = _listed(x, lengths, name)
    if not eager.reads_directly(clouds):
        return None
    _check_alike(clouds, name, same_width=True)
    return [ops.at_least_float32(cloud) for cloud in clouds]


def packed_matrices(D: Clouds, lengths: Lengths | None) -> tuple[Tensor, Tensor, int]:
    """Matrices one behind the other in one tensor, their sizes [...], int64, and the most of these.

    Not for what is traced or on CUDA, where the sizes of matrices decide no shape.
    """
    if is_ragged(D):
        matrices = _checked_matrices(D, lengths)
        rows = torch.cat([ops.at_least_float32(each).reshape(-1) for each in matrices])
        return rows, sizes_of(matrices), max(1, *(len(each) for each in matrices))
    D, lengths = padded_matrices(D, lengths)
    n = D.shape[-1]
    return D[pairs_of(lengths, n)], lengths, n


def padded_matrices(D: Clouds, lengths: Lengths | None, name: str = "x") -> tuple[Tensor, Tensor]:
    """One tensor [..., n, n] of all matrices, n > 0, and their sizes [...], int64."""
    if is_ragged(D):
        return stacked_matrices(_checked_matrices(D, lengths, name))
    D = check_square(D, name)
    return ops.at_least_float32(D), _checked_lengths(lengths, D)


def stacked_matrices(matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Matrices [m, m] padded to [B, n, n] with 0, and their sizes [B]."""
    n = max(1, *(len(each) for each in matrices))
    each_padded = [
        torch.nn.functional.pad(ops.at_least_float32(each), (0, n - len(each)) * 2)
        for each in matrices
    ]
    return torch.stack(each_padded), sizes_of(matrices)


def separate_clouds(
    x: Clouds, lengths: Lengths | None, name: str = "x"
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Each cloud [m, d] by itself, and the shape of the batch. Waits for lengths on a device."""
    if is_ragged(x):
        clouds = _listed(x, lengths, name)
        _check_alike(clouds, name, same_width=True)
        return clouds, (len(clouds),)
    x = check_cloud(x, name)
    lengths, batch = _checked_lengths(lengths, x), tuple(x.shape[:-2])
    flat = x.reshape(math.prod(batch), *x.shape[-2:])
    sizes = lengths.flatten().tolist()
    return [cloud[:m] for cloud, m in zip(flat, sizes, strict=True)], batch


def padded_births(births: Any, x: Clouds, lengths: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Births of the vertices of clouds `x`, [..., n] in this dtype, 0 behind each cloud's points.

    ``lengths`` [...] are the clouds' numbers of points, at most n.
    """
    batch = tuple(lengths.shape)
    if is_ragged(births):
        births = _stacked_births(births, x, n)
    if not isinstance(births, Tensor):
        kind = type(births).__name__
        raise TypeError(f"vertex_births: expected a torch.Tensor [..., n], got {kind}")
    _check_births(births, "vertex_births", lengths.device)
    if births.ndim == 0 or births.shape[-1] != n or not _broadcasts(births.shape[:-1], batch):
        shapes = " or ".join(dict.fromkeys((f"[{n}]", str([*batch, n]))))
        raise ValueError(
            f"vertex_births: expected one a point, shape {shapes}, got {describe(births)}"
        )
    born: Tensor = births.to(dtype).expand(*batch, n).where(rows_of(lengths, n), 0)
    if ops.shows_values(born) and not born.isfinite().all():
        at = (~born.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"vertex_births: expected finite values, got vertex_births{at} = "
            f"{born[tuple(at)].item()}"
        )
    return born


def _stacked_births(births: Any, x: Clouds, n: int) -> Tensor:
    """Births of each cloud [m] of a list or nested tensor `x` as [B, n]."""
    each = list(births.unbind() if isinstance(births, Tensor) else births)
    if not is_ragged(x):
        raise ValueError(f"vertex_births: expected one tensor [..., n], as x is, got {len(each)}")
    clouds = list(x.unbind() if isinstance(x, Tensor) else x)
    if len(each) != len(clouds):
        raise ValueError(
            f"vertex_births: expected {len(clouds)} tensors, one a cloud, got {len(each)}"
        )
    for k, (of_cloud, cloud) in enumerate(zip(each, clouds, strict=True)):
        if tuple(of_cloud.shape) != (len(cloud),):
            raise ValueError(
                f"vertex_births[{k}]: expected one a point of x[{k}], shape [{len(cloud)}], got "
                f"{describe(of_cloud)}"
            )
        _check_births(of_cloud, f"vertex_births[{k}]", cloud.device)
    return torch.stack([torch.nn.functional.pad(b, (0, n - len(b))) for b in each])


def _check_births(births: Tensor, name: str, device: torch.device) -> None:
    if births.dtype not in FLOATING:
        raise TypeError(
            f"{name}: expected float16, bfloat16, float32 or float64, got {describe(births)}"
        )
    if births.device != device:
        raise ValueError(f"{name}: expected the device of x, {device}, got {births.device}")


def _broadcasts(shape: Sequence[int], batch: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be expanded to that of the batch."""
    ends = zip(reversed(shape), reversed(batch), strict=False)
    return len(shape) <= len(batch) and all(size in (1, whole) for size, whole in ends)


def _listed(x: Clouds, lengths: Lengths | None, name: str) -> list[Tensor]:
    if lengths is not None:
        raise ValueError(
            f"lengths: expected none for {name}, whose clouds have as many points as rows, got "
            f"{lengths!r}"
        )
    clouds = list(x.unbind()) if isinstance(x, Tensor) else list(x)
    for k, cloud in enumerate(clouds):
        check_floating(cloud, f"{name}[{k}]", "points [n, d]")
        if cloud.ndim != 2:
            raise ValueError(f"{name}[{k}]: expected points [n, d], got {describe(cloud)}")
    return clouds


def _checked_matrices(D: Clouds, lengths: Lengths | None, name: str = "x") -> list[Tensor]:
    matrices = _listed(D, lengths, name)
    for k, each in enumerate(matrices):
        if len(each):
            check_square(each, f"{name}[{k}]")
        elif each.numel():
            raise ValueError(
                f"{name}[{k}]: expected a distance matrix [n, n], got {describe(each)}"
            )
    _check_alike(matrices, name, same_width=False)
    return matrices


def _check_alike(clouds: list[Tensor], name: str, same_width: bool) -> None:
    first = clouds[0]
    for k, cloud in enumerate(clouds):
        where = f"{name}[{k}]"
        if len(cloud) > MAX_POINTS:
            check_cloud(cloud, where)
        if cloud.dtype != first.dtype or cloud.device != first.device:
            raise ValueError(
                f"{where}: expected the dtype and device of {name}[0], {first.dtype} on "
                f"{first.device}, got {cloud.dtype} on {cloud.device}"
            )
        if same_width and (cloud.shape[1] != first.shape[1] or not cloud.shape[1]):
            raise ValueError(
                f"{where}: expected as many coordinates as {name}[0] has, {first.shape[1]}, and at "
                f"least one, got {describe(cloud)}"
            )


def sizes_of(clouds: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(cloud) for cloud in clouds], device=clouds[0].device)


def _checked_lengths(lengths: Lengths | None, x: Tensor) -> Tensor:
    """``lengths`` as int64 [...] on the device of `x`; values on the CPU are checked."""
    batch, n = tuple(x.shape[:-2]), x.shape[-2]
    if lengths is None:
        return torch.full(batch, n, device=x.device)
    if not isinstance(lengths, Tensor):
        lengths = _as_tensor(lengths)
    if lengths.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"lengths: expected int64 or int32, got {describe(lengths)}")
    if tuple(lengths.shape) != batch:
        raise ValueError(
            f"lengths: expected one a cloud, shape {list(batch)}, got {describe(lengths)}"
        )
    if lengths.device != x.device and lengths.device.type != "cpu":
        raise ValueError(f"lengths: expected the device of x, {x.device}, got {lengths.device}")
    if ops.shows_values(lengths):
        wrong = (lengths < 0) | (lengths > n)
        if wrong.any():
            at = tuple(wrong.nonzero()[0].tolist())
            place = f"lengths{list(at)}" if at else "lengths"
            raise ValueError(
                f"lengths: expected from 0 to {n} points, got {place} = {lengths[at].item()}"
            )
    return lengths.detach().to(x.device, torch.int64)


def _as_tensor(lengths: Any) -> Tensor:
    try:
        return torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"lengths: expected an integer tensor or whole numbers, one a cloud, got {lengths!r}"
        ) from None
