"""Features against accuracy: the paper's Table II, by SciPy, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Fewer give no p-value at all.
LEAST_POINTS = 3
# Up to so many points all their orders are counted: 40,320 of 8.
EXACT_POINTS = 8


@dataclass(frozen=True)
class Association:
    """How one feature correlates with accuracy; None where that is undefined.

    ``spearman`` and ``spearman_p`` over all points, p exact for up to `EXACT_POINTS` and by
    SciPy's t approximation for more. ``u`` and ``u_p`` are of the two-sided
    Mann-Whitney test between points of low and of high accuracy: U counts the pairs in which the
    low one has the larger value. ``with_time`` is Spearman's coefficient of the feature with the
    epoch alone.
    """

    feature: str
    spearman: float | None
    spearman_p: float | None
    u: float | None
    u_p: float | None
    with_time: float | None


@dataclass(frozen=True)
class Table:
    """Associations of all features, over `low` + `high` points in two groups of accuracy.

    High is above `threshold`, the median (or at it, should nothing lie above).
    """

    rows: tuple[Association, ...]
    low: int
    high: int
    threshold: float


def caution(unit: str) -> str:
    """What has to be said beside every such table."""
    return (
        f"The {unit}s of one run are not independent samples: each prompt is the one before it, "
        "changed a little. So the p-values say nothing about significance, and any feature that "
        "drifts steadily through the run goes with an accuracy that rises through it. Compare with "
        f"the row of the {unit} itself, which knows nothing of topology, and with the last column. "
        "The paper's Table II (arXiv 2602.16500) has the same flaw: its 0.866 for the mean H0 "
        "lifetime is what every feature gets that splits two equal groups perfectly (half the "
        "square root of 3), as any steady drift does. Only runs that differ in their seed, taken "
        "as one point each, could show more."
    )


def associations(
    positions: Sequence[int],
    features: Mapping[str, Sequence[float]],
    accuracy: Sequence[float],
    unit: str = "epoch",
) -> Table:
    """The table of all features, with a last row for the position itself.

    Parameters
    ----------
    positions : sequence of int
        Epochs or steps at which accuracy is known.
    features : mapping of str to sequence of float
        At these positions.
    accuracy : sequence of float
        At these positions.
    unit : str
        The name of the last row.

    Raises
    ------
    ValueError
        With fewer than `LEAST_POINTS` points.

    Examples
    --------
    >>> table = associations([0, 1, 2, 3], {"loops": [9, 7, 5, 1]}, [0.1, 0.2, 0.3, 0.4])
    >>> loops, _ = table.rows
    >>> round(loops.spearman), loops.u, table.low, table.high
    (-1, 4.0, 2, 2)
    """
    if len(positions) < LEAST_POINTS:
        raise ValueError(f"positions: expected at least {LEAST_POINTS}, got {len(positions)}")
    scores = np.asarray(accuracy, dtype=float)
    threshold = float(np.median(scores))
    high = scores > threshold
    if not high.any():
        high = scores == threshold
    times = np.asarray(positions, dtype=float)
    columns = {**features, unit: times}
    rows = tuple(
        _association(name, np.asarray(values, dtype=float), scores, high, times)
        for name, values in columns.items()
    )
    return Table(rows, int((~high).sum()), int(high.sum()), threshold)


def _association(
    name: str, values: np.ndarray, scores: np.ndarray, high: np.ndarray, times: np.ndarray
) -> Association:
    rho, p = _spearman(values, scores)
    if p is not None and len(values) <= EXACT_POINTS:
        p = _share_of_orders(values, scores)
    u, u_p = _mann_whitney(values[~high], values[high])
    return Association(name, rho, p, u, u_p, _spearman(values, times)[0])


def _spearman(a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None]:
    from scipy.stats import spearmanr

    # No correlation is defined where all ranks are equal, or with NaN.
    if np.isnan(a).any() or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None, None
    result = spearmanr(a, b)
    return float(result.statistic), float(result.pvalue)


def _share_of_orders(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's two-sided p over all orders of `a`; the t approximation has 0 for three in order.

    As SciPy advises for small samples.
    """
    from scipy.stats import permutation_test, rankdata

    # For given ranks the coefficient rises with their product.
    other = rankdata(b) - (len(b) + 1) / 2

    def statistic(ranks: np.ndarray, axis: int = -1) -> np.ndarray:
        sums: np.ndarray = (ranks * other).sum(axis)
        return sums

    ranks = rankdata(a) - (len(a) + 1) / 2
    test = permutation_test(
        (ranks,), statistic, permutation_type="pairings", vectorized=True, n_resamples=np.inf
    )
    return float(test.pvalue)


def _mann_whitney(low: np.ndarray, high: np.ndarray) -> tuple[float | None, float | None]:
    from scipy.stats import mannwhitneyu

    if not len(low) or not len(high) or np.isnan(low).any() or np.isnan(high).any():
        return None, None
    if len(np.unique(np.concatenate((low, high)))) == 1:
        # SciPy from 1.18 on has no p for values that are all equal.
        return len(low) * len(high) / 2, 1.0
    result = mannwhitneyu(low, high)
    return float(result.statistic), float(result.pvalue)
