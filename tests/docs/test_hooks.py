"""What the site makes of docstrings and formulas, without the packages that build it."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / "docs_hooks"


def load(name, monkeypatch, **stand_ins):
    for package, names in stand_ins.items():
        monkeypatch.setitem(sys.modules, package, types.SimpleNamespace(**names))
    spec = importlib.util.spec_from_file_location(name, HOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def to_markdown(monkeypatch):
    return load(
        "docstrings", monkeypatch, griffe={"Extension": object, "Object": object}
    ).to_markdown


def parameters(text):
    return f"Does.\n\nParameters\n----------\n{text}\n"


def test_a_choice_does_not_become_the_default(to_markdown):
    """numpydoc takes the first of {0, 1} for the default; the signature knows better."""
    text = to_markdown(parameters('max_dim : {0, 1}\n    The highest.\nmode : {"a", "b", "c"}'))
    assert "max_dim : 0 or 1\n" in text
    assert 'mode : "a" or "b" or "c"' in text


def test_a_group_is_taken_apart(to_markdown):
    text = to_markdown(parameters("a, b : float, default 1\n    Weights.\nc : int"))
    assert text == parameters(
        "a : float, default 1\n    Weights.\nb : float, default 1\n    Weights.\nc : int"
    )


def test_formulas_get_dollars(to_markdown):
    text = to_markdown("With :math:`x_i`:\n\n.. math::\n   a\n   + b\n\nand code::\n\n    x = 1\n")
    assert "With $x_i$:" in text
    assert "$$a + b$$" in text
    assert "and code:\n" in text


def test_formulas_become_mathml(monkeypatch):
    shown = []

    def convert(latex, display):
        shown.append((latex, display))
        return f"<math>{latex}</math>"

    hook = load("mathml", monkeypatch, **{"latex2mathml.converter": {"convert": convert}})
    page = (
        '<p><span class="arithmatex">\\(a &lt; b\\)</span></p>'
        '<div class="arithmatex">\\[\n\\sum x\n\\]</div><code>\\(not\\)</code>'
    )
    assert hook.on_page_content(page) == (
        '<p><span class="maths"><math>a < b</math></span></p>'
        '<div class="maths"><math>\\sum x</math></div><code>\\(not\\)</code>'
    )
    assert shown == [("a < b", "inline"), ("\\sum x", "block")]


def test_a_function_stands_apart_from_its_argument(monkeypatch):
    stand_in = {"convert": lambda latex, display: "<mi>p</mi><mi>log</mi><mi>p</mi>"}
    hook = load("mathml", monkeypatch, **{"latex2mathml.converter": stand_in})
    page = hook.on_page_content('<span class="arithmatex">\\(p \\log p\\)</span>')
    gap = '<mspace width="0.17em"/>'
    assert f"<mi>p</mi>{gap}<mi>log</mi>{gap}<mi>p</mi>" in page
