"""The summaries: by hand, on padding, and against the reference."""

import dataclasses
import math

import pytest
import torch
from clouds import FAMILIES, cloud, clouds
from hypothesis import given

from tsloss_fast import reference
from tsloss_fast.persistence.diagram import PersistenceDiagram

SQUARE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])


def diagram(*lifetimes, births=1.0):
    """A batch of diagrams with the given lists of lifetimes, padded."""
    K = max(len(row) for row in lifetimes)
    length = torch.tensor([[*row, *[0.0] * (K - len(row))] for row in lifetimes]).double()  # [B, K]
    mask = torch.tensor([[k < len(row) for k in range(K)] for row in lifetimes])
    mask = mask.bool().reshape(len(lifetimes), K)
    born = torch.where(mask, births, 0.0).double()
    edges = torch.where(mask.unsqueeze(-1), torch.tensor([0, 1]), torch.tensor([-1, -1]))
    return PersistenceDiagram(born, born + length, edges, edges, mask)


def test_total_persistence_by_hand(impl):
    dgm = diagram([0.5, 2.0], [3.0], [])
    assert impl.total_persistence(dgm).tolist() == [2.5, 3.0, 0.0]
    assert impl.total_persistence(dgm, p=2).tolist() == [4.25, 9.0, 0.0]
    assert impl.total_persistence(dgm, p=3.0).tolist() == [8.125, 27.0, 0.0]


def test_lifetime_variance_by_hand(impl):
    """Population variance: the paper divides by the number of bars. Padding is no bar."""
    dgm = diagram([1.0, 2.0, 6.0], [4.0], [], [2.0, 2.0])
    assert impl.lifetime_variance(dgm).tolist() == pytest.approx([14 / 3, 0.0, 0.0, 0.0])


def test_persistence_entropy_by_hand(impl):
    dgm = diagram([1.0, 3.0, 0.0], [2.0, 2.0], [5.0], [])
    expected = [-0.25 * math.log(0.25) - 0.75 * math.log(0.75), math.log(2), 0.0, 0.0]
    assert impl.persistence_entropy(dgm).tolist() == pytest.approx(expected, rel=1e-14)


def test_persistence_entropy_pools_the_diagrams(impl):
    pooled = impl.persistence_entropy(diagram([1.0, 2.0], [1.0]), diagram([1.0], [3.0]))
    together = impl.persistence_entropy(diagram([1.0, 2.0, 1.0], [1.0, 3.0]))
    assert torch.allclose(pooled, together, rtol=1e-14, atol=0)
    assert pooled[0] == pytest.approx(1.5 * math.log(2), rel=1e-14)


@pytest.mark.parametrize("K", [1, 2, 17])
def test_entropy_of_equal_lifetimes_is_log_k(impl, K):
    assert impl.persistence_entropy(diagram([0.3] * K)).item() == pytest.approx(math.log(K))


@pytest.mark.parametrize("row", [[], [0.0], [2.0]], ids=str)
def test_no_entropy_is_0_and_not_minus_0(impl, row):
    """Was printed as -0."""
    entropy = impl.persistence_entropy(diagram(row))
    assert entropy == 0
    assert not entropy.signbit()
    assert str(entropy.item()) == "0.0"


