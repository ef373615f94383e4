"""Clouds of different sizes: lists, nested tensors, and padded batches with lengths."""

import math

import pytest
import scipy.sparse
import torch
from clouds import cloud, matrix
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, edges, essential_edges, select
from torch.autograd import gradcheck

from tsloss_fast import reference
from tsloss_fast.persistence.diagram import FIELDS

SIZES = (7, 0, 3, 1, 12, 2)
METRICS = ("euclidean", "cosine", "correlation", "cityblock", "chebyshev")


def some_clouds(sizes=SIZES, d=3, dtype=torch.float64, family="circle"):
    return [cloud(family, max(m, 1), d, seed, dtype)[:m] for seed, m in enumerate(sizes)]


def some_matrices(sizes=SIZES, dtype=torch.float64, missing=0.0):
    found = []
    for seed, m in enumerate(sizes):
        gone = torch.rand(m, m, generator=torch.Generator().manual_seed(seed)) < missing
        gone = gone.triu(1)
        found.append(matrix("ties", m, seed, dtype).masked_fill(gone | gone.mT, torch.inf))
    return found


def padded(clouds, square=False, more=0):
    """The clouds as one tensor, NaN behind their points, and their numbers of points."""
    n = max(1, *map(len, clouds)) + more
    width = n if square else clouds[0].shape[1]
    x = torch.full((len(clouds), n, width), math.nan, dtype=clouds[0].dtype)
    for rows, each in zip(x, clouds, strict=True):
        rows[: len(each), : each.shape[1]] = each
    return x, torch.tensor(list(map(len, clouds)))


def forms(clouds, square=False):
    """The same clouds in every form, as the arguments `x` and `lengths`."""
    x, lengths = padded(clouds, square)
    yield clouds, None
    yield tuple(clouds), None
    yield x, lengths
    yield x, lengths.int()
    yield x, lengths.tolist()
    yield x, lengths.numpy()
    yield torch.nested.nested_tensor(clouds, layout=torch.strided), None
    if not square:
        yield torch.nested.nested_tensor(clouds, layout=torch.jagged), None


def assert_all_same(dgms, expected):
    for dgm, theirs in zip(dgms, expected, strict=True):
        assert_same(dgm, theirs)


def tensors(dgms):
    return [getattr(dgm, name) for dgm in dgms for name in FIELDS]


# Values


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("longest", [None, 0.5, 0.0])
@pytest.mark.parametrize("max_dim", [0, 1])
def test_every_form_gives_the_references_diagrams(tsl, dtype, longest, max_dim):
    clouds = some_clouds(dtype=dtype, family="grid")
    expected = reference.rips_persistence(clouds, max_dim, max_edge_length=longest)
    for x, lengths in forms(clouds):
        found = tsl.rips_persistence(x, max_dim, max_edge_length=longest, lengths=lengths)
        assert_all_same(found, expected)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("missing", [0.0, 0.6])
@pytest.mark.parametrize("max_dim", [0, 1])
def test_every_form_of_matrices_gives_the_references_diagrams(tsl, missing, max_dim):
    matrices = some_matrices(missing=missing)
    expected = reference.rips_persistence(matrices, max_dim, "precomputed")
    for x, lengths in forms(matrices, square=True):
        found = tsl.rips_persistence(x, max_dim, "precomputed", lengths=lengths)
        assert_all_same(found, expected)


def test_sparse_matrices_of_different_sizes(tsl):
    matrices = some_matrices((5, 2, 9), missing=0.5)
    sparse = [scipy.sparse.coo_array(D.masked_fill(D.isinf(), 0).numpy()) for D in matrices]
    expected = tsl.rips_persistence(matrices, metric="precomputed")
    assert_all_same(tsl.rips_persistence(sparse, metric="precomputed"), expected)
    of_torch = [D.masked_fill(D.isinf(), 0).to_sparse() for D in matrices]
    assert_all_same(tsl.rips_persistence(of_torch, metric="precomputed"), expected)


