"""Questions and answers, before they are tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch


class DataError(ValueError):
    """A data file that cannot be used; the message gives file, line number and reason."""


@dataclass(frozen=True)
class Example:
    """One question and its answer; `source` says where it stands, for messages."""

    question: str
    answer: str
    source: str = ""


def fingerprint(examples: Sequence[Example]) -> str:
    """A hash of questions, answers and their order, by which a resumed run knows its data."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.question, example.answer]).encode())
    return digest.hexdigest()


def split(
    examples: Sequence[Example], holdout: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Hold out a random share, at least one example on each side, orders kept.

    Raises
    ------
    DataError
        If there are fewer than two examples.
    """
    if len(examples) < 2:
        raise DataError("holdout: expected at least 2 examples to split, got 1")
    count = min(max(round(holdout * len(examples)), 1), len(examples) - 1)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    held = set(order[:count].tolist())
    return (
        [example for i, example in enumerate(examples) if i not in held],
        [example for i, example in enumerate(examples) if i in held],
    )
