"""Metrics but the Euclidean and the cosine: SciPy's values, gradients, memory, what is refused."""

import math

import numpy as np
import pytest
import torch
from clouds import cloud, clouds
from hypothesis import given

import tsloss_fast as tsl
from tsloss_fast.persistence import norms

# A name and its power, as SciPy takes them.
METRICS = [
    ("correlation", {}),
    ("cityblock", {}),
    ("chebyshev", {}),
    ("minkowski", {}),
    ("minkowski", {"p": 1}),
    ("minkowski", {"p": 1.5}),
    ("minkowski", {"p": 3}),
    ("minkowski", {"p": 20.0}),
    ("minkowski", {"p": math.inf}),
]
NORMS = [each for each in METRICS if each[0] != "correlation"]
both = pytest.mark.parametrize(("metric", "power"), METRICS, ids=str)
norms_alone = pytest.mark.parametrize(("metric", "power"), NORMS, ids=str)


def of_scipy(x, metric, **power):
    distance = pytest.importorskip("scipy.spatial.distance")
    flat = x.detach().double().reshape(-1, *x.shape[-2:])
    D = np.stack([distance.cdist(each, each, metric, **power) for each in flat])
    return torch.from_numpy(D).reshape(*x.shape[:-1], x.shape[-2])


def is_a_norm_of_ours(metric, power):
    """Not the Euclidean one, which is the engine's under each of its names, nor of unit rows."""
    return metric != "correlation" and (metric, power) != ("minkowski", {})


def assert_near(D, expected, x):
    """A sum of d terms, each rounded a few times, and for powers a root: d + 50 units in all.

    Correlations are differences of unit rows, so their errors are parts of the largest value.
    """
    bound = (x.shape[-1] + 50) * torch.finfo(D.dtype).eps
    assert (D.double() - expected).abs().max() <= bound * expected.max()


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(9, 5), (2, 3, 33, 17), (130, 65)], ids=str)
def test_values_are_those_of_scipy(impl, metric, power, dtype, shape):
    x = torch.randn(shape, dtype=dtype)
    D = impl.pairwise_distances(x, metric, **power)
    assert D.dtype == dtype
    assert_near(D, of_scipy(x, metric, **power), x)


def test_by_hand(impl):
    x = torch.tensor([[0.0, 0.0], [3.0, -4.0]])
    value = {name: impl.pairwise_distances(x, name)[0, 1] for name in ("cityblock", "chebyshev")}
    assert value == {"cityblock": 7, "chebyshev": 4}
    third = impl.pairwise_distances(x, "minkowski", p=3)[0, 1]
    assert third.item() == pytest.approx(91 ** (1 / 3), rel=1e-6)
    up_and_down = torch.tensor([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0], [11.0, 12.0, 13.0]])
    expected = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, 2.0], [0.0, 2.0, 0.0]])
    D = impl.pairwise_distances(up_and_down, "correlation")
    torch.testing.assert_close(D, expected, rtol=0, atol=1e-6)


@norms_alone
@given(x=clouds())
def test_symmetric_bit_for_bit_and_zero_exactly_where_rows_coincide(metric, power, x):
    D = tsl.pairwise_distances(x, metric, **power)
    assert torch.equal(D, D.mT)
    assert torch.equal(D == 0, (x.unsqueeze(0) == x.unsqueeze(1)).all(-1))


@given(x=clouds(families=("gaussian", "unit", "duplicated")))
def test_correlation_is_symmetric_bit_for_bit_with_a_zero_diagonal(x):
    if x.shape[-1] == 1:
        return
    D = tsl.pairwise_distances(x, "correlation")
    assert torch.equal(D, D.mT)
    assert (D.diagonal() == 0).all()
    assert (D >= 0).all()


@both
@pytest.mark.parametrize("magnitude", [1e-30, 1e-20, 1e20, 1e30])
def test_large_and_small_magnitudes_are_right(metric, power, magnitude):
    """The cubes of 1e20 and of 1e-20 are beyond float32, their cube roots are not."""
    x = (magnitude * torch.randn(6, 5, dtype=torch.float64)).float()
    D = tsl.pairwise_distances(x, metric, **power)
    unit = 1.0 if metric == "correlation" else magnitude
    expected = of_scipy(x.double() / magnitude, metric, **power) * unit
    # SciPy's correlations are off by rounding where they are 0.
    torch.testing.assert_close(D.double(), expected, rtol=2e-5, atol=1e-15 * unit)


