"""rips_persistence: agreement with the reference and gudhi, invariances, batches, gradients."""

import numpy as np
import pytest
import torch
from clouds import FAMILIES, WITHOUT_TIES, cloud, clouds, matrices, matrix
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, assert_valid, edges, gudhi_intervals, select, values

from tsloss_fast import _C, reference
from tsloss_fast._engine import eager
from tsloss_fast.persistence import distances
from tsloss_fast.persistence.diagram import FIELDS

# Correlations of points in the plane are all 0 or 2: test_metrics has them.
METRICS = [name for name in distances.METRICS if name != "correlation"] + ["precomputed"]


def batch_of_points(family="gaussian", B=3, n=12, d=2):
    return torch.stack([cloud(family, n, d, seed) for seed in range(B)])


def input_for(impl, metric, x):
    return impl.pairwise_distances(x) if metric == "precomputed" else x


# Agreement


@given(D=matrices(max_n=40))
def test_same_as_the_reference_on_matrices(tsl, D):
    ours = tsl.rips_persistence(D, metric="precomputed")
    theirs = reference.rips_persistence(D, metric="precomputed")
    for dim, (dgm, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert_valid(dgm, dim, len(D))
        assert_same(dgm, expected)


@given(x=clouds())
def test_same_as_the_reference_on_clouds(tsl, x):
    """On one matrix of distances, so that ties are the same ties: every edge is equal."""
    D = reference.pairwise_distances(x)
    ours = tsl.rips_persistence(D, metric="precomputed")
    theirs = reference.rips_persistence(D, metric="precomputed")
    for dgm, expected in zip(ours, theirs, strict=True):
        assert_same(dgm, expected)


@given(x=clouds())
def test_values_are_those_of_gudhi(impl, x):
    """From points, against gudhi on the distances that the same points have here."""
    dgms = impl.rips_persistence(x)
    D = impl.pairwise_distances(x)
    assert len(dgms) == 2
    for dim, dgm in enumerate(dgms):
        assert_valid(dgm, dim, len(x))
        assert dgm.births.dtype == dgm.deaths.dtype == x.dtype
    expected = [torch.tensor(bars).reshape(-1, 2) for bars in gudhi_intervals(D)]
    got = [torch.tensor(values(dgm)).reshape(-1, 2) for dgm in dgms]
    # Lengths on critical edges may be summed in another order than in D, see test_distances.
    rtol = 4 * (x.shape[-1] / 2 + 2) * torch.finfo(x.dtype).eps / 2
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=rtol, atol=0)


@given(x=clouds(families=WITHOUT_TIES, dtypes=(torch.float64,)))
def test_edges_from_points_are_those_of_the_reference(tsl, x):
    """float64 clouds without ties: the last bits of a length cannot change the order."""
    for dgm, expected in zip(tsl.rips_persistence(x), reference.rips_persistence(x), strict=True):
        assert edges(dgm) == edges(expected)
        assert torch.allclose(dgm.pairs, expected.pairs, rtol=1e-14, atol=0)


