"""The statistics against SciPy's, counting, and values by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from experiments.statistics import bootstrap_interval, compare, detectable, holm, sign_flip_p

DIFFERENCES = np.array([0.3, -0.1, 0.4, 0.25, 0.05, -0.02])


def test_the_sign_flip_test_counts_all_flips():
    means = [np.mean(DIFFERENCES * signs) for signs in itertools.product((1, -1), repeat=6)]
    share = np.mean(np.abs(means) >= DIFFERENCES.mean() - 1e-12)
    assert sign_flip_p(DIFFERENCES) == pytest.approx(share)


def test_all_of_one_sign_give_the_least_p():
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 2**5)


def test_no_difference_at_all():
    none = np.zeros(5)
    assert sign_flip_p(none) == 1
    assert bootstrap_interval(none) == (0, 0)
    assert detectable(none, 0.05) is None


def test_ranks_give_wilcoxons_p():
    """On differences that are their own signed ranks the two tests are one."""
    ranks = np.array([1.0, -2, 3, 4, 5, 6, -7, 8])
    expected = stats.wilcoxon(ranks, method="exact").pvalue
    assert sign_flip_p(ranks) == pytest.approx(expected)


def test_the_bootstrap_interval_holds_the_mean_and_is_repeatable():
    low, high = bootstrap_interval(DIFFERENCES)
    assert low < DIFFERENCES.mean() < high
    # Means of six resampled values are near to normal.
    half = stats.norm.ppf(0.975) * DIFFERENCES.std() / np.sqrt(6)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert bootstrap_interval(DIFFERENCES) == (low, high)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_the_detectable_difference_has_the_power():
    found = detectable(DIFFERENCES, 0.05)
    rng = np.random.default_rng(0)
    spread = DIFFERENCES.std(ddof=1)
    samples = rng.normal(found, spread, size=(20_000, 6))
    share = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    # Three standard errors of a share of 20,000.
    assert share == pytest.approx(0.8, abs=0.009)


def test_pairs_are_by_seed_and_the_family_is_all_arms():
    other = {0: 0.5, 1: 0.5, 2: 0.6, 3: 0.7, 4: 0.8}
    better = {seed: value + 0.1 + 0.01 * seed for seed, value in other.items()}
    found = compare({"better": better, "same": other, "one": {0: 0.5}}, other)
    assert set(found) == {"better", "same"}
    assert found["better"].mean == pytest.approx(0.12)
    assert found["better"].p == pytest.approx(2 / 32)
    assert found["better"].p_holm == pytest.approx(4 / 32)
    assert found["same"].p_holm == 1
    assert found["better"].seeds == 5
