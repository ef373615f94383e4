"""PersistenceDiagram: the bars of one homology dimension, for one cloud or a batch of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

# Looked up once, for a look at the fields of few bars takes no longer than such questions.
_is_compiling = torch.compiler.is_compiling
_is_inference_mode = torch.is_inference_mode_enabled
_from_numpy = torch.from_numpy


def _not_given() -> Any:
    return None


@dataclass(frozen=True, eq=False)
class PersistenceDiagram:
    """The bars of one homology dimension, with the critical edges that make them.

    Attributes
    ----------
    births, deaths : Tensor, shape [..., K]
        Lengths of the critical edges: diameters, in the units of the distances. Differentiable.
        Padding is 0.
    birth_edges, death_edges : Tensor, shape [..., K, 2], int64
        Vertex pairs ``(i, j)`` with ``i < j``. An H0 class is born with a vertex, not an edge, so
        its birth edge is ``(v, v)``. Padding is ``(-1, -1)``. Where vertices have births of their
        own, an edge enters no earlier than they.
    mask : Tensor, shape [..., K], bool
        True for a bar, False for padding. Padding stands last.
    essential_births : Tensor, shape [..., E]
        Births of the classes that never die, which are no bars and so have no lifetime.
        Differentiable. Padding is 0. Without the three essential fields a diagram has no such
        class, ``E = 0``.
    essential_edges : Tensor, shape [..., E, 2], int64
        Their birth edges, as `birth_edges`.
    essential_mask : Tensor, shape [..., E], bool
        True for a class, False for padding.

    Notes
    -----
    H0 has ``K = n - 1`` bars in filtration order; zero-length bars are kept. Its oldest class,
    born at vertex 0, never dies: ``E = 1``. H1 is padded to the longest of the batch and ordered by
    death edge, then by birth edge, in filtration order; zero-length bars are dropped. Each of its
    classes dies: ``E = 0``.

    Where edges are missing, H0 has a class that never dies for each component that stays apart, by
    its smallest vertex, and so many bars less, which are padding; H1 has one for each loop that
    nothing fills, in filtration order. ``E`` is the most of the batch.

    Examples
    --------
    >>> import torch
    >>> dgm = PersistenceDiagram(
    ...     births=torch.tensor([1.0, 0.0]),
    ...     deaths=torch.tensor([1.5, 0.0]),
    ...     birth_edges=torch.tensor([[0, 3], [-1, -1]]),
    ...     death_edges=torch.tensor([[0, 2], [-1, -1]]),
    ...     mask=torch.tensor([True, False]),
    ... )
    >>> dgm.lifetimes
    tensor([0.5000, 0.0000])
    >>> dgm.unbatch()
    [tensor([[1.0000, 1.5000]])]
    """

    births: Tensor  # [..., K]
    deaths: Tensor  # [..., K]
    birth_edges: Tensor  # [..., K, 2]
    death_edges: Tensor  # [..., K, 2]
    mask: Tensor  # [..., K]
    # A factory leaves no default on the class, where it would hide a field not made yet.
    essential_births: Tensor = field(default_factory=_not_given)  # [..., E]
    essential_edges: Tensor = field(default_factory=_not_given)  # [..., E, 2]
    essential_mask: Tensor = field(default_factory=_not_given)  # [..., E]

    def __post_init__(self) -> None:
        if self.essential_births is None:
            object.__setattr__(self, "essential_births", self.births.new_zeros(self._no_class))
        if self.essential_edges is None:
            edges = self.birth_edges.new_zeros((*self._no_class, 2))
            object.__setattr__(self, "essential_edges", edges)
        if self.essential_mask is None:
            object.__setattr__(self, "essential_mask", self.mask.new_zeros(self._no_class))

    @classmethod
    def _of_engine(cls, arrays: Any, known: dict[str, Tensor]) -> PersistenceDiagram:
        """The diagram of the engine's `arrays`, which become tensors when they are looked at.

        For small clouds that takes longer than to compute them, and few callers look at all.
        Fields that are `known` are taken as they are.
        """
        diagram = object.__new__(cls)
        diagram.__dict__.update(known, _arrays=arrays)
        return diagram

    def __getattr__(self, name: str) -> Any:
        """A field looked at for the first time; called only for what the instance lacks."""
        made = self.__dict__
        arrays, together = made.get("_arrays"), _MADE_TOGETHER.get(name)
        if arrays is None or together is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if not _is_compiling() and _is_inference_mode():
            # An inference tensor would be of no use to an autograd graph outside.
            with torch.inference_mode(False):
                return self.__getattr__(name)
        for each in together:
            # Threads that look at once all get the tensor of the first.
            made.setdefault(each, _from_numpy(getattr(arrays, each)))
        return made[name]

    def __getstate__(self) -> dict[str, Tensor]:
        """All fields: what pickle, copy and `torch.save` take."""
        return {name: _of_own_memory(getattr(self, name)) for name in FIELDS}

    def __setstate__(self, state: dict[str, Tensor]) -> None:
        """Take the fields; those of before there were essential ones have none."""
        self.__dict__.update(dict.fromkeys(FIELDS[5:]), **state)
        self.__post_init__()

    @property
    def _no_class(self) -> tuple[int, ...]:
        return (*self.mask.shape[:-1], 0)

    @property
    def lifetimes(self) -> Tensor:
        """Death minus birth, shape [..., K]; 0 on padding."""
        return self.deaths - self.births

    @property
    def pairs(self) -> Tensor:
        """Births and deaths side by side, shape [..., K, 2]; (0, 0) on padding."""
        return torch.stack((self.births, self.deaths), dim=-1)

    def unbatch(self) -> list[Tensor]:
        """One [k, 2] tensor of (birth, death) a cloud, padding removed; differentiable.

        Batch dimensions are flattened in row-major order; a single cloud gives a list of one.
        On CUDA tensors this waits for the device, because the number of bars decides the shape.
        """
        shape = (math.prod(self.mask.shape[:-1]), self.mask.shape[-1])
        pairs = self.pairs.reshape(*shape, 2)  # [B, K, 2]
        masks = self.mask.reshape(shape)  # [B, K]
        return [cloud[mask] for cloud, mask in zip(pairs, masks, strict=True)]


def _of_own_memory(value: Tensor) -> Tensor:
    """The tensor; where it is an empty one of the engine, another that has no address.

    Empty arrays of several dtypes lie at one address, which `torch.save` refuses.
    """
    return value if value.numel() or value.requires_grad else torch.empty_like(value)


FIELDS = tuple(each.name for each in fields(PersistenceDiagram))

# By the name of a field, those that are made when it is looked at: who needs one needs the others.
_MADE_TOGETHER = {
    name: group
    for group in (("births", "deaths", "mask"), ("birth_edges", "death_edges"), FIELDS[5:])
    for name in group
}

# `torch.load` with its defaults then loads a saved diagram: a class and the tensors of its fields.
torch.serialization.add_safe_globals([PersistenceDiagram])
