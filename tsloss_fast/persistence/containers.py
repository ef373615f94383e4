"""PersistenceDiagram in PyTorch's containers: the batches of a DataLoader, and trees of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils.data._utils.collate import default_collate_fn_map

from tsloss_fast.persistence.diagram import FIELDS, PersistenceDiagram

# What stands where a cloud has fewer bars, or classes that never die, than another.
_PADDING = {"birth_edges": -1, "death_edges": -1, "essential_edges": -1}


def collate_diagrams(
    dgms: Sequence[PersistenceDiagram], *, collate_fn_map: Any = None
) -> PersistenceDiagram:
    """One batch of diagrams of one dimension, padded to the longest; in the graph of each.

    `torch.utils.data.default_collate` calls it, so that a DataLoader takes samples with diagrams.

    Parameters
    ----------
    dgms : sequence of PersistenceDiagram
        At least one; of clouds, or of batches of one shape.
    collate_fn_map
        What `default_collate` hands on; not used.

    Returns
    -------
    PersistenceDiagram
        Fields [len(dgms), ...].

    Raises
    ------
    TypeError, ValueError
        For anything but diagrams, none of them, or batches of different shapes.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> line = torch.arange(4.0).unsqueeze(-1)
    >>> dgms = [tsl.rips_persistence(line[:n], max_dim=0)[0] for n in (2, 4)]
    >>> collate_diagrams(dgms).deaths
    tensor([[1., 0., 0.],
            [1., 1., 1.]])
    """
    for dgm in dgms:
        if not isinstance(dgm, PersistenceDiagram):
            raise TypeError(f"dgms: expected PersistenceDiagram, got {type(dgm).__name__}")
    batches = {tuple(dgm.mask.shape[:-1]) for dgm in dgms}
    if len(batches) != 1:
        found = sorted(map(list, batches))
        raise ValueError(f"dgms: expected diagrams of batches of one shape, got {found}")
    return PersistenceDiagram(
        **{name: _stacked([getattr(dgm, name) for dgm in dgms], name) for name in FIELDS}
    )


def _stacked(parts: Sequence[Tensor], name: str) -> Tensor:
    """One field of all diagrams, padded along its bars."""
    along = -2 if name.endswith("edges") else -1
    longest = max(part.shape[along] for part in parts)
    value = _PADDING.get(name, 0)
    padded = [
        torch.nn.functional.pad(
            part, (*[0, 0] * (-along - 1), 0, longest - part.shape[along]), value=value
        )
        for part in parts
    ]
    return torch.stack(padded)


def _flatten(dgm: PersistenceDiagram) -> tuple[list[Any], None]:
    return [getattr(dgm, name) for name in FIELDS], None


def _unflatten(leaves: Iterable[Any], context: None) -> PersistenceDiagram:
    # Not the constructor, which makes tensors of fields that a tree holds other things for.
    dgm = object.__new__(PersistenceDiagram)
    dgm.__dict__.update(zip(FIELDS, leaves, strict=True))
    return dgm


# As PyTorch's page on `default_collate` shows it for types of one's own.
default_collate_fn_map[PersistenceDiagram] = collate_diagrams

_pytree.register_pytree_node(
    PersistenceDiagram,
    _flatten,
    _unflatten,
    serialized_type_name="tsloss_fast.PersistenceDiagram",
)
