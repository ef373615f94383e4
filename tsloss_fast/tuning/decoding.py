"""Answers decoded greedily, up to where a turn ends."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.prompt import PromptTunedLM


def stop_tokens(lm: PromptTunedLM, tokenizer: Any, ends: Iterable[int]) -> set[int]:
    """Where an answer ends: the model's stop tokens, the tokenizer's, and `ends`."""
    own = lm.model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    return {stop for stop in (*own, tokenizer.eos_token_id) if stop is not None} | set(ends)


def decode(
    lm: PromptTunedLM,
    tokenizer: Any,
    prefixes: Sequence[list[int]],
    stops: Collection[int],
    max_new_tokens: int,
) -> list[str]:
    """What the model says after each prefix, before the first stop token, as one batch."""
    device = lm.soft_prompt.weight.device
    ids, mask = _padded_left(prefixes, tokenizer.pad_token_id)
    new = lm.generate(
        ids.to(device),
        mask.to(device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(stops),
        pad_token_id=tokenizer.pad_token_id,
    )
    said = [list(itertools.takewhile(lambda t: t not in stops, row)) for row in new.tolist()]
    texts: list[str] = tokenizer.batch_decode(said, skip_special_tokens=True)
    return texts


def _padded_left(rows: Sequence[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (length - len(row)) + row for row in rows])  # [B, T]
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
