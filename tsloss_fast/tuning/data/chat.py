"""The tokenizer's chat template: a conversation as text, and what ends an answer in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PROBE = ({"role": "user", "content": "Question"}, {"role": "assistant", "content": "Answer"})


class TemplateError(ValueError):
    """The template refuses a conversation, or cannot be run."""


def render(tokenizer: Any, messages: Sequence[dict[str, str]], *, answering: bool) -> str:
    """The conversation as text, up to where the answer begins if `answering`.

    Raises
    ------
    TemplateError
        With the template's reason.
    """
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=answering
        )
    # A template is a program that comes with the model, and may raise anything.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TemplateError(f"the chat template fails: {reason}") from error
    return text


def end_of_turn(tokenizer: Any) -> str:
    """What stands behind an answer, up to the first special token.

    That token is often not ``tokenizer.eos_token``: Gemma's is ``<end_of_turn>``. A template that
    ends a turn by no special token gives the words it ends it by, followed by `eos_token`.
    """
    _, _, closing = render(tokenizer, PROBE, answering=False).rpartition(PROBE[-1]["content"])
    ends = [closing.index(t) + len(t) for t in _special_tokens(tokenizer) if t in closing]
    return closing[: min(ends)] if ends else closing.rstrip() + tokenizer.eos_token


def _special_tokens(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
