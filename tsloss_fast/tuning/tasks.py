"""A task the project generates itself: the truth of boolean expressions."""

from __future__ import annotations

import random

from tsloss_fast.tuning.data import Example


def boolean_expressions(count: int, seed: int, depth: int = 3) -> list[Example]:
    """Different expressions such as ``not ( True ) and ( False ) is``, half of them true.

    The form is that of BIG-Bench Hard's task of this name. True and False take turns, so an even
    `count` is balanced; since no expression comes twice, any split is disjoint.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        The same seed gives the same list, and a longer list begins with the shorter one.
    depth : int, default 3
        How deeply expressions nest.

    Raises
    ------
    ValueError
        If there are too few different expressions of this depth.

    Examples
    --------
    >>> [example.answer for example in boolean_expressions(4, seed=0)]
    ['True', 'False', 'True', 'False']
    """
    source = random.Random(seed)
    seen: set[str] = set()
    examples: list[Example] = []
    for _ in range(1000 * max(count, 1)):
        if len(examples) >= count:
            return examples
        text, value = _disjunction(source, depth)
        # A bare True or False is no task.
        if text in seen or value != (len(examples) % 2 == 0) or len(text.split()) < 3:
            continue
        seen.add(text)
        examples.append(Example(f"{text} is", str(value)))
    raise ValueError(f"count: expected fewer at depth {depth}, got {count}; found {len(examples)}")


def _disjunction(source: random.Random, depth: int) -> tuple[str, bool]:
    text, value = _conjunction(source, depth)
    if source.random() < 0.4:
        other, other_value = _conjunction(source, depth - 1)
        return f"{text} or {other}", value or other_value
    return text, value


def _conjunction(source: random.Random, depth: int) -> tuple[str, bool]:
    text, value = _negation(source, depth)
    if source.random() < 0.4:
        other, other_value = _negation(source, depth - 1)
        return f"{text} and {other}", value and other_value
    return text, value


def _negation(source: random.Random, depth: int) -> tuple[str, bool]:
    if source.random() < 0.35:
        text, value = _atom(source, depth)
        return f"not {text}", not value
    return _atom(source, depth)


def _atom(source: random.Random, depth: int) -> tuple[str, bool]:
    if depth > 0 and source.random() < 0.6:
        text, value = _disjunction(source, depth - 1)
        return f"( {text} )", value
    value = source.random() < 0.5
    return str(value), value
