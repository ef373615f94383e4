"""RTD-lite: by hand, and against the intervals that its paper defines, one by one."""

import pytest
import torch
from clouds import FAMILIES, WITHOUT_TIES, cloud
from oracles import elder_rule

import tsloss_fast as tsl
from tsloss_fast.losses import rtd_lite


def intervals(w, common):
    """The paper's Algorithm 1: where the common graph joins two clusters, until w does as well.

    A tree edge of the common graph is contracted once its interval is known.
    """
    joined, found = w.detach().clone(), []
    for _, _, i, j in elder_rule(common):
        birth, death = common[i, j], bottleneck(w, joined, i, j)
        found.append((birth, death))
        joined[i, j] = joined[j, i] = 0
    return found


def bottleneck(w, joined, i, j):
    """The edge of w that joins i and j once clusters are contracted, by Kruskal's walk."""
    n = len(joined)
    label = list(range(n))
    order = sorted((joined[k, m].item(), k, m) for k in range(n) for m in range(k + 1, n))
    for _, k, m in order:
        old, new = label[k], label[m]
        label = [new if each == old else each for each in label]
        if label[i] == label[j]:
            return w[k, m]
    raise AssertionError("a graph with all its edges is connected")


def twin(w, other):
    common = torch.minimum(w, other)
    bars = [*intervals(w, common), *intervals(other, common)]
    return sum(death - birth for birth, death in bars) / 2


def test_by_hand():
    """Trees of 1 + 2 each; of the smaller distances, 1 + 1."""
    a, b = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [3.0], [1.0]])
    a, b = a.requires_grad_(), b.requires_grad_()
    loss = rtd_lite(a, b, scale=None)
    loss.backward()
    assert loss.item() == 1
    # Half of each tree's ends, less the edge that the smaller distances take from it.
    assert a.grad.flatten().tolist() == [0.5, -1.0, 0.5]
    assert b.grad.flatten().tolist() == [0.5, 0.5, -1.0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_the_sum_of_the_papers_intervals(family, n):
    a, b = cloud(family, n, 3, 1), cloud(family, n, 2, 2)
    expected = twin(tsl.pairwise_distances(a), tsl.pairwise_distances(b))
    found = rtd_lite(a, b, scale=None)
    assert found.item() == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("family", WITHOUT_TIES)
def test_gradients_are_those_of_the_intervals(family):
    clouds = [cloud(family, 10, d, d).requires_grad_() for d in (3, 2)]
    expected = twin(*map(tsl.pairwise_distances, clouds))
    found = rtd_lite(*clouds, scale=None)
    slopes = [torch.autograd.grad(value, clouds) for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


def test_clouds_of_one_tree_differ_by_nothing():
    """Three points in a line and a triangle with the same tree."""
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    bent = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert rtd_lite(line, bent, scale=None).item() == 0
