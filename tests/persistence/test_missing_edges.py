"""Filtrations in which edges are missing: infinite entries, a longest edge, sparse matrices."""

import math

import numpy as np
import pytest
import scipy.sparse
import scipy.spatial.distance
import torch
from clouds import cloud, clouds, matrix
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    assert_same,
    assert_valid,
    components,
    edges,
    elder_rule,
    essential_births,
    essential_edges,
    matrix_reduction,
    select,
    unfilled_loops,
    values,
)

from tsloss_fast import reference

gudhi = pytest.importorskip("gudhi")


def holed(kind, n, seed, dtype, missing):
    """A matrix of `clouds.matrix` in which a share of the edges is infinite."""
    D = matrix(kind, n, seed, dtype)
    gone = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < missing
    gone = gone.triu(1)
    return D.masked_fill(gone | gone.mT, torch.inf)


def holed_matrices(max_n, dtypes=(torch.float32, torch.float64)):
    return st.builds(
        holed,
        kind=st.sampled_from(("ranks", "ties", "zeros")),
        n=st.integers(1, max_n),
        seed=st.integers(0, 2**16),
        dtype=st.sampled_from(dtypes),
        missing=st.sampled_from((0.0, 0.1, 0.5, 0.8, 1.0)),
    )


def ring():
    """Nine points around a circle, whose sides are shorter than 1 and other distances longer."""
    angle = torch.arange(9, dtype=torch.float64) * (2 * torch.pi / 9)
    return torch.stack((angle.cos(), angle.sin()), dim=-1) + 0.01 * cloud("gaussian", 9, 2)


# A place among the lengths of the matrix, or no threshold.
thresholds = st.one_of(st.none(), st.floats(0, 1))


def threshold(D, place):
    """The length at this place of the sorted finite ones, so that edges of just it occur."""
    lengths = D[D.isfinite()].sort().values
    return None if place is None else lengths[int(place * (len(lengths) - 1))].item()


def precomputed(impl, D, longest=None):
    return impl.rips_persistence(D, metric="precomputed", max_edge_length=longest)