@given(points=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=14))
def test_integer_points_have_exact_ties(impl, points):
    """Squares of integers are exact in any order, so points and matrix must give the same edges."""
    x = torch.tensor(points, dtype=torch.float32)
    D = reference.pairwise_distances(x)
    theirs = reference.rips_persistence(D, metric="precomputed")
    for dgm, expected in zip(impl.rips_persistence(x), theirs, strict=True):
        assert_same(dgm, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_those_of_the_critical_edges(impl, family):
    x = cloud(family, 25, 3)
    D = impl.pairwise_distances(x)
    for dim, dgm in enumerate(impl.rips_persistence(x)):
        i, j = dgm.death_edges.unbind(-1)
        assert torch.allclose(dgm.deaths, D[i, j], rtol=1e-14, atol=0)
        if dim == 1:
            i, j = dgm.birth_edges.unbind(-1)
            assert torch.allclose(dgm.births, D[i, j], rtol=1e-14, atol=0)


def test_cosine_is_the_persistence_of_its_matrix(impl):
    x = cloud("gaussian", 30, 4)
    D = impl.pairwise_distances(x, metric="cosine")
    by_matrix = impl.rips_persistence(D, metric="precomputed")
    for dgm, expected in zip(impl.rips_persistence(x, metric="cosine"), by_matrix, strict=True):
        assert edges(dgm) == edges(expected)
        assert torch.allclose(dgm.pairs, expected.pairs, rtol=1e-13, atol=0)


def test_max_dim_0_is_h0_alone(impl):
    x = cloud("circle", 20, 2)
    (h0,) = impl.rips_persistence(x, max_dim=0)
    assert_same(h0, impl.rips_persistence(x)[0])


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("max_dim", [0, 1])
def test_max_dim_may_be_a_whole_number_of_numpy(tsl, kind, max_dim):
    """Was an error: expected one of 0, 1, got np.int64(1)."""
    assert len(tsl.rips_persistence(cloud("circle", 9, 2), max_dim=kind(max_dim))) == max_dim + 1


# Invariances


@given(x=clouds(dtypes=(torch.float64,)), seed=st.integers(0, 2**16))
def test_permuting_the_points_keeps_the_values(impl, x, seed):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    D = impl.pairwise_distances(x)
    before = impl.rips_persistence(D, metric="precomputed")
    after = impl.rips_persistence(D[order][:, order], metric="precomputed")
    assert [values(dgm) for dgm in before] == [values(dgm) for dgm in after]


@given(D=matrices(max_n=14), seed=st.integers(0, 2**16))
def test_permuting_a_matrix_without_ties_permutes_the_edges(impl, D, seed):
    if len(D[D > 0].unique()) < len(D) * (len(D) - 1) // 2:
        return
    order = torch.randperm(len(D), generator=torch.Generator().manual_seed(seed))
    _, before = impl.rips_persistence(D, metric="precomputed")
    _, after = impl.rips_persistence(D[order][:, order], metric="precomputed")
    for name in ("birth_edges", "death_edges"):
        assert torch.equal(order[getattr(after, name)].sort(-1).values, getattr(before, name))


@given(
    x=clouds(families=("grid", "collinear")),
    shift=st.lists(st.integers(-1000, 1000), min_size=8, max_size=8),
)
def test_an_exact_translation_changes_nothing(impl, x, shift):
    moved = x + torch.tensor(shift[: x.shape[1]], dtype=x.dtype)
    for dgm, expected in zip(impl.rips_persistence(moved), impl.rips_persistence(x), strict=True):
        assert_same(dgm, expected)


@given(x=clouds(), power=st.integers(-20, 20))
def test_scaling_by_a_power_of_two_is_exact(impl, x, power):
    factor = 2.0**power
    scaled, plain = impl.rips_persistence(factor * x), impl.rips_persistence(x)
    for dgm, expected in zip(scaled, plain, strict=True):
        assert edges(dgm) == edges(expected)
        assert torch.equal(dgm.pairs, factor * expected.pairs)


@given(D=matrices(max_n=20, dtypes=(torch.float64,)))
def test_only_the_order_of_the_lengths_decides_the_edges(impl, D):
    before = impl.rips_persistence(D, metric="precomputed")
    after = impl.rips_persistence(D**3 / 7, metric="precomputed")
    assert [edges(dgm) for dgm in before] == [edges(dgm) for dgm in after]


@given(D=matrices(max_n=20))
def test_dtype_of_the_matrix_does_not_change_the_edges(impl, D):
    """Small integers are exact in every dtype."""
    dgms = [
        impl.rips_persistence(D.to(dtype), metric="precomputed")
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    ]
    for h0, h1 in dgms:
        assert edges(h0) == edges(dgms[0][0])
        assert edges(h1) == edges(dgms[0][1])


# Batches, layouts, threads


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (2, 1, 2), (0,), (2, 0)], ids=str)
def test_a_batch_is_the_loop_over_its_clouds(impl, batch, metric):
    x = torch.randn(*batch, 14, 3) + 4
    x = input_for(impl, metric, x)
    dgms = impl.rips_persistence(x, metric=metric)
    B = torch.Size(batch).numel()
    singles = [
        impl.rips_persistence(one, metric=metric) for one in x.reshape(B, *x.shape[-2:]).unbind()
    ]
    for dim, dgm in enumerate(dgms):
        assert_valid(dgm, dim, 14)
        assert dgm.mask.shape[:-1] == batch
        lead = len(batch)
        flat = type(dgm)(
            *(getattr(dgm, name).reshape(B, *getattr(dgm, name).shape[lead:]) for name in FIELDS)
        )
        for index, single in enumerate(singles):
            assert_same(select(flat, index), single[dim])