def test_near_and_far_points_together():
    """Two rows 1e-17 apart beside one at 1: a power of their distance alone would vanish."""
    x = torch.tensor([[0.0, 0.0], [1e-17, 1e-17], [1.0, 0.0]])
    D = tsl.pairwise_distances(x, "minkowski", p=4)
    assert D[0, 1].item() == pytest.approx(1e-17 * 2**0.25, rel=1e-6)
    assert D[0, 2] == 1


def test_correlation_of_rows_far_from_zero():
    """Rows around 1,000 whose entries differ by 1: the mean's rounding is taken out."""
    x = (1000 + torch.randn(12, 40, dtype=torch.float64)).float()
    D = tsl.pairwise_distances(x, "correlation")
    assert (D.double() - of_scipy(x, "correlation")).abs().max() < 1e-6


@both
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (7, 4), (2, 3, 5)], ids=str)
def test_gradcheck_in_every_mode(metric, power, shape):
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    call = lambda x: tsl.pairwise_distances(x, metric, **power)  # noqa: E731
    modes = dict.fromkeys(
        ("check_forward_ad", "check_batched_grad"), is_a_norm_of_ours(metric, power)
    )
    assert torch.autograd.gradcheck(call, x, **modes)
    assert torch.autograd.gradgradcheck(call, x)


@norms_alone
def test_torch_func_gives_the_same_derivatives(metric, power):
    if not is_a_norm_of_ours(metric, power):
        pytest.skip("the Euclidean operator")
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    call = lambda x: tsl.pairwise_distances(x, metric, **power).square().sum()  # noqa: E731
    expected = torch.stack(
        [torch.autograd.grad(call(each.requires_grad_()), each)[0] for each in x.clone().unbind()]
    )
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(call))(x), expected)
    v = torch.randn_like(x)
    _, slope = torch.func.jvp(call, (x,), (v,))
    torch.testing.assert_close(slope, (expected * v).sum())


@both
def test_gradient_between_coincident_rows_is_zero(metric, power):
    x = cloud("identical", 4, 3, dtype=torch.float32).requires_grad_()
    D = tsl.pairwise_distances(x, metric, **power)
    (gradient,) = torch.autograd.grad(D.sum(), x)
    assert torch.equal(D, torch.zeros(4, 4))
    assert torch.equal(gradient, torch.zeros(4, 3))


