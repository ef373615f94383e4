"""File names made safe to print: one line, without control characters."""

from __future__ import annotations

from pathlib import Path


def printable(name: str | Path) -> str:
    r"""The name with escapes for what does not print, such as newlines and bytes that are no UTF-8.

    Examples
    --------
    >>> print(printable("run\x1b[2J"))
    run\x1b[2J
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))
