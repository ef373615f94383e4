"""The Python blocks of README.md, CONTRIBUTING.md and docs/ run as they stand, from the top.

Commands are right up to the model that they would load, paths exist, and the site needs no network.
``<!-- needs: a, b -->`` before a block names packages without which it is skipped, and
``<!-- not run: why -->`` a block that stands for something larger.
"""

import importlib.util
import json
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import torch
from tiny_lm import DIM, save_tiny

from tsloss_fast import cli
from tsloss_fast.cli.output import EXIT_USAGE
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.tasks import larger_number

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^ *<!-- *(?P<mark>needs|not run): *(?P<what>.+?) *-->\n+)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)
SHELL_BLOCK = re.compile(r"^```bash\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
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


def commands(name, texts=None):
    """The arguments of each `tsloss-fast NAME` in a shell block of a text, or of any page."""
    texts = texts or [page.read_text() for page in PAGES]
    blocks = [block for text in texts for block in SHELL_BLOCK.findall(text)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if "tsloss-fast" in line]
    return [argv[2:] for argv in words if argv[:2] == ["tsloss-fast", name]]


@pytest.mark.parametrize("argv", commands("tune"), ids=" ".join)
def test_a_tune_command_is_right_up_to_its_model(argv, tmp_path, monkeypatch, capsys):
    """Its data are there, its settings fit, and it says where it writes."""
    pytest.importorskip("transformers")
    pytest.importorskip("tqdm")
    monkeypatch.chdir(ROOT)
    assert "--out" in argv
    status = cli.main(["tune", *argv, "--out", str(tmp_path / "run"), "--model", "./no-model"])
    assert status == EXIT_USAGE
    assert capsys.readouterr().err == "tsloss-fast: error: model: no such folder: ./no-model\n"


@pytest.mark.parametrize("argv", commands("analyze"), ids=" ".join)
def test_an_analyze_command_is_right_up_to_its_run(argv, tmp_path, monkeypatch, capsys):
    for package in ("matplotlib", "safetensors", "scipy", "tqdm"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["analyze", *argv]) == EXIT_USAGE
    assert "runs/first" in capsys.readouterr().err


@pytest.mark.model
def test_the_analyze_commands_of_their_page_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    """On a folder as the `tune` command of the pages leaves it, and a tiny model."""
    for package in ("matplotlib", "safetensors", "scipy", "tqdm", "transformers"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    folder, epochs = tmp_path / "runs" / "first", range(TuneConfig(data="x").epochs + 1)
    folder.mkdir(parents=True)
    for epoch in epochs:
        torch.save(torch.randn(4, DIM), folder / f"soft_prompt_epoch_{epoch:03}.pt")
    lines = [json.dumps({"kind": "eval", "epoch": e, "accuracy": e / 10}) for e in epochs]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    model = str(save_tiny(tmp_path / "model"))
    page = (ROOT / "docs" / "analysis.md").read_text()
    here = commands("analyze", [page])
    assert len(here) == 4
    for argv in here:
        argv = [model if word == "smollm2-135m-instruct" else word for word in argv]
        assert cli.main(["analyze", *argv, "--quiet"]) == 0, capsys.readouterr().err
    assert (folder / "analysis" / "tokens.csv").is_file()
    assert (tmp_path / "pictures").is_dir()


def test_the_commands_are_found():
    assert len(commands("tune")) >= 3
    assert len(commands("analyze")) >= 3


def test_the_sample_data_are_the_projects_own_task():
    lines = (ROOT / "examples" / "data" / "train.jsonl").read_text().splitlines()
    expected = [{"question": e.question, "answer": e.answer} for e in larger_number(96, seed=0)]
    assert [json.loads(line) for line in lines] == expected


def test_the_site_searches_from_disk_without_a_network():
    """What the search needs from file:// is the theme's plugin, and a worker that lies here."""
    config = (ROOT / "mkdocs.yml").read_text()
    assert re.search(r"^plugins:\n(  .*\n)*?  - search\n  - offline\n", config, re.MULTILINE)
    (polyfill,) = re.findall(r"polyfills: \[(.*)\]", config)
    assert "iframe-worker" in polyfill
    assert "IFrameWorker" in (ROOT / "docs" / polyfill).read_text()


def test_every_page_of_the_site_is_in_its_menu():
    config = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"^  - .*: ([\w-]+\.md)$", config, re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_no_words_in_brackets_are_taken_for_a_reference(page):
    """`make docs` looks for the target of [a][b], which is no name of the API here."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\[([^\]]*)\]", prose)
    assert [target for target in targets if not target.startswith("tsloss_fast.")] == []


PATH = re.compile(r"`((?:[\w.]+/)+[\w.]*)`")
# A path may be given from the root, or from the folder that the sentence is about.
FOLDERS = [ROOT, ROOT / "tsloss_fast", ROOT / "tsloss_fast" / "_engine", ROOT / "csrc"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "csrc/README.md"])
def test_the_paths_of_a_page_exist(page):
    paths = [path for path in PATH.findall((ROOT / page).read_text()) if "NAME" not in path]
    missing = [path for path in paths if not any((folder / path).exists() for folder in FOLDERS)]
    assert len(paths) > 10
    assert missing == []
