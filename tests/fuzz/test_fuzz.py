"""The fuzzer itself: it repeats, finds what is planted, and what it found once stays mended."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tsloss_fast as tsl
from tests.fuzz import checks
from tests.fuzz.__main__ import fuzz, problems_of
from tests.fuzz.cases import Case, draw
from tests.fuzz.families import MATRICES, POINTS
from tsloss_fast import _C
from tsloss_fast.persistence.diagram import FIELDS


def test_a_few_clouds_of_every_family(tmp_path):
    drawn = {draw(0, k).family for k in range(400)}
    assert drawn == set(MATRICES) | set(POINTS)
    assert fuzz(0, tmp_path, clouds=400, largest=40) == (400, 0)


def test_a_case_is_drawn_and_read_again(tmp_path):
    case = draw(7, 3)
    again = Case.load(case.save(tmp_path))
    for other in (draw(7, 3), again):
        assert str(other) == str(case)
        np.testing.assert_array_equal(other.data, case.data)
        assert other.data.dtype == case.data.dtype
    assert str(draw(7, 4)) != str(case)


def case_of(data, **changes):
    options = {
        "family": "by hand", "metric": "euclidean", "max_edge_length": None, "h1_power": 2.0,
        "scale": None, "seed": 0, "index": 0,
    }  # fmt: skip
    return Case(data=np.asarray(data), **(options | changes))


@pytest.fixture
def circle():
    angle = 2 * np.pi * np.arange(9) / 9
    return case_of(np.stack((np.cos(angle), 1.1 * np.sin(angle)), 1))


def planted(monkeypatch, name, wrap):
    """Replace a function of the package, as the fuzzer calls it, by a wrong one."""
    monkeypatch.setattr(tsl, name, wrap(getattr(tsl, name)))


def test_a_bar_too_few_is_found(monkeypatch, circle):
    def one_bar_less(rips):
        def wrong(x, **options):
            h0, h1 = rips(x, **options)
            fields = {name: getattr(h0, name) for name in FIELDS}
            last = torch.arange(len(h0.mask)) == len(h0.mask) - 1
            return type(h0)(**(fields | {"mask": h0.mask & ~last})), h1

        return wrong

    assert problems_of(circle) == []
    planted(monkeypatch, "rips_persistence", one_bar_less)
    assert any("rips_persistence: H0" in line for line in problems_of(circle))


@pytest.mark.parametrize("factor", [-1, 1.001, 0])
def test_a_wrong_gradient_is_found(monkeypatch, circle, factor):
    class Wrong(tsl.TSLoss):
        def forward(self, x, **options):
            loss, terms = super().forward(x, **options)
            return loss.detach() + factor * (loss - loss.detach()), terms

    monkeypatch.setattr(tsl, "TSLoss", Wrong)
    assert any("TSLoss: gradient" in line for line in problems_of(circle))


def test_a_cycle_that_dies_too_soon_is_found(monkeypatch, circle):
    def of_one_triangle(find):
        def wrong(D, **options):
            diagrams, cycles = find(D, **options)
            i, j = cycles[0][-1].tolist()
            k = next(v for v in range(len(D)) if v not in (i, j))
            sides = [sorted(side) for side in ((i, k), (j, k))]
            return diagrams, [torch.tensor([*sides, [i, j]])]

        return wrong

    planted(monkeypatch, "representative_cycles", of_one_triangle)
    assert any("cycle of" in line for line in problems_of(circle))


def test_a_wrong_distance_is_found(monkeypatch):
    def off_by_a_bit(x, threads=1, isa="auto"):
        D = _C.distances(x, threads, isa)
        D[0, 1] = D[1, 0] = D[0, 1] * (1 + 1e-5)
        return D

    names = {name: getattr(_C, name) for name in dir(_C) if not name.startswith("__")}
    monkeypatch.setattr(checks, "_C", SimpleNamespace(**(names | {"distances": off_by_a_bit})))
    case = case_of(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
    assert any("distances: off by" in line for line in problems_of(case))


# What the fuzzer found, under the name of what was wrong.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_diagrams_of_subnormal_distances_are_finite(dtype):
    """Was infinite, and NaN where coordinates are equal: the dtype cannot hold 1 / length."""
    x = np.array([[0, 1, 2, 5], [0, 1, 3, 9], [0, 7, 3, 3]]) * np.finfo(dtype).smallest_subnormal
    assert problems_of(case_of(x.astype(dtype))) == []


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_losses_are_finite_beside_lengths_out_of_all_proportion(dtype, power):
    """Was infinite or NaN: a gradient of the long lengths' size over a length next to nothing."""
    tiny, huge = (1e-25, 1e15) if dtype == np.float32 else (1e-187, 1e144)
    x = np.array([[huge], [0], [tiny], [3 * tiny], [-2 * huge]]) * [1.0, 0.0, 0.5]
    for scale in (None, "mean"):
        case = case_of(x.astype(dtype), h1_power=power, scale=scale)
        assert problems_of(case) == []
        points = torch.from_numpy(case.data).requires_grad_()
        tsl.TSLoss("surrogate", scale="mean")(points).backward()
        assert points.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cloud_too_small_for_its_scale_has_finite_gradients(dtype):
    """1 / mean was infinite, and times a gradient of 0 NaN; now such a cloud is not scaled."""
    x = np.array([[0, 1], [3, 0], [9, 9], [9, 8]]) * np.finfo(dtype).smallest_subnormal
    case = case_of(x.astype(dtype), scale="mean")
    assert problems_of(case) == []


