"""tsloss_fast.reference: eager PyTorch, and gudhi's simplex tree for the diagrams."""

from __future__ import annotations

from types import ModuleType

from benchmarks.providers.ours import TensorFunctions


class Reference(TensorFunctions):
    """The specification, and what TSLoss was before: gudhi, with lengths gathered in PyTorch."""

    name = "reference"
    package = "gudhi"
    modules = ("tsloss_fast", "gudhi")
    note = "tsloss_fast.reference: eager PyTorch with gudhi's SimplexTree; gudhi's version is given"

    def api(self) -> ModuleType:
        from tsloss_fast import reference

        return reference