def test_padding_is_fixed_and_last(impl):
    """Clouds with 1, 0 and several loops in one batch."""
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    eight = torch.cat((square, square + 5))
    one = torch.cat((square, torch.arange(4.0).unsqueeze(-1).repeat(1, 2) * 9 + 20))
    none = torch.arange(8.0).unsqueeze(-1).repeat(1, 2)
    _, h1 = impl.rips_persistence(torch.stack((one, none, eight)))
    assert h1.mask.tolist() == [[True, False], [False, False], [True, True]]
    assert h1.births.tolist() == [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    assert h1.deaths[~h1.mask].tolist() == [0.0, 0.0, 0.0]
    assert h1.birth_edges.tolist()[1] == [[-1, -1], [-1, -1]]
    assert h1.death_edges.tolist()[0] == [[0, 2], [-1, -1]]


def test_a_batch_without_loops_has_no_column(impl):
    _, h1 = impl.rips_persistence(torch.arange(8.0).reshape(2, 4, 1))
    assert h1.births.shape == (2, 0)
    assert h1.death_edges.shape == (2, 0, 2)


@pytest.mark.parametrize("metric", METRICS)
def test_thread_count_changes_nothing(tsl, metric):
    # Large enough for a thread a cloud: little work starts none.
    x = input_for(tsl, metric, batch_of_points("circle", B=9, n=120))
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(tsl.rips_persistence(x, metric=metric))
    for dgms in results[1:]:
        for dgm, expected in zip(dgms, results[0], strict=True):
            assert_same(dgm, expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.mT.contiguous().mT,
        lambda x: torch.stack((x, -x), dim=2)[:, :, 0],
        lambda x: torch.stack((x, -x), dim=-1)[..., 0],
        lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    ],
    ids=["transposed", "row-strided", "column-strided", "batch-strided"],
)
def test_strides_do_not_matter(impl, view, metric):
    x = input_for(impl, metric, batch_of_points("circle"))
    assert torch.equal(view(x), x)
    assert not view(x).is_contiguous()
    strided = impl.rips_persistence(view(x), metric=metric)
    for dgm, expected in zip(strided, impl.rips_persistence(x, metric=metric), strict=True):
        assert_same(dgm, expected)


def test_an_expanded_batch(impl):
    x = cloud("circle", 15, 2)
    dgms = impl.rips_persistence(x.expand(3, 15, 2))
    for dgm, expected in zip(dgms, impl.rips_persistence(x), strict=True):
        for index in range(3):
            assert_same(select(dgm, index), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
@pytest.mark.parametrize("metric", METRICS)
def test_half_is_computed_in_float32(impl, metric, dtype):
    x = input_for(impl, metric, batch_of_points(n=20)).to(dtype)
    for dgm, expected in zip(
        impl.rips_persistence(x, metric=metric),
        impl.rips_persistence(x.float(), metric=metric),
        strict=True,
    ):
        assert_same(dgm, expected)
        assert dgm.deaths.dtype == torch.float32


@pytest.mark.parametrize("metric", METRICS)
def test_the_input_is_left_alone(impl, metric):
    x = input_for(impl, metric, batch_of_points())
    before = x.clone()
    impl.rips_persistence(x, metric=metric)
    assert torch.equal(x, before)


# Gradients


def symmetric(lengths, n):
    """Matrices [..., n, n] of the lengths [..., n (n - 1) / 2] of the edges i < j."""
    i, j = torch.triu_indices(n, n, 1)
    D = lengths.new_zeros(*lengths.shape[:-1], n, n)
    D[..., i, j] = lengths
    return D + D.mT


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (9, 3), (2, 8, 3)], ids=str)
def test_gradcheck(impl, shape, metric):
    n = shape[-2]
    x = torch.stack([cloud("circle", *shape[-2:], seed) for seed in range(3)]) + 3
    x = x[:2] if len(shape) == 3 else x[2]
    if metric == "precomputed":
        # The lengths are the variables: one entry of a pair alone cannot change.
        i, j = torch.triu_indices(n, n, 1)
        x = impl.pairwise_distances(x)[..., i, j]

    def values(x):
        x = symmetric(x, n) if metric == "precomputed" else x
        dgms = impl.rips_persistence(x, metric=metric)
        return tuple(value for dgm in dgms for value in (dgm.births, dgm.deaths))

    if n > 3:
        assert values(x)[3].numel() > 0
    assert torch.autograd.gradcheck(values, x.requires_grad_())