@pytest.mark.parametrize("metric", [*METRICS, "callable"])
def test_each_cloud_is_as_it_is_alone(impl, metric):
    """A function of the caller's that takes a mean sees no padding."""
    if metric == "callable":
        if impl is reference:
            pytest.skip("the reference takes names of metrics")
        metric = lambda x: (D := torch.cdist(x, x)) / D.mean().clamp(min=1e-9)  # noqa: E731
    clouds = [x + 0.1 for x in some_clouds()]
    x, lengths = padded(clouds, more=3)
    for found in (
        impl.rips_persistence(clouds, 1, metric),
        impl.rips_persistence(x, 1, metric, lengths=lengths),
    ):
        for b, one in enumerate(clouds):
            for dim, dgm in enumerate(found):
                got = select(dgm, b)
                if len(one) == 0:
                    assert not got.mask.numel()
                    assert not got.essential_mask.numel()
                    continue
                expected = select(impl.rips_persistence(one, 1, metric)[dim], ...)
                assert edges(got) == edges(expected)
                assert essential_edges(got) == essential_edges(expected)
                torch.testing.assert_close(got.pairs, expected.pairs, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_each_cloud_and_0_behind_it(tsl, metric):
    clouds = [x + 0.1 for x in some_clouds()]
    x, lengths = padded(clouds)
    D = tsl.pairwise_distances(x, metric, lengths)
    assert D.shape == (6, 12, 12)
    for b, one in enumerate(clouds):
        m = len(one)
        if m:
            expected = tsl.pairwise_distances(one, metric)
            torch.testing.assert_close(D[b, :m, :m], expected, rtol=1e-13, atol=1e-15)
        assert D[b, m:].eq(0).all()
        assert D[b, :, m:].eq(0).all()
    assert torch.equal(tsl.pairwise_distances(clouds, metric), D)


def test_summaries_are_those_of_each_cloud(impl):
    clouds = some_clouds()
    x, lengths = padded(clouds)
    for found in (impl.topology_summary(clouds), impl.topology_summary(x, lengths=lengths)):
        for name, got in vars(found).items():
            for b, one in enumerate(clouds):
                expected = getattr(impl.topology_summary(one), name) if len(one) else got[b] * 0
                # Sums of at most 25 lifetimes, in another order.
                torch.testing.assert_close(got[b], expected, rtol=1e-14, atol=0)


def test_leading_dimensions_are_free(tsl):
    clouds = some_clouds()
    x, lengths = padded(clouds)
    for lead in ((2, 3), (3, 1, 2)):
        shaped = x.reshape(*lead, *x.shape[1:]), lengths.reshape(lead)
        found = tsl.rips_persistence(shaped[0], lengths=shaped[1])
        for got, expected in zip(
            tensors(found), tensors(tsl.rips_persistence(clouds)), strict=True
        ):
            assert torch.equal(got, expected.reshape(*lead, *expected.shape[1:]))
    for dgm, expected in zip(
        tsl.rips_persistence(x[4], lengths=7), tsl.rips_persistence(x[4, :7]), strict=True
    ):
        assert_same(select(dgm, ...), select(expected, ...))


@given(
    sizes=st.lists(st.integers(0, 14), min_size=1, max_size=5),
    missing=st.sampled_from((0.0, 0.4, 0.9)),
    longest=st.sampled_from((None, 1.0, 2.0, 3.5)),
    dtype=st.sampled_from((torch.float32, torch.float64)),
)
def test_any_sizes_with_ties_missing_edges_and_a_longest(tsl, sizes, missing, longest, dtype):
    matrices = some_matrices(sizes, dtype, missing)
    expected = reference.rips_persistence(matrices, 1, "precomputed", longest)
    D, lengths = padded(matrices, square=True, more=2)
    assert_all_same(tsl.rips_persistence(matrices, 1, "precomputed", longest), expected)
    found = tsl.rips_persistence(D, 1, "precomputed", longest, lengths)
    for dgm, theirs in zip(found, expected, strict=True):
        for b in range(len(sizes)):
            assert_same(select(dgm, b), select(theirs, b))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(tsl, threads):
    clouds = some_clouds((150, 20, 3, 90, 200, 61), d=4)
    expected = tensors(tsl.rips_persistence(clouds))
    torch.set_num_threads(threads)
    for got, theirs in zip(tensors(tsl.rips_persistence(clouds)), expected, strict=True):
        assert torch.equal(got, theirs)


def test_rounding_of_one_matrix_is_taken_and_the_others_are_as_they_are(tsl):
    matrices = [tsl.pairwise_distances(x) for x in some_clouds((6, 9, 4))]
    matrices[1] = torch.cdist(*[some_clouds((6, 9, 4))[1]] * 2)
    matrices[1][5, 2] *= 1 + 1e-15
    found = tsl.rips_persistence(matrices, metric="precomputed")
    for b, D in enumerate(matrices):
        for dgm, one in zip(found, tsl.rips_persistence(D, metric="precomputed"), strict=True):
            assert_same(select(dgm, b), select(one, ...))


@pytest.mark.parametrize("longest", [None, 1.3])
@pytest.mark.parametrize("born", [False, True])
def test_cycles_are_those_of_each_cloud(tsl, longest, born):
    clouds = some_clouds((12, 0, 20, 1), d=2)
    births = [torch.rand(len(x), dtype=torch.float64) for x in clouds] if born else None
    dgms, cycles = tsl.representative_cycles(clouds, max_edge_length=longest, vertex_births=births)
    expected = tsl.rips_persistence(clouds, max_edge_length=longest, vertex_births=births)
    for dgm, theirs in zip(dgms, expected, strict=True):
        assert edges(select(dgm, 0)) == edges(select(theirs, 0))
    assert len(cycles) == 4
    for k in (0, 2, 3):
        of_one = births[k] if born else None
        _, alone = tsl.representative_cycles(
            clouds[k], max_edge_length=longest, vertex_births=of_one
        )
        assert len(alone) == len(cycles[k])
        assert all(torch.equal(a, b) for a, b in zip(alone, cycles[k], strict=True))
    assert sum(map(len, cycles)) > 0
    assert cycles[1] == []


# Gradients


def weighed(dgms):
    """A number with a part of every length of diagrams."""
    h0, h1 = dgms
    return h0.deaths.square().sum() + 3 * h1.lifetimes.pow(3).sum() + h1.births.sum()


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_gradients_are_those_of_each_cloud_and_0_in_the_padding(tsl, metric):
    clouds = [x + 0.1 for x in some_clouds()]
    slopes = []
    for one in clouds:
        one = one.clone().requires_grad_()
        if len(one):
            weighed(tsl.rips_persistence(one, metric=metric)).backward()
        slopes.append(torch.zeros_like(one) if one.grad is None else one.grad)
    leaves = [x.clone().requires_grad_() for x in clouds]
    weighed(tsl.rips_persistence(leaves, metric=metric)).backward()
    for leaf, slope in zip(leaves, slopes, strict=True):
        torch.testing.assert_close(leaf.grad, slope, rtol=1e-12, atol=1e-14)
    x, lengths = padded(clouds, more=2)
    x.requires_grad_()
    weighed(tsl.rips_persistence(x, metric=metric, lengths=lengths)).backward()
    for b, slope in enumerate(slopes):
        torch.testing.assert_close(x.grad[b, : len(slope)], slope, rtol=1e-12, atol=1e-14)
        assert x.grad[b, len(slope) :].eq(0).all()
    y = torch.nested.nested_tensor([x for x in clouds if len(x)], layout=torch.jagged)
    y.requires_grad_()
    weighed(tsl.rips_persistence(y, metric=metric)).backward()
    torch.testing.assert_close(y.grad.values(), torch.cat(slopes), rtol=1e-12, atol=1e-14)


def test_gradients_of_matrices_go_to_their_critical_edges(tsl):
    matrices = [D.requires_grad_() for D in some_matrices((6, 1, 4))]
    D, lengths = padded([D.detach() for D in matrices], square=True)
    D.requires_grad_()
    weighed(tsl.rips_persistence(matrices, metric="precomputed")).backward()
    weighed(tsl.rips_persistence(D, metric="precomputed", lengths=lengths)).backward()
    for b, each in enumerate(matrices):
        alone = each.detach().clone().requires_grad_()
        weighed(tsl.rips_persistence(alone, metric="precomputed")).backward()
        assert torch.equal(each.grad, alone.grad)
        m = len(each)
        assert torch.equal(D.grad[b, :m, :m], each.grad)
        assert D.grad[b].count_nonzero() == each.grad.count_nonzero()


def test_gradients_of_distances(tsl):
    x, lengths = padded(some_clouds((4, 1, 3), d=2))
    x = x.nan_to_num(7.0).requires_grad_()
    weights = torch.randn(3, 4, 4, dtype=torch.float64)
    call = lambda z: (tsl.pairwise_distances(z, lengths=lengths) * weights).sum()  # noqa: E731
    assert gradcheck(call, x, check_forward_ad=True, check_batched_grad=True)


# Other ways through


@pytest.mark.parametrize("max_dim", [0, 1])
@pytest.mark.parametrize("longest", [None, 1.0])
def test_compiled_and_mapped_as_eager(tsl, max_dim, longest):
    x, lengths = padded(some_clouds())

    def call(x, lengths):
        return tensors(tsl.rips_persistence(x, max_dim, max_edge_length=longest, lengths=lengths))

    expected = call(x, lengths)
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)(x, lengths)
    mapped = torch.func.vmap(call)(x, lengths)
    for got in (compiled, mapped):
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_compiled_lists_as_eager(tsl):
    clouds = some_clouds()
    call = lambda clouds: tensors(tsl.rips_persistence(clouds))  # noqa: E731
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)(clouds)
    assert all(torch.equal(a, b) for a, b in zip(compiled, call(clouds), strict=True))


