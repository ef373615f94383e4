"""The engines that are compared, one file each. They are imported only when asked for."""

from __future__ import annotations

import importlib

from benchmarks.providers.base import Call, Provider

PUBLIC, ENGINE, REFERENCE = "tsloss_fast", "tsloss_fast engine", "reference"
BARE_CALL = "tsloss_fast call alone"
WITH_CYCLES, ENGINE_WITH_CYCLES = "tsloss_fast with cycles", "tsloss_fast engine with cycles"
CLOUD_BY_CLOUD = "tsloss_fast cloud by cloud"
OURS = (PUBLIC, ENGINE, BARE_CALL, WITH_CYCLES, ENGINE_WITH_CYCLES, CLOUD_BY_CLOUD)
SIMPLEX_TREE, REDZED = "gudhi SimplexTree", "redzed-tda"

# Name on the command line and in the results -> where its class is.
NAMES = {
    PUBLIC: "ours:TslossFast",
    ENGINE: "ours:Engine",
    BARE_CALL: "ours:BareCall",
    WITH_CYCLES: "ours:WithCycles",
    ENGINE_WITH_CYCLES: "ours:EngineWithCycles",
    CLOUD_BY_CLOUD: "ours:CloudByCloud",
    REFERENCE: "ours:Reference",
    SIMPLEX_TREE: "gudhi:SimplexTree",
    "gudhi RipsPersistence": "gudhi:RipsPersistence",
    "gudhi Ripser": "gudhi:InternalRipser",
    "gudhi representations": "gudhi:Representations",
    "ripser.py": "ripser_py:RipserPy",
    "giotto-ph": "giotto_ph:GiottoPh",
    REDZED: "redzed:Redzed",
    "tda": "tda:Tda",
    "holos-tda": "holos:Holos",
    "canns-lib": "canns:Canns",
    "torch-topological": "torch_topological:TorchTopological",
    "oineus": "oineus:Oineus",
    "persist0-tda": "persist0:Persist0",
    "SciPy": "scipy:SciPy",
    "NumPy": "numpy_prim:NumPy",
    "eager PyTorch": "pytorch:EagerPyTorch",
    "torch.compile": "pytorch:CompiledPyTorch",
}
NAMES = {name: f"benchmarks.providers.{place}" for name, place in NAMES.items()}


def provider_class(name: str) -> type[Provider]:
    """The class of a provider, by its name or place; importing it imports no peer."""
    module, cls = NAMES.get(name, name).split(":")
    return getattr(importlib.import_module(module), cls)


__all__ = ["NAMES", "OURS", "Call", "Provider", "provider_class"]
