"""A model's output with the parts of the loss beside it."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

PARTS = ("ce_loss", "ts_loss", "ts_terms")
_KINDS: dict[type, type] = {}


def with_parts(out: Any, loss: Tensor, **parts: Any) -> Any:
    """The output as one of a subclass that has the `PARTS` as fields, so that they are kept.

    Attributes would be lost wherever an output is taken apart and put together again: by pytree
    maps, by accelerate's conversion to float32, by DataParallel.
    """
    return _kind_with_parts(type(out))(**{**dict(out.items()), "loss": loss, **parts})


def _kind_with_parts(kind: type) -> type:
    if kind not in _KINDS:
        _KINDS[kind] = dataclasses.make_dataclass(
            f"PromptTuned{kind.__name__}",
            [(name, Any, dataclasses.field(default=None)) for name in PARTS],
            bases=(kind,),
            namespace={"__module__": __name__, "__reduce__": _reduced},
        )
    return _KINDS[kind]


# Traced by torch.compile, the making of a class would break the graph. This is the mark that
# torch.compiler.assume_constant_result leaves, which itself imports torch._dynamo and Triton.
_kind_with_parts.__dict__["_dynamo_marked_constant"] = True


def _reduced(self: Any) -> tuple[Any, ...]:
    # The class is made when it is needed, so a pickle names the model's own.
    return _restored, (type(self).__bases__[0], dict(self.items()))


def _restored(kind: type, values: dict[str, Any]) -> Any:
    return _kind_with_parts(kind)(**values)
