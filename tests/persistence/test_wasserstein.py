"""interchange.wasserstein_distance: gudhi's values, and what breaks gudhi's in training."""

import builtins
import math

import numpy as np
import pytest
import torch
from clouds import cloud

from tsloss_fast.persistence import rips_persistence
from tsloss_fast.persistence.interchange import to_arrays, wasserstein_distance

pytest.importorskip("ot")
SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
LINE = torch.arange(4.0, dtype=torch.float64).unsqueeze(-1) * torch.ones(2)
POWERS = [(1.0, math.inf), (2.0, 2.0), (1.5, 1.0), (3.0, 4.0)]
powers = pytest.mark.parametrize(("order", "internal_p"), POWERS)


def of_gudhi(a, b, order, internal_p):
    wasserstein = pytest.importorskip("gudhi.wasserstein")
    return wasserstein.wasserstein_distance(a, b, order=order, internal_p=internal_p)


@powers
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("sizes", [(30, 30), (12, 40), (30, 3)], ids=str)
def test_values_are_those_of_gudhi(order, internal_p, dim, sizes):
    a, b = (rips_persistence(cloud("circle", n, 3, n)) for n in sizes)
    ours = wasserstein_distance(a[dim], b[dim], order, internal_p)
    arrays = [to_arrays(dgms, essential=True)[dim] for dgms in (a, b)]
    assert ours.shape == ()
    assert ours.item() == pytest.approx(of_gudhi(*arrays, order, internal_p), rel=1e-12)


def test_by_hand():
    """A bar of 1 to 2 against one of 1 to 2.5, and one of 4 to 4.2 against the diagonal."""
    a, b = torch.tensor([[1.0, 2.0], [4.0, 4.2]]), torch.tensor([[1.0, 2.5]])
    assert wasserstein_distance(a, b).item() == pytest.approx(0.5 + 0.1, rel=1e-6)
    squares = 0.25 + 0.1**2 * 2
    assert wasserstein_distance(a, b, 2, 2).item() == pytest.approx(squares**0.5, rel=1e-6)


def test_a_cloud_without_a_loop_has_a_distance_and_a_gradient():
    x = LINE.clone().requires_grad_()
    _, loops = rips_persistence(x)
    assert len(loops.births) == 0
    zero = wasserstein_distance(loops, loops)
    assert zero == 0
    (gradient,) = torch.autograd.grad(zero, x)
    assert torch.equal(gradient, torch.zeros_like(x))
    y = SQUARE.clone().requires_grad_()
    _, loop = rips_persistence(y)
    distance = wasserstein_distance(loops, loop)
    assert distance.item() == pytest.approx((2**0.5 - 1) / 2)
    (gradient,) = torch.autograd.grad(distance, y)
    assert gradient.abs().sum() > 0


@powers
def test_identical_diagrams_are_at_0_with_gradient_0(order, internal_p):
    x = cloud("circle", 20, 3).requires_grad_()
    for dgm in rips_persistence(x):
        assert dgm.mask.any()
        distance = wasserstein_distance(dgm, dgm, order, internal_p)
        assert distance == 0
        (gradient,) = torch.autograd.grad(distance, x, retain_graph=True)
        assert torch.equal(gradient, torch.zeros_like(x))


def test_one_bar_that_stays_leaves_the_slopes_of_the_others():
    """gudhi's gradient of this pair is NaN in both rows."""
    a = torch.tensor([[1.0, 2.0], [1.0, 5.0]], requires_grad=True)
    b = torch.tensor([[1.0, 2.0], [1.0, 6.0]])
    (gradient,) = torch.autograd.grad(wasserstein_distance(a, b, 2, 2), a)
    assert gradient.tolist() == [[0.0, 0.0], [0.0, -1.0]]


@powers
def test_gradcheck(order, internal_p):
    a, b = (rips_persistence(cloud("circle", n, 3, n))[0].pairs for n in (12, 9))
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: wasserstein_distance(a, b, order, internal_p), (a, b)
    )


