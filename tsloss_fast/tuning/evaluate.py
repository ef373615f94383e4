"""Accuracy by greedy decoding, exact match unless asked otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tsloss_fast.prompt import PromptTunedLM
from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.data import Encoded


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
    from tqdm.auto import tqdm

    device = lm.soft_prompt.weight.device
    limit = max_new_tokens or max(len(example.target) for example in examples)
    stops = _stop_tokens(lm, tokenizer, examples)
    # Like lengths together, so that little is padded.
    ordered = sorted(examples, key=lambda example: len(example.prefix))
    score = score or Score()
    right = 0.0
    starts = range(0, len(ordered), batch_size)
    for start in tqdm(starts, desc="held-out", unit="batch", leave=False, disable=not progress):
        if between is not None:
            between()
        batch = ordered[start : start + batch_size]
        ids, mask = _padded_left([example.prefix for example in batch], tokenizer.pad_token_id)
        new = lm.generate(
            ids.to(device),
            mask.to(device),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=sorted(stops),
            pad_token_id=tokenizer.pad_token_id,
        )
        answers = [_until_stop(row, stops) for row in new.tolist()]
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        right += sum(
            score(text, example.answer) for text, example in zip(texts, batch, strict=True)
        )
    return right / len(examples)


def _stop_tokens(lm: PromptTunedLM, tokenizer: Any, examples: Sequence[Encoded]) -> set[int]:
    """Where an answer ends: the model's stop tokens, the tokenizer's, and what ends the targets."""
    own = lm.model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    ends = {example.target[-1] for example in examples}
    return {stop for stop in (*own, tokenizer.eos_token_id) if stop is not None} | ends


def _until_stop(tokens: list[int], stops: set[int]) -> list[int]:
    """The tokens before the first stop token."""
    return list(itertools.takewhile(lambda token: token not in stops, tokens))


def _padded_left(rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (length - len(row)) + row for row in rows])  # [B, T]
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