def test_forward_mode_and_functional_gradients(tsl):
    x, lengths = padded(some_clouds((5, 1, 8)))
    call = lambda z: weighed(tsl.rips_persistence(z, lengths=lengths))  # noqa: E731
    leaf = x.clone().requires_grad_()
    call(leaf).backward()
    assert torch.equal(torch.func.grad(call)(x), leaf.grad)
    direction = torch.randn_like(x)
    _, along = torch.func.jvp(call, (x,), (direction,))
    torch.testing.assert_close(along, (leaf.grad * direction).sum())
    precomputed = lambda D: weighed(tsl.rips_persistence(D, 1, "precomputed", lengths=[4, 6]))  # noqa: E731
    D = torch.stack([matrix("ranks", 6, seed) for seed in range(2)])
    leaf = D.clone().requires_grad_()
    precomputed(leaf).backward()
    assert torch.equal(torch.func.grad(precomputed)(D), leaf.grad)


# Arguments


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (torch.tensor([4, 2, 6]), r"expected from 0 to 5 points, got lengths\[2\] = 6"),
        (torch.tensor([4, -1, 5]), r"expected from 0 to 5 points, got lengths\[1\] = -1"),
        (torch.tensor([4, 2]), r"expected one a cloud, shape \[3\], got int64 \[2\]"),
        (4, r"expected one a cloud, shape \[3\], got int64 \[\]"),
        (torch.tensor([4.0, 2.0, 1.0]), r"expected int64 or int32, got float32 \[3\]"),
        ([True, False, True], r"expected int64 or int32, got bool \[3\]"),
        ("abc", r"expected an integer tensor or whole numbers, one a cloud, got 'abc'"),
    ],
    ids=str,
)
def test_lengths_that_are_none_are_named(tsl, lengths, words):
    for call in (
        tsl.rips_persistence,
        tsl.pairwise_distances,
        tsl.topology_summary,
        tsl.TSLoss(),
        tsl.TSLoss("surrogate"),
        tsl.TSLoss().start,
    ):
        with pytest.raises((TypeError, ValueError), match=f"^lengths: {words}$"):
            call(torch.randn(3, 5, 2), lengths=lengths)
    with pytest.raises((TypeError, ValueError), match=f"^lengths: {words}$"):
        tsl.rips_persistence(torch.zeros(3, 5, 5), metric="precomputed", lengths=lengths)


