"""File names and tokens made safe to print: one line, without control characters."""

from __future__ import annotations

import json
from pathlib import Path


def printable(name: str | Path) -> str:
    r"""The name with escapes for what does not print, such as newlines and bytes that are no UTF-8.

    Examples
    --------
    >>> print(printable("run\x1b[2J"))
    run\x1b[2J
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def quoted(text: str) -> str:
    r"""The text as a JSON string, with escapes for what does not print.

    Its spaces show, and a table's program takes it for no formula.

    Examples
    --------
    >>> print(quoted(" a"), quoted("\n"), quoted("\u202e"), quoted("\u6570"))
    " a" "\n" "\u202e" "数"
    """
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in shown)