def gudhi_diagrams(D, longest):
    """Bars and births of essential classes of H0 and H1 from gudhi's simplex tree, edge by edge."""
    tree = gudhi.SimplexTree()
    for v in range(len(D)):
        tree.insert([v], 0.0)
    for i in range(len(D)):
        for j in range(i + 1, len(D)):
            if D[i, j] <= longest and D[i, j] < math.inf:
                tree.insert([i, j], D[i, j].item())
    tree.expansion(2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    found = []
    for dim in (0, 1):
        pairs = tree.persistence_intervals_in_dimension(dim).reshape(-1, 2)
        forever = np.isinf(pairs[:, 1])
        bars = sorted(map(tuple, pairs[~forever & (pairs[:, 1] > pairs[:, 0])].tolist()))
        found.append((bars, sorted(pairs[forever, 0].tolist())))
    return found


# The reference against answers that share no code with it


@given(D=holed_matrices(max_n=9), place=thresholds)
def test_edges_are_those_of_walks_over_the_filtration(impl, D, place):
    longest = threshold(D, place)
    h0, h1 = precomputed(impl, D, longest)
    limit = math.inf if longest is None else longest
    for dim, dgm in enumerate((h0, h1)):
        assert_valid(dgm, dim, len(D), complete=False)
    assert edges(h0) == elder_rule(D, limit)
    assert essential_edges(h0) == components(D, limit)
    assert edges(h1) == matrix_reduction(D, limit)
    assert essential_edges(h1) == unfilled_loops(D, limit)


@given(D=holed_matrices(max_n=30), place=thresholds)
def test_values_are_those_of_gudhis_simplex_tree(impl, D, place):
    longest = threshold(D, place)
    dgms = precomputed(impl, D, longest)
    expected = gudhi_diagrams(D, math.inf if longest is None else longest)
    assert [(values(dgm), essential_births(dgm)) for dgm in dgms] == expected


@given(x=clouds(max_n=30, dtypes=(torch.float64,)), place=st.floats(0, 1))
def test_a_longest_edge_is_gudhis_max_edge_length(x, place):
    D = reference.pairwise_distances(x)
    longest = threshold(D, place)
    rips = gudhi.RipsComplex(distance_matrix=D.numpy(), max_edge_length=longest)
    tree = rips.create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    for dim, dgm in enumerate(precomputed(reference, D, longest)):
        pairs = tree.persistence_intervals_in_dimension(dim).reshape(-1, 2)
        forever = np.isinf(pairs[:, 1])
        assert essential_births(dgm) == sorted(pairs[forever, 0].tolist())
        long = ~forever & (pairs[:, 1] > pairs[:, 0])
        assert values(dgm) == sorted(map(tuple, pairs[long].tolist()))


# The package against its reference


@given(D=holed_matrices(max_n=40), place=thresholds)
def test_same_as_the_reference(tsl, D, place):
    longest = threshold(D, place)
    expected = precomputed(reference, D, longest)
    for dgm, theirs in zip(precomputed(tsl, D, longest), expected, strict=True):
        assert_same(dgm, theirs)
    (h0,) = tsl.rips_persistence(D, 0, "precomputed", max_edge_length=longest)
    assert_same(h0, expected[0])


@pytest.mark.parametrize("n", [65, 130, 260])
@pytest.mark.parametrize("missing", [0.3, 0.9, 0.98])
def test_same_as_the_reference_on_larger_graphs(tsl, n, missing):
    """Where rows of bits are longer, edges come in tiers, and few pairs are ever joined."""
    D = holed("ranks", n, 1, torch.float32, missing)
    for dgm, theirs in zip(precomputed(tsl, D), precomputed(reference, D), strict=True):
        assert_same(dgm, theirs)


@given(x=clouds(max_n=40, dtypes=(torch.float64,)), place=st.floats(0, 1), seed=st.integers(0, 9))
def test_points_with_a_longest_edge_are_their_matrix_with_it(tsl, x, place, seed):
    for metric in ("euclidean", "cosine"):
        x = x + 10.0 * (metric == "cosine")
        D = tsl.pairwise_distances(x, metric)
        longest = threshold(D, place)
        found = tsl.rips_persistence(x, metric=metric, max_edge_length=longest)
        for dgm, theirs in zip(found, precomputed(tsl, D, longest), strict=True):
            assert edges(dgm) == edges(theirs)
            assert essential_edges(dgm) == essential_edges(theirs)
            torch.testing.assert_close(dgm.pairs, theirs.pairs, rtol=1e-13, atol=0)
            births = (dgm.essential_births, theirs.essential_births)
            torch.testing.assert_close(*births, rtol=1e-13, atol=0)


def test_a_batch_is_padded_to_the_most_classes_that_never_die(tsl):
    D = torch.stack([holed("ranks", 20, 3, torch.float64, share) for share in (0.0, 0.9, 0.5)])
    together = precomputed(tsl, D)
    for dim, (dgm, theirs) in enumerate(zip(together, precomputed(reference, D), strict=True)):
        assert_valid(dgm, dim, 20, complete=False)
        assert_same(dgm, theirs)
    for b in range(3):
        for dgm, alone in zip(together, precomputed(tsl, D[b]), strict=True):
            assert edges(select(dgm, b)) == edges(alone)
            assert essential_edges(select(dgm, b)) == essential_edges(alone)


@pytest.mark.parametrize("longest", [None, 2.0])
def test_through_the_operators_as_without(tsl, longest):
    """Under vmap, where every field is a tensor of the operator's."""
    D = torch.stack([holed("ties", 12, seed, torch.float64, 0.6) for seed in range(3)])
    names = ("births", "deaths", "mask", "essential_births", "essential_edges", "essential_mask")
    x = torch.stack([cloud("gaussian", 12, 2, seed) for seed in range(3)])
    take = lambda z: [[getattr(dgm, name) for name in names] for dgm in z]  # noqa: E731
    of_points = lambda z: take(tsl.rips_persistence(z, max_edge_length=1.0))  # noqa: E731
    for got, expected in zip(torch.func.vmap(of_points)(x), of_points(x), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    for dgm, expected in zip(
        tsl._engine.eager._traced_of_matrix(D, 1, longest),
        precomputed(tsl, D, longest),
        strict=True,
    ):
        assert_same(type(expected)(**dgm[1]), expected)


def test_compiled_diagrams_with_a_longest_edge_are_the_eager_ones(tsl):
    x = ring().requires_grad_()

    def call(x):
        _, h1 = tsl.rips_persistence(x, max_edge_length=1.0)
        return h1.essential_births.sum() + h1.lifetimes.sum()

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    assert call(x) == compiled(x) > 0
    slopes = [torch.autograd.grad(f(x), x)[0] for f in (call, compiled)]
    assert torch.equal(*slopes)


# Gradients


def test_gradients_of_essential_births_go_to_their_edges(impl):
    """A square without diagonals: its loop never dies."""
    D = torch.full((4, 4), torch.inf, dtype=torch.float64).fill_diagonal_(0)
    for i, j, length in ((0, 1, 1.0), (1, 2, 2.0), (2, 3, 4.0), (0, 3, 3.0)):
        D[i, j] = D[j, i] = length
    D.requires_grad_()
    h0, h1 = precomputed(impl, D)
    assert essential_edges(h1) == [(2, 3)]
    assert h1.pairs.shape == (0, 2)
    (h1.essential_births.sum() + h0.deaths.sum()).backward()
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for i, j in ((2, 3), (0, 1), (1, 2), (0, 3)):
        expected[i, j] = 1
    assert torch.equal(D.grad, expected)


def test_gradients_from_points_are_those_of_finite_differences(tsl):
    x = ring().requires_grad_()

    def births(x):
        h0, h1 = tsl.rips_persistence(x, max_edge_length=1.0)
        return h0.deaths.sum(), h1.lifetimes.sum(), h1.essential_births.sum()

    assert births(x)[2] > 0
    assert torch.autograd.gradcheck(births, x)


@pytest.mark.parametrize("longest", [None, 1.0, 0.0])
def test_every_lifetime_is_finite(tsl, longest):
    D = holed("ties", 20, 0, torch.float64, 0.7).requires_grad_()
    for dgm in precomputed(tsl, D, longest):
        assert dgm.lifetimes.isfinite().all()
        loss = dgm.lifetimes.square().sum() + dgm.essential_births.sum()
        (slope,) = torch.autograd.grad(loss, D, retain_graph=True)
        assert slope.isfinite().all()


# Sparse matrices


def forms(D):
    """One graph as sparse matrices of every kind: both sides, the upper and the lower alone."""
    i, j = (D.isfinite() & ~torch.eye(len(D), dtype=torch.bool)).nonzero().unbind(-1)
    for keep in (i != j, i < j, i > j):
        row, column = i[keep], j[keep]
        shape = tuple(D.shape)
        coo = torch.sparse_coo_tensor(torch.stack((row, column)), D[row, column], shape)
        yield from (coo, coo.to_sparse_csr(), coo.to_sparse_csc())
        of_scipy = (D[row, column].numpy(), (row.numpy(), column.numpy()))
        yield from (
            kind(of_scipy, shape=shape)
            for kind in (scipy.sparse.coo_array, scipy.sparse.csr_matrix, scipy.sparse.csc_array)
        )


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@given(D=holed_matrices(max_n=12))
def test_sparse_matrices_are_dense_ones_with_infinities(tsl, D):
    """Stored zeros, which the kind "zeros" has, are edges of length zero."""
    expected = precomputed(tsl, D)
    for sparse in forms(D):
        for dgm, theirs in zip(precomputed(tsl, sparse), expected, strict=True):
            assert_same(dgm, theirs)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_zeros_in_blocks_and_diagonals_are_no_edges(tsl):
    """Were asymmetric matrices, or edges of length zero, and torch's were refused."""
    D = holed("ranks", 12, 0, torch.float64, 0.6)
    graph = D.masked_fill(D.isinf(), 0)
    expected = precomputed(tsl, D)
    for triangle in (graph, graph.triu(), graph.tril()):
        for sparse in (
            scipy.sparse.bsr_array(triangle.numpy(), blocksize=(3, 3)),
            scipy.sparse.dia_array(triangle.numpy()),
            scipy.sparse.dok_array(triangle.numpy()),
            scipy.sparse.lil_array(triangle.numpy()),
            triangle.to_sparse_bsr((3, 3)),
            triangle.to_sparse_bsc((4, 4)),
        ):
            for dgm, theirs in zip(precomputed(tsl, sparse), expected, strict=True):
                assert_same(dgm, theirs)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_edge_lengths_of_a_sparse_matrix(tsl):
    """Was an error that named to_dense, whose zeros are lengths."""
    at = torch.tensor([[0, 1, 3], [1, 2, 2]])
    lengths = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    sparse = torch.sparse_coo_tensor(at, lengths, (4, 4))
    edges = torch.tensor([[2, 3], [0, 3], [1, 0], [-1, -1]])
    found = tsl.edge_lengths(sparse, edges, "precomputed")
    assert found.tolist() == [4.0, math.inf, 1.0, 0.0]
    found[0].backward()
    assert lengths.grad.tolist() == [0, 0, 1]


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_gradients_reach_the_values_of_a_sparse_tensor(tsl, layout):
    at = torch.tensor([[0, 1, 3, 0], [1, 2, 2, 3]])
    lengths = torch.tensor([1.0, 2.0, 4.0, 3.0], dtype=torch.float64, requires_grad=True)
    sparse = torch.sparse_coo_tensor(at, lengths, (4, 4))
    h0, h1 = precomputed(tsl, sparse.to_sparse_csr() if layout == "csr" else sparse)
    (10 * h1.essential_births.sum() + h0.deaths.sum()).backward()
    assert lengths.grad.tolist() == [1, 1, 10, 1]


def test_whole_numbers_of_scipy_are_lengths(tsl):
    hops = scipy.sparse.csr_array(np.array([[0, 1, 0], [1, 0, 2], [0, 2, 0]]))
    h0, h1 = precomputed(tsl, hops)
    assert h0.deaths.tolist() == [1.0, 2.0]
    assert h0.deaths.dtype == torch.float64
    assert h1.mask.numel() == h1.essential_mask.numel() == 0


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_input_that_means_nothing_says_so(tsl):
    sparse = torch.eye(3).to_sparse()
    with pytest.raises(TypeError, match=r"^x: .*take x.to_dense"):
        tsl.rips_persistence(sparse)
    with pytest.raises(ValueError, match=r"x: expected one sparse matrix \[n, n\], got sparse"):
        precomputed(tsl, torch.zeros(2, 3).to_sparse())
    with pytest.raises(ValueError, match="non-zero on the diagonal"):
        precomputed(tsl, sparse)
    both = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))
    with pytest.raises(ValueError, match="asymmetric"):
        precomputed(tsl, both)


