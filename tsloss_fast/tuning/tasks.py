"""A task the project generates itself: which of two numbers is larger."""

from __future__ import annotations

import random

from tsloss_fast.tuning.data import Example

LOW, HIGH = 10, 99


def larger_number(count: int, seed: int) -> list[Example]:
    """Different questions such as ``Which number is larger, 47 or 82?``, answered by the number.

    Both numbers have two digits. The larger one comes first in every other question, so its place
    tells nothing. No pair of numbers comes twice, in either order, so any split is disjoint.

    Parameters
    ----------
    count : int
        How many, at most 4005.
    seed : int
        The same seed gives the same list, and a longer list begins with the shorter one.

    Raises
    ------
    ValueError
        If `count` is negative or there are not so many pairs.

    Examples
    --------
    >>> [example.answer in example.question for example in larger_number(3, seed=0)]
    [True, True, True]
    """
    pairs = [(low, high) for high in range(LOW, HIGH + 1) for low in range(LOW, high)]
    if not 0 <= count <= len(pairs):
        raise ValueError(f"count: expected 0 to {len(pairs)}, got {count}")
    random.Random(seed).shuffle(pairs)
    return [
        Example(f"Which number is larger, {a} or {b}?", str(max(a, b)))
        for a, b in (pair if i % 2 else pair[::-1] for i, pair in enumerate(pairs[:count]))
    ]
