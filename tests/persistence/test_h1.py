"""H1: classes known by hand, the plain matrix reduction, and gudhi for hundreds of points."""

import pytest
import torch
from clouds import cloud, matrices, matrix
from hypothesis import given
from oracles import (
    assert_valid,
    collapsed_intervals,
    edges,
    elder_rule,
    empty_lune_edges,
    matrix_reduction,
    values,
)


def h1_of(impl, D):
    return impl.rips_persistence(D, metric="precomputed")[1]


def cycle(n):
    """Hop counts around a cycle of n vertices, [n, n]."""
    steps = (torch.arange(n) - torch.arange(n).unsqueeze(-1)).abs()
    return torch.minimum(steps, n - steps).float()


def from_edges(n, lengths, otherwise):
    """Matrix [n, n] of the given {(i, j): length}, every other pair at `otherwise`."""
    D = torch.full((n, n), float(otherwise)).fill_diagonal_(0)
    for (i, j), length in lengths.items():
        D[i, j] = D[j, i] = length
    return D


@given(D=matrices(max_n=10))
def test_edges_are_those_of_a_plain_matrix_reduction(impl, D):
    h1 = h1_of(impl, D)
    assert_valid(h1, 1, len(D))
    assert edges(h1) == matrix_reduction(D)


@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
@pytest.mark.parametrize("n", [16, 24])
def test_larger_matrices_against_the_plain_reduction(impl, kind, n):
    """Far from a metric: many classes alive at once, and relations that must be reduced."""
    D = matrix(kind, n, seed=n)
    bars = matrix_reduction(D)
    assert len(bars) > 5
    assert edges(h1_of(impl, D)) == bars


def test_square_by_hand(impl):
    """The last side closes the loop; the first diagonal in the order fills it."""
    x = torch.tensor([[0.0, 0.0], [0.0, 3.0], [3.0, 3.0], [3.0, 0.0]])
    _, h1 = impl.rips_persistence(x)
    assert edges(h1) == [(2, 3, 0, 2)]
    assert h1.pairs.tolist() == [[3.0, torch.tensor(18.0).sqrt().item()]]


def test_hexagon_by_hand(impl):
    """Born with side (4, 5). Of the short diagonals, 02 and 04 shorten the loop to 0-2-3-4, 13 and
    15 close one triangle each, and 24 is the first whose lune {0, 3} falls in two."""
    h1 = h1_of(impl, cycle(6))
    assert edges(h1) == [(4, 5, 2, 4)]
    assert h1.pairs.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("n", [4, 5, 7, 9, 12])