@pytest.mark.parametrize("name", ["total_persistence", "lifetime_variance", "persistence_entropy"])
def test_padding_adds_nothing(impl, name):
    rows = ([0.7, 2.0, 0.1], [1.5], [])
    together = getattr(impl, name)(diagram(*rows))
    alone = torch.cat([getattr(impl, name)(diagram(row)) for row in rows])
    assert together.shape == (3,)
    assert torch.allclose(together, alone, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", ["total_persistence", "lifetime_variance", "persistence_entropy"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 2), (0,)], ids=str)
def test_shape_is_that_of_the_batch(impl, name, batch):
    for dgm in impl.rips_persistence(torch.randn(*batch, 7, 2)):
        assert getattr(impl, name)(dgm).shape == batch


@given(x=clouds(max_n=30))
def test_same_as_the_reference(tsl, x):
    for dgm in reference.rips_persistence(x):
        for name in ("total_persistence", "lifetime_variance", "persistence_entropy"):
            got, expected = getattr(tsl, name)(dgm), getattr(reference, name)(dgm)
            assert got.dtype == expected.dtype
            # Sums of at most 30 positive terms; the variance loses digits to its mean.
            scale = dgm.deaths.square().sum() if name == "lifetime_variance" else expected
            error = (got - expected).abs()
            assert error <= 64 * torch.finfo(x.dtype).eps * scale


@pytest.mark.parametrize("name", ["total_persistence", "lifetime_variance", "persistence_entropy"])
def test_gradcheck(impl, name):
    x = cloud("circle", 10, 2).requires_grad_()

    def summaries(x):
        return tuple(getattr(impl, name)(dgm) for dgm in impl.rips_persistence(x))

    assert torch.autograd.gradcheck(summaries, x)


@pytest.mark.parametrize("name", ["total_persistence", "lifetime_variance", "persistence_entropy"])
@pytest.mark.parametrize("family", ["duplicated", "identical", "grid"])
def test_gradient_is_finite_at_ties_and_zero_lengths(impl, name, family):
    x = torch.stack([cloud(family, 12, 2, seed) for seed in range(3)]).requires_grad_()
    total = sum(getattr(impl, name)(dgm).sum() for dgm in impl.rips_persistence(x))
    (gradient,) = torch.autograd.grad(total, x)
    assert gradient.isfinite().all()


def test_topology_summary_of_the_square(impl):
    summary = impl.topology_summary(SQUARE)
    loop = math.sqrt(2) - 1
    total = 3 + loop
    entropy = 3 / total * math.log(total) - loop / total * math.log(loop / total)
    assert dataclasses.asdict(summary) == {
        "h0_count": 4,
        "h1_count": 1,
        "h0_mean_lifetime": 1.0,
        "h0_max_lifetime": 1.0,
        "h1_mean_lifetime": pytest.approx(loop, rel=1e-6),
        "h1_max_lifetime": pytest.approx(loop, rel=1e-6),
        "entropy": pytest.approx(entropy, rel=1e-6),
    }


def test_topology_summary_counts_distinct_points(impl):
    """Zero-length bars of coincident rows are neither counted nor averaged."""
    x = torch.tensor([[0.0], [0.0], [1.0], [1.0], [4.0]])
    summary = impl.topology_summary(x)
    assert summary.h0_count == 3
    assert summary.h0_mean_lifetime == 2.0
    assert summary.h0_max_lifetime == 3.0
    assert summary.h1_count == 0
    assert summary.h1_mean_lifetime == 0.0
    assert summary.h1_max_lifetime == 0.0


@pytest.mark.parametrize("n", [1, 6])
def test_topology_summary_of_one_distinct_point(impl, n):
    summary = dataclasses.asdict(impl.topology_summary(torch.ones(n, 3)))
    assert summary.pop("h0_count") == 1
    assert [value.item() for value in summary.values()] == [0] * 6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_topology_summary_of_a_batch_is_that_of_the_reference(tsl, metric, family):
    x = torch.stack([cloud(family, 15, 3, seed) for seed in range(4)])
    if metric == "cosine":
        if family in ("grid", "collinear"):
            pytest.skip("rows on one ray: whether they coincide is up to rounding")
        x = x + 3
    got = tsl.topology_summary(x, metric=metric)
    expected = reference.topology_summary(x, metric=metric)
    for field in dataclasses.fields(expected):
        ours, theirs = getattr(got, field.name), getattr(expected, field.name)
        assert ours.shape == theirs.shape == (4,), field.name
        assert ours.dtype == theirs.dtype, field.name
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=0), field.name


@pytest.mark.parametrize("batch", [(), (2, 3), (0,)], ids=str)
def test_topology_summary_is_detached_and_frozen(impl, batch):
    x = torch.randn(*batch, 6, 2, requires_grad=True)
    summary = impl.topology_summary(x)
    for field in dataclasses.fields(summary):
        assert getattr(summary, field.name).shape == batch
        assert not getattr(summary, field.name).requires_grad
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.entropy = summary.h0_count


def test_components_that_stay_apart_are_counted(impl):
    D = torch.tensor([[0.0, 1.0, torch.inf], [1.0, 0.0, torch.inf], [torch.inf, torch.inf, 0.0]])
    summary = impl.topology_summary(D, metric="precomputed")
    assert summary.h0_count == 3
    assert summary.h0_max_lifetime == 1
