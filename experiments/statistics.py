"""Paired comparisons of few runs: spread, intervals, a test, and what the test could have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Paired:
    """An arm against another over the same seeds; differences are arm less other.

    ``low`` to ``high`` is the percentile bootstrap's interval of the mean difference, ``p`` the
    exact two-sided sign-flip test's, and ``p_holm`` that by Holm's correction over the family of
    `compare`. ``detectable`` is the mean difference that a paired t-test of so many seeds, and of
    differences that vary as these do, would find with probability `POWER` at the family's strictest
    level; None where the differences do not vary.
    """

    seeds: int
    mean: float
    low: float
    high: float
    p: float
    p_holm: float
    detectable: float | None


def compare(
    arms: Mapping[str, Mapping[int, float]], other: Mapping[int, float]
) -> dict[str, Paired]:
    """Each arm against the other by the seeds that both have, as one family.

    Parameters
    ----------
    arms : mapping of a name to a mapping of seed to value
        Arms that share fewer than two seeds with the other are left out.
    other : mapping of seed to value
    """
    differences = {
        name: np.array(
            [values[seed] - other[seed] for seed in sorted(values.keys() & other.keys())]
        )
        for name, values in arms.items()
    }
    differences = {name: found for name, found in differences.items() if len(found) > 1}
    p = {name: sign_flip_p(found) for name, found in differences.items()}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    return {
        name: Paired(
            len(found),
            float(found.mean()),
            *bootstrap_interval(found),
            p[name],
            corrected[name],
            detectable(found, (1 - LEVEL) / len(differences)),
        )
        for name, found in differences.items()
    }


def bootstrap_interval(differences: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap's interval of the mean at `LEVEL`, the same at every call."""
    found = stats.bootstrap(
        (differences,), np.mean, confidence_level=LEVEL, method="percentile", rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of the mean over all flips of signs; at least 2 / 2^n."""
    found = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    return float(found.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given.

    Examples
    --------
    >>> holm([0.02, 0.01, 0.5])
    [0.04, 0.03, 0.5]
    """
    corrected, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = float(least)
    return corrected


def detectable(differences: np.ndarray, level: float) -> float | None:
    """The mean difference that a two-sided paired t-test at `level` finds with `POWER`."""
    n, spread = len(differences), float(differences.std(ddof=1))
    if spread == 0:
        return None
    critical = stats.t.ppf(1 - level / 2, n - 1)

    def missing_power(effect: float) -> float:
        # Of the other sign there is next to nothing at such a power.
        return float(stats.nct.sf(critical, n - 1, effect * np.sqrt(n)) - POWER)

    return spread * float(optimize.brentq(missing_power, 1e-3, 4 * critical))
