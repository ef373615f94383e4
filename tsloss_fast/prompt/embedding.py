"""The rows that a language model makes of token ids, before its first layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Models that multiply the rows of token ids outside of their embedding, and never those that come
# as inputs_embeds; by model_type, the factor's name.
MULTIPLIED_OUTSIDE = {"falcon_h1": "embedding_multiplier"}


def embedded(model: Any, ids: Tensor) -> Tensor:
    """Rows [..., d] that, given as ``inputs_embeds``, are to the model what ids [...] are.

    Most models that scale their rows do so in the embedding module (Gemma, BioGPT), or scale
    ``inputs_embeds`` as well (Granite).
    """
    rows: Tensor = model.get_input_embeddings()(ids)
    config: Any = getattr(model, "config", None)
    name = MULTIPLIED_OUTSIDE.get(getattr(config, "model_type", ""))
    return rows if name is None else rows.mul(getattr(config, name))


def vocabulary(embedding: Tensor | nn.Module, dim: int) -> tuple[int, Callable[[Tensor], Tensor]]:
    """The number of tokens V, and the function from ids [...] to their rows [..., d], float32.

    `embedding` is a model, whose rows come as it multiplies them, its ``get_input_embeddings()``,
    or a table [V, d].

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or its rows have another dimension than `dim`.
    """
    is_model = hasattr(embedding, "get_input_embeddings")
    model: Any = embedding
    module: Any = model.get_input_embeddings() if is_model else embedding
    table = module if isinstance(module, Tensor) else getattr(module, "weight", None)
    if not isinstance(table, Tensor):
        raise TypeError(
            "embedding: expected a tensor [V, d], an embedding module or a model, "
            f"got {type(embedding).__name__}"
        )
    if table.dim() != 2 or table.shape[1] != dim:
        raise ValueError(f"embedding: expected shape [V, {dim}], got {tuple(table.shape)}")

    def rows_of(ids: Tensor) -> Tensor:
        ids = ids.to(table.device)
        with torch.no_grad():
            if is_model:
                rows = embedded(model, ids)
            else:
                rows = table[ids] if isinstance(module, Tensor) else module(ids)
        return rows.detach().to(torch.float32, copy=True)

    return len(table), rows_of
