"""Two clouds of the same points in the same order: what the losses that compare them share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_cloud, check_flag, check_square, describe
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import require_distance_matrix, require_finite_points
from tsloss_fast.losses.base import show
from tsloss_fast.persistence.distances import Metric, edge_lengths, pairwise_distances

SCALES = (None, "quantile", "max")
# The share of all n^2 distances that are below the scale "quantile".
QUANTILE = 0.9


class PairedCloud:
    """A cloud's distances out of its graph, and lengths of edges in it.

    The search for bars reads `D` or `scaled`; whatever is differentiated comes from `lengths`,
    which takes memory for the edges alone.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] where `metric` is ``"precomputed"``
    name : str
        The argument that errors name.
    scale : {None, "quantile", "max"}
        What the distances are divided by: their 0.9-quantile over all n^2, or their largest.
    detach_scale : bool
        Whether the scale is a constant for the gradient.
    metric, p
        As `rips_persistence` has them.
    """

    def __init__(
        self,
        x: Tensor,
        name: str,
        scale: str | None,
        detach_scale: bool,
        metric: Metric = "euclidean",
        p: float | None = None,
    ) -> None:
        self._x, self._metric, self._p = x, metric, p
        check_choice(scale, "scale", SCALES)
        self._detach_scale = check_flag(detach_scale, "detach_scale")
        self._valid: Tensor | None = None  # bool [...], where nothing looks at values
        # [..., n, n], not scaled.
        self.D = self._checked_matrix(name) if metric == "precomputed" else self._distances(name)
        # None where they are not divided.
        self._unit_edges: Any = None
        self._unit_weights: Any = None
        if scale is not None and self.D.shape[-1] > 1:
            self._unit_edges, self._unit_weights = _unit_edges(self.D, scale)

    def _distances(self, name: str) -> Tensor:
        check_cloud(self._x, name)
        if self._looks():
            require_finite_points(ops.at_least_float32(self._x), name)
        return pairwise_distances(self._x.detach(), self._metric, p=self._p)

    def _checked_matrix(self, name: str) -> Tensor:
        check_square(self._x, name)
        D = ops.at_least_float32(self._x.detach())
        if self._looks():
            require_distance_matrix(D, name)
            require_finite_points(D, name)
        else:
            self._valid = ((D >= 0) & D.isfinite()).all(-1).all(-1)
        upper = D.triu(1)
        return upper + upper.mT

    def _looks(self) -> bool:
        return ops.shows_values(self._x)

    def scaled(self) -> Tensor:
        """The scaled distances [..., n, n], out of the graph."""
        return self.D if self._unit_edges is None else self.D / self._fixed_unit().unsqueeze(-1)

    def lengths(self, *edges: Tensor) -> list[Tensor]:
        """Scaled lengths [..., M] of each of `edges` [..., M, 2], in the graph; padding gives 0."""
        if self._unit_edges is None:
            lengths = self._unscaled(edges)
        elif self._detach_scale:
            unit = self._fixed_unit()
            lengths = [each / unit for each in self._unscaled(edges)]
        else:
            *lengths, of_unit = self._unscaled([*edges, self._unit_edges])
            unit = self._unit(of_unit)
            lengths = [each / unit for each in lengths]
        if self._valid is not None:
            lengths = [each.where(self._valid.unsqueeze(-1), torch.nan) for each in lengths]
        return lengths

    def _fixed_unit(self) -> Tensor:
        """The scale [..., 1], out of the graph."""
        return self._unit(edge_lengths(self.D, self._unit_edges, "precomputed"))

    def _unit(self, lengths: Tensor) -> Tensor:
        """The scale [..., 1] from the lengths of its edges; 1 where all points coincide."""
        unit: Tensor = (lengths * self._unit_weights).sum(-1, keepdim=True)
        return unit.where(unit > 0, 1)

    def _unscaled(self, edges: Sequence[Tensor]) -> list[Tensor]:
        if ops.is_transformed():
            # A tracer does not know how many bars there are, so it cannot split them.
            return [edge_lengths(self._x, each, self._metric, p=self._p) for each in edges]
        together = edge_lengths(self._x, torch.cat(list(edges), -2), self._metric, p=self._p)
        return list(together.split([each.shape[-2] for each in edges], -1))


def paired(
    a: Tensor,
    b: Tensor,
    scale: str | None,
    detach_scale: bool,
    metric: Metric,
    p: float | None = None,
) -> tuple[PairedCloud, PairedCloud]:
    """Both clouds; raise unless they have as many points, in batches of one shape."""
    first, second = (
        PairedCloud(x, name, scale, detach_scale, metric, p) for x, name in ((a, "a"), (b, "b"))
    )
    if first.D.shape != second.D.shape:
        raise ValueError(
            f"b: expected as many clouds and points as a has, {list(a.shape[:-1])}, "
            f"got {describe(b)}"
        )
    if first.D.device != second.D.device:
        raise ValueError(f"b: expected the device of a, {a.device}, got {b.device}")
    return first, second


class PairedLoss(nn.Module):
    """A loss of pairs of clouds as a module; `_losses` is its function."""

    # The options that repr() names.
    SHOWN = ("metric", "scale", "detach_scale", "reduction")

    def __init__(
        self, metric: Metric, scale: str | None, detach_scale: bool, reduction: str
    ) -> None:
        super().__init__()
        self.metric, self.scale, self.detach_scale = metric, scale, detach_scale
        self.reduction = check_choice(reduction, "reduction", ("mean", "none"))

    def _losses(self, a: Tensor, b: Tensor) -> Tensor:
        """The loss [...] of each pair."""
        raise NotImplementedError

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The loss of one pair of clouds, or of a batch of them as `reduction` says."""
        found = self._losses(a, b)
        return found.mean() if self.reduction == "mean" else found

    def extra_repr(self) -> str:
        """Name the options."""
        return show(self, self.SHOWN)


def _unit_edges(D: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    """Edges [..., M, 2] whose lengths, summed by weights [M], are the scale."""
    n = D.shape[-1]
    if scale == "max":
        at = D.flatten(-2).argmax(-1, keepdim=True)  # [..., 1]
        return torch.stack((at // n, at % n), -1), D.new_ones(1)
    # Among all n^2 entries in order, n zeros of the diagonal come first, then each pair twice.
    rank = QUANTILE * (n * n - 1)
    below, above = math.floor(rank), math.ceil(rank)
    places, weights = [max(0, (k - n) // 2) for k in (below, above)], [above - rank, rank - below]
    if places[0] == places[1]:
        places, weights = places[:1], [1.0]
    i, j = torch.triu_indices(n, n, 1, device=D.device)
    pairs = D[..., i, j]  # [..., n (n - 1) / 2]
    at = torch.cat([pairs.kthvalue(place + 1, -1, keepdim=True).indices for place in places], -1)
    return torch.stack((i[at], j[at]), -1), D.new_tensor(weights)
