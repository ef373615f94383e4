"""Examples as tokens: the chat template or the plain form, and where an answer ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsloss_fast.tuning.data.examples import DataError, Example

TEMPLATES = ("auto", "chat", "plain")


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
