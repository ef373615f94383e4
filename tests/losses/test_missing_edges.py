"""TSLoss where edges are missing: a longest edge, infinities, sparse matrices, matrices at all."""

import copy
import math

import pytest
import scipy.sparse
import torch
from clouds import cloud, matrix

import tsloss_fast as tsl
from tsloss_fast import reference


def ring(n=12):
    """A circle of sides 0.5 with noise, whose loop nothing fills below 0.8."""
    angle = torch.arange(n, dtype=torch.float64) * (2 * torch.pi / n)
    return torch.stack((angle.cos(), angle.sin()), dim=-1) + 0.01 * cloud("gaussian", n, 2)


def holed(n=15, seed=0, missing=0.5):
    D = matrix("ranks", n, seed, torch.float64)
    gone = (torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < missing).triu(1)
    return D.masked_fill(gone | gone.mT, torch.inf)


def by_hand(D, power=2.0, scale=False, longest=None):
    """Both terms from the reference's diagrams of one matrix."""
    finite = D.isfinite()
    unit = D[finite].sum() / finite.sum() if scale else 1.0
    h0, h1 = reference.rips_persistence(D, metric="precomputed", max_edge_length=longest)
    lifetimes = h0.lifetimes[h0.mask] / unit
    variance = lifetimes.var(correction=0) if len(lifetimes) else D.new_zeros(())
    return variance, (h1.lifetimes[h1.mask] / unit).pow(power).sum() / len(D)


