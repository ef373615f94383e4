"""Vertices that are born at times of their own: weighted and DTM Rips, lower-star filtrations."""

import math

import numpy as np
import pytest
import torch
from clouds import cloud, matrix
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    assert_same,
    edges,
    elder_rule,
    essential_births,
    essential_edges,
    select,
    values,
)
from torch.autograd import gradcheck

from tsloss_fast import reference
from tsloss_fast.persistence.diagram import FIELDS

gudhi = pytest.importorskip("gudhi")
DTMRipsComplex = pytest.importorskip("gudhi.dtm_rips_complex").DTMRipsComplex
WeightedRipsComplex = pytest.importorskip("gudhi.weighted_rips_complex").WeightedRipsComplex


def holed(kind, n, seed, missing, dtype=torch.float64):
    """A matrix of `clouds.matrix` in which a share of the edges is infinite."""
    gone = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < missing
    gone = gone.triu(1)
    return matrix(kind, n, seed, dtype).masked_fill(gone | gone.mT, torch.inf)


def some_births(kind, n, seed, dtype=torch.float64):
    """Births of n vertices: "ties" are whole numbers from -2 to 5, "ranks" are all different."""
    generator = torch.Generator().manual_seed(seed + 1)
    if kind == "ties":
        return torch.randint(-2, 6, (n,), generator=generator).to(dtype)
    return (torch.randperm(n, generator=generator) - n / 3).to(dtype)


def entering(D, births):
    """When each edge enters: a matrix with 0 on its diagonal."""
    later = torch.maximum(births.unsqueeze(-1), births.unsqueeze(-2))
    return torch.maximum(D, later).fill_diagonal_(0)


def tree_of(D, births, longest=math.inf):
    """gudhi's simplex tree of one cloud, simplex by simplex."""
    tree = gudhi.SimplexTree()
    n = len(D)
    for v in range(n):
        if births[v] <= longest:
            tree.insert([v], births[v].item())
    for i in range(n):
        for j in range(i + 1, n):
            value = max(D[i, j].item(), births[i].item(), births[j].item())
            if value <= longest and value < math.inf:
                tree.insert([i, j], value)
    tree.expansion(2)
    return tree


def intervals(tree):
    """Bars of positive length and births of the classes that never die, of H0 and H1."""
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    found = []
    for dim in (0, 1):
        pairs = tree.persistence_intervals_in_dimension(dim).reshape(-1, 2)
        forever = np.isinf(pairs[:, 1])
        bars = sorted(map(tuple, pairs[~forever & (pairs[:, 1] > pairs[:, 0])].tolist()))
        found.append((bars, sorted(pairs[forever, 0].tolist())))
    return found


def tensors(dgms):
    return [getattr(dgm, name) for dgm in dgms for name in FIELDS]


def test_by_hand(impl):
    """A high point between two low ones joins the first of them as soon as it is born."""
    x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    births = torch.tensor([0.0, 1.5, -1.0], dtype=torch.float64)
    (h0,) = impl.rips_persistence(x, 0, vertex_births=births)
    assert edges(h0) == [(1, 1, 0, 1), (0, 0, 1, 2)]
    assert h0.pairs.tolist() == [[1.5, 1.5], [0.0, 1.5]]
    assert h0.essential_births.tolist() == [-1.0]
    assert h0.essential_edges.tolist() == [[2, 2]]


def test_births_at_0_change_nothing(tsl):
    for dtype in (torch.float32, torch.float64):
        x = torch.stack([cloud("grid", 14, 2, seed, dtype) for seed in range(3)])
        found = tsl.rips_persistence(x, vertex_births=torch.zeros(3, 14))
        for dgm, expected in zip(found, tsl.rips_persistence(x), strict=True):
            assert_same(dgm, expected)


# Against gudhi and a walk over the filtration, all of it together

