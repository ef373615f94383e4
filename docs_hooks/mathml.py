"""Formulas become MathML while the site is built: reading needs no script and no network."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex writes: \(inline\) in a span, \[display\] in a div.
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\s*\\([(\[])(.*?)\\[)\]]\s*</\1>', flags=re.DOTALL
)
FUNCTION = re.compile("(<mi>(?:log|exp|max|min)</mi>)")
GAP = '<mspace width="0.17em"/>'


def on_page_content(content: str, **_: Any) -> str:
    return FORMULA.sub(_as_mathml, content)


def _as_mathml(match: re.Match[str]) -> str:
    tag, bracket, latex = match.groups()
    display = "block" if bracket == "[" else "inline"
    formula = convert(html.unescape(latex.strip()), display=display)
    # The bars of a norm would stretch, each to another height.
    formula = formula.replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')
    # Browsers set a name such as log close to its argument.
    formula = FUNCTION.sub(rf"{GAP}\1{GAP}", formula)
    return f'<{tag} class="maths">{formula}</{tag}>'
