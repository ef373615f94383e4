"""A model's output with the parts of the loss beside it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from torch import Tensor

PARTS = ("ce_loss", "ts_loss", "ts_terms")


def with_parts(out: Any, loss: Tensor, **parts: Any) -> Any:
    """The output as one of a subclass that has the `PARTS` as fields, so that they are kept.

    Attributes would be lost wherever an output is taken apart and put together again: by pytree
    maps, by accelerate's conversion to float32, by DataParallel.
    """
    return _kind_with_parts(type(out))(**{**dict(out.items()), "loss": loss, **parts})


@functools.cache
def _kind_with_parts(kind: type) -> type:
    fields = [(name, Any, dataclasses.field(default=None)) for name in PARTS]
    return dataclasses.make_dataclass(
        f"PromptTuned{kind.__name__}",
        fields,
        bases=(kind,),
        namespace={"__module__": __name__, "__reduce__": _reduced},
    )


def _reduced(self: Any) -> tuple[Any, ...]:
    # The class is made when it is needed, so a pickle names the model's own.
    return _restored, (type(self).__bases__[0], dict(self.items()))


def _restored(kind: type, values: dict[str, Any]) -> Any:
    return _kind_with_parts(kind)(**values)
