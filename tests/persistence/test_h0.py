"""H0: the minimum spanning tree, its order and the vertices that die."""

import pytest
import torch
from clouds import FAMILIES, cloud, clouds, matrices, matrix
from hypothesis import given
from oracles import assert_valid, edges, elder_rule, spanning_tree_lengths


def h0_of(impl, D):
    (h0,) = impl.rips_persistence(D, max_dim=0, metric="precomputed")
    return h0


@given(D=matrices(max_n=40))
def test_edges_and_vertices_are_those_of_the_elder_rule(impl, D):
    h0 = h0_of(impl, D)
    assert_valid(h0, 0, len(D))
    assert edges(h0) == elder_rule(D)


@given(x=clouds())
def test_deaths_are_the_minimum_spanning_tree_of_scipy(impl, x):
    D = impl.pairwise_distances(x)
    h0 = h0_of(impl, D)
    assert h0.deaths.dtype == D.dtype
    assert torch.equal(h0.deaths.double(), spanning_tree_lengths(D))


@pytest.mark.parametrize("n", [63, 64, 65, 127, 129, 257, 513])
@pytest.mark.parametrize("family", ["gaussian", "grid", "duplicated"])
def test_many_points_against_scipy(tsl, family, n):
    D = tsl.pairwise_distances(cloud(family, n, 5))
    h0 = h0_of(tsl, D)
    assert_valid(h0, 0, n)
    assert torch.equal(h0.deaths, spanning_tree_lengths(D))


@pytest.mark.parametrize("n", [65, 130])
@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_many_points_against_the_elder_rule(tsl, kind, n):
    D = matrix(kind, n)
    assert edges(h0_of(tsl, D)) == elder_rule(D)


@pytest.mark.parametrize("family", FAMILIES)
def test_max_dim_1_gives_the_same_h0(impl, family):
    D = impl.pairwise_distances(cloud(family, 21, 3))
    both = impl.rips_persistence(D, max_dim=1, metric="precomputed")
    assert len(both) == 2
    assert edges(both[0]) == edges(h0_of(impl, D))


def test_deaths_stand_in_filtration_order(impl):
    h0 = h0_of(impl, matrix("ties", 30))
    rows = [(death, *edge) for death, edge in zip(h0.deaths, h0.death_edges.tolist(), strict=True)]
    assert rows == sorted(rows)


def test_one_point_has_no_finite_bar(impl):
    h0 = h0_of(impl, torch.zeros(1, 1))
    assert h0.pairs.shape == (0, 2)
    assert h0.death_edges.shape == (0, 2)


def test_points_on_a_line_by_hand(impl):
    """0, 1, 10, 13: merges at 1, 3 and 9; of {0, 1} and {2, 3} the younger, 2, dies."""
    x = torch.tensor([[0.0], [1.0], [10.0], [13.0]])
    h0, h1 = impl.rips_persistence(x)
    assert h0.deaths.tolist() == [1.0, 3.0, 9.0]
    assert edges(h0) == [(1, 1, 0, 1), (3, 3, 2, 3), (2, 2, 1, 2)]
    assert edges(h1) == []


def test_the_dying_vertex_need_not_be_on_the_edge(impl):
    """Edge (1, 3) joins {0, 3} and {1, 2}: vertex 1 is the younger component's oldest."""
    D = torch.full((4, 4), 9.0).fill_diagonal_(0)
    for length, i, j in ((1.0, 0, 3), (2.0, 1, 2), (3.0, 2, 3)):
        D[i, j] = D[j, i] = length
    assert edges(h0_of(impl, D)) == [(3, 3, 0, 3), (2, 2, 1, 2), (1, 1, 2, 3)]


def test_zero_length_bars_are_kept(impl):
    h0, _ = impl.rips_persistence(torch.ones(4, 2))
    assert h0.deaths.tolist() == [0.0, 0.0, 0.0]
    assert edges(h0) == [(1, 1, 0, 1), (2, 2, 0, 2), (3, 3, 0, 3)]
