"""The signature loss: by hand, by gudhi from the formula, and torch-topological's own."""

import math

import pytest
import torch
from clouds import FAMILIES, WITHOUT_TIES, cloud

import tsloss_fast as tsl
from tsloss_fast import reference
from tsloss_fast.losses import SignatureLoss, signature


def twin(a, b, p=2.0, normalise=True, dimensions=(0,), squared=False):
    """The formula on gudhi's critical edges and cdist."""
    A, B = (torch.cdist(x, x, p) for x in (a, b))
    pairings = [reference.rips_persistence(D.detach(), metric="precomputed") for D in (A, B)]
    if normalise:
        A, B = A / A.max(), B / B.max()
    loss = 0
    for dim in dimensions:
        for dgms in pairings:
            births, deaths = tuple(dgms[dim].birth_edges.T), tuple(dgms[dim].death_edges.T)
            values = [D[deaths] if dim == 0 else (D[deaths] - D[births]).abs() for D in (A, B)]
            norm = torch.linalg.vector_norm(values[0] - values[1], ord=p)
            loss = loss + (norm**2 if squared else norm) / 2
    return loss


def pair(family="gaussian", n=13):
    return cloud(family, n, 4, 3), cloud(family, n, 2, 4)


def test_by_hand():
    """Both trees of three points in a line, whose edges are 1 and 2, and 2 and 1."""
    a = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
    b = torch.tensor([[0.0], [2.0], [3.0]])
    assert signature(a, b, normalise=False).item() == pytest.approx(math.sqrt(2))
    loss = signature(a, b, normalise=False, squared=True)
    loss.backward()
    assert loss.item() == 2
    # Twice half the squares of (1 - 2) and (2 - 1).
    assert a.grad.flatten().tolist() == [2.0, -4.0, 2.0]


def test_a_loop_by_hand():
    """A square's lifetime sqrt 2 - 1 against the difference of the same edges in a line."""
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    _, h1 = tsl.rips_persistence(square)
    line = torch.arange(4.0).unsqueeze(-1)
    there = (tsl.edge_lengths(line, h1.death_edges) - tsl.edge_lengths(line, h1.birth_edges)).abs()
    expected = abs(math.sqrt(2) - 1 - there.item()) / 2
    found = signature(square, line, normalise=False, dimensions=1)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("dimensions", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("options", [{}, {"normalise": False}, {"squared": True}])
@pytest.mark.parametrize("family", WITHOUT_TIES)
def test_value_and_gradient_by_gudhi(family, p, dimensions, options):
    clouds = [x.requires_grad_() for x in pair(family)]
    found = signature(*clouds, p=p, dimensions=dimensions, **options)
    expected = twin(*clouds, p=p, dimensions=dimensions, **options)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    slopes = [torch.autograd.grad(value, clouds) for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_h0_with_ties_has_gudhis_lengths_in_its_own_cloud(family):
    """Where ties leave the tree open, what it measures in its own cloud does not depend on it."""
    x, _ = pair(family)
    assert signature(x, x).item() == 0
    doubled = signature(x, 2 * x, normalise=False)
    deaths = reference.rips_persistence(x)[0].deaths
    torch.testing.assert_close(doubled, deaths.norm(), rtol=1e-12, atol=1e-14)


def test_known_diagrams_serve_again():
    a, b = pair()
    loss = SignatureLoss(dimensions=(0, 1))
    dgms = tsl.rips_persistence(a)
    assert torch.equal(loss([a, dgms], b), loss(a, b))
    assert torch.equal(signature(a, b, dimensions=(0, 1), diagrams=(dgms, None)), loss(a, b))
    scaled = tsl.rips_persistence(3 * a)
    assert torch.equal(loss((a, scaled), (b, tsl.rips_persistence(b))), loss(a, b))


class TestTorchTopological:
    """Values and gradients are its own, called as it is called."""

    @pytest.fixture(autouse=True)
    def _peer(self):
        self.nn = pytest.importorskip("torch_topological.nn")

    @pytest.mark.parametrize("p", [1.0, 2.0])
    @pytest.mark.parametrize("dimensions", [0, 1, (0, 1)])
    @pytest.mark.parametrize("normalise", [True, False])
    def test_values_and_gradients(self, p, dimensions, normalise):
        x, z = (each.requires_grad_() for each in pair(n=30))
        vr = self.nn.VietorisRipsComplex(dim=1, p=p)
        theirs = self.nn.SignatureLoss(p, normalise, dimensions)([x, vr(x)], [z, vr(z)])
        for ours in (
            SignatureLoss(p, normalise, dimensions)(x, z),
            SignatureLoss(p, normalise, dimensions)([x, vr(x)], [z, vr(z)]),
        ):
            # giotto-ph works in float32, which decides near ties; lengths are float64 in both.
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
            slopes = [torch.autograd.grad(v, (x, z), retain_graph=True) for v in (ours, theirs)]
            torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-10)
