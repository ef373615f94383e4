"""The layers of the package: who may import whom, and what `import tsloss_fast` needs."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tsloss_fast._moved import present_name

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tsloss_fast"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Lower layers first; a module may import from lower layers and from its own, never from above.
LAYERS = [
    {"_C", "_checks", "_files", "_memory", "_moved", "_timing"},
    {"_engine"},
    {"persistence"},
    {"losses"},
    {"prompt"},
    {"tuning"},
    {"analysis"},
    {"cli"},
]
# The specification stands apart: it shares the diagram's type and nothing else.
REFERENCE_MAY_IMPORT = {"persistence.diagram"}
# `tsloss-fast bench` compares the two.
MAY_IMPORT_REFERENCE = {"cli/measure.py"}

OPTIONAL = ["gudhi", "transformers", "peft", "accelerate", "gguf", "matplotlib", "scipy", "tqdm"]
OPTIONAL += ["triton", "tensorboard", "safetensors", "ripser", "persim", "gtda"]
OPTIONAL += ["torch_topological", "pyarrow"]


def name_of(path):
    """The path below the package, as a test's id."""
    return path.relative_to(PACKAGE).as_posix()


def folder_of(path):
    """The first name below the package: tsloss_fast/tuning/demo.py -> tuning."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Absolute dotted names that a file imports, anywhere in it: `from a.b import c` gives a.b.c.

    Names imported from the package itself may be modules or not; both are given with their dots.
    """
    found = set()
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            lead = parts[: len(parts) - node.level] if node.level else ()
            base = ".".join((*lead, *([node.module] if node.module else [])))
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def package_imports(path):
    """Names below the package that a file imports, with their dots."""
    return {name.partition(".")[2] for name in imports(path) if name.startswith("tsloss_fast.")}


def level(folder):
    found = [index for index, layer in enumerate(LAYERS) if folder in layer]
    assert found, f"{folder} stands in no layer"
    return found[0]


def test_the_sources_are_found():
    names = {folder_of(path) for path in SOURCES}
    assert names - {"__init__", "reference"} == set().union(*LAYERS) - {"_C"}
    assert "_engine.operators" in package_imports(PACKAGE / "losses" / "surrogate_loss.py")
    assert "persistence.diagram.PersistenceDiagram" in package_imports(PACKAGE / "reference.py")


def imports_upwards(path):
    """What a file imports from a folder above its own, or from the reference, as sentences."""
    folder = folder_of(path)
    if folder == "__init__":
        return []
    found = package_imports(path)
    if folder == "reference":
        foreign = {name.rpartition(".")[0] for name in found} - REFERENCE_MAY_IMPORT
        return [f"the reference imports {name}" for name in foreign]
    folders = {name.split(".")[0] for name in found}
    if name_of(path) in MAY_IMPORT_REFERENCE:
        folders -= {"reference"}
    known = folders & {*(folder_of(source) for source in SOURCES), "_C"}
    return [
        f"{name_of(path)} imports {other}"
        for other in known
        if other == "reference" or level(other) > level(folder)
    ]


def test_dependencies_point_down():
    assert [fault for path in SOURCES for fault in imports_upwards(path)] == []


def test_an_import_that_points_up_is_seen(tmp_path, monkeypatch):
    path = PACKAGE / "_engine" / "operators.py"
    monkeypatch.setattr(f"{__name__}.package_imports", lambda path: {"losses.tsloss", "_checks"})
    assert imports_upwards(path) == ["_engine/operators.py imports losses"]


def test_the_package_uses_no_old_import_path():
    """A module that moved is imported by the name that it has now."""
    names = {f"tsloss_fast.{name}" for path in SOURCES for name in package_imports(path)}
    assert [name for name in names if present_name(name) != name] == []


def test_the_package_imports_nothing_of_what_measures_it():
    above = {"benchmarks", "docs_hooks", "examples", "experiments", "tests"}
    assert [p for p in SOURCES if {name.split(".")[0] for name in imports(p)} & above] == []


def test_gudhi_is_for_the_reference_alone():
    users = {path for path in SOURCES if {n for n in imports(path) if n.split(".")[0] == "gudhi"}}
    assert {folder_of(path) for path in users} == {"reference"}


def run(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_import_needs_torch_alone():
    """With every optional dependency blocked, the core imports and works."""
    done = run(
        f"""
        import sys
        sys.modules.update(dict.fromkeys({OPTIONAL!r}))
        import torch
        import tsloss_fast as tsl

        x = torch.randn(9, 2, requires_grad=True)
        for mode in ("persistence", "surrogate"):
            tsl.TSLoss(mode)(x).backward()
        tsl.topology_summary(x)
        assert x.grad.isfinite().all()
        print("works")
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "works\n"


def test_import_loads_nothing_optional():
    done = run(
        f"""
        import sys, torch
        before = set(sys.modules)
        import tsloss_fast
        new = set(sys.modules) - before
        optional = {{name.split(".")[0] for name in new}} & set({OPTIONAL!r})
        folders = ["tuning", "analysis", "cli", "_engine.kernels", "_timing", "prompt.peft"]
        print(sorted(optional), [name for name in folders if f"tsloss_fast.{{name}}" in new])
        """
    )
    assert done.stdout == "[] []\n", done.stdout + done.stderr


def test_import_prints_and_warns_nothing():
    done = run("import warnings; warnings.simplefilter('error'); import torch, tsloss_fast")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_exists():
    import tsloss_fast

    missing = [name for name in tsloss_fast.__all__ if not hasattr(tsloss_fast, name)]
    assert missing == []
    promised = {
        "pairwise_distances",
        "rips_persistence",
        "PersistenceDiagram",
        "TSLoss",
        "total_persistence",
        "lifetime_variance",
        "persistence_entropy",
        "topology_summary",
        "TopologyMonitor",
    }
    assert promised <= set(tsloss_fast.__all__)


ENGINE = sorted(
    path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".cpp", ".cu", ".hpp", ".inl"}
)
BINDINGS = ROOT / "csrc" / "bindings"
# A file includes files of its own folder and of the folders before it; cuda/ stands alone, for it
# is compiled where the engine is not.
ENGINE_LAYERS = ("platform", "geometry", "rips", "losses", "bindings")
ALONE = "cuda"


def may_include(folder):
    return (ALONE,) if folder == ALONE else ENGINE_LAYERS[: ENGINE_LAYERS.index(folder) + 1]


def included(path):
    """The headers that a file of the engine includes, with their quotes or brackets."""
    return re.findall(r'^\s*#\s*include\s*([<"][^>"]+)[>"]', path.read_text(), re.MULTILINE)


def test_the_engine_includes_point_down():
    assert len(ENGINE) > 40
    faults = [
        f"{path.parent.name}/{path.name} includes {name[1:]}"
        for path in ENGINE
        for name in included(path)
        if name[0] == '"' and name[1:].split("/")[0] not in may_include(path.parent.name)
    ]
    assert faults == []


def test_the_engine_knows_neither_python_nor_torch():
    """But for the bindings, which know pybind11 alone."""
    users = {
        (path.parent == BINDINGS, name[1:].split("/")[0])
        for path in ENGINE
        for name in included(path)
        if re.match(r"(pybind11|torch|ATen|c10|numpy)/|Python\.h", name[1:])
    }
    assert users == {(True, "pybind11")}


def lines_that_print(text):
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def test_library_code_does_not_print():
    assert lines_that_print("x = 1\nif x:\n    print(x)") == [3]
    assert {name_of(path) for path in SOURCES if lines_that_print(path.read_text())} == set()
