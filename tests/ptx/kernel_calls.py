"""Every kernel launched on small clouds, for mutations: the call of each form, by its name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tsloss_fast._engine.kernels import edge_lengths, persistence_terms
from tsloss_fast._engine.kernels.distances import direct, product
from tsloss_fast._engine.kernels.distances.launch import pairwise_distances
from tsloss_fast._engine.kernels.h0 import elder, large
from tsloss_fast._engine.kernels.h0.launch import h0_critical_edges
from tsloss_fast._engine.kernels.scatter import differences, edges
from tsloss_fast._engine.kernels.surrogate import launch as surrogate


def cloud(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def lengths(B: int, n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Distances without ties, symmetric bit for bit."""
    x = cloud(B, n, 3, dtype=torch.float64)
    D = torch.cdist(x, x)
    return ((D + D.mT) / 2).to(dtype)


def graph(B: int, n: int, K: int) -> torch.Tensor:
    return torch.randint(0, n, (B, K, 2), generator=torch.Generator().manual_seed(K))


def _direct(n: int, d: int, dtype: torch.dtype = torch.float32) -> None:
    """Also out of the range of squares at both ends, where sums are computed again.

    Of d coordinates, and of fewer than the loop has steps under way.
    """
    large = 1e200 if dtype == torch.float64 else 1e30
    for coordinates in (d, 40):
        x = cloud(2, n, d, dtype=dtype)[..., :coordinates]
        both = large * x
        both[:, :2] = x[:, :2] / large
        for points in (x, both):
            pairwise_distances(points)


def _product() -> None:
    """Also with pairs so tight that every tile is computed anew, and outside of the range."""
    x = cloud(1, 70, 140)
    tight = x[:, ::2].repeat_interleave(2, 1) + 1e-6 * x
    for points in (x, tight, 1e30 * x):
        product.fill_by_product(points, torch.empty(1, 70, 70))


def _shared_out() -> None:
    most, direct.MIN_SHARE = direct.MIN_SHARE, 16
    _direct(17, 140)
    direct.MIN_SHARE = most


def _large() -> None:
    """A ruler needs a round for each power of two; the chain of the other cloud is its length."""
    k = torch.arange(1, 64)
    x = torch.cat((torch.zeros(1), (1.0 + (k & -k)).cumsum(0)))
    y = torch.arange(64).float() ** 2
    D = torch.stack([(points[:, None] - points).abs() for points in (x, y)])
    kept = large.COLS, large.BLOCK, elder.BLOCK
    # Each loop goes round more than once.
    large.COLS, large.BLOCK, elder.BLOCK = 32, 32, 32
    elder.elder_bars(*large.boruvka_rounds(D))
    large.COLS, large.BLOCK, elder.BLOCK = kept


def _edge_lengths() -> None:
    x = cloud(2, 10, 20)
    for points in (x, 1e30 * x):
        edge_lengths.edge_lengths(points, graph(2, 10, 21))


def _sorted() -> None:
    most, edges.MAX_UNSORTED = edges.MAX_UNSORTED, 0
    edges.scatter_edges(cloud(2, 10, 20), graph(2, 10, 21), cloud(2, 21))
    edges.MAX_UNSORTED = most


def _surrogate(n: int, dtype: torch.dtype = torch.float32) -> None:
    surrogate.surrogate_terms(
        lengths(2, n, dtype), 1.0, 0.5, 1.0, 1.0, 0.3, 2.0, True, False, False
    )


def _terms() -> None:
    scales = torch.ones(2, dtype=torch.float64)
    persistence_terms.persistence_terms(cloud(2, 9 + 2 * 7).abs(), 10, 1.0, 0.5, 2.0, scales)


CALLS: dict[str, Callable[[], object]] = {
    **{f"prim-{n}": (lambda n=n: h0_critical_edges(lengths(2, n))) for n in (14, 40, 100, 140)},
    "large": _large,
    "direct": lambda: _direct(19, 140),
    "direct-float64": lambda: _direct(19, 140, torch.float64),
    "shared out": _shared_out,
    "product": _product,
    "edge lengths": _edge_lengths,
    "scatter": lambda: edges.scatter_edges(cloud(2, 10, 20), graph(2, 10, 21), cloud(2, 21)),
    "scatter sorted": _sorted,
    "differences": lambda: differences.scatter_differences(cloud(2, 10, 20), cloud(2, 10, 10)),
    **{f"surrogate-{n}": (lambda n=n: _surrogate(n)) for n in (12, 30, 50, 70)},
    "surrogate-12-float64": lambda: _surrogate(12, torch.float64),
    "persistence terms": _terms,
}
