"""The rows that a language model makes of token ids, before its first layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

# Models that multiply the rows of token ids outside of their embedding, and never those that come
# as inputs_embeds; by model_type, the factor's name.
MULTIPLIED_OUTSIDE = {"falcon_h1": "embedding_multiplier"}


def embedded(model: nn.Module, ids: Tensor) -> Tensor:
    """Rows [..., d] that, given as ``inputs_embeds``, are to the model what ids [...] are.

    Most models that scale their rows do so in the embedding module (Gemma, BioGPT), or scale
    ``inputs_embeds`` as well (Granite).
    """
    rows = model.get_input_embeddings()(ids)
    config: Any = getattr(model, "config", None)
    name = MULTIPLIED_OUTSIDE.get(getattr(config, "model_type", ""))
    return rows if name is None else rows * getattr(config, name)
