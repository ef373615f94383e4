"""Diagrams as vectors of one length, and a distance of diagrams, in torch and with gradients.

Bars of a batch are taken together, and padding counts for nothing. Classes that never die are no
bars: images, landscapes, silhouettes and the sliced Wasserstein distance leave them out, or end
them at the length `essential_death`; Betti curves count them from their birth on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsloss_fast._checks import check_flag, check_floating, check_number, check_whole, describe
from tsloss_fast._engine import eager
from tsloss_fast._engine.plain import is_all_true
from tsloss_fast.persistence.diagram import PersistenceDiagram

# A power of the lifetime, or a function of births and lifetimes [..., K].
Weight = float | Callable[[Tensor, Tensor], Tensor]
# The two ends of a range, each read off the diagrams where it is None.
Range = Sequence[float | None] | None


class _Bars(NamedTuple):
    births: Tensor  # [..., K]
    deaths: Tensor  # [..., K]
    mask: Tensor  # [..., K]

    def lifetimes(self) -> Tensor:
        """A method, for torch.compile before 2.11 cannot compare a named tuple's properties."""
        return self.deaths - self.births


def persistence_image(
    dgm: PersistenceDiagram,
    bandwidth: float = 1.0,
    weight: Weight = 1.0,
    resolution: Sequence[int] = (20, 20),
    birth_range: Range = None,
    lifetime_range: Range = None,
    *,
    integrate: bool = False,
    essential_death: float | None = None,
) -> Tensor:
    r"""Sum of a Gaussian at each bar's (birth, lifetime), on a grid of pixels.

    .. math:: \sum_k w(b_k, l_k) \,
        \frac{1}{2 \pi \sigma^2} e^{-((x - b_k)^2 + (y - l_k)^2) / 2 \sigma^2}

    Parameters
    ----------
    dgm : PersistenceDiagram
        Of one cloud or a batch.
    bandwidth : float, > 0
        The standard deviation :math:`\sigma`, in the units of the lengths.
    weight : float >= 0, or callable
        The power of the lifetime that a bar's weight is, or a function of births and lifetimes
        [..., K]. 1, the paper's and persim's, lets short bars fade; 0 is gudhi's.
    resolution : (int, int)
        Pixels along births, and along lifetimes.
    birth_range, lifetime_range : (float or None, float or None), optional
        The ends of the grid. None takes the least or the largest value of all bars of the batch,
        without a gradient.
    integrate : bool
        Whether a pixel holds the integral over its square, as in the paper and persim, whose pixels
        share the ranges out; otherwise the density at its point, as in gudhi, whose points begin
        and end at the ends of the ranges.
    essential_death : float, optional
        When classes that never die are taken to die; they are left out unless it is given.

    Returns
    -------
    Tensor, shape [..., resolution[1], resolution[0]]
        Rows are lifetimes from short to long, columns births. ``.flatten(-2)`` is the vector of
        gudhi's ``PersistenceImage``, ``.mT`` the image of persim's ``PersistenceImager``; its
        ``sigma`` is the variance, ``bandwidth ** 2``.

    Notes
    -----
    Differentiable as often as `weight` is. Source: Adams et al., JMLR 18(8), 2017.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> _, h1 = tsl.rips_persistence(square)
    >>> ranges = {"birth_range": (0.0, 2.0), "lifetime_range": (0.0, 1.0)}
    >>> tsl.vectorise.persistence_image(h1, 0.5, resolution=(3, 2), **ranges)
    tensor([[0.0253, 0.1871, 0.0253],
            [0.0180, 0.1328, 0.0180]])
    """
    sigma = check_number(bandwidth, "bandwidth", least=0, open_below=True)
    check_flag(integrate, "integrate")
    columns, rows = _resolution(resolution)
    bars = _bars(dgm, essential_death)
    lifetimes = bars.lifetimes()
    weights = _weights(bars, lifetimes, weight)  # [..., K]
    if not integrate:
        weights = weights / (2 * math.pi * sigma**2)
    sides = []
    for at, count, given, name in (
        (bars.births, columns, birth_range, "birth_range"),
        (lifetimes, rows, lifetime_range, "lifetime_range"),
    ):
        ends = _checked_range(given, name)
        points = _evenly(at, at, bars.mask, ends, count + 1 if integrate else count)
        offsets = (points - at.unsqueeze(-1)) / sigma  # [..., K, points]
        if integrate:
            sides.append(torch.special.ndtr(offsets).diff(dim=-1))
        else:
            sides.append((offsets.square() * -0.5).exp())
    along_births, along_lifetimes = sides
    image: Tensor = (along_lifetimes * weights.unsqueeze(-1)).mT @ along_births
    return image


