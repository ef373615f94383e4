"""The page of a run whose names and tokens are scripts: they are data in it, and nothing else."""

import json
from html.parser import HTMLParser
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from tsloss_fast.analysis.features import topologies
from tsloss_fast.analysis.find import Checkpoint, Skipped
from tsloss_fast.analysis.names import printable, quoted
from tsloss_fast.analysis.page import PageContent, render_page
from tsloss_fast.analysis.tokens import Tokens
from tsloss_fast.prompt.nearest import NearestTokens, Neighbours

SCRIPTS = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "\u2028alert(1)//",
    "__DATA__",
    "${alert(1)}",
    "&lt;b&gt;",
    "'\"`",
    "\ud800",
    "\x1b[2J",
]
names = st.sampled_from(SCRIPTS) | st.text(max_size=12)


class Parts(HTMLParser):
    """The tags of a page, their attributes, and what stands in its data."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.data, self._in_data = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))
        self._in_data = ("id", "data") in attrs

    def handle_data(self, data):
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag):
        self._in_data = False


def page_of(title, file, reason, token):
    folder = Path("/runs/run")
    nearest = Neighbours(torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 1).double())
    content = PageContent(
        title=title,
        unit="epoch",
        checkpoints=[Checkpoint(folder / file, 0, "epoch")],
        topologies=list(topologies([torch.eye(3)])),
        accuracies={},
        table=None,
        skipped=[Skipped(folder / file, reason)],
        root=folder,
        tokens=Tokens(title, [NearestTokens(nearest, nearest)], {0: token}),
    )
    return render_page(content)


PLAIN = Parts(page_of("run", "a.pt", "empty", "a").decode())


@given(title=names, file=names.filter(lambda name: name not in ("", ".", "..")), token=names)
def test_names_and_tokens_are_data(title, file, token):
    page = page_of(title, file.replace("/", "_").replace("\0", "_"), title, token)
    parts = Parts(page.decode())
    assert parts.tags == PLAIN.tags
    data = json.loads(parts.data)
    assert data["title"] == title
    assert data["tokens"]["texts"] == {"0": quoted(token)}
    assert data["skipped"][0][1] == title
    shown = printable(file.replace("/", "_").replace("\0", "_"))
    assert data["files"] == [shown]


def test_the_page_runs_no_script_but_its_own():
    tags = [tag for tag, _ in PLAIN.tags]
    assert tags.count("script") == 2
    handlers = [name for _, attrs in PLAIN.tags for name, _ in attrs if name.startswith("on")]
    assert handlers == []
    (policy,) = [
        dict(a)["content"] for t, a in PLAIN.tags if t == "meta" and "http-equiv" in dict(a)
    ]
    assert "default-src 'none'" in policy
    page = page_of("run", "a.pt", "empty", "a").decode()
    for way in ("innerHTML =", "outerHTML =", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in page
