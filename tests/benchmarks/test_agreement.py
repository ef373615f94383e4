"""The check before a row is timed: right results pass, each kind of wrong one is caught."""

import numpy as np
import pytest

from benchmarks import cases
from benchmarks.agreement import (
    DISTANCE_TOLERANCE,
    ROUNDING,
    disagreement,
    gradient_disagreement,
    within_rounding,
)
from benchmarks.harness import _input
from benchmarks.providers.base import PAIRED, SCORES
from benchmarks.providers.gudhi import Representations, SimplexTree
from benchmarks.providers.numpy_prim import NumPy
from benchmarks.providers.ours import Engine, TslossFast
from benchmarks.providers.pytorch import EagerPyTorch
from benchmarks.providers.ripser_py import RipserPy
from benchmarks.providers.scipy import SciPy
from benchmarks.truth import Truth

FAMILIES = [f for f in cases.FAMILIES if f != "embedding rows"]


def result(provider, phase, array):
    call = provider().call(phase, array)
    return call.read(call.run())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("provider", [Engine, TslossFast, SimplexTree])
def test_right_diagrams_pass(family, provider):
    D = cases.inputs(family, 30, 16, 2)["D"]
    truth = result(Truth, "h1", D)
    assert sum(len(cloud[1]) for cloud in truth) > 0
    assert disagreement("h1", result(provider, "h1", D), truth, edges=True) is None


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("harm", ["changed", "dropped", "added", "nan"])
def test_a_wrong_bar_is_caught(dim, edges, harm):
    D = cases.inputs("noisy circle", 30, 16, 1)["D"]
    truth = result(Truth, "h1", D)
    got = [{d: np.array(pairs) for d, pairs in truth[0].items()}]
    bars = got[0][dim][np.isfinite(got[0][dim][:, 1])]
    if harm == "changed":
        bars[0, 1] *= 1 + 2e-6
    if harm == "dropped":
        bars = bars[:-1]
    if harm == "added":
        bars = np.concatenate([bars, [[0.1, 0.2]]])
    if harm == "nan":
        bars[0, 1] = np.nan
    got[0][dim] = bars
    assert f"H{dim}" in disagreement("h1", got, truth, edges)


def test_edges_have_to_agree_to_the_last_bit_and_values_within_rounding():
    D = cases.inputs("gaussian", 20, 16, 1)["D"]
    truth = result(Truth, "h1", D)
    got = [{d: pairs * (1 + 2.0**-24) for d, pairs in truth[0].items()}]
    assert disagreement("h1", got, truth, edges=False) is None
    assert disagreement("h1", got, truth, edges=True)


def test_bars_of_no_length_do_not_count():
    truth = [{0: np.array([[0.0, 1.0], [0.0, np.inf]]), 1: np.zeros((0, 2))}]
    got = [{0: np.array([[0.0, 0.0], [0.0, 1.0]]), 1: np.array([[1.0, 1.0]])}]
    assert disagreement("h1", got, truth, edges=True) is None


def test_a_missing_dimension_or_cloud_is_caught():
    truth = [{0: np.array([[0.0, 1.0]]), 1: np.zeros((0, 2))}]
    assert "no H1" in disagreement("h1", [{0: truth[0][0]}], truth, edges=True)
    assert "0 diagrams for 1" in disagreement("h1", [], truth, edges=True)


def test_one_wrong_distance_is_caught_however_small_it_is():
    x = cases.points("near-duplicates", 20, 64)
    truth = result(Truth, "distances", x)
    assert disagreement("distances", result(Engine, "distances", x), truth, edges=True) is None
    worse = truth.copy()
    smallest = np.unravel_index(np.where(truth > 0, truth, np.inf).argmin(), truth.shape)
    worse[smallest] *= 1 + 2 * DISTANCE_TOLERANCE
    assert "off by" in disagreement("distances", worse, truth, edges=True)


def test_losses():
    x = cases.points("gaussian", 20, 16, 2)
    truth = result(Truth, "loss_backward", x)
    value, gradient = result(TslossFast, "loss_backward", x)
    assert disagreement("loss_backward", (value, gradient), truth, edges=True) is None
    assert disagreement("loss", value, truth, edges=True) is None
    assert "loss" in disagreement("loss", 1.02 * value, truth, edges=True)
    assert "loss" in disagreement("loss", float("nan"), truth, edges=True)
    # One cloud of the two is wrong.
    gradient[1] *= 1.05
    assert "gradient" in disagreement("loss_backward", (value, gradient), truth, edges=True)


@pytest.mark.parametrize("phase", PAIRED)
def test_losses_of_pairs(phase):
    x = cases.points("noisy circle", 20, 16, 2)
    truth = result(Truth, phase, x)
    value, gradient = result(TslossFast, phase, x)
    assert disagreement(phase, (value, gradient), truth, edges=True) is None
    assert "loss" in disagreement(phase, (1.02 * value, gradient), truth, edges=True)
    assert "gradient" in disagreement(phase, (value, 1.3 * gradient), truth, edges=True)
    if phase == "rtdlite_backward":
        assert disagreement(phase, result(EagerPyTorch, phase, x), truth, edges=False) is None


@pytest.mark.parametrize("phase", [*SCORES, *cases.VECTORS])
@pytest.mark.parametrize("n", [5, 40])
def test_scores_and_vectors(phase, n):
    """Of five points, with which each provider warms up, there may be no bar of H1."""
    array = _input(cases.Case(phase, "noisy circle", n, 16, 2))
    truth = result(Truth, phase, array)
    found = result(TslossFast, phase, array)
    assert found.shape[0] == 2
    if n == 5:
        return
    assert disagreement(phase, found, truth, edges=True) is None
    assert "number" in disagreement(phase, found * (1 + 1e-3), truth, edges=True)
    assert "number" in disagreement(phase, found * np.nan, truth, edges=True)
    assert "shape" in disagreement(phase, found[:1], truth, edges=True)
    for peer in (NumPy, SciPy, RipserPy, Representations):
        if phase in peer.phases and peer().available() is None:
            assert disagreement(phase, result(peer, phase, array), truth, edges=False) is None


def test_attention_maps_are_causal_and_sum_to_1():
    maps = cases.attention_maps(cases.points("noisy circle", 30, 16, 2))
    assert maps.dtype == np.float32
    assert (np.triu(maps, 1) == 0).all()
    assert maps.sum(-1) == pytest.approx(1, abs=1e-6)
    assert 0.1 < np.median(maps.max(-1)) < 0.9


def test_either_gradient_at_a_kink_passes_and_no_other():
    true = np.ones((1, 2, 3))
    other = np.zeros((1, 2, 3))
    other[0, 0] = 2.0
    assert gradient_disagreement(1.0, other, 1.0, [true])
    assert gradient_disagreement(1.0, other, 1.0, [true, other]) is None
    assert gradient_disagreement(1.0, -other, 1.0, [true, other])


def test_points_within_rounding_are_that_near():
    x = cases.points("gaussian", 6, 4, 2)
    gradient = np.random.default_rng(0).standard_normal(x.shape)
    for moved in within_rounding(x, gradient, np.zeros(x.shape)):
        distance = np.linalg.norm(moved - x, axis=(1, 2)) / np.linalg.norm(x, axis=(1, 2))
        assert distance == pytest.approx(ROUNDING)
    same, _ = within_rounding(x, gradient, gradient)
    assert np.array_equal(same, x.astype(np.float64))
