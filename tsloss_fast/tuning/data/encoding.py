"""Examples as tokens: the chat template or the plain form, and where an answer ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsloss_fast.tuning.data.chat import TemplateError, end_of_turn, render
from tsloss_fast.tuning.data.examples import DataError, Example

# What stands before a message in the plain form; others, such as a system's, have nothing.
PLAIN_ROLES = {"user": "Question: ", "assistant": "Answer: "}
LONG_EXAMPLES = ("skip", "truncate")
TEMPLATES = ("auto", "chat", "plain")


class TooLongError(DataError):
    """An example of more tokens than are allowed."""


@dataclass(frozen=True)
class Encoded:
    """One example as tokens: what the model reads, and what it shall answer."""

    prefix: list[int]
    target: list[int]
    answer: str

    def __len__(self) -> int:
        return len(self.prefix) + len(self.target)


class Encoder:
    """Turns an example into tokens: ``chat`` by the tokenizer's chat template, or ``plain``.

    ``plain`` is ``Question: {question}\\nAnswer:`` with the answer after a space. ``auto`` takes
    ``chat`` if the tokenizer has a chat template. The target is the answer and what ends it: the
    template's end of turn, or the end-of-sequence token in ``plain``. Prefix and answer are
    tokenized apart, so that training and decoding see the same prefix. With `truncate`, what
    exceeds `max_length` is cut off the target's end, and the end of the turn with it.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str = "auto",
        max_length: int = 512,
        *,
        truncate: bool = False,
    ) -> None:
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
        self.truncate = truncate
        self._closing = self._chat_closing() if template == "chat" else ""

    def __call__(self, example: Example) -> Encoded:
        """Encode one example.

        Raises
        ------
        DataError
            If it is longer than `max_length` tokens, or with `truncate` its question leaves no
            room for an answer, or the chat template refuses it.
        """
        where = f"{example.source}: " if example.source else ""
        answer = example.answer.strip()
        prefix = self.prefix(example)
        target = self._target(answer)
        length, most = len(prefix) + len(target), self.max_length
        if length > most and not (self.truncate and len(prefix) < most):
            raise TooLongError(
                f"{where}expected at most {most} tokens (--max-length), got {length}"
            )
        return Encoded(prefix, target[: most - len(prefix)], answer)

    def prefix(self, example: Example) -> list[int]:
        """The tokens of the question, up to where the answer begins.

        Raises
        ------
        DataError
            If the chat template refuses it.
        """
        turns = [*example.context, ("user", example.question.strip())]
        if self.template == "chat":
            messages = [{"role": role, "content": text} for role, text in turns]
            try:
                return self._tokens(render(self.tokenizer, messages, answering=True))
            except TemplateError as error:
                where = f"{example.source}: " if example.source else ""
                raise DataError(f"{where}{error}") from error
        lines = [f"{PLAIN_ROLES.get(role, '')}{text}\n" for role, text in turns]
        ids: list[int] = self.tokenizer("".join(lines) + "Answer:")["input_ids"]
        # Some tokenizers close every text; the prefix has to stay open for the answer.
        return ids[:-1] if ids[-1] == self.tokenizer.eos_token_id else ids

    @property
    def end_token(self) -> int:
        """The token that ends every answer which is not cut."""
        return self._target("")[-1]

    def _target(self, answer: str) -> list[int]:
        if self.template == "chat":
            # In one piece, for a space before the end of turn may belong to a token of both.
            return self._tokens(answer + self._closing)
        return [*self._tokens(" " + answer), self.tokenizer.eos_token_id]

    def _chat_closing(self) -> str:
        try:
            return end_of_turn(self.tokenizer)
        except TemplateError as error:
            raise ValueError(f"template: {error}") from error

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids
