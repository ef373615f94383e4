"""Which tensors the compiled module may read where they are, past the operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_ORDINARY = (Tensor, nn.Parameter)

# The public question takes three times as long.
_is_tracing = getattr(torch._C, "_is_tracing", torch.jit.is_tracing)


def is_transformed() -> bool:
    """Whether torch.compile or torch.func is at work, which can follow operators alone."""
    if torch.compiler.is_compiling():
        return True
    # `torch.jit.trace` would take what the engine gives past the operators for a constant.
    if _is_tracing():
        return True
    # torch has no public question for this. A release without it is taken to be transforming:
    # the operators are right for every tensor.
    is_active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return True if is_active is None else is_active()


def is_plain(x: Any, device: str = "cpu") -> bool:
    """Whether `x` is an ordinary tensor on this device that nothing traces, maps over or wraps."""
    if is_transformed() or type(x) not in _ORDINARY:
        return False
    # `is_cpu` takes a fifth of the time.
    return x.is_cpu if device == "cpu" else x.device.type == device


def wants_gradient(x: Tensor) -> bool:
    """Whether what is computed from `x` belongs to an autograd graph."""
    return x.requires_grad and torch.is_grad_enabled()


def has_values(*tensors: Tensor) -> bool:
    """Whether all are plain CPU tensors with values of their own that Python may look at.

    The gradients that ``is_grads_batched`` hands to a backward look plain and have none.
    """
    is_batched = getattr(torch._C._functorch, "is_legacy_batchedtensor", None)
    return is_batched is not None and all(is_plain(x) and not is_batched(x) for x in tensors)
