"""The persistent homology dimension: how the length of a spanning tree grows with the points."""

from __future__ import annotations

import torch
from torch import Tensor

from tsloss_fast._checks import check_cloud, check_number, check_square, check_whole
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import require_distance_matrix, require_finite_points
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.rips import rips_persistence


def persistent_homology_dimension(
    x: Tensor,
    alpha: float = 1.0,
    metric: Metric = "euclidean",
    n_reruns: int = 3,
    n_points: int = 7,
    n_points_min: int = 3,
    min_points: int = 50,
    max_points: int | None = None,
    point_jump: int = 40,
    *,
    p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Dimension of a cloud from H0 of its subsamples: one number a cloud.

    The lifetimes of H0 of n points of a set of dimension d, each to the power :math:`\alpha`, sum
    to about :math:`C n^m` with :math:`m = (d - \alpha) / d`. The slope m of the logarithm of the
    sum by that of n, from least squares over several n, gives

    .. math:: d = \frac{\alpha}{1 - m}

    Of each n several subsamples are drawn, and the median of their sums is taken; the slope is the
    mean of `n_reruns` such fits.

    Parameters
    ----------
    x : Tensor, shape [..., N, d], or [..., N, N] where `metric` is ``"precomputed"``
        Points or distances, on the CPU or on CUDA. All clouds of a batch get the same subsamples.
    alpha : float, > 0
        The power of the lifetimes; below the dimension that is looked for.
    metric, p
        As `rips_persistence` has them.
    n_reruns : int
        How many fits.
    n_points, n_points_min : int
        Subsamples of each size: those of at least half of the points are `n_points_min`.
    min_points, max_points, point_jump : int
        The sizes are ``range(min_points, max_points, point_jump)``. `max_points` is 512, or N + 1
        if that is less, unless it is given.
    generator : torch.Generator, optional
        What draws the subsamples, on the CPU; torch's own unless it is given.

    Returns
    -------
    Tensor, shape [...]
        Negative where the sums grow faster than n, as the formula has it.

    Notes
    -----
    Differentiable by the points, or entries, of the chosen subsamples; points that coincide give a
    gradient of 0. A cloud of coinciding points alone has no dimension: NaN. Under `torch.func.vmap`
    torch wants to be told ``randomness="same"``.

    The authors' code returns :math:`1 / (1 - m)`, which is this for their :math:`\alpha = 1`.

    Source: Tulchinskii et al., NeurIPS 2023, arXiv 2306.04723; Birdal et al., NeurIPS 2021, whose
    `calculate_ph_dim` is this with ``n_reruns=1, n_points=1, n_points_min=1``.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> generator = torch.Generator().manual_seed(0)
    >>> square = torch.rand(500, 2, generator=generator)
    >>> in_space = square @ torch.rand(2, 10, generator=generator)
    >>> tsl.persistent_homology_dimension(in_space, generator=generator).round()
    tensor(2.)
    """
    precomputed = metric == "precomputed"
    (check_square if precomputed else check_cloud)(x)
    alpha = check_number(alpha, "alpha", least=0, open_below=True)
    reruns = check_whole(n_reruns, "n_reruns", least=1)
    draws = check_whole(n_points, "n_points", least=1)
    fewer_draws = check_whole(n_points_min, "n_points_min", least=1)
    N = x.shape[-2]
    sizes = _sizes(N, min_points, max_points, point_jump)
    x = ops.at_least_float32(x)
    if ops.shows_values(x):
        # Here, for an error to name the entry of x and not that of a subsample.
        (require_distance_matrix if precomputed else require_finite_points)(x.detach(), "x")
    # Drawn before the loop, in which torch.compile could not stop for a generator.
    counts = [fewer_draws if 2 * n >= N else draws for n in sizes]
    sums = []
    for chosen in _subsamples(N, sizes, reruns, counts, generator):
        taken = _taken(x, chosen.to(x.device), precomputed)
        found = _sum_of_powers(taken, alpha, metric, p)  # [..., R, S]
        sums.append(_median(found))
    logarithms = torch.stack(sums, -1).log()  # [..., R, sizes]
    by = torch.tensor(list(sizes), dtype=x.dtype, device=x.device).log()
    by = by - by.mean()
    slopes = (logarithms * by).sum(-1) / by.square().sum()  # [..., R]
    return alpha / (1 - slopes.mean(-1))


def _sizes(N: int, min_points: int, max_points: int | None, point_jump: int) -> range:
    least = check_whole(min_points, "min_points", least=2)
    if max_points is None:
        most = min(512, N + 1)
    else:
        most = check_whole(max_points, "max_points", least=least)
    sizes = range(least, most, check_whole(point_jump, "point_jump", least=1))
    if len(sizes) < 2:
        raise ValueError(
            f"min_points: expected at least two sizes in range(min_points, max_points, point_jump) "
            f"of {N} points, got {list(sizes)} from range({least}, {most}, {sizes.step})"
        )
    if sizes[-1] > N:
        raise ValueError(
            f"max_points: expected subsamples of at most all {N} points, got one of {sizes[-1]}"
        )
    return sizes


def _subsamples(
    N: int, sizes: range, reruns: int, counts: list[int], generator: torch.Generator | None
) -> list[Tensor]:
    """Of each size n rows [R, S, n] of a cloud of N points, without repetition, in random order."""
    drawn = []
    for n, count in zip(sizes, counts, strict=True):
        rows = [torch.randperm(N, generator=generator)[:n] for _ in range(reruns * count)]
        drawn.append(torch.stack(rows).reshape(reruns, count, n))
    return drawn


def _taken(x: Tensor, chosen: Tensor, precomputed: bool) -> Tensor:
    """The subsamples' points [..., R, S, n, d], or distances [..., R, S, n, n]."""
    if precomputed:
        return x[..., chosen.unsqueeze(-1), chosen.unsqueeze(-2)]
    return x[..., chosen, :]


def _sum_of_powers(x: Tensor, alpha: float, metric: Metric, p: float | None) -> Tensor:
    (h0,) = rips_persistence(x, 0, metric, p=p)
    # Bars of no length have no slope: that of a power below 1 would be infinite.
    alive = h0.deaths > 0
    return h0.deaths.where(alive, 1).pow(alpha).where(alive, 0).sum(-1)


def _median(values: Tensor) -> Tensor:
    """Of [..., S], between the middle two; NaN where one is, as `torch.quantile` has it.

    That looks at values, which torch.compile follows only from 2.13 on.
    """
    ordered = values.sort(-1).values  # NaN comes last
    count = values.shape[-1]
    middle = ordered[..., count // 2]
    if count % 2 == 0:
        middle = ordered[..., count // 2 - 1].lerp(middle, 0.5)
    return middle.where(~ordered[..., -1].isnan(), torch.nan)
