"""One record of a file, as it comes under people's names, made an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsloss_fast.tuning.data.examples import DataError, Example

# Names of the question and the answer that are known, in the order in which they are looked for.
PAIRS = (("question", "answer"), ("prompt", "completion"), ("instruction", "output"))
MESSAGES = "messages"


@dataclass(frozen=True)
class Columns:
    """Names of the columns; None where they are to be recognised.

    Either `question` and `answer`, or `messages`, a column of conversations.
    """

    question: str | None = None
    answer: str | None = None
    messages: str | None = None


RECOGNISED = Columns()


def to_example(record: object, columns: Columns, source: str) -> Example:
    """Read question and answer off one record.

    Known are ``question`` and ``answer``; ``prompt`` and ``completion``, as texts or as lists of
    messages; ``instruction``, ``input`` (may be missing or empty) and ``output``; and ``messages``,
    which end with a user's message and the assistant's answer to it. Whole numbers in a column are
    taken as they are written, for tables have types.

    Raises
    ------
    DataError
        If it holds none of these, or something else than text; `source` begins the message.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"{source}: expected an object, got {type(record).__name__}")
    if columns.messages is not None:
        return _from_messages(_value(record, columns.messages, source), source)
    if columns.question is not None and columns.answer is not None:
        return _from_pair(record, (columns.question, columns.answer), source)
    for pair in PAIRS:
        if set(pair) <= set(record):
            return _from_pair(record, pair, source)
    if MESSAGES in record:
        return _from_messages(record[MESSAGES], source)
    for pair in PAIRS:
        if set(pair) & set(record):
            return _from_pair(record, pair, source)
    known = ", ".join(" and ".join(pair) for pair in PAIRS)
    raise DataError(
        f"{source}: expected the columns {known}, or {MESSAGES}, "
        f"got {', '.join(map(repr, record)) or 'none'}; "
        "--question-column and --answer-column take other names"
    )


def _from_pair(record: Mapping[str, Any], pair: tuple[str, str], source: str) -> Example:
    question, answer = (_value(record, key, source) for key in pair)
    if isinstance(question, list) and isinstance(answer, list):
        return _from_messages([*question, *answer], source)
    question, answer = _cell(question, pair[0], source), _cell(answer, pair[1], source)
    if pair[0] == "instruction" and record.get("input") not in (None, ""):
        question = f"{question}\n\n{_cell(record['input'], 'input', source)}"
    return Example(question, answer, source)


def _from_messages(messages: object, source: str) -> Example:
    if not isinstance(messages, list):
        raise DataError(
            f"{source}: messages: expected a list of messages, got {type(messages).__name__}"
        )
    turns = [_turn(message, f"{source}: messages[{i}]") for i, message in enumerate(messages)]
    if [role for role, _ in turns[-2:]] != ["user", "assistant"]:
        roles = ", ".join(role for role, _ in turns) or "none"
        raise DataError(
            f"{source}: messages: expected a user's and the assistant's at the end, got {roles}"
        )
    *context, (_, question), (_, answer) = turns
    return Example(question, answer, source, tuple(context))


def _turn(message: object, source: str) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise DataError(f"{source}: expected an object, got {type(message).__name__}")
    content = _value(message, "content", source)
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        content = "".join(_text(part, "content", source) for part in parts)
    role = _text(_value(message, "role", source), "role", source)
    return role, _text(content, "content", source)


def _value(record: Mapping[str, Any], key: str, source: str) -> Any:
    if key not in record:
        raise DataError(f"{source}: missing key {key!r}")
    return record[key]


def _cell(value: object, key: str, source: str) -> str:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return _text(str(value) if is_whole else value, key, source)


def _text(value: object, key: str, source: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{source}: {key}: expected a string, got {type(value).__name__}")
    if not value.strip():
        raise DataError(f"{source}: {key}: expected text, got an empty string")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise DataError(f"{source}: {key}: expected Unicode text, got a lone surrogate")
    return value
