"""ColumnOrder: where prompt, text and padding stand in what the model is given."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor


class ColumnOrder:
    """The columns of prompt and text, sorted so that the prompt stands next to the text.

    Prompt and text as they come are [prompt][text], with padding anywhere in the text. The model
    gets ``[prompt][text][pad]`` where padding goes right, and ``[pad][prompt][text]`` where it goes
    left, for new columns follow the last. With padding between prompt and text, sliding windows,
    positions by column and state-space models would see a distance that is not there.

    Parameters
    ----------
    mask : Tensor of shape [B, n + T]
        1 for prompt and text, 0 for padding.
    side : {"left", "right"}
        Where padding goes.
    """

    def __init__(self, mask: Tensor, side: str) -> None:
        self.side = side
        is_text = (mask != 0).int()
        # A stable sort keeps the order of prompt and text.
        self.columns = (is_text if side == "left" else 1 - is_text).argsort(dim=1, stable=True)
        self._back = self.columns.argsort(dim=1)  # [B, n + T]

    def apply(self, values: Tensor) -> Tensor:
        """Values [B, n + T, ...] in the order that the model gets."""
        return _taken(values, self.columns, 1)

    def undo(self, values: Tensor, dim: int = 1) -> Tensor:
        """Values whose axis `dim` the model ordered, in the order of [prompt][text]."""
        return _taken(values, self._back, dim)

    def undo_outputs(self, out: Any, not_columns: Collection[str] = ()) -> None:
        """Put back, in place, the columns of everything in a model's output that has them."""
        for name in {"logits", "last_hidden_state"} - set(not_columns):
            if isinstance(out.get(name), Tensor):
                out[name] = self.undo(out[name])
        if out.get("hidden_states") is not None:
            out["hidden_states"] = tuple(self.undo(layer) for layer in out["hidden_states"])
        if out.get("attentions") is not None:
            out["attentions"] = tuple(
                # [B, heads, queries, keys]; a layer without attention has None.
                None if layer is None else self.undo(self.undo(layer, 2), 3)
                for layer in out["attentions"]
            )


def left_padded(mask: Tensor, n_prompt: int, n_new: int) -> Tensor:
    """The mask [B, n + T] of ``[pad][prompt][text]``, whose last `n_new` columns come as they are.

    `mask` [B, T] is that of the text: of what was there when padding went left, and of what has
    come since.
    """
    old = mask[:, : mask.shape[1] - n_new]
    old = torch.cat((old.new_ones(len(old), n_prompt), old), dim=1)
    return torch.cat(((old != 0).to(mask).sort(dim=1).values, mask[:, len(mask[0]) - n_new :]), 1)


def positions_of(mask: Tensor) -> Tensor:
    """Positions [B, C] that count prompt and text alone, as transformers counts them."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def _taken(values: Tensor, columns: Tensor, dim: int) -> Tensor:
    shape = [1] * values.ndim
    shape[0], shape[dim] = columns.shape
    index = columns.view(shape).expand(
        *(columns.shape[1] if axis == dim else size for axis, size in enumerate(values.shape))
    )
    return values.gather(dim, index)
