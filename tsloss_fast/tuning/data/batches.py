"""Encoded examples put into padded batches, and the order of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsloss_fast.prompt import IGNORED_LABEL
from tsloss_fast.tuning.data.encoding import Encoded


@dataclass(frozen=True)
class Batch:
    """A training batch, padded on the right; all of shape [B, T], int64."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def collate(examples: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad to the longest on the right; labels are -100 on prefix and padding."""
    length = max(len(example) for example in examples)
    ids = torch.full((len(examples), length), pad_id)  # [B, T]
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED_LABEL)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example.prefix + example.target)
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
        labels[row, len(example.prefix) : len(tokens)] = tokens[len(example.prefix) :]
    return Batch(ids, mask, labels)


def epoch_batches(
    examples: Sequence[Encoded], batch_size: int, pad_id: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """The batches of one epoch; their order depends on seed and epoch alone.

    So a resumed run needs no state of a generator to go on with the same batches.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(examples), generator=generator).tolist()
    for start in range(0, len(order), batch_size):
        yield collate([examples[i] for i in order[start : start + batch_size]], pad_id)