def test_ripser_finds_the_same_with_a_threshold(tsl):
    """ripser.py keeps float32, and edges of just the threshold."""
    ripser = pytest.importorskip("ripser").ripser
    for seed in range(30):
        D = holed("ties" if seed % 2 else "ranks", 25, seed, torch.float32, 0.3)
        longest = threshold(D, seed / 30)
        graph = D.masked_fill(D.isinf(), 0).numpy()
        present = (D.isfinite().numpy()) & ~np.eye(25, dtype=bool)
        sparse = scipy.sparse.coo_matrix((graph[present], np.nonzero(present)), shape=(25, 25))
        found = ripser(sparse, distance_matrix=True, thresh=longest, maxdim=1)["dgms"]
        for dgm, pairs in zip(precomputed(tsl, D, longest), found, strict=True):
            forever = np.isinf(pairs[:, 1])
            long = ~forever & (pairs[:, 1] > pairs[:, 0])
            assert values(dgm) == sorted(map(tuple, pairs[long].tolist()))
            assert essential_births(dgm) == sorted(pairs[forever, 0].tolist())


# Arguments


def test_a_longest_edge_may_be_a_number_of_numpy_or_a_tensor(tsl):
    x = cloud("gaussian", 12, 3)
    median = tsl.pairwise_distances(x).median()
    (expected,) = tsl.rips_persistence(x, 0, max_edge_length=median.item())
    for longest in (median, median.reshape(1), median.numpy(), np.float64(median.item())):
        (h0,) = tsl.rips_persistence(x, 0, max_edge_length=longest)
        assert torch.equal(h0.mask, expected.mask)
    with pytest.raises(TypeError, match=r"^max_edge_length: expected a number, got tensor"):
        tsl.rips_persistence(x, 0, max_edge_length=torch.zeros(2))