cases = {
    "sizes": st.lists(st.integers(0, 12), min_size=1, max_size=4),
    "lengths": st.sampled_from(("ranks", "ties", "zeros")),
    "births": st.sampled_from(("ranks", "ties")),
    "missing": st.sampled_from((0.0, 0.3, 0.8)),
    "longest": st.sampled_from((None, 0.0, 2.0, 3.0, 9.0)),
    "seed": st.integers(0, 2**16),
}


@given(dtype=st.sampled_from((torch.float32, torch.float64)), **cases)
def test_infinities_thresholds_ties_births_and_sizes_together(
    tsl, sizes, lengths, births, missing, longest, seed, dtype
):
    matrices = [holed(lengths, m, seed + k, missing, dtype) for k, m in enumerate(sizes)]
    heights = [some_births(births, m, seed + k, dtype) for k, m in enumerate(sizes)]
    options = {"max_dim": 1, "metric": "precomputed", "max_edge_length": longest}
    expected = reference.rips_persistence(matrices, vertex_births=heights, **options)
    found = tsl.rips_persistence(matrices, vertex_births=heights, **options)
    n = max(1, *sizes)
    D = torch.full((len(sizes), n, n), math.nan, dtype=dtype)
    b = torch.full((len(sizes), n), math.nan, dtype=dtype)
    for k, m in enumerate(sizes):
        D[k, :m, :m], b[k, :m] = matrices[k], heights[k]
    of_padded = tsl.rips_persistence(D, vertex_births=b, lengths=torch.tensor(sizes), **options)
    for dgm, other, theirs in zip(found, of_padded, expected, strict=True):
        assert_same(dgm, theirs)
        assert_same(other, theirs)
    limit = math.inf if longest is None else longest
    for k, m in enumerate(sizes):
        of_gudhi = intervals(tree_of(matrices[k], heights[k], limit))
        got = [select(dgm, k) for dgm in found]
        assert [(values(dgm), essential_births(dgm)) for dgm in got] == of_gudhi
        # Every vertex that is born at all dies or is essential, in one place.
        born = [edge[0] for edge in edges(got[0])] + [v for v, _ in essential_edges(got[0])]
        assert sorted(born) == [v for v in range(m) if heights[k][v] <= limit]


@given(n=st.integers(1, 9), **{k: v for k, v in cases.items() if k != "sizes"})
def test_edges_are_those_of_a_walk_over_the_filtration(
    impl, n, lengths, births, missing, longest, seed
):
    D, heights = holed(lengths, n, seed, missing), some_births(births, n, seed)
    (h0,) = impl.rips_persistence(D, 0, "precomputed", longest, vertex_births=heights)
    limit = math.inf if longest is None else longest
    # The eldest vertex by (birth, index) has the smallest place.
    place = np.lexsort((np.arange(n), heights.numpy())).argsort().tolist()
    eldest, expected = list(range(n)), []
    for _, _, i, j in elder_rule(entering(D, heights), limit):
        old, young = sorted((eldest[i], eldest[j]), key=place.__getitem__)
        expected.append((young, young, i, j))
        eldest = [old if v == young else v for v in eldest]
    assert edges(h0) == expected
    apart = [v for v in sorted(set(eldest), key=place.__getitem__) if heights[v] <= limit]
    assert essential_edges(h0) == [(v, v) for v in apart]


@pytest.mark.parametrize("n", [40, 130, 300])
@pytest.mark.parametrize("kind", ["ranks", "ties"])
def test_same_as_the_reference_on_larger_clouds(tsl, n, kind):
    D, heights = holed("ranks", n, 1, 0.5), some_births(kind, n, 1) * n / 8
    found = tsl.rips_persistence(D, 1, "precomputed", vertex_births=heights)
    for dgm, theirs in zip(
        found,
        reference.rips_persistence(D, 1, "precomputed", vertex_births=heights),
        strict=True,
    ):
        assert_same(dgm, theirs)