def test_clouds_that_do_not_fit_together_are_named(tsl):
    good = torch.randn(4, 2)
    for bad, error, words in (
        (torch.randn(3, 3), ValueError, r"x\[1\]: expected as many coordinates as x\[0\] has, 2"),
        (torch.randn(3), ValueError, r"x\[1\]: expected points \[n, d\], got float32 \[3\]"),
        (torch.randn(2, 3, 2), ValueError, r"x\[1\]: expected points \[n, d\], got float32"),
        (good.double(), ValueError, r"x\[1\]: expected the dtype and device of x\[0\]"),
        (good.numpy(), TypeError, r"x\[1\]: expected a torch.Tensor .*got ndarray"),
        (good.int(), TypeError, r"x\[1\]: expected float16, bfloat16, float32 or float64"),
    ):
        for call in (tsl.rips_persistence, tsl.pairwise_distances, tsl.topology_summary):
            with pytest.raises(error, match=f"^{words}"):
                call([good, bad])
        with pytest.raises(error, match=f"^{words}".replace(r"x\[", r"prompt\[")):
            tsl.TSLoss()([good, bad])
    with pytest.raises(ValueError, match=r"^lengths: expected none for x, whose clouds have"):
        tsl.rips_persistence([good, good], lengths=[4, 4])
    with pytest.raises(ValueError, match=r"^x\[1\]: expected a distance matrix \[\.\.\., n, n\]"):
        tsl.rips_persistence([good @ good.mT * 0, good], metric="precomputed")


