"""Accuracy by greedy decoding, exact match unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tsloss_fast.prompt import PromptTunedLM
from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.data import Encoded
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
    from tqdm.auto import tqdm

    limit = max_new_tokens or max(len(example.target) for example in examples)
    stops = stop_tokens(lm, tokenizer, {example.target[-1] for example in examples})
    # Like lengths together, so that little is padded.
    ordered = sorted(examples, key=lambda example: len(example.prefix))
    score = score or Score()
    right = 0.0
    starts = range(0, len(ordered), batch_size)
    for start in tqdm(starts, desc="held-out", unit="batch", leave=False, disable=not progress):
        if between is not None:
            between()
        batch = ordered[start : start + batch_size]
        prefixes = [example.prefix for example in batch]
        texts = decode(lm, tokenizer, prefixes, stops, limit)
        right += sum(
            score(text, example.answer) for text, example in zip(texts, batch, strict=True)
        )
    return right / len(examples)
