"""What differs where a model classifies a whole sequence instead of predicting tokens."""

from __future__ import annotations

from torch import nn

# What transformers calls a head, and PEFT trains beside a prompt.
HEADS = ("score", "classifier")


def classifies(model: nn.Module) -> bool:
    """Whether it is one of ``AutoModelForSequenceClassification``."""
    return type(model).__name__.endswith("ForSequenceClassification")


def looks_at_last_column(model: nn.Module) -> bool:
    """Whether it classifies by the last column, and not by the first.

    Decoders do, and call their head ``score``. They find the last token by the padding's id, and
    without ids, beside a soft prompt, take the last column whatever stands in it.
    """
    return classifies(model) and hasattr(model, "score")


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the head, by their names in the model."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.split(".")[0] in HEADS
    }