def landscape(
    dgm: PersistenceDiagram,
    num_landscapes: int = 5,
    resolution: int = 100,
    sample_range: Range = None,
    *,
    grid: Tensor | None = None,
    rotated: bool = False,
    essential_death: float | None = None,
) -> Tensor:
    r"""The first landscapes: at each t the k-th largest of :math:`\min(t - b, d - t)`, or 0.

    Parameters
    ----------
    dgm : PersistenceDiagram
        Of one cloud or a batch.
    num_landscapes : int
        How many, from the largest.
    resolution, sample_range, grid
        Where they are taken, as `sample_grid` has it; or at `grid` [R], and nowhere else.
    rotated : bool
        Whether to multiply by :math:`\sqrt 2`, as gudhi does; the paper and persim do not.
    essential_death : float, optional
        When classes that never die are taken to die; they are left out unless it is given.

    Returns
    -------
    Tensor, shape [..., num_landscapes, R]

    Notes
    -----
    Differentiable where the largest are: elsewhere, one valid subgradient.
    Source: Bubenik, JMLR 16, 2015.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> h0, _ = tsl.rips_persistence(torch.tensor([[0.0], [2.0], [6.0]]))
    >>> tsl.vectorise.landscape(h0, 2, grid=torch.tensor([0.5, 1.0, 3.0]))
    tensor([[0.5000, 1.0000, 1.0000],
            [0.5000, 1.0000, 0.0000]])
    """
    count = check_whole(num_landscapes, "num_landscapes", least=1)
    check_flag(rotated, "rotated")
    bars = _bars(dgm, essential_death)
    tents = _tents(bars, _grid(bars, grid, resolution, sample_range))  # [..., R, K]
    missing = count - tents.shape[-1]
    if missing > 0:
        tents = torch.nn.functional.pad(tents, (0, missing))
    largest = tents.topk(count, -1).values.mT
    return largest * math.sqrt(2) if rotated else largest


def silhouette(
    dgm: PersistenceDiagram,
    weight: Weight = 1.0,
    resolution: int = 100,
    sample_range: Range = None,
    *,
    grid: Tensor | None = None,
    rotated: bool = False,
    essential_death: float | None = None,
) -> Tensor:
    r"""The mean of the bars' tents :math:`\max(0, \min(t - b, d - t))`, each by its weight.

    Parameters
    ----------
    dgm : PersistenceDiagram
        Of one cloud or a batch.
    weight : float >= 0, or callable
        The power of the lifetime that a bar's weight is, or a function of births and lifetimes
        [..., K]. gudhi's default is 0: all bars count alike.
    resolution, sample_range, grid, rotated, essential_death
        As `landscape` has them.

    Returns
    -------
    Tensor, shape [..., R]
        0 where the weights sum to 0, as without bars.

    Notes
    -----
    Differentiable; one valid subgradient at the bends of the tents.
    Source: Chazal et al., SoCG 2014, arXiv 1312.0308.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> h0, _ = tsl.rips_persistence(torch.tensor([[0.0], [2.0], [6.0]]))
    >>> tsl.vectorise.silhouette(h0, weight=0, grid=torch.tensor([0.5, 1.0, 3.0]))
    tensor([0.5000, 1.0000, 0.5000])
    """
    check_flag(rotated, "rotated")
    bars = _bars(dgm, essential_death)
    weights = _weights(bars, bars.lifetimes(), weight).unsqueeze(-1)  # [..., K, 1]
    tents = _tents(bars, _grid(bars, grid, resolution, sample_range))  # [..., R, K]
    total = weights.sum(-2)  # [..., 1]
    mean = (tents @ weights).squeeze(-1) / total.where(total != 0, 1)
    return mean * math.sqrt(2) if rotated else mean


def betti_curve(
    dgm: PersistenceDiagram,
    resolution: int = 100,
    sample_range: Range = None,
    *,
    grid: Tensor | None = None,
) -> Tensor:
    """How many classes are alive at each t: born at t or before, and not dead yet.

    Parameters
    ----------
    dgm : PersistenceDiagram
        Of one cloud or a batch. Its classes that never die count from their birth on.
    resolution, sample_range, grid
        As `landscape` has them.

    Returns
    -------
    Tensor, shape [..., R], int64
        Whole numbers, which have no gradient; `silhouette` and `landscape` have one.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> h0, _ = tsl.rips_persistence(torch.tensor([[0.0], [2.0], [6.0]]))
    >>> tsl.vectorise.betti_curve(h0, grid=torch.tensor([0.0, 1.9, 2.0, 4.0]))
    tensor([3, 3, 2, 1])
    """
    bars = _bars(dgm, None)
    t = _grid(bars, grid, resolution, sample_range).unsqueeze(-1)  # [R, 1]
    births, deaths = bars.births.unsqueeze(-2), bars.deaths.unsqueeze(-2)  # [..., 1, K]
    alive = (births <= t) & (t < deaths) & bars.mask.unsqueeze(-2)
    forever = (dgm.essential_births.unsqueeze(-2) <= t) & dgm.essential_mask.unsqueeze(-2)
    return alive.sum(-1) + forever.sum(-1)


