"""Held-out accuracy by greedy decoding, exact match unless asked otherwise, and held-out loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tsloss_fast.prompt import IGNORED_LABEL, PromptTunedLM
from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.data import Encoded, collate
from tsloss_fast.tuning.decoding import decode, stop_tokens


def exact_match(
    lm: PromptTunedLM,
    tokenizer: Any,
    examples: Sequence[Encoded],
    *,
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    between: Callable[[], None] | None = None,
    progress: bool = False,
    score: Callable[[str, str], float] | None = None,
) -> float:
    """The share of examples whose greedy answer equals the expected one, white space aside.

    With `score` it is the mean of what that says, such as a `Score`, of each answer and the one
    expected.

    Parameters
    ----------
    lm, tokenizer, examples
        The prompted model, its tokenizer, and at least one example.
    batch_size : int, default 16
        Examples decoded at once.
    max_new_tokens : int, optional
        Where decoding stops. Default: the longest expected answer with its end token, for a longer
        answer is wrong already.
    between : callable, optional
        Called before each batch; may raise to stop.
    progress : bool, default False
        Show a progress bar on stderr, which goes when done.
    """
    score = score or Score()
    texts = greedy_answers(
        lm,
        tokenizer,
        examples,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        between=between,
        progress=progress,
    )
    right = sum(score(text, example.answer) for text, example in zip(texts, examples, strict=True))
    return right / len(examples)


def greedy_answers(
    lm: PromptTunedLM,
    tokenizer: Any,
    examples: Sequence[Encoded],
    *,
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    between: Callable[[], None] | None = None,
    progress: bool = False,
) -> list[str]:
    """What the model says to each example, in their order; see `exact_match`."""
    limit = max_new_tokens or max(len(example.target) for example in examples)
    stops = stop_tokens(lm, tokenizer, {example.target[-1] for example in examples})
    texts = [""] * len(examples)
    # Like lengths together, so that little is padded.
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].prefix))
    for rows in _batches(order, batch_size, between, progress):
        prefixes = [examples[i].prefix for i in rows]
        said = decode(lm, tokenizer, prefixes, stops, limit)
        for i, text in zip(rows, said, strict=True):
            texts[i] = text
    return texts


@torch.no_grad()
def mean_loss(
    lm: PromptTunedLM,
    tokenizer: Any,
    examples: Sequence[Encoded],
    *,
    batch_size: int = 16,
    between: Callable[[], None] | None = None,
) -> float:
    """The cross-entropy of the expected answers, a mean over all their tokens.

    Whole examples go through the model at once, `batch_size` of them, as in training; the other
    arguments are those of `exact_match`.
    """
    device = lm.soft_prompt.weight.device
    total, targets = 0.0, 0
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
    for rows in _batches(order, batch_size, between, progress=False):
        batch = collate([examples[i] for i in rows], tokenizer.pad_token_id)
        out = lm(
            batch.input_ids.to(device), batch.attention_mask.to(device), batch.labels.to(device)
        )
        count = int((batch.labels != IGNORED_LABEL).sum())
        total += out.loss.item() * count
        targets += count
    return total / targets


def _batches(
    order: Sequence[int],
    batch_size: int,
    between: Callable[[], None] | None,
    progress: bool,
) -> Any:
    from tqdm.auto import tqdm

    starts = range(0, len(order), batch_size)
    for start in tqdm(starts, desc="held-out", unit="batch", leave=False, disable=not progress):
        if between is not None:
            between()
        yield order[start : start + batch_size]
