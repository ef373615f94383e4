"""Import paths from before the package had folders: an old name gives the module of the new one.

`tsloss_fast.loss` and `tsloss_fast.losses.tsloss` are one object, so patches, pickles and
`isinstance` see no difference. Modules that kept their name are not listed, nor are those below a
folder that moved as a whole: `tsloss_fast.integrations.peft` follows from its folder.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "tsloss_fast"

# Names below the package. A new name may be moved again, as those of the kernels are.
MOVED = {
    "balance": "prompt.balance",
    "bench": "cli.measure",
    "cuda": "_engine.cuda",
    "diagram": "persistence.diagram",
    "engine": "_engine.arrays",
    "host_h1": "_engine.host_h1",
    "integrations": "prompt",
    "interchange": "persistence.interchange",
    "kernels": "_engine.kernels",
    "loss": "losses.tsloss",
    "monitor": "prompt.monitor",
    "ops": "_engine.operators",
    "persistence_terms": "_engine.persistence_terms",
    "plots": "persistence.plots",
    "scaling": "_engine.scaling",
    "started_loss": "losses.started",
    "summaries": "persistence.summaries",
    "timing": "_timing",
    "topology_log": "prompt.topology_log",
    "validation": "_checks",
    "_engine.kernels.direct": "_engine.kernels.distances.direct",
    "_engine.kernels.h0_elder": "_engine.kernels.h0.elder",
    "_engine.kernels.h0_keys": "_engine.kernels.h0.keys",
    "_engine.kernels.h0_large": "_engine.kernels.h0.large",
    "_engine.kernels.h0_small": "_engine.kernels.h0.small",
    "_engine.kernels.product": "_engine.kernels.distances.product",
    "_engine.kernels.scatter_differences": "_engine.kernels.scatter.differences",
    "_engine.kernels.surrogate_formulas": "_engine.kernels.surrogate.formulas",
    "_engine.kernels.surrogate_tiled": "_engine.kernels.surrogate.tiled",
}


def present_name(name: str) -> str:
    """Where a module of the package lies today, by the dotted name that it has or had."""
    parts = name.split(".")
    for end in range(2, len(parts) + 1):
        moved = MOVED.get(".".join(parts[1:end]))
        if parts[0] == PACKAGE and moved is not None:
            return present_name(".".join([PACKAGE, moved, *parts[end:]]))
    return name


def install() -> None:
    """Make old names importable, and attributes of the package where their module is loaded."""
    sys.meta_path.insert(0, _Finder())
    for old in MOVED:
        name = f"{PACKAGE}.{old}"
        if "." not in old and present_name(name) in sys.modules:
            importlib.import_module(name)


class _Finder(MetaPathFinder):
    # Before all other finders, which would load a file below a moved folder a second time.
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        present = present_name(name)
        return None if present == name else ModuleSpec(name, _Alias(present))


class _Alias(Loader):
    def __init__(self, present: str) -> None:
        self._present = present

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._present)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just put the old name's spec on the module, which ran long ago.
        module.__spec__ = self._own_spec
