"""What each operator does with CUDA tensors: the Triton kernels, and the host for H1.

Nothing here waits for the device but H1, which has to. So values are not checked: NaN and infinity
come out as NaN where the CPU raises an error.

Tensors come [..., n, d] and are handed to the launchers as [B, n, d].
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine.arrays import batch_of, clouds
from tsloss_fast._engine.births import entering_matrix
from tsloss_fast._engine.cuda_h1 import launch as cuda_h1
from tsloss_fast._engine.host_h1 import critical_edges, start_bars
from tsloss_fast._engine.padding import pairs_of, rows_of, with_lengths
from tsloss_fast._engine.persistence_terms import persistence_terms
from tsloss_fast._engine.scaling import scales_of, unit_of


@functools.cache
def kernels() -> ModuleType:
    """The package of kernels, loaded when it is first needed, for it needs Triton."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "CUDA tensors need Triton, which is missing or does not load. torch's CUDA builds for "
            "Linux bring it; else `pip install triton`. Or compute on the CPU: pass x.cpu(). "
            f"The cause: {error}"
        ) from error
    import tsloss_fast._engine.kernels.distances
    import tsloss_fast._engine.kernels.edge_lengths
    import tsloss_fast._engine.kernels.h0
    import tsloss_fast._engine.kernels.persistence_terms
    import tsloss_fast._engine.kernels.scatter
    import tsloss_fast._engine.kernels.surrogate

    return tsloss_fast._engine.kernels


def pairwise_distances(x: Tensor) -> Tensor:
    """See `operators.pairwise_distances`."""
    D: Tensor = kernels().distances.pairwise_distances(clouds(x))
    return D.reshape(*batch_of(x), *D.shape[1:])


def scatter_differences(x: Tensor, weights: Tensor) -> Tensor:
    """See `operators.scatter_differences`."""
    out: Tensor = kernels().scatter.scatter_differences(clouds(x), clouds(weights))
    return out.reshape(x.shape)