def sliced_wasserstein_distance(
    a: PersistenceDiagram,
    b: PersistenceDiagram,
    num_directions: int = 50,
    *,
    angles: Tensor | None = None,
    essential_death: float | None = None,
) -> Tensor:
    r"""The mean over lines of the 1-Wasserstein distance of two diagrams on each.

    A line through the origin takes the bars of each diagram, and the other's moved to the diagonal,
    and so as many points of both.

    Parameters
    ----------
    a, b : PersistenceDiagram
        Of one cloud or a batch; leading dimensions are broadcast.
    num_directions : int
        Lines at the angles :math:`-\pi / 2 + i \pi / M`, as persim's `M`.
    angles : Tensor, shape [M], optional
        Lines at these angles instead. gudhi takes those of `num_directions` without the last.
    essential_death : float, optional
        When classes that never die are taken to die; they are left out unless it is given.

    Returns
    -------
    Tensor, shape [...]

    Notes
    -----
    Differentiable where the points on each line differ; elsewhere, one valid subgradient. It takes
    memory for M (K_a + K_b) numbers a pair. Source: Carrière, Cuturi, Oudot, ICML 2017,
    arXiv 1706.03358.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> (a,), (b,) = (tsl.rips_persistence(torch.tensor([[0.0], [w]]), 0) for w in (1.0, 3.0))
    >>> tsl.vectorise.sliced_wasserstein_distance(a, b, 2)
    tensor(1.5000)
    """
    first, second = _bars(a, essential_death, "a"), _bars(b, essential_death, "b")
    if angles is None:
        count = check_whole(num_directions, "num_directions", least=1)
        steps = torch.arange(count, dtype=torch.float64, device=first.births.device)
        angles = (steps / count - 0.5) * math.pi
    else:
        _check_points(angles, "angles")
    leading = torch.broadcast_shapes(first.mask.shape[:-1], second.mask.shape[:-1])
    if first.mask.shape[:-1] != second.mask.shape[:-1]:
        first, second = (
            _Bars(*(each.expand(*leading, each.shape[-1]) for each in bars))
            for bars in (first, second)
        )
    cos, sin = (
        each.unsqueeze(-1).to(first.births.device, first.births.dtype)  # [M, 1]
        for each in (angles.cos(), angles.sin())
    )
    along_diagonal = (cos + sin) / 2
    of_a, of_b = (  # Of the bars and of what they are on the diagonal, [..., M, K] each.
        (
            births.unsqueeze(-2) * cos + deaths.unsqueeze(-2) * sin,
            (births + deaths).unsqueeze(-2) * along_diagonal,
        )
        for births, deaths, _ in (first, second)
    )
    on_a = torch.cat((of_a[0], of_b[1]), -1)  # [..., M, K_a + K_b]
    on_b = torch.cat((of_b[0], of_a[1]), -1)
    mask = torch.cat((first.mask, second.mask), -1)
    if not is_all_true(mask):
        # Padding stands on both sides, as often and behind all points, and so adds 0.
        extent = torch.cat([each.detach().abs().flatten() for each in (on_a, on_b)])
        beyond = 1 + 2 * torch.nn.functional.pad(extent, (0, 1)).amax()
        on_a = on_a.where(mask.unsqueeze(-2), beyond)
        on_b = on_b.where(mask.roll(second.mask.shape[-1], -1).unsqueeze(-2), beyond)
    return (eager.sorted_rows(on_a) - eager.sorted_rows(on_b)).abs().sum(-1).mean(-1)


def sample_grid(
    dgm: PersistenceDiagram,
    resolution: int = 100,
    sample_range: Range = None,
    *,
    essential_death: float | None = None,
) -> Tensor:
    """Where `landscape`, `silhouette` and `betti_curve` are taken: evenly, as gudhi takes them.

    Parameters
    ----------
    dgm : PersistenceDiagram
        Of one cloud or a batch.
    resolution : int
        How many points.
    sample_range : (float or None, float or None), optional
        First and last point. None means the least birth and the largest death of all bars of the
        batch, at which everything is 0, and so are no points themselves.
    essential_death : float, optional
        When classes that never die are taken to die; they are left out unless it is given.

    Returns
    -------
    Tensor, shape [resolution]
        Without a gradient.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> h0, _ = tsl.rips_persistence(torch.tensor([[0.0], [2.0], [6.0]]))
    >>> tsl.vectorise.sample_grid(h0, 3)
    tensor([1., 2., 3.])
    """
    bars = _bars(dgm, essential_death)
    return _grid(bars, None, resolution, sample_range)