# The filtrations of gudhi


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("longest", [None, 1.0])
def test_weighted_and_dtm_rips_are_gudhis(tsl, k, longest):
    x = cloud("circle", 30, 2, 3)
    D = tsl.pairwise_distances(x)
    limit = math.inf if longest is None else longest
    dtm = DTMRipsComplex(distance_matrix=D.numpy(), k=k, max_filtration=limit)
    of_dtm = torch.as_tensor(np.asarray(dtm.weights), dtype=torch.float64)
    for weights, theirs in (
        (of_dtm, dtm),
        (w := torch.rand(30, dtype=torch.float64),
         WeightedRipsComplex(D.numpy(), w.numpy(), limit)),
    ):  # fmt: skip
        entering = (D + weights[:, None] + weights).fill_diagonal_(0)
        found = tsl.rips_persistence(entering, 1, "precomputed", longest, vertex_births=2 * weights)
        bars = intervals(theirs.create_simplex_tree(max_dimension=2))
        for dgm, (finite, forever) in zip(found, bars, strict=True):
            np.testing.assert_allclose(values(dgm), np.reshape(finite, (-1, 2)).tolist(), 1e-14)
            np.testing.assert_allclose(essential_births(dgm), forever, 1e-14)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_lower_star_filtrations_of_graphs_are_gudhis(tsl):
    """Heights on the vertices of a graph; edges have no length of their own."""
    generator = torch.Generator().manual_seed(0)
    for n in (1, 7, 30):
        heights = torch.randn(n, generator=generator, dtype=torch.float64)
        i, j = torch.triu_indices(n, n, 1)
        kept = torch.rand(len(i), generator=generator) < 0.15
        i, j = i[kept], j[kept]
        tree = gudhi.SimplexTree()
        for v in range(n):
            tree.insert([v])
        for edge in zip(i.tolist(), j.tolist(), strict=True):
            tree.insert(edge)
        for v in range(n):
            tree.assign_filtration([v], heights[v].item())
        for simplex, _ in list(tree.get_skeleton(1)):
            tree.assign_filtration(simplex, max(heights[v].item() for v in simplex))
        tree.expansion(2)
        # A length of 0 is no shorter than a height below it, so the lowest becomes 0.
        low = heights.min()
        graph = torch.sparse_coo_tensor(torch.stack((i, j)), torch.zeros(len(i)).double(), (n, n))
        found = tsl.rips_persistence(graph, 1, "precomputed", vertex_births=heights - low)
        for dgm, (finite, forever) in zip(found, intervals(tree), strict=True):
            got = np.reshape(values(dgm), (-1, 2)) + low.item()
            np.testing.assert_allclose(got, np.reshape(finite, (-1, 2)), rtol=0, atol=1e-14)
            births = np.array(essential_births(dgm)) + low.item()
            np.testing.assert_allclose(births, forever, rtol=0, atol=1e-14)


# Gradients


def weighed(dgms):
    h0, h1 = dgms
    total = h0.deaths.square().sum() + 2 * h0.births.pow(3).sum() + h1.lifetimes.pow(3).sum()
    return total + h1.births.sum() + 5 * h0.essential_births.sum() + h1.essential_births.sum()


@pytest.mark.parametrize("longest", [None, 1.2])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_gradients_to_births_and_points(tsl, metric, longest):
    x = (cloud("circle", 12, 2, 1) + 3 * (metric == "cosine")).requires_grad_()
    births = (0.5 * torch.rand(12, dtype=torch.float64) - 0.1).requires_grad_()

    def call(x, births):
        return weighed(tsl.rips_persistence(x, 1, metric, longest, vertex_births=births))

    assert gradcheck(call, (x, births), check_forward_ad=True)
    call(x, births).backward()
    assert births.grad.count_nonzero() > 0
    twin = births.detach().clone().requires_grad_()
    points = x.detach().clone().requires_grad_()
    weighed(reference.rips_persistence(points, 1, metric, longest, vertex_births=twin)).backward()
    torch.testing.assert_close(births.grad, twin.grad)
    torch.testing.assert_close(x.grad, points.grad)


