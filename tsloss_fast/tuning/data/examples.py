"""Questions and answers, before they are tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(ValueError):
    """A data file that cannot be used; the message gives file, line number and reason."""


@dataclass(frozen=True)
class Example:
    """One question and its answer; `source` says where it stands, for messages.

    `context` is what a conversation holds before the question: pairs of a role, such as
    ``"system"``, and a text.
    """

    question: str
    answer: str
    source: str = ""
    context: tuple[tuple[str, str], ...] = ()


def fingerprint(examples: Iterable[Example]) -> str:
    """A hash of questions, answers and their order, by which a resumed run knows its data."""
    digest = hashlib.sha256()
    for example in examples:
        context = [example.context] if example.context else []
        digest.update(json.dumps([example.question, example.answer, *context]).encode())
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
    held = held_out(len(examples), holdout, seed).tolist()
    return (
        [example for example, is_held in zip(examples, held, strict=True) if not is_held],
        [example for example, is_held in zip(examples, held, strict=True) if is_held],
    )


def held_out(count: int, holdout: float, seed: int) -> Tensor:
    """Which of `count` examples `split` holds out, a bool tensor of shape [count].

    Raises
    ------
    DataError
        If there are fewer than two examples.
    """
    if count < 2:
        raise DataError(f"holdout: expected at least 2 examples to split, got {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held = torch.zeros(count, dtype=torch.bool)
    held[order[: min(max(round(holdout * count), 1), count - 1)]] = True
    return held
