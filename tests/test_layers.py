"""The layers of the package: who may import whom, and what `import tsloss_fast` needs."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tsloss_fast"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Lower layers first; a module may import from lower layers and from its own, never from above.
LAYERS = [
    {"diagram", "validation", "timing", "scaling", "_C"},
    {"engine", "interchange"},
    {"kernels", "host_h1"},
    {"cuda"},
    {"ops"},
    {"persistence"},
    {"summaries"},
    {"persistence_terms", "graphed_loss"},
    {"loss", "balance", "started_loss"},
    {"prompt"},
    {"monitor", "topology_log", "tuning", "integrations", "plots", "bench"},
    {"analysis"},
    {"cli", "__main__"},
]
# The specification stands apart: it shares the diagram's type and nothing else.
REFERENCE_MAY_IMPORT = {"diagram"}
# `tsloss-fast bench` compares the two.
MAY_ALSO_IMPORT = {"bench": {"reference"}}

OPTIONAL = ["gudhi", "transformers", "peft", "accelerate", "gguf", "matplotlib", "scipy", "tqdm"]
OPTIONAL += ["triton", "tensorboard", "safetensors", "ripser", "persim", "gtda"]
OPTIONAL += ["torch_topological"]


def module_of(path):
    """The module's first name below the package: tsloss_fast/tuning/demo.py -> tuning."""
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
    """First names below the package that a file imports."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("tsloss_fast.")}
    known = {module_of(other) for other in SOURCES} | {"_C"}
    return names & known


def level(name):
    return next(index for index, layer in enumerate(LAYERS) if name in layer)


def test_the_sources_are_found():
    names = {module_of(path) for path in SOURCES}
    assert {"__init__", "reference", "diagram", "ops", "persistence", "summaries", "loss"} <= names
    assert package_imports(PACKAGE / "loss.py") >= {"ops"}
    assert package_imports(PACKAGE / "reference.py") == {"diagram"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_down(path):
    name = module_of(path)
    if name == "__init__":
        return
    if name == "reference":
        assert package_imports(path) <= REFERENCE_MAY_IMPORT
        return
    for other in package_imports(path) - {name, "__init__"} - MAY_ALSO_IMPORT.get(name, set()):
        assert other != "reference", f"{name} imports the reference"
        assert level(other) <= level(name), f"{name} imports {other}, which stands above it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_gudhi_is_for_the_reference_alone(path):
    if module_of(path) != "reference":
        assert not {name for name in imports(path) if name.split(".")[0] == "gudhi"}


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
        new = {{name.split(".")[0] for name in set(sys.modules) - before}}
        print(sorted(new & set({OPTIONAL!r})))
        """
    )
    assert done.stdout == "[]\n", done.stdout + done.stderr


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
    path for path in (ROOT / "csrc").iterdir() if path.suffix in {".cpp", ".hpp", ".inl"}
)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.name)
def test_the_engine_knows_neither_python_nor_torch(path):
    included = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)
    foreign = [
        name for name in included if re.match(r"(pybind11|torch|ATen|c10|numpy)/|Python\.h", name)
    ]
    if path.name == "bindings.cpp":
        assert not [name for name in foreign if not name.startswith("pybind11/")]
    else:
        assert foreign == []


def test_the_engine_has_bindings():
    assert ROOT / "csrc" / "bindings.cpp" in ENGINE
    assert len(ENGINE) > 5


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_library_code_does_not_print(path):
    if module_of(path) in {"cli", "__main__"} or path.name in {"__main__.py", "demo.py"}:
        return
    called = [
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert "print" not in called