def test_other_forms_of_matrices_are_told_what_to_do(tsl):
    x = cloud("gaussian", 5, 3)
    D = tsl.pairwise_distances(x)
    with pytest.raises(ValueError, match=r"got float64 \[10\]: .*squareform"):
        precomputed(tsl, torch.pdist(x))
    for triangle in (D.triu(), D.tril()):
        with pytest.raises(ValueError, match=r"asymmetric.*one triangle is filled, D \+ D.mT"):
            precomputed(tsl, triangle)
        assert torch.equal(
            precomputed(tsl, triangle + triangle.mT)[0].deaths, precomputed(tsl, D)[0].deaths
        )
    with pytest.raises(TypeError, match=r"^metric: expected a function from points.*raised: .*'v'"):
        tsl.rips_persistence(x, metric=scipy.spatial.distance.canberra)


@pytest.mark.parametrize("longest", [-1.0, math.nan, True, "1"])
def test_a_longest_edge_is_a_number_that_is_not_negative(tsl, longest):
    with pytest.raises((TypeError, ValueError), match=r"^max_edge_length: expected a"):
        tsl.rips_persistence(torch.zeros(3, 2), max_edge_length=longest)


def test_an_edge_of_just_the_longest_length_is_kept(impl):
    """In the dtype of the distances: 0.1 of float32 is more than 0.1."""
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[0.0], [0.1]], dtype=dtype)
        (h0,) = impl.rips_persistence(x, 0, max_edge_length=0.1)
        assert h0.mask.tolist() == [True]
        (h0,) = impl.rips_persistence(x, 0, max_edge_length=0.09)
        assert h0.mask.tolist() == [False]
        assert h0.essential_edges.tolist() == [[0, 0], [1, 1]]


# Rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "d"), [(60, 3), (100, 768), (40, 4096)])
@pytest.mark.parametrize("duplicated", [False, True])
def test_cdist_is_taken_with_its_rounding(tsl, dtype, n, d, duplicated):
    x = torch.randn(n, d, dtype=dtype)
    x = torch.cat((x, x)) if duplicated else x
    D = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist")
    assert D.diagonal().max() > 0
    upper = D.triu(1)
    found = precomputed(tsl, D.requires_grad_())
    for dgm, theirs in zip(found, precomputed(reference, upper + upper.mT), strict=True):
        assert_same(dgm, theirs)
    found[0].deaths.sum().backward()
    assert torch.equal(D.grad, D.grad.triu(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mirrored_entries_may_differ_as_in_a_printed_matrix(tsl, dtype):
    D = matrix("ranks", 12, 0, dtype)
    D[7, 2] *= 1 + 0.9e-5
    upper = D.triu(1)
    for dgm, theirs in zip(precomputed(tsl, D), precomputed(tsl, upper + upper.mT), strict=True):
        assert_same(dgm, theirs)
    D[7, 2] *= 1 + 0.2e-5
    D[7, 2] = D[2, 7] * (1 + 2e-5) + 0.1
    with pytest.raises(ValueError, match=r"asymmetric: x\[2, 7\] = .*pass \(D \+ D.mT\) / 2"):
        precomputed(tsl, D)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_long_distance_excuses_no_asymmetry(tsl, dtype):
    """Rounding is told by the median of a row, not by what stands for "no edge"."""
    D = matrix("ranks", 12, 0, dtype) / 66
    D[:, 0] = D[0] = 1e9
    D[0, 0] = 0
    D[3, 7] *= 1.01
    with pytest.raises(ValueError, match=r"asymmetric: x\[3, 7\]"):
        precomputed(tsl, D)


@pytest.mark.parametrize(
    ("entry", "value", "remedy"),
    [
        ((1, 3), 9.0, r"asymmetric: x\[1, 3\] = 9.*\(D \+ D.mT\) / 2"),
        ((1, 3), math.inf, r"asymmetric: x\[1, 3\] = inf.*\(D \+ D.mT\) / 2"),
        ((2, 2), 1.0, r"non-zero on the diagonal: x\[2, 2\] = 1.0.*fill_diagonal_\(0\)"),
        ((1, 3), -1e-9, r"negative: x\[1, 3\] = -1e-09.*clamp\(min=0\)"),
        ((1, 3), math.nan, r"not a number: x\[1, 3\] = nan.*no edge by infinity"),
    ],
)
def test_what_is_beyond_rounding_names_the_entry_and_the_remedy(tsl, entry, value, remedy):
    D = matrix("ties", 5)
    D[entry] = value
    with pytest.raises(ValueError, match=remedy):
        precomputed(tsl, D)
