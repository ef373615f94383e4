"""The engines that are compared, one file each. They are imported only when asked for."""

from __future__ import annotations

import importlib

from benchmarks.providers.base import Call, Provider

# Name on the command line and in the results -> where its class is.
NAMES = {
    "tsloss_fast": "benchmarks.providers.ours:TslossFast",
    "tsloss_fast engine": "benchmarks.providers.ours:Engine",
    "reference": "benchmarks.providers.reference:Reference",
    "gudhi SimplexTree": "benchmarks.providers.gudhi:SimplexTree",
    "gudhi RipsPersistence": "benchmarks.providers.gudhi:RipsPersistence",
    "gudhi Ripser": "benchmarks.providers.gudhi:InternalRipser",
    "ripser.py": "benchmarks.providers.ripser_py:RipserPy",
    "giotto-ph": "benchmarks.providers.giotto_ph:GiottoPh",
    "redzed-tda": "benchmarks.providers.redzed:Redzed",
    "torch-topological": "benchmarks.providers.torch_topological:TorchTopological",
    "oineus": "benchmarks.providers.oineus:Oineus",
    "persist0-tda": "benchmarks.providers.persist0:Persist0",
    "SciPy": "benchmarks.providers.scipy:SciPy",
    "eager PyTorch": "benchmarks.providers.pytorch:EagerPyTorch",
    "torch.compile": "benchmarks.providers.pytorch:CompiledPyTorch",
}
OURS = ("tsloss_fast", "tsloss_fast engine")


def provider_class(name: str) -> type[Provider]:
    """The class of a provider; importing it imports no peer."""
    module, cls = NAMES[name].split(":")
    return getattr(importlib.import_module(module), cls)


__all__ = ["NAMES", "OURS", "Call", "Provider", "provider_class"]
