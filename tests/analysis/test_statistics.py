"""Features against accuracy: SciPy's numbers, and the ceiling that the paper's table reaches."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, rankdata, spearmanr

from tsloss_fast.analysis.statistics import associations


def test_a_perfect_split_gives_the_ceiling_of_the_paper():
    accuracy = [0] * 73 + [1] * 73
    table = associations(list(range(146)), {"constant": [1] * 146}, accuracy)
    constant, epoch = table.rows
    assert (table.low, table.high) == (73, 73)
    assert epoch.spearman == pytest.approx(3**0.5 / 2, abs=1e-4)
    assert epoch.spearman_p == pytest.approx(3.4e-45, rel=0.05)
    assert epoch.u == 0
    assert epoch.u_p == pytest.approx(1.9e-25, rel=0.05)
    assert (constant.spearman, constant.u, constant.u_p) == (None, 2664.5, 1.0)


def test_accuracy_that_never_changes():
    (row, _) = associations([0, 1, 2], {"a": [1, 2, 3]}, [0.5] * 3).rows
    assert (row.spearman, row.u) == (None, None)
    assert row.with_time == pytest.approx(1)


@pytest.mark.parametrize("n", [9, 30, 146])
def test_numbers_are_those_of_scipy(n):
    """With ties in both, as counts of loops and accuracies on few examples have them."""
    rng = np.random.default_rng(n)
    accuracy = rng.integers(0, 6, n) / 5
    features = {"loops": rng.integers(0, 9, n) + 5 * accuracy, "entropy": rng.normal(size=n)}
    table = associations(range(n), features, accuracy)
    high = accuracy > np.median(accuracy)
    assert (table.low, table.high) == ((~high).sum(), high.sum())
    for row in table.rows:
        values = np.asarray(features.get(row.feature, range(n)), dtype=float)
        rho = spearmanr(values, accuracy)
        assert (row.spearman, row.spearman_p) == (rho.statistic, rho.pvalue)
        # rho is the correlation of the ranks.
        ranks = np.corrcoef(rankdata(values), rankdata(accuracy))[0, 1]
        assert row.spearman == pytest.approx(ranks)
        test = mannwhitneyu(values[~high], values[high], alternative="two-sided")
        assert (row.u, row.u_p) == (test.statistic, test.pvalue)
        # U counts pairs in which the low one has the larger value, and half of each tie.
        differences = values[~high][:, None] - values[high]
        assert row.u == (differences > 0).sum() + 0.5 * (differences == 0).sum()
        assert row.with_time == spearmanr(values, np.arange(n)).statistic


@pytest.mark.parametrize(
    ("accuracy", "rho", "p"),
    [
        ([0.1, 0.2, 0.3], 1, 2 / 6),
        ([0.4, 0.3, 0.2, 0.1], -1, 2 / 24),
        ([0.1, 0.2, 0.2, 0.2], 0.7746, 2 * 6 / 24),
        (range(8), 1, 2 / 40320),
    ],
)
def test_of_few_points_p_is_exact(accuracy, rho, p):
    """The t approximation would give p = 0 for three points in order: one chance in three."""
    (row, _) = associations(range(len(accuracy)), {"a": range(len(accuracy))}, accuracy).rows
    assert row.spearman == pytest.approx(rho, abs=1e-4)
    assert row.spearman_p == pytest.approx(p)