def assert_terms(loss, prompt, expected):
    value, terms = loss(prompt, return_terms=True)
    torch.testing.assert_close((terms["h0"], terms["h1"]), expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(value, sum(expected), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("scale", [None, "mean"])
@pytest.mark.parametrize("longest", [0.0, 0.6, 1.2, 10.0])
def test_a_longest_edge_leaves_out_what_is_longer(longest, scale):
    """In the units of the points, before `scale`."""
    x = torch.cat((ring(), ring() + 5))
    expected = by_hand(reference.pairwise_distances(x), 2.0, scale == "mean", longest)
    assert_terms(tsl.TSLoss(scale=scale, max_edge_length=longest), x, expected)
    assert_terms(tsl.losses.PersistenceLoss(scale=scale, max_edge_length=longest), x, expected)


def test_the_longest_of_all_edges_changes_nothing():
    x = cloud("gaussian", 20, 3).requires_grad_()
    losses = [tsl.TSLoss()(x), tsl.TSLoss(max_edge_length=1e3)(x)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    slopes = [torch.autograd.grad(loss, x)[0] for loss in losses]
    torch.testing.assert_close(*slopes, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("scale", [None, "mean"])
def test_a_loop_that_nothing_fills_has_no_lifetime(scale):
    x = ring().requires_grad_()
    whole, cut = (tsl.TSLoss(scale=scale, max_edge_length=r) for r in (None, 0.8))
    assert whole(x, return_terms=True)[1]["h1"] > 0
    value, terms = cut(x, return_terms=True)
    assert terms["h1"] == 0
    (slope,) = torch.autograd.grad(value, x)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    assert torch.autograd.gradcheck(tsl.TSLoss(max_edge_length=0.8), x)


@pytest.mark.parametrize("scale", [None, "mean"])
@pytest.mark.parametrize("missing", [0.0, 0.5, 0.9, 1.0])
def test_a_matrix_with_infinities(missing, scale):
    D = holed(missing=missing)
    expected = by_hand(D, 1.5, scale == "mean")
    assert_terms(tsl.TSLoss(metric="precomputed", h1_power=1.5, scale=scale), D, expected)


def test_sparse_matrices_are_dense_ones_with_infinities():
    D = holed()
    loss = tsl.TSLoss(metric="precomputed", max_edge_length=60.0)
    at = (D.isfinite() & ~torch.eye(15, dtype=torch.bool)).nonzero().T
    lengths = D[tuple(at)].requires_grad_()
    graph = scipy.sparse.coo_array((lengths.detach().numpy(), at.numpy()), shape=(15, 15))
    assert torch.equal(loss(graph), loss(D))
    tensor = torch.sparse_coo_tensor(at, lengths, (15, 15))
    value = loss(tensor)
    assert torch.equal(value, loss(D))
    value.backward()
    D.requires_grad_()
    loss(D).backward()
    # Both directions are stored, and the upper one is the edge.
    assert torch.equal(lengths.grad, D.grad[tuple(at)])
    assert lengths.grad.abs().sum() > 0


def test_a_batch_is_the_loop_over_its_clouds():
    D = torch.stack([holed(seed=seed, missing=share) for seed, share in enumerate((0.1, 0.8))])
    loss = tsl.TSLoss(metric="precomputed", reduction="none", max_edge_length=70.0)
    assert torch.equal(loss(D), torch.stack([loss(each) for each in D]))
    assert torch.equal(torch.func.vmap(loss)(D), loss(D))
    x = torch.stack((ring(), 2 * ring()))
    loss = tsl.TSLoss(max_edge_length=0.8)
    torch.testing.assert_close(loss(x), (loss(x[0]) + loss(x[1])) / 2, rtol=1e-14, atol=0)


def test_mirrored_entries_that_differ_by_rounding_are_one_edge():
    """At a threshold that lies between them."""
    D = holed(missing=0.0)
    D[7, 3] *= 1 + 1e-7
    loss = tsl.TSLoss(metric="precomputed", max_edge_length=D[3, 7].item())
    assert_terms(loss, D, by_hand(D.triu(1) + D.triu(1).mT, longest=D[3, 7].item()))


@pytest.mark.parametrize("metric", ["precomputed", "euclidean"])
def test_compiled(metric):
    x = ring() if metric == "euclidean" else tsl.pairwise_distances(ring())
    loss = tsl.TSLoss(metric=metric, max_edge_length=1.2)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    x = x.requires_grad_()
    torch.testing.assert_close(compiled(x), loss(x), rtol=1e-13, atol=0)
    slopes = [torch.autograd.grad(f(x), x)[0] for f in (compiled, loss)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


def test_the_surrogate_takes_matrices_of_all_pairs():
    x = cloud("gaussian", 12, 3)
    D = tsl.pairwise_distances(x)
    ours = tsl.TSLoss("surrogate", metric="precomputed")
    torch.testing.assert_close(ours(D), tsl.TSLoss("surrogate")(x), rtol=1e-12, atol=0)
    D[2, 5] = D[5, 2] = torch.inf
    with pytest.raises(ValueError, match=r'^prompt: .*got prompt\[2, 5\] = inf.*"persistence"'):
        ours(D)
    with pytest.raises(ValueError, match=r"^max_edge_length: .*'surrogate'.*'persistence' takes"):
        tsl.TSLoss("surrogate", max_edge_length=1.0)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"^prompt: expected a symmetric.*prompt\[0, 0\] = nan"):
        tsl.TSLoss(metric="precomputed", max_edge_length=1.0)(torch.full((3, 3), torch.nan))
    with pytest.raises(ValueError, match=r"^prompt: expected a distance matrix \[..., n, n\]"):
        tsl.TSLoss(metric="precomputed")(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"^prompt: expected finite values, got prompt\[1, 0\]"):
        tsl.TSLoss(max_edge_length=1.0)(torch.tensor([[0.0], [math.nan]]))
    for longest in (-1.0, math.nan, "1"):
        with pytest.raises((TypeError, ValueError), match=r"^max_edge_length: expected a"):
            tsl.TSLoss(max_edge_length=longest)
    prompt = torch.nn.Parameter(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"^max_edge_length: expected None for a graph"):
        tsl.losses.PersistenceLoss(beta_h1=0.0, max_edge_length=1.0).graphed(prompt)


def test_options_are_shown_and_kept():
    loss = tsl.TSLoss(metric="precomputed", max_edge_length=2)
    assert repr(loss).endswith("metric='precomputed', max_edge_length=2.0)")
    assert copy.deepcopy(loss).max_edge_length == 2.0
    assert "max_edge_length" not in repr(tsl.TSLoss())


def test_summaries_with_a_threshold_are_those_of_the_reference():
    x = torch.stack((torch.cat((ring(), ring() + 5)), cloud("gaussian", 24, 2)))
    for longest in (0.0, 0.8, None):
        ours = tsl.topology_summary(x, max_edge_length=longest).as_dict()
        theirs = vars(reference.topology_summary(x, max_edge_length=longest))
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-12, atol=1e-15, msg=name)
        assert ours["h0_count"].tolist() == [24, 24]
    D = tsl.pairwise_distances(x)
    graph = D.masked_fill(D > 0.8, torch.inf)
    ours = tsl.topology_summary(graph, "precomputed").as_dict()
    theirs = tsl.topology_summary(x, max_edge_length=0.8).as_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
