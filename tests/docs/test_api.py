"""The API page has every name that the documentation and the examples use."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^::: (\S+)$", flags=re.MULTILINE)


def resolve(name):
    """What a dotted name means, and the part of it that is a module."""
    parts = name.split(".")
    found, module = importlib.import_module(parts[0]), parts[0]
    for part in parts[1:]:
        if not hasattr(found, part):
            importlib.import_module(f"{module}.{part}")
        found = getattr(found, part)
        if inspect.ismodule(found):
            module = f"{module}.{part}"
    return found, module


def canonical(name):
    """One name for an object that can be imported from several places."""
    found, _ = resolve(name)
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"{found.__module__}.{found.__qualname__}"
    return name


class Used(ast.NodeVisitor):
    """Dotted names below `tsloss_fast` in a source, each up to the first that is no module."""

    def __init__(self):
        self.known, self.names = {}, set()

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name.split(".")[0] == "tsloss_fast":
                self.known[alias.asname or "tsloss_fast"] = (
                    alias.name if alias.asname else "tsloss_fast"
                )

    def visit_ImportFrom(self, node):
        if node.module and node.module.split(".")[0] == "tsloss_fast":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                self.known[alias.asname or alias.name] = name
                self.add(name)

    def visit_Name(self, node):
        if node.id in self.known:
            self.add(self.known[node.id])

    def visit_Attribute(self, node):
        parts, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            parts, root = [root.attr, *parts], root.value
        if isinstance(root, ast.Name) and root.id in self.known:
            self.add(".".join([self.known[root.id], *parts]))
        else:
            self.visit(root)

    def add(self, name):
        parts = name.split(".")
        for end in range(2, len(parts) + 1):
            prefix = ".".join(parts[:end])
            if not inspect.ismodule(resolve(prefix)[0]):
                self.names.add(prefix)
                return


def names_used():
    names = set()
    for page in PAGES:
        names |= used_in(*(textwrap.dedent(code) for _, code in BLOCK.findall(page.read_text())))
    for file in EXAMPLES:
        names |= used_in(file.read_text())
    return names


def used_in(*sources):
    """The names of sources that share their imports, as the blocks of a page do."""
    used = Used()
    for source in sources:
        used.visit(ast.parse(source))
    return used.names


def entries():
    return ENTRY.findall((ROOT / "docs" / "api.md").read_text())


def test_names_are_found():
    """The search itself: imports, aliases and attributes, of modules and of what they hold."""
    imports = "import tsloss_fast as tsl\nfrom tsloss_fast.tuning import data, tasks\n"
    code = "tsl.TSLoss().forward; tsl.interchange.to_arrays(x).y; data.Encoder(t); other.TSLoss"
    assert used_in(imports, code) == {
        "tsloss_fast.TSLoss",
        "tsloss_fast.interchange.to_arrays",
        "tsloss_fast.tuning.data.Encoder",
    }


def test_every_name_of_the_docs_and_examples_is_on_the_page():
    listed = {canonical(name) for name in entries()}
    missing = sorted(name for name in names_used() if canonical(name) not in listed)
    assert missing == []


@pytest.mark.parametrize("package", ["tsloss_fast", "tsloss_fast.losses"])
def test_every_public_name_of_a_package_is_on_the_page(package):
    listed = {canonical(name) for name in entries()}
    names = [f"{package}.{name}" for name in importlib.import_module(package).__all__]
    names = [name for name in names if not inspect.ismodule(resolve(name)[0])]
    assert [name for name in names if canonical(name) not in listed] == []


@pytest.mark.parametrize("name", entries())
def test_an_entry_of_the_page_exists_and_says_what_it_is(name):
    found, _ = resolve(name)
    assert not callable(found) or inspect.getdoc(found)
