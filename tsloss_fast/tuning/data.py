"""Questions and answers: read from JSONL, encoded for a tokenizer, put into batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.prompt import IGNORED_LABEL

TEMPLATES = ("auto", "chat", "plain")


class DataError(ValueError):
    """A data file that cannot be used; the message gives file, line number and reason."""


@dataclass(frozen=True)
class Example:
    """One question and its answer; `source` says where it stands, for messages."""

    question: str
    answer: str
    source: str = ""


@dataclass(frozen=True)
class Encoded:
    """One example as tokens: what the model reads, and what it shall answer."""

    prefix: list[int]
    target: list[int]
    answer: str

    def __len__(self) -> int:
        return len(self.prefix) + len(self.target)


@dataclass(frozen=True)
class Batch:
    """A training batch, padded on the right; all of shape [B, T], int64."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def read_jsonl(path: str | Path) -> list[Example]:
    """Read examples from lines of ``{"question": ..., "answer": ...}``.

    Both must be strings that hold more than white space. Other keys are allowed and ignored, blank
    lines are skipped, and the file must be UTF-8.

    Raises
    ------
    DataError
        At the first line that does not fit, with file, line number and reason, or if no example is
        in the file, or if it cannot be read.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    examples = [
        _parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not examples:
        raise DataError(f"{path}: expected at least one line, got none")
    return examples


def _parse(line: bytes, source: str) -> Example:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{source}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise DataError(f"{source}: not usable JSON: nested too deeply") from error
    if not isinstance(record, dict):
        raise DataError(f"{source}: expected an object, got {type(record).__name__}")
    for key in ("question", "answer"):
        if key not in record:
            raise DataError(f"{source}: missing key {key!r}")
        value = record[key]
        if not isinstance(value, str):
            raise DataError(f"{source}: {key}: expected a string, got {type(value).__name__}")
        if not value.strip():
            raise DataError(f"{source}: {key}: expected text, got an empty string")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise DataError(f"{source}: {key}: expected Unicode text, got a lone surrogate")
    return Example(record["question"], record["answer"], source)


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


class Encoder:
    """Turns an example into tokens: ``chat`` by the tokenizer's chat template, or ``plain``.

    ``plain`` is ``Question: {question}\\nAnswer:`` with the answer after a space. ``auto`` takes
    ``chat`` if the tokenizer has a chat template. The target is the answer and the end-of-sequence
    token. Prefix and answer are tokenized apart, so that training and decoding see the same prefix.
    """

    def __init__(self, tokenizer: Any, template: str = "auto", max_length: int = 512) -> None:
        if template not in TEMPLATES:
            raise ValueError(f"template: expected one of {TEMPLATES}, got {template!r}")
        if template == "auto":
            template = "chat" if tokenizer.chat_template else "plain"
        if template == "chat" and not tokenizer.chat_template:
            raise ValueError("template: expected 'plain', the tokenizer has no chat template")
        if tokenizer.eos_token_id is None:
            raise ValueError("model: expected a tokenizer with an end-of-sequence token, got none")
        self.tokenizer = tokenizer
        self.template = template
        self.max_length = max_length

    def __call__(self, example: Example) -> Encoded:
        """Encode one example.

        Raises
        ------
        DataError
            If it is longer than `max_length` tokens.
        """
        answer = example.answer.strip()
        prefix = self._prefix(example.question.strip())
        text = answer if self.template == "chat" else " " + answer
        target = [*self._tokens(text), self.tokenizer.eos_token_id]
        encoded = Encoded(prefix, target, answer)
        if len(encoded) > self.max_length:
            where = f"{example.source}: " if example.source else ""
            raise DataError(
                f"{where}expected at most {self.max_length} tokens (--max-length), "
                f"got {len(encoded)}"
            )
        return encoded

    def _prefix(self, question: str) -> list[int]:
        if self.template == "chat":
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            return self._tokens(text)
        ids = self.tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        # Some tokenizers close every text; the prefix has to stay open for the answer.
        return ids[:-1] if ids[-1] == self.tokenizer.eos_token_id else ids

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


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
