"""The Python blocks of README.md and docs/ run as they stand, each page from its top.

``<!-- needs: a, b -->`` before a block names packages without which it is skipped, and
``<!-- not run: why -->`` a block that stands for something larger.
"""

import importlib.util
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^ *<!-- *(?P<mark>needs|not run): *(?P<what>.+?) *-->\n+)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)
PAGES_WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


def missing(packages):
    return [name for name in re.split(", *", packages) if importlib.util.find_spec(name) is None]


def run_page(page, left_out):
    """Run a page's blocks in one namespace; `left_out` gets (line, why) of those that were not."""
    text, namespace = page.read_text(), {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("code"))
        if block["mark"] == "not run":
            left_out.append((line, block["what"]))
        elif block["mark"] == "needs" and (absent := missing(block["what"])):
            left_out.append((line, f"{', '.join(absent)} not installed"))
        else:
            # Blank lines before it give a traceback the page's own line numbers.
            code = "\n" * line + textwrap.dedent(block["code"])
            exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left_out = []
    run_page(page, left_out)
    if absent := [f"line {line}: {why}" for line, why in left_out if "not installed" in why]:
        pytest.skip("the rest ran; " + "; ".join(absent))


def test_a_block_that_fails_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n```python\nx = 1\n```\n\n=== tab\n\n    ```python\n    1 / (x - 1)\n    ```\n"
    )
    with pytest.raises(ZeroDivisionError) as error:
        run_page(page, [])
    assert error.traceback[-1].lineno + 1 == 10


def test_marked_blocks_are_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: a model -->\n```python\n1 / 0\n```\n"
        "<!-- needs: no_such_package, re -->\n```python\n1 / 0\n```\n"
    )
    left_out = []
    run_page(page, left_out)
    assert left_out == [(2, "a model"), (6, "no_such_package not installed")]
