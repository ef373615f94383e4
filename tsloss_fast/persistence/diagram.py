"""PersistenceDiagram: the bars of one homology dimension, for one cloud or a batch of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


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
        its birth edge is ``(v, v)``. Padding is ``(-1, -1)``.
    mask : Tensor, shape [..., K], bool
        True for a bar, False for padding. Padding stands last.

    Notes
    -----
    H0 has ``K = n - 1`` bars in filtration order; zero-length bars are kept and the essential
    class is left out. H1 is padded to the longest of the batch and ordered by death edge, then by
    birth edge, in filtration order; zero-length bars are dropped.

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