def test_a_batch_is_the_loop_over_its_clouds():
    x = torch.stack([cloud("circle", 14, 2, k) for k in range(5)] + [LINE.repeat(4, 1)[:14]])
    y = torch.stack([cloud("gaussian", 9, 2, k) for k in range(6)])
    a, b = (rips_persistence(each.reshape(2, 3, -1, 2)) for each in (x, y))
    singles = [[rips_persistence(cloud_) for cloud_ in each] for each in (x, y)]
    for dim in (0, 1):
        expected = [
            wasserstein_distance(one[dim], two[dim]) for one, two in zip(*singles, strict=True)
        ]
        together = wasserstein_distance(a[dim], b[dim])
        assert torch.equal(together, torch.stack(expected).reshape(2, 3))
        against_one = wasserstein_distance(a[dim], singles[1][0][dim])
        assert against_one.shape == (2, 3)
        assert against_one[0, 0] == expected[0]
        assert wasserstein_distance(singles[0][1][dim], b[dim])[0, 1] == expected[1]


def test_an_empty_batch():
    _, loops = rips_persistence(torch.randn(0, 5, 2))
    assert wasserstein_distance(loops, loops).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_dtype_is_kept(dtype):
    (h0,) = rips_persistence(SQUARE.to(dtype), max_dim=0)
    assert wasserstein_distance(h0, 2 * h0.pairs).dtype == dtype


def test_classes_that_never_die_are_matched_by_their_births():
    inf = math.inf
    a = np.array([[0.0, inf], [0.5, inf], [1.0, 2.0]])
    b = np.array([[0.75, inf], [1.0, 2.0], [0.0, inf]])
    assert wasserstein_distance(a, b).item() == of_gudhi(a, b, 1, inf) == 0.25
    fewer = wasserstein_distance(torch.from_numpy(a).requires_grad_(), b[:2])
    assert fewer == math.inf
    (h0,) = rips_persistence(SQUARE, max_dim=0)
    assert wasserstein_distance(h0, h0.pairs, essential=False) == 0
    assert wasserstein_distance(h0, h0.pairs) == math.inf


def test_it_trains():
    """Ten times nearer to a larger loop, from one that is off."""
    target = rips_persistence(1.1 * SQUARE)[1]
    x = (SQUARE + 0.02 * cloud("gaussian", 4, 2)).requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.1)
    distances = []
    for _ in range(60):
        optimizer.zero_grad()
        distance = wasserstein_distance(rips_persistence(x)[1], target, order=2, internal_p=2)
        (distance**2).backward()
        optimizer.step()
        distances.append(distance.item())
    assert x.isfinite().all()
    assert distances[-1] < 0.1 * distances[0]


@pytest.mark.parametrize(
    ("a", "options", "error", "words"),
    [
        ([[1.0, 2.0, 3.0]], {}, ValueError, r"^a: expected bars \[k, 2\], got \[1, 3\]"),
        ([[2.0, 1.0]], {}, ValueError, r"^a: .*\(2.0, 1.0\)"),
        ([[math.nan, 1.0]], {}, ValueError, r"^a: .*nan"),
        ([[1.0, 2.0]], {"order": 0.5}, ValueError, r"^order: .*>= 1.*got 0.5"),
        ([[1.0, 2.0]], {"internal_p": 0}, ValueError, r"^internal_p: .*>= 1.*got 0"),
        (rips_persistence(SQUARE), {}, TypeError, r"^a: .*one PersistenceDiagram.*tuple"),
    ],
)
def test_wrong_arguments(a, options, error, words):
    with pytest.raises(error, match=words):
        wasserstein_distance(a, torch.tensor([[1.0, 2.0]]), **options)


def test_batches_that_do_not_fit():
    a, b = (rips_persistence(torch.randn(B, 5, 2))[0] for B in (2, 3))
    with pytest.raises(ValueError, match=r"^b: .*batch.*\[2\].*\[3\]"):
        wasserstein_distance(a, b)


def test_without_pot_the_error_says_what_to_install(monkeypatch):
    import_ = builtins.__import__

    def without_pot(name, *args, **options):
        if name == "ot":
            raise ImportError(name)
        return import_(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_pot)
    (h0,) = rips_persistence(SQUARE, max_dim=0)
    with pytest.raises(ImportError, match="pip install POT"):
        wasserstein_distance(h0, h0)
