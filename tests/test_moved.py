"""Import paths from before the package had folders: all of them work, and name the same things.

`public_names.json` was read off the flat package: its modules, each with the public names that it
defined. Of the kernels' modules it holds the launchers alone, which their documentation named; what
else they define changes with the kernels.
"""

import importlib
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tsloss_fast
from tsloss_fast._moved import MOVED, present_name

PUBLIC_NAMES = json.loads((Path(__file__).parent / "public_names.json").read_text())
NEEDS = {
    "tsloss_fast.kernels.": "triton",
    "tsloss_fast.integrations.": "peft",
    "tsloss_fast.tuning.": "transformers",
}


def is_installed(module):
    """Whether the package is installed that a module needs."""
    needed = [package for prefix, package in NEEDS.items() if module.startswith(prefix)]
    return all(importlib.util.find_spec(package) for package in needed)


def import_or_skip(module):
    if not is_installed(module):
        pytest.skip(f"{module} needs a package that is not installed")
    return importlib.import_module(module)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_module_still_has_its_public_names(name):
    module = import_or_skip(name)
    assert [public for public in PUBLIC_NAMES[name] if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_old_and_new_name_are_one_module(name):
    module = import_or_skip(name)
    present = importlib.import_module(present_name(name))
    assert module is present
    # Nor does the alias change what the module says of itself.
    assert module.__name__ == module.__spec__.name == present_name(name)
    assert module.__loader__ is module.__spec__.loader


def test_modules_are_imported_from_their_parent():
    """`from tsloss_fast.kernels import h0_small`, in a process that has not met the old names."""
    names = [name for name in PUBLIC_NAMES if "." in name and is_installed(name)]
    froms = [
        f"from {parent} import {leaf}"
        for parent, _, leaf in (name.rpartition(".") for name in names)
    ]
    lines = run("\n".join(f"{line} as module; print(module.__name__)" for line in froms))
    assert lines.split() == [present_name(name) for name in names]


def test_the_table_names_modules_that_exist():
    for old in MOVED:
        assert importlib.util.find_spec(f"tsloss_fast.{old.split('.')[0]}")
        assert not (Path(tsloss_fast.__file__).parent / f"{old.replace('.', '/')}.py").exists()


def test_import_loads_what_it_loaded_under_the_old_names():
    """`import tsloss_fast` was enough for `tsloss_fast.ops.pairwise_distances`, and is."""
    loaded = ["balance", "cuda", "diagram", "engine", "host_h1", "interchange", "loss", "monitor"]
    loaded += ["ops", "persistence", "persistence_terms", "prompt", "reference", "scaling"]
    loaded += ["started_loss", "summaries", "topology_log", "validation"]
    code = "import tsloss_fast; print([m for m in {!r} if not hasattr(tsloss_fast, m)])"
    assert run(code.format(loaded)) == "[]\n"


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"tsloss_fast\.losse'"):
        importlib.import_module("tsloss_fast.losse")
    with pytest.raises(ImportError, match="cannot import name 'h2'"):
        from tsloss_fast.kernels import h2  # noqa: F401


def test_a_pickle_of_the_flat_package_loads():
    """Protocol 0 writes the module's name as text, so the old one can be put in its place."""
    _, h1 = tsloss_fast.rips_persistence(torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    pickled = pickle.dumps(h1, protocol=0)
    new, old = b"ctsloss_fast.persistence.diagram\n", b"ctsloss_fast.diagram\n"
    assert new in pickled
    loaded = pickle.loads(pickled.replace(new, old))
    assert type(loaded) is tsloss_fast.PersistenceDiagram
    assert torch.equal(loaded.pairs, h1.pairs)
    assert torch.equal(loaded.death_edges, h1.death_edges)


def test_a_patch_under_the_old_name_is_seen_under_the_new(monkeypatch):
    from tsloss_fast.losses import tsloss

    monkeypatch.setattr("tsloss_fast.loss.check_choice", lambda *_: pytest.fail("patched"))
    with pytest.raises(pytest.fail.Exception, match="patched"):
        tsloss.TSLoss()