@norms_alone
@pytest.mark.parametrize("few", [True, False], ids=["few-edges", "all-edges"])
def test_blocks_change_nothing(monkeypatch, metric, power, few):
    x = torch.randn(3, 2, 11, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 2, 11, 11, dtype=torch.float64)
    if few:
        weights = weights * (torch.rand(3, 2, 11, 11) < 0.05)

    def value_and_slope():
        D = tsl.pairwise_distances(x, metric, **power)
        return D.detach(), torch.autograd.grad(D, x, weights)[0]

    plain = torch.linalg.vector_norm(
        x[..., :, None, :] - x[..., None, :, :],
        ord={"cityblock": 1, "chebyshev": math.inf}.get(metric, power.get("p", 2)),
        dim=-1,
    )
    off_diagonal = ~torch.eye(11, dtype=torch.bool)
    (expected,) = torch.autograd.grad((plain * weights)[..., off_diagonal].sum(), x)
    whole = value_and_slope()
    monkeypatch.setattr(norms, "NUMBERS_AT_ONCE", 700)
    for pair in zip(whole, value_and_slope(), strict=True):
        torch.testing.assert_close(*pair, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(whole[1], expected, rtol=1e-11, atol=1e-12)


@norms_alone
def test_no_block_holds_all_differences(monkeypatch, metric, power):
    """All n n d differences at once would be 16 times what may be held."""
    if not is_a_norm_of_ours(metric, power):
        pytest.skip("the Euclidean operator")
    held = []
    blocks = norms._blocks

    def watched(x):
        for rows, differences in blocks(x):
            held.append(differences.numel())
            yield rows, differences

    monkeypatch.setattr(norms, "_blocks", watched)
    x = torch.randn(512, 32, requires_grad=True)
    tsl.pairwise_distances(x, metric, **power).sum().backward()
    assert max(held) <= norms.NUMBERS_AT_ONCE == 512 * 512 * 32 // 16


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_is_computed_in_float32(impl, metric, power, dtype):
    x = torch.randn(19, 33).to(dtype)
    D = impl.pairwise_distances(x, metric, **power)
    assert D.dtype == torch.float32
    assert torch.equal(D, impl.pairwise_distances(x.float(), metric, **power))


@both
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)], ids=str)
def test_rips_is_that_of_the_distances(metric, power, batch):
    x = torch.randn(*batch, 14, 6, dtype=torch.float64, requires_grad=True)
    D = tsl.pairwise_distances(x, metric, **power)
    ours = tsl.rips_persistence(x, metric=metric, **power)
    theirs = tsl.rips_persistence(D, metric="precomputed")
    for dgm, expected in zip(ours, theirs, strict=True):
        assert torch.equal(dgm.death_edges, expected.death_edges)
        torch.testing.assert_close(dgm.pairs, expected.pairs, rtol=1e-13, atol=1e-14)
        edges = dgm.death_edges
        lengths = tsl.edge_lengths(x, edges, metric, **power)
        torch.testing.assert_close(lengths, dgm.deaths, rtol=1e-13, atol=1e-14)
    if batch == (0,):
        return
    slopes = [
        torch.autograd.grad(sum(dgm.lifetimes.square().sum() for dgm in dgms), x, retain_graph=True)
        for dgms in (ours, theirs)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


@both
def test_rips_agrees_with_the_reference_and_gudhi(metric, power):
    gudhi = pytest.importorskip("gudhi")
    x = cloud("circle", 25, 4, 3)
    complex_ = gudhi.RipsComplex(distance_matrix=of_scipy(x, metric, **power).numpy())
    tree = complex_.create_simplex_tree(max_dimension=2)
    tree.compute_persistence()
    for dim, dgm in enumerate(tsl.rips_persistence(x, metric=metric, **power)):
        bars = torch.from_numpy(tree.persistence_intervals_in_dimension(dim)).reshape(-1, 2)
        bars = bars[bars[:, 1].isfinite() & (bars[:, 1] - bars[:, 0] > 1e-12)]
        found = dgm.pairs[dgm.lifetimes > 1e-12]
        order = [sorted(map(tuple, each.tolist())) for each in (found, bars)]
        torch.testing.assert_close(*map(torch.tensor, order), rtol=1e-12, atol=1e-13)


@norms_alone
def test_edge_lengths_have_gradients_and_padding(metric, power):
    x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    edges = torch.tensor([[0, 1], [3, 2], [5, 8], [4, 4], [-1, -1]])
    call = lambda x: tsl.edge_lengths(x, edges, metric, **power)  # noqa: E731
    assert torch.equal(call(x)[:, 3:], torch.zeros(2, 2, dtype=torch.float64))
    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradgradcheck(call, x)


@both
def test_compiled(metric, power):
    x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    call = lambda x: tsl.pairwise_distances(x, metric, **power)  # noqa: E731
    torch._dynamo.reset()
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), call(x))
    weights = torch.randn(2, 9, 9, dtype=torch.float64)
    slopes = [torch.autograd.grad(f(x), x, weights)[0] for f in (compiled, call)]
    torch.testing.assert_close(*slopes)


def test_topology_summary_takes_them():
    x = cloud("circle", 20, 3)
    summary = tsl.topology_summary(x, metric="minkowski", p=3)
    _, h1 = tsl.rips_persistence(x, metric="minkowski", p=3)
    assert summary.h1_max_lifetime == h1.lifetimes.max()