def test_gradients_to_matrices_and_ragged_births(tsl):
    matrices = [matrix("ranks", m, m).requires_grad_() for m in (5, 2, 8)]
    births = [(9 * torch.rand(m, dtype=torch.float64)).requires_grad_() for m in (5, 2, 8)]
    weighed(tsl.rips_persistence(matrices, 1, "precomputed", vertex_births=births)).backward()
    for D, b in zip(matrices, births, strict=True):
        D1, b1 = D.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
        weighed(tsl.rips_persistence(D1, 1, "precomputed", vertex_births=b1)).backward()
        assert torch.equal(D.grad, D1.grad)
        assert torch.equal(b.grad, b1.grad)


def test_a_tie_goes_to_the_length_and_then_to_the_first_vertex(impl):
    x = torch.tensor([[0.0], [1.0], [10.0], [11.0]], dtype=torch.float64, requires_grad=True)
    births = torch.tensor([1.0, 1.0, 4.0, 4.0], dtype=torch.float64, requires_grad=True)
    (h0,) = impl.rips_persistence(x, 0, vertex_births=births)
    assert edges(h0)[:2] == [(1, 1, 0, 1), (3, 3, 2, 3)]
    (slope,) = torch.autograd.grad(h0.deaths[0], x, retain_graph=True)
    assert slope.flatten().tolist() == [-1, 1, 0, 0]
    (slope,) = torch.autograd.grad(h0.deaths[1], births, retain_graph=True)
    assert slope.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("max_dim", [0, 1])
@pytest.mark.parametrize("longest", [None, 1.0])
def test_compiled_and_mapped_as_eager(tsl, max_dim, longest):
    x = torch.stack([cloud("circle", 11, 2, seed) for seed in range(3)])
    births, lengths = torch.rand(3, 11, dtype=torch.float64), torch.tensor([11, 0, 6])

    def call(x, births, lengths):
        dgms = tsl.rips_persistence(
            x, max_dim, max_edge_length=longest, lengths=lengths, vertex_births=births
        )
        return tensors(dgms)

    expected = call(x, births, lengths)
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)(x, births, lengths)
    mapped = torch.func.vmap(call)(x, births, lengths)
    for got in (compiled, mapped):
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_one_row_of_births_serves_every_cloud(tsl):
    x, births = torch.randn(3, 9, 2, dtype=torch.float64), torch.rand(9)
    found = tsl.rips_persistence(x, vertex_births=births)
    for got, expected in zip(
        tensors(found),
        tensors(tsl.rips_persistence(x, vertex_births=births.expand(3, 9))),
        strict=True,
    ):
        assert torch.equal(got, expected)
    assert found[0].births.dtype == torch.float64


# Arguments


@pytest.mark.parametrize(
    ("births", "words"),
    [
        (torch.zeros(4), r"expected one a point, shape \[5\] or \[2, 5\], got float32 \[4\]"),
        (torch.zeros(2, 5).long(), r"expected float16, bfloat16, float32 or float64, got int64"),
        ([0.0] * 5, r"expected a torch.Tensor \[\.\.\., n\], got list"),
        (torch.tensor([0.0, 1.0, math.nan, 0.0, 1.0]), r"expected finite values, got .*= nan"),
        (torch.tensor([0.0, 1.0, math.inf, 0.0, 1.0]), r"expected finite values, got .*= inf"),
    ],
    ids=str,
)
def test_births_that_are_none_are_named(tsl, births, words):
    with pytest.raises((TypeError, ValueError), match=f"^vertex_births: {words}"):
        tsl.rips_persistence(torch.randn(2, 5, 3), vertex_births=births)


def test_ragged_births_that_do_not_fit_are_named(tsl):
    clouds = [torch.randn(4, 2), torch.randn(3, 2)]
    with pytest.raises(ValueError, match=r"^vertex_births\[1\]: expected one a point of x\[1\]"):
        tsl.rips_persistence(clouds, vertex_births=[torch.zeros(4), torch.zeros(4)])
    with pytest.raises(ValueError, match=r"^vertex_births: expected 2 tensors, one a cloud"):
        tsl.rips_persistence(clouds, vertex_births=[torch.zeros(4)])
