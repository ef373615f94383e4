"""Gradient checkpointing of a frozen model, whose layers checkpoint in train mode alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


def checkpointing_layers(model: nn.Module) -> list[nn.Module]:
    """The layers for which gradient checkpointing has been switched on."""
    return [
        module
        for module in model.modules()
        if getattr(module, "gradient_checkpointing", False)
        and hasattr(module, "_gradient_checkpointing_func")
    ]


@contextlib.contextmanager
def checkpointed(layers: list[Any]) -> Iterator[None]:
    """Within it, layers of a model in eval mode checkpoint, and have no dropout all the same.

    transformers checkpoints a layer that is in train mode. So each is put there, and back into eval
    mode while it computes, both in the forward pass and when the backward pass repeats it.
    """
    functions = [layer._gradient_checkpointing_func for layer in layers]
    for layer, function in zip(layers, functions, strict=True):
        layer.training = True
        layer._gradient_checkpointing_func = functools.partial(_checkpoint, layer, function)
    try:
        yield
    finally:
        for layer, function in zip(layers, functions, strict=True):
            layer.training = False
            layer._gradient_checkpointing_func = function


def _checkpoint(
    layer: nn.Module, function: Callable[..., Any], run: Callable[..., Any], *args: Any
) -> Any:
    def in_eval_mode(*args: Any) -> Any:
        before, layer.training = layer.training, False
        try:
            return run(*args)
        finally:
            layer.training = before

    return function(in_eval_mode, *args)