def test_gradient_of_the_square_by_hand(impl):
    """Death: diagonal (0, 2). Birth: side (2, 3). Each end moves along its edge."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], requires_grad=True)
    _, h1 = impl.rips_persistence(x)
    (death,) = torch.autograd.grad(h1.deaths.sum(), x, retain_graph=True)
    (birth,) = torch.autograd.grad(h1.births.sum(), x)
    a = 0.5**0.5
    expected = torch.tensor([[-a, -a], [0.0, 0.0], [a, a], [0.0, 0.0]])
    assert torch.allclose(death, expected, rtol=1e-6, atol=0)
    assert birth.tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, -1.0]]


def test_gradient_of_a_matrix_goes_above_the_diagonal(impl):
    D = impl.pairwise_distances(cloud("circle", 12, 2)).requires_grad_()
    h0, h1 = impl.rips_persistence(D, metric="precomputed")
    (gradient,) = torch.autograd.grad(h0.deaths.sum() + 3 * h1.deaths.sum() - h1.births.sum(), D)
    expected = torch.zeros(12, 12, dtype=torch.float64)
    for edge_list, weight in ((h0.death_edges, 1), (h1.death_edges, 3), (h1.birth_edges, -1)):
        for i, j in edge_list.tolist():
            expected[i, j] += weight
    assert h1.mask.any()
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("metric", METRICS)
def test_gradient_is_finite_repeatable_and_that_of_the_reference(tsl, metric, family):
    """At ties and coincident rows as well: one valid choice, the same on every run."""
    x = torch.stack([cloud(family, 21, 2, seed) for seed in range(3)])
    if metric != "euclidean":
        x = x + 7
    x = input_for(reference, metric, x).requires_grad_()

    def gradient(impl, D=None):
        dgms = impl.rips_persistence(x, metric=metric)
        total = sum(
            ((k + 1) * (dgm.deaths**2 - 0.5 * dgm.births)).sum() for k, dgm in enumerate(dgms)
        )
        return torch.autograd.grad(total, x)[0]

    first = gradient(tsl)
    assert first.isfinite().all()
    assert torch.equal(gradient(tsl), first)
    ours = tsl.rips_persistence(x, metric=metric)
    theirs = reference.rips_persistence(x, metric=metric)
    if [edges(dgm) for dgm in ours] == [edges(dgm) for dgm in theirs]:
        assert torch.allclose(first, gradient(reference), rtol=1e-12, atol=1e-13)
    else:
        # Lengths that tie but for rounding may be ordered otherwise when summed otherwise.
        assert metric == "cosine"


@pytest.mark.parametrize("family", ["duplicated", "identical"])
def test_coincident_rows_get_no_gradient_from_zero_lengths(impl, family):
    x = cloud(family, 12, 3, dtype=torch.float32).requires_grad_()
    h0, _ = impl.rips_persistence(x)
    zero = h0.deaths == 0
    assert zero.any()
    (gradient,) = torch.autograd.grad(h0.deaths[zero].sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


def test_padding_has_no_gradient(impl):
    x = batch_of_points("gaussian", B=4, n=12).requires_grad_()
    _, h1 = impl.rips_persistence(x)
    assert not h1.mask.all()
    weights = torch.where(h1.mask, 0.0, torch.inf).double()
    (gradient,) = torch.autograd.grad(
        (h1.births, h1.deaths), x, (weights.nan_to_num(posinf=9e9),) * 2
    )
    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_gradient_comes_back_in_the_dtype_of_the_input(impl, dtype):
    x = cloud("gaussian", 12, 2).to(dtype).requires_grad_()
    h0, h1 = impl.rips_persistence(x)
    (gradient,) = torch.autograd.grad(h0.deaths.sum() + h1.deaths.sum(), x)
    y = x.detach().float().requires_grad_()
    h0, h1 = impl.rips_persistence(y)
    (expected,) = torch.autograd.grad(h0.deaths.sum() + h1.deaths.sum(), y)
    assert gradient.dtype == dtype
    assert torch.allclose(gradient.float(), expected, rtol=torch.finfo(dtype).eps, atol=0.02)


def test_without_grad_nothing_is_recorded(impl):
    x = cloud("gaussian", 12, 2)
    assert not impl.rips_persistence(x)[0].deaths.requires_grad
    with torch.no_grad():
        assert not impl.rips_persistence(x.requires_grad_())[1].deaths.requires_grad
    assert impl.rips_persistence(x)[1].deaths.requires_grad


def test_a_second_derivative_is_right_or_an_error(tsl):
    def second(impl):
        x = cloud("circle", 10, 2).requires_grad_()
        h0, h1 = impl.rips_persistence(x)
        total = h0.deaths.square().sum() + h1.lifetimes.square().sum()
        (first,) = torch.autograd.grad(total, x, create_graph=True)
        return torch.autograd.grad(first.square().sum() + 0 * x.sum(), x)[0]

    expected = second(reference)
    try:
        got = second(tsl)
    except RuntimeError:
        return
    assert torch.allclose(got, expected, rtol=1e-10, atol=1e-12)


@given(
    kind=st.sampled_from(("ranks", "ties", "zeros")),
    n=st.integers(1, 9),
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    noise=st.integers(-17, -1),
    missing=st.sampled_from((0.0, 0.3, 1.0)),
    printed=st.booleans(),
)
def test_the_device_accepts_the_rounding_that_the_engine_accepts(
    kind, n, seed, dtype, noise, missing, printed
):
    """Noise on all entries, the diagonal too, or in proportion to them, of every size."""
    D = matrix(kind, n, seed, dtype)
    generator = torch.Generator().manual_seed(seed)
    gone = (torch.rand(n, n, generator=generator) < missing).triu(1)
    D = D.masked_fill(gone | gone.mT, torch.inf)
    off = 10.0**noise * torch.randn(n, n, dtype=dtype, generator=generator).abs()
    D = D * (1 + off) if printed else D + off
    right = _C.first_matrix_fault(D.numpy()) is None
    assert eager.is_distance_matrix(D, missing_edges=True) == right
    whole = bool(D.isfinite().all())
    assert eager.is_distance_matrix(D, missing_edges=False) == (right and whole)
    symmetric, valid = eager.checked_on_device(D, missing_edges=True)
    upper = D.triu(1)
    assert valid == right
    assert torch.equal(symmetric, upper + upper.mT if right else torch.zeros_like(D))


def test_the_device_accepts_cdist():
    """Was refused on CUDA for H0 alone, which needed exact symmetry."""
    x = torch.randn(3, 60, 64)
    D = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist")
    assert D.diagonal(dim1=1, dim2=2).max() > 0
    assert eager.is_distance_matrix(D).all()
    D[1, 3, 7] += 0.1
    assert eager.is_distance_matrix(D).tolist() == [True, False, True]


@pytest.mark.parametrize("fault", ["none", "asymmetric", "negative", "nan", "infinite", "diagonal"])
def test_the_device_tells_a_distance_matrix_as_the_engine_does(fault):
    """What H0 of a precomputed CUDA matrix is checked by, without waiting for the device."""
    D = torch.stack([matrix("ranks", 7, seed) for seed in range(2)])
    if fault == "infinite":
        D[1, 4, 2] = D[1, 2, 4] = torch.inf
    elif fault != "none":
        entry = {"asymmetric": 0.5, "negative": -1.0, "nan": torch.nan, "diagonal": 2.0}[fault]
        D[1, 4, 4 if fault == "diagonal" else 2] = entry
    for missing_edges in (False, True):
        right = fault == "none" or (fault == "infinite" and missing_edges)
        assert eager.is_distance_matrix(D, missing_edges).tolist() == [True, right]
    is_right = _C.first_matrix_fault(D[1:].numpy()) is None
    assert is_right == (fault in ("none", "infinite"))
