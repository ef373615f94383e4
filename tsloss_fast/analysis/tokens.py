"""The tokens of a model that the rows of a run's prompts are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.analysis.find import AnalysisError
from tsloss_fast.analysis.names import printable
from tsloss_fast.prompt.nearest import NearestTokens, Neighbours, nearest_tokens
from tsloss_fast.tuning import models

NEAREST = 5

# Rows for which the vocabulary is read once.
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Tokens:
    """The nearest tokens of each row of each checkpoint.

    Attributes
    ----------
    model : str
        The name of the model whose vocabulary it is.
    nearest : list of NearestTokens
        One for each checkpoint, with ids and distances [n, k].
    texts : dict of int to str
        By id; one that the tokenizer does not have, as in padded tables, is left out.
    """

    model: str
    nearest: list[NearestTokens]
    texts: dict[int, str]


class Vocabulary:
    """The embedding of a causal language model or an encoder-decoder, and its tokens' texts.

    Parameters
    ----------
    name : str or None
        As `find_model` takes it.
    loaded : (model, tokenizer), optional
        Use these instead.
    progress : bool, default True
        Show transformers' bars while the model is loaded.

    Raises
    ------
    ModelError
        If the model cannot be found or loaded.
    """

    def __init__(
        self, name: str | None, loaded: tuple[Any, Any] | None = None, progress: bool = True
    ) -> None:
        if loaded is None:
            assert name is not None
            source = models.local_if_unreachable(models.find_model(name))
            config = models.load_config(source)
            tokenizer = models.load_tokenizer(source)
            model = models.load_model(
                source, progress=progress, encoder_decoder=bool(config.is_encoder_decoder)
            )
            loaded = model, tokenizer
        self.model, self.tokenizer = loaded
        name = name or getattr(self.model, "name_or_path", "") or "the model"
        # The page does not tell where on a disk a model lay.
        is_path = Path(name).expanduser().exists()
        self.name = printable(Path(name).name if is_path else name)

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and dimension, (V, d)."""
        V, d = self.model.get_input_embeddings().weight.shape
        return V, d

    def check(self, prompts: Sequence[Tensor], names: Sequence[str], k: int) -> None:
        """Raise unless the rows [n, d] of all prompts are as long as the tokens', of which k are.

        Raises
        ------
        AnalysisError
            It names the prompt.
        """
        V, d = self.shape
        if not 1 <= k <= V:
            raise AnalysisError(f"nearest: expected 1 to {V}, the tokens of {self.name}, got {k}")
        for prompt, name in zip(prompts, names, strict=True):
            if prompt.shape[1] != d:
                raise AnalysisError(
                    f"model: expected one whose embedding has {prompt.shape[1]} columns, as "
                    f"{name} has, got {d}: {self.name}"
                )

    def nearest(
        self,
        prompts: Sequence[Tensor],
        k: int,
        advance: Callable[[int], object] = lambda done: None,
    ) -> Tokens:
        """The `k` tokens nearest to each row of each prompt [n, d], which `check` has passed.

        `advance` is told how many prompts were done since it was called last.
        """
        results: list[NearestTokens] = []
        for group in _groups(prompts):
            found = nearest_tokens(torch.cat([prompt.double() for prompt in group]), self.model, k)
            lengths = [len(prompt) for prompt in group]
            results += map(
                NearestTokens, _split(found.euclidean, lengths), _split(found.cosine, lengths)
            )
            advance(len(group))
        ids = {
            token
            for one in results
            for neighbours in (one.euclidean, one.cosine)
            for token in neighbours.ids.flatten().tolist()
        }
        texts = {token: token_text(self.tokenizer, token) for token in sorted(ids)}
        known = {token: text for token, text in texts.items() if text is not None}
        return Tokens(self.name, results, known)


def _groups(prompts: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The prompts in groups of at most `ROWS_AT_ONCE` rows, or of one."""
    group: list[Tensor] = []
    for prompt in prompts:
        if group and sum(map(len, group)) + len(prompt) > ROWS_AT_ONCE:
            yield group
            group = []
        group.append(prompt)
    yield group


def _split(neighbours: Neighbours, lengths: list[int]) -> list[Neighbours]:
    parts = (neighbours.ids.split(lengths), neighbours.distances.split(lengths))
    return [Neighbours(ids, distances) for ids, distances in zip(*parts, strict=True)]


def token_text(tokenizer: Any, token: int) -> str | None:
    """What a token stands for, with its space in front if it has one; None for no token."""
    raw = tokenizer.convert_ids_to_tokens(token)
    if raw is None:
        return None
    raw = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    # Some bytes of a character are no text; the tokenizer has its own letters for them.
    if not text or "\ufffd" in text:
        return raw
    # SentencePiece's mark of a space, which its decoder drops at the start of a text.
    return f" {text}" if raw.startswith("\u2581") and not text.startswith(" ") else text
