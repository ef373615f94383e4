"""Medians, percentiles, samples and how seconds are written."""

import pytest

from tsloss_fast._timing import LEAST_SAMPLE_SECONDS, repeats_for, sample, show_seconds, spread


def test_spread_is_that_of_numpy():
    numpy = pytest.importorskip("numpy")
    seconds = [0.3, 0.1, 0.7, 0.2, 0.4, 0.9]
    found = spread(seconds)
    assert [found.median_s, found.p20_s, found.p80_s] == pytest.approx(
        numpy.quantile(seconds, [0.5, 0.2, 0.8]).tolist()
    )
    assert found.samples == 6


@pytest.mark.parametrize("seconds", [[], [0.0], [1.0, float("nan")], [float("inf")]])
def test_no_spread_without_good_samples(seconds):
    with pytest.raises(ValueError, match="seconds: expected"):
        spread(seconds)


@pytest.mark.parametrize("seconds", [1e-6, 3e-5, 1e-3, 0.5])
def test_repeats_make_a_sample_long_enough(seconds):
    repeats = repeats_for(seconds)
    assert repeats * seconds >= LEAST_SAMPLE_SECONDS * 0.999
    assert repeats == 1 or (repeats - 1) * seconds <= LEAST_SAMPLE_SECONDS


def test_sample_calls_so_often():
    calls = []
    assert sample(lambda: calls.append(1), 7) > 0
    assert len(calls) == 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.5e-6, "4.50 µs"),
        (9.999e-4, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (1.5, "1.50 s"),
        (123, "123 s"),
    ],
)
def test_show_seconds(seconds, text):
    assert show_seconds(seconds) == text