def test_values_at_fault_are_named(tsl):
    x, lengths = padded(some_clouds((4, 2, 3)))
    x[1, 1, 0] = math.inf
    for call in (tsl.rips_persistence, tsl.pairwise_distances, tsl.TSLoss()):
        with pytest.raises(ValueError, match=r"\[1, 1, 0\] = inf"):
            call(x, lengths=lengths)
    matrices = [matrix("ties", m) for m in (3, 5)]
    matrices[1][4, 2] = 9.0
    words = r"asymmetric: x\[1\]\[2, 4\] = .*, x\[1\]\[4, 2\] = 9.0"
    with pytest.raises(ValueError, match=words):
        tsl.rips_persistence(matrices, metric="precomputed")
    D, lengths = padded(matrices, square=True)
    with pytest.raises(ValueError, match=words):
        tsl.rips_persistence(D, metric="precomputed", lengths=lengths)
    with pytest.raises(ValueError, match=r"metric: expected a function .*asymmetric"):
        tsl.rips_persistence([torch.randn(3, 2)], metric=lambda x: torch.ones(3, 3).triu(1))


def test_batches_without_a_cloud_or_without_points(tsl):
    h0, h1 = tsl.rips_persistence(torch.empty(0, 5, 2), lengths=torch.empty(0, dtype=torch.int64))
    assert h0.mask.shape == (0, 4)
    assert h1.mask.shape == (0, 0)
    for none in ([torch.empty(0, 2)] * 2, [torch.empty(0, 0)] * 2):
        metric = "precomputed" if none[0].shape[1] == 0 else "euclidean"
        for dgm in tsl.rips_persistence(none, metric=metric):
            assert dgm.mask.shape == (2, 0)
            assert not dgm.essential_mask.any()
    with pytest.raises(TypeError, match=r"^x: expected a torch.Tensor .*got list"):
        tsl.rips_persistence([])