class TestACallable:
    def test_gives_the_distances(self):
        x = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)

        def scaled(x):
            return 3 * tsl.pairwise_distances(x, "cityblock")

        D = tsl.pairwise_distances(x, scaled)
        torch.testing.assert_close(D, 3 * tsl.pairwise_distances(x, "cityblock"))
        assert torch.autograd.gradcheck(lambda x: tsl.pairwise_distances(x, scaled), x)
        for ours, plain in zip(
            tsl.rips_persistence(x, metric=scaled),
            tsl.rips_persistence(x, metric="cityblock"),
            strict=True,
        ):
            torch.testing.assert_close(ours.deaths, 3 * plain.deaths)
        edges = torch.tensor([[0, 1], [5, 3], [-1, -1]])
        lengths = tsl.edge_lengths(x, edges, scaled)
        torch.testing.assert_close(lengths, 3 * tsl.edge_lengths(x, edges, "cityblock"))

    def test_gets_half_points_as_float32(self):
        seen = []

        def noting(x):
            seen.append(x.dtype)
            return tsl.pairwise_distances(x)

        tsl.pairwise_distances(torch.randn(5, 2).half(), noting)
        assert seen == [torch.float32]

    @pytest.mark.parametrize(
        ("function", "error", "words"),
        [
            (lambda x: x.tolist(), TypeError, r"^metric: .*torch.Tensor \[4, 4\], got list"),
            (lambda x: x, ValueError, r"^metric: .*\[4, 4\].*got float32 \[4, 3\]"),
            (lambda x: (x @ x.mT).long(), ValueError, r"^metric: .*floating.*got int64 \[4, 4\]"),
        ],
    )
    def test_that_gives_something_else(self, function, error, words):
        for call in (tsl.pairwise_distances, lambda x, m: tsl.rips_persistence(x, metric=m)):
            with pytest.raises(error, match=words):
                call(torch.randn(4, 3), function)

    def test_whose_distances_are_none(self):
        with pytest.raises(ValueError, match=r"^metric: .*x\[0, 0\]"):
            tsl.rips_persistence(torch.randn(4, 3), metric=lambda x: x @ x.mT)


class TestRefused:
    @pytest.mark.parametrize("value", [0.5, 0, -1, math.nan])
    def test_powers_below_1(self, value):
        with pytest.raises(ValueError, match=r"^p: .*>= 1.*got"):
            tsl.pairwise_distances(torch.randn(4, 3), "minkowski", p=value)

    @pytest.mark.parametrize("metric", ["euclidean", "cityblock", "cosine", tsl.pairwise_distances])
    def test_powers_of_other_metrics(self, metric):
        for call in (tsl.pairwise_distances, lambda x, m, p: tsl.rips_persistence(x, 1, m, p=p)):
            with pytest.raises(ValueError, match=r"^p: .*'minkowski'.*got 3"):
                call(torch.randn(4, 3), metric, p=3)

    @norms_alone
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_values_that_are_not_finite(self, metric, power, value):
        x = torch.randn(5, 3)
        x[3, 1] = value
        edges = torch.tensor([[0, 3]])
        for call in (
            lambda x: tsl.pairwise_distances(x, metric, **power),
            lambda x: tsl.rips_persistence(x, metric=metric, **power),
            lambda x: tsl.edge_lengths(x, edges, metric, **power),
        ):
            with pytest.raises(ValueError, match=r"^x: .*x\[3, 1\]"):
                call(x)
        if not is_a_norm_of_ours(metric, power):
            return
        mapped = torch.func.vmap(lambda x: tsl.pairwise_distances(x, metric, **power))(x[None])
        assert mapped[0, 3].isnan().all()
        assert mapped[0, :3, :3].isfinite().all()

    @norms_alone
    def test_distances_that_overflow(self, metric, power):
        x = torch.tensor([[3e38, 0.0], [-3e38, 0.0]])
        with pytest.raises(ValueError, match="overflow"):
            tsl.pairwise_distances(x, metric, **power)

    @pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
    def test_correlation_of_a_constant_row(self, row):
        x = torch.randn(4, 3)
        x[2] = torch.tensor(row)
        with pytest.raises(ValueError, match=r"^x: .*'correlation', got x\[2\] constant"):
            tsl.pairwise_distances(x, "correlation")