@pytest.mark.parametrize(
    ("dtype", "unit"), [(torch.float32, 1.5e19), (torch.float64, 1e154)], ids=str
)
def test_a_sum_of_powers_overflows_no_sooner_than_its_quotient(dtype, unit):
    """Of a matrix the loss is PyTorch's: a loop's lifetime squared over n, near the dtype's end."""
    n = 13
    steps = torch.arange(n)
    hops = (steps[:, None] - steps).abs()
    D = torch.minimum(hops, n - hops).to(dtype) * unit
    x = D.clone().requires_grad_()
    loss, terms = tsl.TSLoss(metric="precomputed", beta_h0=0.0)(x, return_terms=True)
    (lifetime,) = tsl.rips_persistence(D, metric="precomputed")[1].lifetimes
    expected = (lifetime / n**0.5).double().square()
    assert lifetime.square().isinf()
    torch.testing.assert_close(loss.detach().double(), expected, rtol=1e-6, atol=0.0)
    assert terms["h1"] == loss
    loss.backward()
    (rate,) = set(x.grad.abs().unique().tolist()) - {0.0}
    assert rate == pytest.approx(2 * lifetime.item() / n, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_variance_overflows_no_sooner_than_itself(dtype):
    end = torch.finfo(dtype).max
    D = torch.full((5, 5), end / 2, dtype=dtype).fill_diagonal_(0)
    (h0,) = tsl.rips_persistence(D, 0, "precomputed")
    assert tsl.lifetime_variance(h0) == 0
    assert tsl.TSLoss(metric="precomputed")(D) == 0


def test_a_loss_of_points_overflows_no_sooner_than_itself():
    """Sums of the engine are divided at their end, and were infinite near float64's."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    for unit, power in ((4e154, 2.0), (1.5e103, 3.0)):
        loss = tsl.TSLoss(h1_power=power, beta_h0=0.0)(corners * unit)
        lifetime = (2**0.5 - 1) * unit
        expected = (lifetime / 4 ** (1 / power)) ** power
        assert loss.item() == pytest.approx(expected, rel=1e-12)
    spread = torch.tensor([[0.0], [1.0], [1.0 + 2.4e154]], dtype=torch.float64)
    assert tsl.TSLoss()(spread).item() == pytest.approx(1.2e154**2, rel=1e-12)