def _bars(dgm: object, essential_death: float | None, name: str = "dgm") -> _Bars:
    """The bars, and behind them the classes that never die where they are taken to die."""
    if not isinstance(dgm, PersistenceDiagram):
        raise TypeError(f"{name}: expected a PersistenceDiagram, got {type(dgm).__name__}")
    if essential_death is None:
        return _Bars(dgm.births, dgm.deaths, dgm.mask)
    death = check_number(essential_death, "essential_death", least=-math.inf)
    births, mask = dgm.essential_births, dgm.essential_mask
    # A class that is born later has no lifetime, and none below 0.
    ends = births.clamp(min=death).where(mask, 0)
    return _Bars(
        torch.cat((dgm.births, births), -1),
        torch.cat((dgm.deaths, ends), -1),
        torch.cat((dgm.mask, mask), -1),
    )


def _weights(bars: _Bars, lifetimes: Tensor, weight: Weight) -> Tensor:
    """Weights [..., K]; 0 on padding."""
    if callable(weight):
        given = weight(bars.births, lifetimes)
        if not isinstance(given, Tensor):
            raise TypeError(f"weight: expected a function to a Tensor, got {type(given).__name__}")
        return given.expand_as(bars.mask).where(bars.mask, 0)
    power = check_number(weight, "weight", least=0)
    if power == 0:
        return bars.mask.to(bars.births.dtype)
    # Bars of no length have no slope: that of a power below 1 would be infinite.
    alive = (lifetimes > 0) & bars.mask
    if power == 1:
        return lifetimes.where(alive, 0)
    return lifetimes.where(alive, 1).pow(power).where(alive, 0)


def _tents(bars: _Bars, grid: Tensor) -> Tensor:
    """How far each t is inside each bar, [..., R, K]; 0 outside and on padding."""
    births, deaths = bars.births.unsqueeze(-2), bars.deaths.unsqueeze(-2)  # [..., 1, K]
    t = grid.unsqueeze(-1)
    return torch.minimum(t - births, deaths - t).relu().where(bars.mask.unsqueeze(-2), 0)


def _grid(bars: _Bars, grid: Tensor | None, resolution: int, sample_range: Range) -> Tensor:
    """The points [R] of `sample_grid`, or those that are given."""
    if grid is not None:
        _check_points(grid, "grid")
        return grid.to(bars.births.device, bars.births.dtype)
    count = check_whole(resolution, "resolution", least=1)
    given = _checked_range(sample_range, "sample_range")
    # An end that is read off the bars is left out.
    left_out = [end is None for end in given]
    points = _evenly(bars.births, bars.deaths, bars.mask, given, count + sum(left_out))
    return points[left_out[0] : points.shape[0] - left_out[1]] if any(left_out) else points


def _check_points(points: object, name: str) -> None:
    if not isinstance(points, Tensor):
        raise TypeError(f"{name}: expected a Tensor [R], got {type(points).__name__}")
    if points.ndim != 1:
        raise ValueError(f"{name}: expected shape [R], got {describe(points)}")
    check_floating(points.unsqueeze(0), name, "points [R]")


def _resolution(resolution: Sequence[int]) -> tuple[int, int]:
    if not isinstance(resolution, Sequence) or len(resolution) != 2:
        raise ValueError(f"resolution: expected (int, int), got {resolution!r}")
    columns, rows = (check_whole(each, "resolution", least=1) for each in resolution)
    return columns, rows


def _checked_range(given: Range, name: str) -> Sequence[float | None]:
    if given is None:
        return (None, None)
    if not isinstance(given, Sequence) or len(given) != 2:
        raise ValueError(f"{name}: expected (float or None, float or None), got {given!r}")
    return [end if end is None else check_number(end, name, least=-math.inf) for end in given]


def _evenly(
    lows: Tensor, highs: Tensor, mask: Tensor, ends: Sequence[float | None], count: int
) -> Tensor:
    """Points [count] from end to end, out of the graph; the first end alone where it is one.

    An end that is None is the least of all `lows` or the largest of all `highs`, 0 without a bar.
    """
    first, last = ends
    device, dtype = lows.device, lows.dtype
    if first is not None and last is not None:
        return torch.linspace(first, last, count, device=device, dtype=dtype)
    low = _extreme(lows, mask, -1) if first is None else lows.new_full((), first)
    high = _extreme(highs, mask, 1) if last is None else highs.new_full((), last)
    return torch.lerp(low, high, torch.linspace(0, 1, count, device=device, dtype=dtype))


def _extreme(values: Tensor, mask: Tensor, sign: int) -> Tensor:
    """The largest of all values (sign 1) or the least (sign -1)."""
    signed = (sign * values.detach()).where(mask, -math.inf).flatten()
    found = torch.nn.functional.pad(signed, (0, 1), value=-math.inf).amax()
    return found.where(found > -math.inf, 0) * sign
