"""What counts as a right answer: the whole text, a part of it, a number, or as a function says."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from numbers import Real
from pathlib import Path
from typing import Any

from tsloss_fast._checks import check_choice

Compare = Callable[[str, str], object]
COMPARISONS = ("text", "number")

# GSM8K's solutions end with a line "#### 72".
MARK = "####"
MARK_PATTERN = r"####[ \t]*(.*)"


class AnswerError(ValueError):
    """Answers that cannot be scored as asked."""


class Score:
    """Scores what a model said against the expected answer, from 0 (wrong) to 1 (right).

    Parameters
    ----------
    extract : str, optional
        A regular expression whose last match is the answer (its first group, if it has one), or
        ``"####"`` for what stands behind the last such mark. What the model said has no answer
        without a match; an expected answer without one is taken whole.
    compare : {"text", "number"}, default "text"
        ``"number"`` compares numbers by value, without thousands' commas, a leading ``$`` and a
        trailing ``%`` or full stop, and everything else as text.
    metric : str, optional
        ``"module:function"``, called with the answer said and the one expected instead of a
        comparison; the module may lie in the working folder. Returns a number.

    Raises
    ------
    AnswerError
        If one of these cannot be used, or the metric returns no number.

    Examples
    --------
    >>> Score(extract="####", compare="number")("half of 144\\n#### 72.0", "72")
    1.0
    """

    def __init__(
        self, extract: str | None = None, compare: str = "text", metric: str | None = None
    ) -> None:
        self._pattern = None if extract is None else _pattern(extract)
        self._metric_name = metric
        check_choice(compare, "compare", allowed=COMPARISONS)
        self._compare: Compare = {"text": _equal_texts, "number": _equal_numbers}[compare]
        if metric is not None:
            self._compare = _function(metric)

    def __call__(self, said: str, expected: str) -> float:
        said, expected = said.strip(), expected.strip()
        if self._pattern is not None:
            answer, wanted = _extracted(self._pattern, said), _extracted(self._pattern, expected)
            if answer is None:
                return 0.0
            said, expected = answer, expected if wanted is None else wanted
        score = self._compare(said, expected)
        if not isinstance(score, Real):
            raise AnswerError(f"metric: {self._metric_name}: expected a number, got {score!r}")
        return float(score)


def _pattern(extract: str) -> re.Pattern[str]:
    try:
        return re.compile(MARK_PATTERN if extract == MARK else extract)
    except re.error as error:
        raise AnswerError(
            f"extract: expected {MARK!r} or a regular expression, got {extract!r}: {error}"
        ) from error


def _extracted(pattern: re.Pattern[str], text: str) -> str | None:
    matches = list(pattern.finditer(text))
    found = matches[-1][1 if pattern.groups else 0] if matches else None
    return None if found is None else found.strip()


def _equal_texts(said: str, expected: str) -> bool:
    return said == expected


def _equal_numbers(said: str, expected: str) -> bool:
    a, b = _number(said), _number(expected)
    return said == expected if a is None or b is None else a == b


def _number(text: str) -> Decimal | None:
    plain = text.replace(",", "").replace("$", "").strip().rstrip("%.").strip()
    try:
        number = Decimal(plain)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _function(metric: str) -> Compare:
    module_name, _, name = metric.partition(":")
    if not module_name or not name:
        raise AnswerError(f"metric: expected module:function, got {metric!r}")
    path = list(sys.path)
    sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise AnswerError(f"metric: cannot import {module_name!r}: {error}") from error
    finally:
        sys.path[:] = path
    function: Any = getattr(module, name, None)
    if not callable(function):
        got = "none" if function is None else type(function).__name__
        raise AnswerError(f"metric: expected a function {name!r} in {module_name!r}, got {got}")
    compare: Compare = function
    return compare
