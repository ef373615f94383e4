"""Forward and reverse derivatives of the operators, in every composition that torch.func knows.

`torch.library` registers a backward alone, in a form that torch.func refuses, and leaves forward
mode with no derivative, which reads as zero. So the operators bring an autograd kernel of their
own, which works on one level of transforms as the kernels of torch's own operators do, and hands
on to the next.

That takes private names of torch, which 2.8 and 2.13 have. On a release that lacks any,
backward passes work as `torch.library` has them, and what forward mode would get is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tsloss_fast._engine.plain import refuse_forward_mode, takes_derivatives

try:
    from torch._C import _after_autograd_keyset, _AutoDispatchBelowAutograd, _is_fwd_grad_enabled
    from torch._functorch.utils import enable_single_level_autograd_function
    from torch.autograd.forward_ad import _set_fwd_grad_enabled
    from torch.autograd.function import _SingleLevelFunction

    _HAS_LEVELS = True
except ImportError as error:
    _HAS_LEVELS = False
    refuse_forward_mode(
        f"torch {torch.__version__} lacks what tsloss_fast needs for derivatives in forward mode "
        f"({error}): take backward(), or torch 2.8 to 2.13"
    )

# Where operators have kernels, and where torch traces them. Elsewhere torch.library's stays.
_KEYS = ("AutogradCPU", "AutogradCUDA", "AutogradMeta")
_LIBRARY = torch.library.Library("tsloss_fast", "FRAGMENT")

SetupContext = Callable[[Any, tuple[Any, ...], Any], None]
# From the inputs, their tangents, None where an input has none, and the outputs: the tangents of
# the outputs, None for an output without.
Jvp = Callable[[tuple[Any, ...], tuple[Tensor | None, ...], Any], Any]


def register_derivatives(
    op: Any, setup_context: SetupContext, backward: Callable[..., Any], jvp: Jvp
) -> None:
    """Give an operator its derivatives.

    `backward` and `jvp` are made of operators and of torch's functions, so that they have
    derivatives too.
    """
    op.register_autograd(backward, setup_context=setup_context)
    if not _HAS_LEVELS:
        return
    node = _node(op, setup_context, backward, jvp)

    def kernel(keyset: Any, *args: Any) -> Any:
        duals, with_graph = _duals(args), torch.is_grad_enabled()
        if duals is None and not (with_graph and any(map(_requires_grad, args))):
            return _below(op, keyset, args)
        level = keyset, with_graph, _is_fwd_grad_enabled(), duals
        with enable_single_level_autograd_function():
            return node.apply(*args, level)

    for key in _KEYS:
        _LIBRARY.impl(op._name, kernel, key, with_keyset=True)


def _node(op: Any, setup_context: SetupContext, backward: Callable[..., Any], jvp: Jvp) -> Any:
    """The node of an operator in the graph of one level."""

    def forward(ctx: Any, *args: Any) -> Any:
        *inputs, (keyset, with_graph, with_tangents, duals) = args
        # A node turns derivatives off for what it calls, which here are the levels below.
        with torch.set_grad_enabled(with_graph), _set_fwd_grad_enabled(with_tangents):
            outputs = _below(op, keyset, inputs)
        setup_context(ctx, tuple(inputs), outputs)
        if duals is not None:
            ctx.duals = duals
        return outputs

    def node_backward(ctx: Any, *grads: Any) -> Any:
        slopes = backward(ctx, *grads)
        return (*slopes, None) if isinstance(slopes, tuple) else (slopes, None)

    def node_jvp(ctx: Any, *unused: Any) -> Any:
        # Called at the end of `apply`, after which the graph must not hold them.
        primals, tangents = ctx.__dict__.pop("duals")
        with _set_fwd_grad_enabled(True):
            # The outputs that `forward` gave are not in the graph of the inputs.
            return jvp(primals, tangents, op._opoverload(*primals))

    methods = {"forward": forward, "backward": node_backward, "jvp": node_jvp}
    return type(
        op._name.partition("::")[2],
        (_SingleLevelFunction,),
        {name: staticmethod(method) for name, method in methods.items()},
    )


def _requires_grad(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _below(op: Any, keyset: Any, args: Any) -> Any:
    """What the operator gives below this level of derivatives."""
    with _AutoDispatchBelowAutograd():
        return op._opoverload.redispatch(keyset & _after_autograd_keyset, *args)


def _duals(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Tensor | None, ...]] | None:
    """The inputs without their tangents, and these, or None where no input has one."""
    if not takes_derivatives() or not _is_fwd_grad_enabled():
        return None
    # The one level that torch has is named, for in a graph of torch.compile it is not entered.
    pairs = [
        forward_ad.unpack_dual(arg, level=0) if isinstance(arg, Tensor) else (arg, None)
        for arg in args
    ]
    primals, tangents = zip(*pairs, strict=True)
    return None if all(tangent is None for tangent in tangents) else (primals, tangents)
