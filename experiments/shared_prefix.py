"""A batch's forward pass that runs what all its sequences begin with, the prompt, once.

The sequences stand behind one another in one long one, whose attention mask hides each from the
others. `PromptTunedLM` gives the same numbers, which the tests compare, for several times the work.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tsloss_fast.prompt.embedding import embedded
from tsloss_fast.tuning.data import Encoded


@dataclass(frozen=True)
class Answered:
    """What the model makes of a batch's answers.

    ``loss`` is the mean cross-entropy over the answers' tokens. ``right`` [B] says whether each
    token of an answer and its end is the most likely one, so that greedy decoding gives the answer.
    """

    loss: Tensor
    right: Tensor


def answer(model: Any, prompt: Tensor, examples: Sequence[Encoded]) -> Answered:
    """Run a causal language model on a prompt [n, d] and examples, answers given.

    In models with a sliding window, the prompt and any example have to fit into it.
    """
    device = prompt.device
    shared = _shared_length(examples)
    begin = len(prompt) + shared
    # An answer's end is told, not read.
    tails = [example.prefix[shared:] + example.target[:-1] for example in examples]
    ids = torch.tensor([*examples[0].prefix[:shared], *itertools.chain(*tails)], device=device)
    text = embedded(model, ids)  # [N - n, d]
    lengths = torch.tensor([begin, *map(len, tails)], device=device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)  # [N]
    starts = lengths.cumsum(0) - lengths
    places = torch.arange(len(owner), device=device) - starts[owner]
    answers = torch.tensor([len(example.target) for example in examples], device=device)
    # The column before a token predicts it; no other needs its logits.
    columns = [
        torch.arange(end - count, end, device=device)
        for end, count in zip((starts + lengths)[1:].tolist(), answers.tolist(), strict=True)
    ]
    logits = model(
        inputs_embeds=torch.cat((prompt.to(text), text))[None],  # [1, N, d]
        attention_mask=_mask(owner, text.dtype),
        position_ids=torch.where(owner > 0, places + begin, places)[None],
        logits_to_keep=torch.cat(columns),
        use_cache=False,
    ).logits[0].float()  # [M, V]  # fmt: skip
    targets = torch.tensor([t for example in examples for t in example.target], device=device)
    hits = (logits.argmax(-1) == targets).split(answers.tolist())
    return Answered(cross_entropy(logits, targets), torch.stack([hit.all() for hit in hits]))


@torch.no_grad()
def accuracy(
    model: Any, prompt: Tensor, examples: Sequence[Encoded], batch_size: int = 16
) -> float:
    """The share of examples answered right, by greedy decoding with exact match."""
    batches = [examples[i : i + batch_size] for i in range(0, len(examples), batch_size)]
    right = sum(int(answer(model, prompt, batch).right.sum()) for batch in batches)
    return right / len(examples)


def _mask(owner: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention: 0 for columns before, of the same owner or of all; [1, 1, N, N].

    Owner 0 is the common beginning.
    """
    seen = ((owner[:, None] == owner) | (owner == 0)).tril()
    hidden = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=owner.device)
    return hidden.masked_fill(seen, 0)[None, None]


def _shared_length(examples: Sequence[Encoded]) -> int:
    """How many tokens all questions begin with, at most all but the last of the shortest."""
    prefixes = [example.prefix for example in examples]
    equal = (len(set(tokens)) == 1 for tokens in zip(*prefixes, strict=False))
    common = sum(1 for _ in itertools.takewhile(bool, equal))
    return min(common, min(map(len, prefixes)) - 1)