def test_a_cycle_dies_at_a_third_of_its_length(impl, n):
    """The Rips complex of a cycle of n hops is a circle until 3 k >= n."""
    h1 = h1_of(impl, cycle(n))
    assert h1.pairs.tolist() == [[1.0, float(-(-n // 3))]]


def test_two_classes_die_on_one_edge(impl):
    """Three paths from 0 to 1 make two loops, and edge (0, 1) fills both."""
    spokes = {(0, 2): 1, (0, 3): 2, (0, 4): 3, (1, 2): 4, (1, 3): 5, (1, 4): 6}
    h1 = h1_of(impl, from_edges(5, {**spokes, (0, 1): 10}, otherwise=20))
    assert edges(h1) == [(1, 3, 0, 1), (1, 4, 0, 1)]
    assert h1.pairs.tolist() == [[5.0, 10.0], [6.0, 10.0]]


def test_many_classes_die_on_one_edge(impl):
    """The same with m paths: m - 1 bars, in the order of their birth edges."""
    m = 70
    spokes = {(side, 2 + k): 1 + side * m + k for side in (0, 1) for k in range(m)}
    h1 = h1_of(impl, from_edges(m + 2, {**spokes, (0, 1): 1000}, otherwise=2000))
    assert edges(h1) == [(1, 2 + k, 0, 1) for k in range(1, m)]


def test_the_youngest_class_dies(impl):
    """A loop 0-1-2-3 born at 4 and a younger loop 2-3-4-5 born at 7 share side (2, 3). The younger
    is filled first; then the older, by its own diagonal."""
    lengths = {(0, 1): 1, (1, 2): 2, (2, 3): 3, (0, 3): 4, (3, 4): 5, (4, 5): 6, (2, 5): 7}
    h1 = h1_of(impl, from_edges(6, {**lengths, (2, 4): 8, (0, 2): 9}, otherwise=20))
    assert edges(h1) == [(2, 5, 2, 4), (0, 3, 0, 2)]


def test_the_youngest_of_a_sum_dies(impl):
    """Filling the sum of two loops kills the younger class, though the edge touches both."""
    lengths = {(0, 1): 1, (1, 2): 2, (2, 3): 3, (0, 3): 4, (3, 4): 5, (4, 5): 6, (2, 5): 7}
    D = from_edges(6, {**lengths, (0, 2): 8, (2, 4): 9}, otherwise=20)
    assert edges(h1_of(impl, D)) == [(0, 3, 0, 2), (2, 5, 2, 4)]
    hub = from_edges(7, lengths, otherwise=20)
    for v, length in zip((0, 1, 2, 5, 4, 3), range(10, 16), strict=True):
        hub[6, v] = hub[v, 6] = length
    assert edges(h1_of(impl, hub)) == matrix_reduction(hub)
    assert edges(h1_of(impl, hub))[-1][2:] == (3, 6)


def test_the_field_is_z2(impl):
    """The projective plane has a loop over Z/2 and over no other field. Its barycentric
    subdivision is a flag complex: incident simplices are at 1, all others at 2."""
    six = ["012", "023", "034", "045", "015", "124", "235", "134", "245", "135"]
    triangles = [frozenset(map(int, triangle)) for triangle in six]
    edges_of = sorted({t - {v} for t in triangles for v in t}, key=sorted)
    simplices = [frozenset({v}) for v in range(6)] + edges_of + triangles
    assert len(simplices) == 31
    D = torch.tensor([[1.0 if a < b or b < a else 2.0 for a in simplices] for b in simplices])
    h1 = h1_of(impl, D.fill_diagonal_(0))
    assert h1.pairs.tolist() == [[1.0, 2.0]]


def test_zero_length_bars_are_dropped(impl):
    """All lengths equal: every class dies at the length at which it is born."""
    D = 1 - torch.eye(9)
    D[0, 1] = D[1, 0] = D[2, 3] = D[3, 2] = 1.0
    h1 = h1_of(impl, D)
    assert h1.pairs.shape == (0, 2)
    assert h1.birth_edges.shape == (0, 2)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_points_have_no_loop(impl, n):
    assert h1_of(impl, matrix("ranks", n)).mask.shape == (0,)


def test_a_bar_born_at_zero(impl):
    """Sides of length 0 that do not obey the triangle inequality still make a loop."""
    sides = {(0, 1): 0, (1, 2): 0, (2, 3): 0, (0, 3): 0}
    h1 = h1_of(impl, from_edges(4, sides, otherwise=1))
    assert edges(h1) == [(2, 3, 0, 2)]
    assert h1.pairs.tolist() == [[0.0, 1.0]]


def test_bars_stand_in_filtration_order_of_death_then_birth(impl):
    h1 = h1_of(impl, matrix("ties", 30))
    bars = list(
        zip(h1.pairs.tolist(), h1.birth_edges.tolist(), h1.death_edges.tolist(), strict=True)
    )
    order = [(pair[1], death, pair[0], birth) for pair, birth, death in bars]
    assert len(order) > 5
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("family", "d", "n"),
    [
        # Around multiples of 64, the vertices of one word, without ties and with.
        *((family, 3, n) for family in ("gaussian", "grid") for n in (63, 64, 65, 127, 128, 129)),
        *(("gaussian", 3, n) for n in (191, 257)),
        *((family, d, 129) for family, d in (("circle", 5), ("duplicated", 2))),
    ],
)
def test_many_points_against_gudhi(tsl, family, d, n):
    D = tsl.pairwise_distances(cloud(family, n, d))
    dgms = tsl.rips_persistence(D, metric="precomputed")
    for dim, dgm in enumerate(dgms):
        assert_valid(dgm, dim, n)
    assert [values(dgm) for dgm in dgms] == collapsed_intervals(D)


@pytest.mark.parametrize(
    ("family", "n", "d"), [("unit", 130, 64), ("unit", 200, 16), ("circle", 520, 4)]
)
def test_hard_regimes_against_gudhi(tsl, family, n, d):
    """Nearly equidistant points have the most classes alive at once; 520 passes 512."""
    D = tsl.pairwise_distances(cloud(family, n, d, dtype=torch.float32))
    dgms = tsl.rips_persistence(D, metric="precomputed")
    assert [values(dgm) for dgm in dgms] == collapsed_intervals(D)


@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
@pytest.mark.parametrize("n", [64, 65, 100])
def test_many_edges_against_the_reference(tsl, kind, n):
    from tsloss_fast import reference

    D = matrix(kind, n)
    assert edges(h1_of(tsl, D)) == edges(h1_of(reference, D))


@pytest.mark.parametrize(("core", "ring"), [(30, 5), (70, 8), (110, 12)])
def test_a_ring_far_from_a_core_that_has_long_become_a_simplex(tsl, core, ring):
    """The hub sees all of the core at once, so no loop is alive and no lune empty while the core's
    edges come, thousands of them; but all of them bear on the loop of the ring."""
    from tsloss_fast import reference

    generator = torch.Generator().manual_seed(core)
    n = core + ring
    lengths = torch.rand(n, n, generator=generator)
    D = 1 + lengths  # within the core
    D[0, :] = 0.1 + 0.1 * lengths[0]  # from the hub
    D[:, core:] = 12 + lengths[:, core:]  # from the core to the ring
    D[core:, core:] = 13 + lengths[core:, core:]  # across the ring
    for k in range(ring):
        i, j = sorted((core + k, core + (k + 1) % ring))
        D[i, j] = 10 + lengths[i, j]  # along the ring
    D = D.triu(1) + D.triu(1).mT
    expected = edges(h1_of(reference, D))
    assert len(expected) > 0
    assert edges(h1_of(tsl, D)) == expected


@pytest.mark.parametrize(
    ("family", "n", "d"), [("gaussian", 40, 3), ("unit", 65, 8), ("circle", 90, 3)]
)
def test_births_are_the_empty_lunes_outside_the_tree(impl, family, n, d):
    """Without ties, classes are born exactly with the edges of the relative neighbourhood graph
    that are not in the minimum spanning tree (Koyama et al., arXiv 2307.16333)."""
    D = impl.pairwise_distances(cloud(family, n, d))
    tree = {bar[2:] for bar in elder_rule(D)}
    born = {edge for edge in empty_lune_edges(D) if edge not in tree}
    bars = edges(h1_of(impl, D))
    assert {bar[:2] for bar in bars} == born
    assert len(bars) == len(born)
