"""What is reStructuredText in the docstrings, as the Markdown that the site is made of."""

import re
from typing import Any

from griffe import Extension, Object

INLINE = re.compile(r":math:`([^`]+)`")
# The directive, on the same line or in the indented lines that follow, up to a blank line.
DISPLAY = re.compile(r"^( *)\.\. math::((?:.+\n?|\n(?=\1 +\S))+)", flags=re.MULTILINE)
# "name : type" of a parameter; the site shows the type as code already.
TYPE = re.compile(r"^ *\w+(?:, \w+)* : .*$", flags=re.MULTILINE)
LITERAL = re.compile(r"::$", flags=re.MULTILINE)


class Docstrings(Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    text = DISPLAY.sub(_display, text)
    text = INLINE.sub(lambda match: f"${' '.join(match[1].split())}$", text)
    text = TYPE.sub(lambda match: match[0].replace("`", ""), text)
    return LITERAL.sub(":", text)


def _display(match: re.Match[str]) -> str:
    indent, body = match.groups()
    return f"\n{indent}$${' '.join(body.split())}$$\n\n"
