"""What is reStructuredText in the docstrings, as the Markdown that the site is made of."""

import re
from typing import Any

from griffe import Extension, Object

INLINE = re.compile(r":math:`([^`]+)`")
# The directive with the lines below it that are indented further.
DISPLAY = re.compile(r"^( *)\.\. math::(.*\n(?:\1 +\S.*(?:\n|\Z))*)", flags=re.MULTILINE)
# "name : type" of a parameter. The site shows the type as code already, and would take the first of
# {0, 1} for the default.
TYPE = re.compile(r"^ *\w+(?:, \w+)* : .*$", flags=re.MULTILINE)
CHOICE = re.compile(r"\{([^}]*)\}")
LITERAL = re.compile(r"::$", flags=re.MULTILINE)

PARAMETERS = re.compile(
    r"(?<=^Parameters\n----------\n).*?(?=\n\n[A-Z]\w+\n---|\Z)", flags=re.MULTILINE | re.DOTALL
)
# "a, b : type" and the text below it.
GROUP = re.compile(r"^(\w+(?:, \w+)+)( : .*)?((?:\n    .*|\n(?=\n    ))*)", flags=re.MULTILINE)


class Docstrings(Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    text = DISPLAY.sub(_display, text)
    text = INLINE.sub(lambda match: f"${' '.join(match[1].split())}$", text)
    text = PARAMETERS.sub(lambda match: GROUP.sub(_one_by_one, match[0]), text)
    text = TYPE.sub(lambda match: CHOICE.sub(_or, match[0].replace("`", "")), text)
    return LITERAL.sub(":", text)


def _display(match: re.Match[str]) -> str:
    indent, body = match.groups()
    return f"\n{indent}$${' '.join(body.split())}$$\n\n"


def _or(match: re.Match[str]) -> str:
    return " or ".join(match[1].split(", "))


def _one_by_one(match: re.Match[str]) -> str:
    """A parameter each, for the site would give all of a group the default of the first."""
    names, kind, text = match.groups(default="")
    return "\n".join(f"{name}{kind}{text}" for name in names.split(", "))
