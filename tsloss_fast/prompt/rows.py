"""The rows of a prompt, whatever holds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast.prompt.prompt_tuned_lm import PromptTunedLM
from tsloss_fast.prompt.soft_prompt import SoftPrompt

# What DistributedDataParallel, torch.compile and FSDP call the module that they wrap.
WRAPPED = ("module", "_orig_mod", "_fsdp_wrapped_module")


def rows_of(source: Any) -> Tensor:
    """The prompt that `source` is or holds, detached, on the CPU."""
    if isinstance(source, Tensor):
        _require_unsharded(source)
        return source.detach().cpu()
    if isinstance(source, SoftPrompt):
        return rows_of(source.weight)
    if isinstance(source, PromptTunedLM):
        return rows_of(source.soft_prompt)
    if isinstance(source, nn.Module):
        for name in WRAPPED:
            if source._modules.get(name) is not None:
                return rows_of(source._modules[name])
    if hasattr(source, "peft_config"):
        return _rows_of_peft(source)
    raise TypeError(
        "prompt: expected a tensor, SoftPrompt, PromptTunedLM or PEFT model, "
        f"got {type(source).__name__}"
    )


def _rows_of_peft(model: Any) -> Tensor:
    from tsloss_fast.prompt.peft import checked_adapter, virtual_tokens

    encoder = model.prompt_encoder[checked_adapter(model)]
    for parameter in encoder.parameters():
        _require_unsharded(parameter)
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            return virtual_tokens(model).cpu()
    finally:
        encoder.train(was_training)


def _require_unsharded(rows: Tensor) -> None:
    """Raise for a shard: to read it this process, alone in recording, would wait for the others."""
    if (
        hasattr(rows, "full_tensor")  # a DTensor, of FSDP2
        or (hasattr(rows, "_fsdp_flattened") and rows.ndim == 1)  # FSDP1
        or getattr(rows, "ds_shape", rows.shape) != rows.shape  # DeepSpeed's ZeRO-3
    ):
        raise ValueError(
            "prompt: expected a whole prompt, got one that is sharded over the processes; gather "
            "it on all of them and pass the tensor"
        )
