"""Distances by a p-norm of differences other than the Euclidean: cityblock, Chebyshev, Minkowski.

No pass holds more than `NUMBERS_AT_ONCE` differences, so memory grows as the matrix does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine.plain import is_plain_gradient

# Few enough to stay in a processor's cache, many enough for a call of PyTorch to pay.
NUMBERS_AT_ONCE = 2**19


def norm(differences: Tensor, p: float) -> Tensor:
    """The p-norm [...] of differences [..., d], differentiable; its gradient at 0 is 0.

    Powers are taken of shares of the largest difference, so that none overflows or vanishes.
    """
    sizes = differences.abs()
    if p == 1:
        return sizes.sum(-1)
    largest = sizes.amax(-1)
    if p == math.inf:
        return largest
    # The norm does not depend on the number that shares are taken of, so neither does its slope.
    largest = largest.detach()
    differs = differences != 0
    shares = sizes / largest.where(largest > 0, 1).unsqueeze(-1)
    # Powers of 0 have slopes that are infinite for p < 2, so they stay out of the graph.
    total = shares.where(differs, 1).pow(p).where(differs, 0).sum(-1)
    return total.where(total > 0, 1).pow(1 / p) * largest


def pairwise_norms(x: Tensor, p: float) -> Tensor:
    """The p-norms [..., n, n] of all differences of rows of ``x`` [..., n, d], in its graph."""
    if torch.compiler.is_compiling():
        # A graph can follow these operations, but no autograd function with derivative modes.
        return _as_distances(norm(x.unsqueeze(-2) - x.unsqueeze(-3), p), x)
    # torch has no types for `apply`.
    norms: Tensor = _PairwiseNorms.apply(x, p)  # type: ignore[no-untyped-call]
    return norms


class _PairwiseNorms(torch.autograd.Function):
    """Autograd would keep the differences [n, n, d] for the backward; here it forms them again."""

    @staticmethod
    def forward(x: Tensor, p: float) -> Tensor:
        if p in (1, math.inf):
            return _as_distances(torch.cdist(x, x, p=p), x)
        blocks = [norm(differences, p) for _, differences in _blocks(x)]
        return _as_distances(torch.cat(blocks, dim=-2), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.p = inputs
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, D = ctx.saved_tensors
        weights = grad + grad.mT
        if is_plain_gradient(weights):
            edges = weights.triu(1).nonzero()
            # Diagrams have few critical edges: their rows alone are then looked at.
            if 4 * len(edges) < weights.numel():
                return _pulled_back_by_edges(x, D, weights, edges, ctx.p), None
        blocks = [
            (_rows(weights, rows).unsqueeze(-1) * _slopes(each, _rows(D, rows), ctx.p)).sum(-2)
            for rows, each in _blocks(x)
        ]
        return torch.cat(blocks, dim=-2), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        x, D = ctx.saved_tensors
        blocks = [
            (_slopes(each, _rows(D, rows), ctx.p) * moved).sum(-1)
            for (rows, each), (_, moved) in zip(_blocks(x), _blocks(tangent), strict=True)
        ]
        return torch.cat(blocks, dim=-2)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, p: float) -> tuple[Tensor, int]:
        moved = x.movedim(in_dims[0], 0)
        # torch has no types for `apply`.
        return _PairwiseNorms.apply(moved, p), 0  # type: ignore[no-untyped-call]


def _as_distances(D: Tensor, x: Tensor) -> Tensor:
    """The entries above the diagonal on both sides of it, NaN for rows that are not finite.

    Powers are rounded otherwise where a processor takes several at once than where one is left,
    and a maximum may pass over NaN.
    """
    upper = D.triu(1)
    finite = x.isfinite().all(-1)  # [..., n]
    return (upper + upper.mT).where(finite.unsqueeze(-1) & finite.unsqueeze(-2), torch.nan)


def _blocks(x: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Rows, the first and how many, and their differences [..., rows, n, d] from all rows."""
    n = x.shape[-2]
    rows = max(1, NUMBERS_AT_ONCE // max(x.numel(), 1))
    for start in range(0, n, rows):
        some = start, min(rows, n - start)
        yield some, _rows(x, some).unsqueeze(-2) - x.unsqueeze(-3)


def _rows(x: Tensor, some: tuple[int, int]) -> Tensor:
    return x.narrow(-2, *some)


def _slopes(differences: Tensor, lengths: Tensor, p: float) -> Tensor:
    """The slope [..., d] of the p-norm in its differences [..., d]; 0 at coincident points."""
    signs = differences.sign()
    if p == 1:
        return signs
    sizes, lengths = differences.abs(), lengths.unsqueeze(-1)
    if p == math.inf:
        # Coordinates that tie for the largest share its slope, as those of `amax` do.
        largest = sizes == lengths
        return signs * largest / largest.sum(-1, keepdim=True).clamp(min=1)
    differs = differences != 0
    shares = (sizes / lengths.where(lengths != 0, 1)).where(differs, 1)
    return signs * shares.pow(p - 1)


def _pulled_back_by_edges(x: Tensor, D: Tensor, weights: Tensor, edges: Tensor, p: float) -> Tensor:
    """The gradient [..., n, d] of the lengths of few edges [M, ndim], places in ``weights``."""
    d = x.shape[-1]
    out = torch.zeros(x.shape, dtype=x.dtype)
    rows, sums = x.reshape(-1, d), out.view(-1, d)
    strides = torch.tensor([*_row_strides(x), 0, 0])
    first = (edges * strides).sum(-1)  # [M]: the first row of the edge's cloud
    i, j = first + edges[:, -2], first + edges[:, -1]
    each = (D[tuple(edges.T)], weights[tuple(edges.T)])
    for k in range(0, len(edges), step := max(1, NUMBERS_AT_ONCE // d)):
        some = slice(k, k + step)
        lengths, weight = (values[some] for values in each)
        slopes = _slopes(rows[i[some]] - rows[j[some]], lengths, p) * weight.unsqueeze(-1)
        sums.index_add_(0, i[some], slopes).index_add_(0, j[some], slopes, alpha=-1)
    return out


def _row_strides(x: Tensor) -> list[int]:
    """How many rows one step of each leading dimension of ``x`` [..., n, d] passes over."""
    strides, step = [], x.shape[-2]
    for size in reversed(x.shape[:-2]):
        strides.append(step)
        step *= size
    return strides[::-1]
