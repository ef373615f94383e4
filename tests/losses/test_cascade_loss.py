"""Cascade distortion: by hand, and against the textbook reduction with its chains kept."""

import math

import pytest
import torch
from clouds import FAMILIES, cloud
from oracles import elder_rule, filtration

import tsloss_fast as tsl
from tsloss_fast.losses import cascade_distortion, signature
from tsloss_fast.losses.cascades import cascade_skeleton


def textbook_skeleton(D):
    """The edges of the tree and of the columns V of bars of positive length, R = boundary V.

    Triangles in the order of their longest edge, then of the vertex opposite.
    """
    n = len(D)
    edges = [(i, j) for _, i, j in filtration(D)]
    rank = {edge: place for place, edge in enumerate(edges)}
    triangles = []
    for a in range(n):
        for b in range(a + 1, n):
            for c in range(b + 1, n):
                sides = {(a, b): c, (a, c): b, (b, c): a}
                last = max(sides, key=rank.get)
                triangles.append((rank[last], sides[last], frozenset(rank[side] for side in sides)))
    reduced, skeleton = {}, {(i, j) for _, _, i, j in elder_rule(D)}
    for death, _, boundary in sorted(triangles, key=lambda triangle: triangle[:2]):
        column, chain = set(boundary), {boundary}
        while column and max(column) in reduced:
            other, others = reduced[max(column)]
            column, chain = column ^ other, chain ^ others
        if column:
            birth = max(column)
            reduced[birth] = column, chain
            if D[edges[birth]] < D[edges[death]]:
                skeleton |= {edges[side] for triangle in chain for side in triangle}
    return skeleton


def test_a_pentagon_by_hand():
    """Its loop is filled by three triangles: the first diagonal that ends it, and two more."""
    angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    x = torch.stack((angle.cos(), angle.sin()), -1) * torch.tensor([1.0, 1.01])
    found = cascade_skeleton(tsl.pairwise_distances(x))
    assert found.sum() == 7  # five sides and two diagonals
    assert not found.tril().any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 2, 4, 9, 14])
def test_cascades_are_those_of_the_textbook(family, n):
    D = tsl.pairwise_distances(cloud(family, n, 2, n))
    found = {tuple(edge) for edge in cascade_skeleton(D).nonzero().tolist()}
    assert found == textbook_skeleton(D)


def test_a_batch_of_skeletons():
    D = tsl.pairwise_distances(torch.stack([cloud("circle", 12, 2, k) for k in range(4)]))
    each = torch.stack([cascade_skeleton(one) for one in D])
    assert torch.equal(cascade_skeleton(D.reshape(2, 2, 12, 12)), each.reshape(2, 2, 12, 12))
    assert torch.equal(torch.func.vmap(cascade_skeleton)(D), each)


@pytest.mark.parametrize("n", [4, 10, 16])
def test_the_formula(n):
    a, b = (cloud(family, n, 2, 5).requires_grad_() for family in ("circle", "gaussian"))
    A, B = (torch.cdist(x, x) for x in (a, b))
    h0, h1 = tsl.rips_persistence(b.detach())
    of_b = {tuple(e) for e in torch.cat((h0.death_edges, h1.birth_edges, h1.death_edges)).tolist()}
    expected = sum(
        (A[i, j] - B[i, j]) ** 2 for of in (textbook_skeleton(A.detach()), of_b) for i, j in of
    )
    found = cascade_distortion(a, b)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    slopes = [torch.autograd.grad(value, (a, b)) for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)


def test_edges_inside_a_loop_count_that_are_not_critical():
    D = tsl.pairwise_distances(cloud("circle", 12, 2, 3))
    h0, h1 = tsl.rips_persistence(D, metric="precomputed")
    inside = cascade_skeleton(D)
    inside[tuple(torch.cat((h0.death_edges, h1.birth_edges, h1.death_edges)).T)] = False
    i, j = inside.nonzero()[0]
    longer = D.clone()
    longer[i, j] = longer[j, i] = D[i, j] * (1 + 1e-9)
    options = {"metric": "precomputed", "normalise": False, "dimensions": (0, 1)}
    assert signature(D, longer, **options) == 0
    assert cascade_distortion(D, longer, "precomputed") > 0
