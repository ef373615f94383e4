"""Which tensors the compiled module may read where they are, past the operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_ORDINARY = (Tensor, nn.Parameter)

# The public question takes three times as long.
_is_tracing = getattr(torch._C, "_is_tracing", torch.jit.is_tracing)


def is_transformed() -> bool:
    """Whether torch.compile, torch.func or forward mode is at work: they follow operators alone.

    So does torch.jit.trace, which would take what comes past the operators for constants.
    """
    return torch.compiler.is_compiling() or _is_tracing() or takes_derivatives()


def takes_derivatives() -> bool:
    """Whether torch.func is at work, or forward mode by dual tensors."""
    # torch has no public question for either. A release without these is taken to be transforming:
    # the operators are right for every tensor.
    try:
        # The level of dual tensors is -1 where there are none.
        if forward_ad._current_level >= 0:
            if _refusals:
                raise RuntimeError(_refusals[0])
            return True
        return torch._C._are_functorch_transforms_active()
    except AttributeError:
        return True


_refusals: list[str] = []


def refuse_forward_mode(message: str) -> None:
    """Raise a RuntimeError of this message wherever forward mode is at work from now on."""
    _refusals.append(message)


def is_plain(x: Tensor, device: str = "cpu") -> bool:
    """Whether `x` is an ordinary tensor on this device that nothing traces, maps over or wraps."""
    if is_transformed() or type(x) not in _ORDINARY:
        return False
    # `is_cpu` takes a fifth of the time.
    return x.is_cpu if device == "cpu" else x.device.type == device


def is_plain_gradient(grad: Tensor, device: str = "cpu") -> bool:
    """Whether a backward outside of graphs may read the gradient that it is given."""
    if torch.is_grad_enabled() or not is_plain(grad, device):
        return False
    # is_grads_batched=True maps in a way of its own, which is no transform of torch.func.
    is_mapped = getattr(torch._C._functorch, "is_legacy_batchedtensor", None)
    return is_mapped is not None and not is_mapped(grad)


def wants_gradient(x: Tensor) -> bool:
    """Whether what is computed from `x` belongs to an autograd graph."""
    return x.requires_grad and torch.is_grad_enabled()
