"""Which tensors the compiled module may read where they are, past the operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_ORDINARY = (Tensor, nn.Parameter)

# Every call asks these, so they are looked up once. The public question for the second takes three
# times as long, and for the third there is none: a release without it is taken to be transforming,
# for the operators are right for every tensor.
_is_compiling = torch.compiler.is_compiling
_is_tracing = getattr(torch._C, "_is_tracing", torch.jit.is_tracing)
_is_mapping = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def is_transformed() -> bool:
    """Whether torch.compile, torch.func or forward mode is at work: they follow operators alone.

    So does torch.jit.trace, which would take what comes past the operators for constants.
    """
    return _is_compiling() or _is_tracing() or takes_derivatives()


def is_tracing() -> bool:
    """Whether torch.jit.trace is at work, which torch.compile cannot follow the question of."""
    return not _is_compiling() and bool(_is_tracing())


def takes_derivatives() -> bool:
    """Whether torch.func is at work, or forward mode by dual tensors."""
    try:
        # The level of dual tensors is -1 where there are none.
        if forward_ad._current_level >= 0:
            if _refusals:
                raise RuntimeError(_refusals[0])
            return True
    except AttributeError:
        return True
    return _is_mapping()


_refusals: list[str] = []


def refuse_forward_mode(message: str) -> None:
    """Raise a RuntimeError of this message wherever forward mode is at work from now on."""
    _refusals.append(message)


def shows_values(x: Tensor) -> bool:
    """Whether values may be looked at: on the host, where nothing traces or maps over them."""
    return x.device.type == "cpu" and not is_transformed()


def is_plain(x: Any, device: str = "cpu") -> bool:
    """Whether `x` is an ordinary tensor on this device that nothing traces, maps over or wraps."""
    if is_transformed() or type(x) not in _ORDINARY:
        return False
    # `is_cpu` takes a fifth of the time.
    return bool(x.is_cpu) if device == "cpu" else bool(x.device.type == device)


def is_all_true(mask: Tensor) -> bool:
    """Whether a mask is known to be true everywhere, without a wait and not by what traces it."""
    return is_plain(mask) and bool(mask.all())


def is_plain_gradient(grad: Tensor, device: str = "cpu") -> bool:
    """Whether a backward outside of graphs may read the gradient that it is given."""
    if torch.is_grad_enabled() or not is_plain(grad, device):
        return False
    return not _is_mapped_by_autograd(grad)


# is_grads_batched=True maps in a way of its own, which is no transform of torch.func. A release
# without the question is taken to map always.
_is_mapped_by_autograd = getattr(
    torch._C._functorch, "is_legacy_batchedtensor", lambda gradient: True
)


def wants_gradient(x: Tensor) -> bool:
    """Whether what is computed from `x` belongs to an autograd graph."""
    return x.requires_grad and torch.is_grad_enabled()
