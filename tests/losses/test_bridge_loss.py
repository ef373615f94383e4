"""Alignment with bridges: by hand, by gudhi's edges one after the other, gradients."""

import math

import pytest
import torch
from clouds import FAMILIES, cloud

from tsloss_fast import losses, reference
from tsloss_fast.losses import bridge_alignment


def drawn(n=6, m=8, d=3, B=None, dtype=torch.float64, seed=0):
    """Two clouds and the steps of the first, [n, d] or [B, n, d]."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, d), (m, d), (n, d))
    return tuple(
        torch.randn((*((B,) if B else ()), *shape), generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for shape in shapes
    )


def twin(a, b, steps):
    """The formula, bridge by bridge, on the death edges that gudhi finds."""
    h0, _ = reference.rips_persistence(torch.cat((a, b)).detach())
    found = []
    for i, j in h0.death_edges.tolist():
        if i < len(a) <= j:
            along, step = b[j - len(a)] - a[i], steps[i]
            found.append(1 - along @ step / (along.norm() * step.norm()))
    return torch.stack(found).mean()


def test_by_hand():
    """Points 0 and 1 of a line and 3 and 7: the only bridge leads from 1 to 3."""
    a, b = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [7.0, 0.0]])
    steps = torch.tensor([[-1.0, 0.0], [3.0, 4.0]], requires_grad=True)
    loss = bridge_alignment(a, b, steps)
    assert loss.item() == pytest.approx(1 - 3 / 5)
    loss.backward()
    # Of -x / |(x, y)| at (3, 4).
    expected = torch.tensor([[0.0, 0.0], [-16 / 125, 12 / 125]])
    torch.testing.assert_close(steps.grad, expected)


def test_the_ends_of_the_range():
    a, b = torch.zeros(1, 3), torch.tensor([[2.0, 0.0, 1.0], [4.0, 0.0, 2.0]])
    assert bridge_alignment(a, b, b[:1]).item() == pytest.approx(0, abs=1e-6)
    assert bridge_alignment(a, b, -b[:1]).item() == pytest.approx(2)
    assert bridge_alignment(a, b, torch.zeros(1, 3)).item() == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (9, 1), (10, 14)])
def test_values_are_those_of_gudhis_edges(family, n, m):
    both = cloud(family, n + m, 3, 1)
    # Points of either cloud coincide with none of the other, where no direction leads.
    a, b = both[:n], both[n:] + torch.tensor([0.013, 0.0, 0.0], dtype=both.dtype)
    steps = cloud("gaussian", n, 3, 2)
    torch.testing.assert_close(bridge_alignment(a, b, steps), twin(a, b, steps))


def test_gradients_are_those_of_the_formula():
    clouds = drawn(10, 14)
    found = torch.autograd.grad(bridge_alignment(*clouds, detach_bridges=False), clouds)
    expected = torch.autograd.grad(twin(*clouds), clouds)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    (alone,) = torch.autograd.grad(bridge_alignment(*clouds), clouds[2])
    assert torch.equal(alone, found[2])
    with pytest.raises(RuntimeError, match=r"not .* used in the graph"):
        torch.autograd.grad(bridge_alignment(*clouds), clouds[0])


def test_gradcheck_first_and_second():
    for clouds in (drawn(), drawn(B=2)):
        both = lambda *x: bridge_alignment(*x, detach_bridges=False)  # noqa: E731
        assert torch.autograd.gradcheck(both, clouds)
        assert torch.autograd.gradgradcheck(both, clouds)


def test_a_batch_is_its_clouds():
    clouds = drawn(B=4)
    found = bridge_alignment(*clouds)
    assert found.shape == (4,)
    each = torch.stack([bridge_alignment(*one) for one in zip(*clouds, strict=True)])
    torch.testing.assert_close(found, each, rtol=1e-13, atol=0)
    grid = bridge_alignment(*(x.reshape(2, 2, *x.shape[1:]) for x in clouds))
    assert torch.equal(grid, found.reshape(2, 2))
    torch.testing.assert_close(torch.func.vmap(bridge_alignment)(*clouds), found)


def test_compiled_is_eager():
    clouds = drawn(B=2)
    compiled = torch.compile(bridge_alignment, backend="aot_eager", fullgraph=True)
    found, expected = compiled(*clouds), bridge_alignment(*clouds)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    slopes = [torch.autograd.grad(x.sum(), clouds[2])[0] for x in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    clouds = drawn(dtype=dtype)
    found = bridge_alignment(*clouds)
    assert found.dtype == torch.float32
    expected = bridge_alignment(*(x.double() for x in clouds))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1e20, 1e300])
def test_it_does_not_depend_on_the_length_of_steps(scale):
    a, b, steps = drawn()
    found, expected = bridge_alignment(a, b, scale * steps), bridge_alignment(a, b, steps)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    slopes = [torch.autograd.grad(x, steps)[0] for x in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("still", ["steps", "bridges", "both"])
def test_what_has_no_length_has_gradient_0(still):
    a, b, steps = drawn(4, 4)
    if still != "steps":
        b = a.detach().clone().requires_grad_()
    if still != "bridges":
        steps = torch.zeros_like(steps).requires_grad_()
    loss = bridge_alignment(a, b, steps, detach_bridges=False)
    assert loss == 1 or still == "bridges"
    for slope in torch.autograd.grad(loss, (a, b, steps)):
        assert slope.isfinite().all()
        assert still == "bridges" or not slope.any()


def test_a_metric_says_which_edges_are_bridges():
    """The point 1 is farther from the answer than 0 is, but nearly in its direction."""
    a, b = torch.tensor([[2.0, 1.0], [9.0, 8.5]]), torch.tensor([[1.0, 1.0]])
    steps = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    assert bridge_alignment(a, b, steps).item() == 0
    by_angle = bridge_alignment(a, b, steps, "cosine").item()
    assert by_angle == pytest.approx(1 + 8 / math.hypot(8, 7.5))


def test_descent_turns_steps_to_the_bridges():
    a, b, steps = (x.detach() for x in drawn(10, 12, 16))
    steps.requires_grad_()
    optimizer = torch.optim.Adam([steps], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = bridge_alignment(a, b, steps)
        loss.backward()
        optimizer.step()
    # A point of several bridges cannot take all of their directions.
    assert bridge_alignment(a, b, steps) < 0.35


def test_the_module_is_the_function():
    clouds = drawn(B=3)
    none, mean = (losses.BridgeAlignmentLoss(reduction=how) for how in ("none", "mean"))
    assert torch.equal(none(*clouds), bridge_alignment(*clouds))
    assert torch.equal(mean(*clouds), bridge_alignment(*clouds).mean())
    expected = (
        "BridgeAlignmentLoss(metric='euclidean', p=None, detach_bridges=True, reduction='mean')"
    )
    assert repr(mean) == expected


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a, b, s: (a.tolist(), b, s), TypeError, "a: expected a torch.Tensor"),
        (lambda a, b, s: (a, b[:, :2], s), ValueError, r"b: expected as many clouds and coordin"),
        (lambda a, b, s: (a, b.expand(2, -1, -1), s), ValueError, "b: expected as many clouds"),
        (lambda a, b, s: (a, b[:0], s), ValueError, "b: expected at least one point"),
        (lambda a, b, s: (a, b, s[1:]), ValueError, r"steps: expected the shape of a, \[6, 3\]"),
        (lambda a, b, s: (a, b, s / 0), ValueError, r"steps: expected finite values, got steps\["),
        (lambda a, b, s: (a, b * math.nan, s), ValueError, r"b: expected finite values, got b\[0"),
    ],
)
def test_wrong_clouds_are_named(change, error, message):
    with pytest.raises(error, match=message):
        bridge_alignment(*change(*drawn()))


def test_wrong_options_are_named():
    clouds = drawn(8, 8, 16)
    with pytest.raises(ValueError, match=r"metric: expected one of points, .* got 'precomputed'"):
        bridge_alignment(*clouds, metric="precomputed")
    with pytest.raises(TypeError, match="detach_bridges: expected True or False, got 1"):
        bridge_alignment(*clouds, detach_bridges=1)
    with pytest.raises(ValueError, match="reduction: expected one of 'mean', 'none', got 'sum'"):
        losses.BridgeAlignmentLoss(reduction="sum")