def scatter_edges(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """See `operators.scatter_edges`."""
    out: Tensor = kernels().scatter.scatter_edges(clouds(x), clouds(edges), clouds(weights, 1))
    return out.reshape(x.shape)


def scaled_scatter_edges(
    x: Tensor, edges: Tensor, weights: Tensor, grad: Tensor, scales: Tensor | None
) -> Tensor:
    """`scatter_edges` times the gradient of each cloud's loss [...] and its scale, at once."""
    factors = grad.reshape(-1), None if scales is None else scales.reshape(-1)
    out: Tensor = kernels().scatter.scatter_edges(
        clouds(x), clouds(edges), clouds(weights, 1), factors
    )
    return out.reshape(x.shape)


def edge_lengths(x: Tensor, edges: Tensor) -> Tensor:
    """See `operators.edge_lengths`."""
    out: Tensor = kernels().edge_lengths.edge_lengths(clouds(x), clouds(edges))
    return out.reshape(edges.shape[:-1])


def rips_bars(
    D: Tensor,
    max_dim: int,
    lengths: Tensor | None = None,
    max_edge_length: float | None = None,
    vertex_births: Tensor | None = None,
) -> list[Tensor]:
    """See `operators.rips_bars`; for H1 it waits for the copy of ``D`` to the host.

    H0 is padded to n classes that never die where edges may be missing.
    """
    if max_dim == 1:
        return start_bars(D, D, "x", max_edge_length, lengths, vertex_births).result()
    if lengths is not None or vertex_births is not None or max_edge_length is not None:
        return _h0_of_some(D, lengths, max_edge_length, vertex_births)
    bars, batch = h0_critical_edges(D), batch_of(D)
    return [
        bars,
        bars.new_ones(bars.shape[:-1], dtype=torch.bool),
        bars.new_zeros((*batch, 1, 2)),
        bars.new_ones((*batch, 1), dtype=torch.bool),
    ]


def _h0_of_some(
    D: Tensor, lengths: Tensor | None, max_edge_length: float | None, births: Tensor | None
) -> list[Tensor]:
    """`rips_bars` of H0 where edges, points or the births of vertices may be missing or differ."""
    n = D.shape[-1]
    exist = D.new_ones(D.shape[:-1], dtype=torch.bool)  # [..., n]
    if births is not None:
        D = entering_matrix(D, births)
    if lengths is not None:
        # Edges to padding come last, behind a tree of the cloud's points.
        D, exist = D.where(pairs_of(lengths, n), torch.inf), rows_of(lengths, n)
    bars = h0_critical_edges(D)
    by_age = torch.arange(n, device=D.device).expand(exist.shape)
    if births is not None:
        by_age = births.where(exist, torch.inf).sort(dim=-1, stable=True).indices
        bars = _of_the_younger(bars, by_age)
    if max_edge_length is not None:
        if births is not None:
            exist = exist & (births <= max_edge_length)
        return _forest_of(bars, D, max_edge_length, by_age, exist)
    # Padding is joined by the last edges, or by those of NaN.
    mask, some = rows_of(exist.sum(-1) - 1, n - 1), exist.any(-1, keepdim=True)
    return [
        bars.where(mask.unsqueeze(-1), -1),
        mask,
        by_age[..., :1].where(some, -1).unsqueeze(-1).repeat_interleave(2, -1),
        some,
    ]


def _of_the_younger(bars: Tensor, by_age: Tensor) -> Tensor:
    """The bars [..., n - 1, 4] of a tree with the vertices that die if they are `by_age` [..., n].

    The kernels' elder is the smaller vertex. So the vertices are numbered by age, and the tree's
    edges, the only ones of another matrix, are as long as they are late.
    """
    n = by_age.shape[-1]
    place = by_age.argsort(-1)  # [..., n]
    i, j = (place.gather(-1, end) for end in bars[..., 2:].unbind(-1))  # [..., n - 1]
    late = torch.arange(1.0, n, device=bars.device).expand(i.shape)
    tree = late.new_full((*by_age.shape, n), torch.inf)
    tree.flatten(-2).scatter_(-1, i * n + j, late).scatter_(-1, j * n + i, late)
    tree.diagonal(dim1=-2, dim2=-1).zero_()
    died = by_age.gather(-1, h0_critical_edges(tree)[..., 0]).unsqueeze(-1)
    return torch.cat((died, died, bars[..., 2:]), dim=-1)


def _forest_of(
    bars: Tensor, D: Tensor, max_edge_length: float, by_age: Tensor, exist: Tensor
) -> list[Tensor]:
    """`rips_bars` of H0 from the bars [..., n - 1, 4] of all edges, infinite ones among them.

    The tree of all edges holds a spanning tree of each component of those that are not absent, and
    bars are in the order of their deaths: those that stay come first. A class whose death is absent
    never dies. `by_age` [..., n] are the vertices, the eldest first, and `exist` whether they do.
    """
    n = D.shape[-1]
    at = bars[..., 2] * n + bars[..., 3]  # [..., n - 1]
    deaths = D.flatten(-2).gather(-1, at)
    mask = (deaths <= max_edge_length) & (deaths < torch.inf)
    # n stands behind every vertex, where those that die are collected.
    dies = bars.new_zeros((*exist.shape[:-1], n + 1), dtype=torch.bool)
    dies.scatter_(-1, bars[..., 0].where(mask, n), True)
    apart = (exist & ~dies[..., :n]).gather(-1, by_age)  # [..., n], by age
    # A stable sort puts the padding last.
    essential_mask, order = apart.sort(dim=-1, descending=True, stable=True)
    vertices = by_age.gather(-1, order).where(essential_mask, -1).unsqueeze(-1)
    return [
        bars.where(mask.unsqueeze(-1), -1),
        mask,
        vertices.expand(*vertices.shape[:-1], 2).contiguous(),
        essential_mask,
    ]


def h0_critical_edges(D: Tensor) -> Tensor:
    """The bars of H0, int64 [..., n - 1, 4]."""
    bars: Tensor = kernels().h0.h0_critical_edges(clouds(D))
    return bars.reshape(*batch_of(D), *bars.shape[1:])


def h1_critical_edges(D: Tensor) -> tuple[Tensor, Tensor]:
    """The bars of H0 and of H1, int64 [..., K, 4] each."""
    h0, h1 = rips_bars(D, 1)[::4]
    return h0, h1


def critical_edges_on_device(D: Tensor) -> tuple[Tensor, Tensor]:
    """The `critical_edges` of ``D`` [..., n, n] by kernels alone, -1 behind the bars of H1.

    Also returns which clouds had too many classes, bool [...]: those have no bars of H1. What
    `cuda_h1.launch.why_not` refuses is not to be asked for.
    """
    flat, batch = clouds(D), batch_of(D)
    # Ranks of float64 lengths, in whose order the bars are.
    in_order = kernels().h0.launch.length_ranks(flat) if D.dtype == torch.float64 else flat
    in_order = in_order.contiguous()
    h0 = kernels().h0.h0_critical_edges(in_order)
    found = cuda_h1.h1_bars(in_order, h0)
    edges = critical_edges(h0, found.bars)
    return edges.reshape(*batch, *edges.shape[1:]), (found.flags != 0).reshape(batch)


def loss_of_edges(
    x: Tensor,
    D: Tensor,
    edges: Tensor,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    points: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `operators.loss_of_edges`."""
    loss, h0, h1, weights, scales = eager_loss_of_edges(
        x, D, edges, h0_weight, h1_weight, h1_power, scale_by_mean, points
    )
    return loss, h0, h1, weights, scales_of(D, by_mean=False) if scales is None else scales


def eager_loss_of_edges(
    x: Tensor,
    D: Tensor,
    edges: Tensor,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    points: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """`loss_of_edges`; the scales are None where they are 1."""
    launch = kernels()
    lengths = launch.edge_lengths.edge_lengths(clouds(x), clouds(edges))  # [B, M]
    scales = scales_of(D, True, points) if scale_by_mean else None
    if points is not None:
        # Few numbers, of which the kernel takes as many in every cloud.
        lengths = lengths.reshape(edges.shape[:-1])
        options = (h0_weight, h1_weight, h1_power)
        by = scales_of(D, False) if scales is None else scales
        return *persistence_terms(lengths, x.shape[-2], *options, by, points), scales
    *terms, weights = launch.persistence_terms.persistence_terms(
        lengths, x.shape[-2], h0_weight, h1_weight, h1_power,
        None if scales is None else scales.reshape(-1),
    )  # fmt: skip
    loss, h0, h1 = (term.reshape(batch_of(x)) for term in terms)
    return loss, h0, h1, weights.reshape(edges.shape[:-1]), scales


def surrogate_loss(prompt: Tensor, *options: Any) -> tuple[Tensor | None, ...]:
    """See `operators.surrogate_loss`, and `operators.fuses_surrogate_loss`."""
    *others, lengths = with_lengths(options, 10)
    return eager_surrogate_loss(prompt, True, lengths, *others)


def eager_surrogate_loss(
    prompt: Tensor, with_gradient: bool, lengths: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """`surrogate_loss`; the gradient is None where it is not asked for."""
    if lengths is not None:
        raise NotImplementedError("lengths: CUDA's kernel takes clouds of n points each")
    *numbers, scale_by_mean, self_pairs, detach_scales = options
    launch = kernels()
    x = clouds(prompt)
    D = launch.distances.launch.unchecked_distances(x)
    # The weights are of the size of 1 / mean^2, which leaves the range of float32 for tiny or huge
    # clouds; so the points are divided by a power of two near the mean first.
    unit = unit_of(D) if scale_by_mean else None  # [B, 1, 1]
    if unit is not None:
        x, D = x / unit, D / unit
    flags = {
        "SCALE_BY_MEAN": scale_by_mean, "SELF_PAIRS": self_pairs, "DETACH_SCALES": detach_scales,
    }  # fmt: skip
    loss, h0, h1, weights = launch.surrogate.launch.unchecked_terms(
        D, batch_of(prompt), tuple(numbers), flags
    )
    if not with_gradient:
        return loss, h0, h1, None
    gradient = launch.scatter.differences.unchecked_scatter_differences(x, weights)
    gradient = gradient if unit is None else gradient / unit
    return loss, h0, h1, gradient.reshape(prompt.shape)
