"""Diffeomorphic interpolation: the field by hand, where it passes, and what it is for."""

import math

import pytest
import torch
from clouds import cloud

import tsloss_fast as tsl
from tsloss_fast.losses import interpolated


def gradient(x, loss, sigma):
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(interpolated(x, sigma)), x)[0]


def longest_bar(x):
    return -tsl.rips_persistence(x)[1].lifetimes.max()


def test_the_points_are_as_they_are():
    x = cloud("gaussian", 9, 3)
    assert torch.equal(interpolated(x, 0.5), x)


def test_one_point_moves_the_others_by_the_kernel():
    x = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    found = gradient(x, lambda x: 2 * x[0].sum(), 0.5)
    expected = [2 * math.exp(-((y / 0.5) ** 2) / 2) for y in (0, 1, 3)]
    assert found.flatten().tolist() == pytest.approx(expected, rel=2e-4)


def test_the_field_passes_through_the_gradient_where_there_is_one():
    x = cloud("gaussian", 30, 2)
    plain = torch.autograd.grad(longest_bar(x.requires_grad_()), x)[0]
    reached = (plain != 0).any(-1)
    assert 2 <= reached.sum() <= 4
    found = gradient(x, longest_bar, 0.3)
    torch.testing.assert_close(found[reached], plain[reached], rtol=0, atol=5e-3)
    assert (found != 0).all()
    # It is a direction of ascent of the loss that is differentiated.
    assert (found * plain).sum() > 0


def test_a_batch_is_its_clouds_and_a_cloud_without_gradient_gets_none():
    x = torch.stack([cloud("circle", 12, 2, k) for k in range(3)])
    loss = lambda x: sum(longest_bar(one) for one in x[:2])  # noqa: E731
    found = gradient(x, loss, 0.4)
    for k in range(2):
        torch.testing.assert_close(found[k], gradient(x[k], longest_bar, 0.4))
    assert not found[2].any()


def test_coincident_points_move_together():
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    found = gradient(x, lambda x: x[:2].sum(), 0.5)
    assert found.isfinite().all()
    torch.testing.assert_close(found[0], found[1])


def test_half_and_compiled():
    x = cloud("circle", 12, 2, dtype=torch.float32)
    half = gradient(x.half(), lambda x: longest_bar(x.float()), 0.4)
    assert half.dtype == torch.float16
    compiled = torch.compile(lambda x: longest_bar(interpolated(x, 0.4)), backend="aot_eager")
    y = x.clone().requires_grad_()
    found = torch.autograd.grad(compiled(y), y)[0]
    torch.testing.assert_close(found, gradient(x, longest_bar, 0.4))


def test_a_circle_opens_in_half_the_steps():
    """The longest bar of 40 points in a disc, pushed by plain steps and by interpolated ones."""

    def steps_until(sigma, length=1.2):
        x = 0.4 * cloud("gaussian", 40, 2, 1)
        for step in range(400):
            if -longest_bar(x) >= length:
                return step
            moved = longest_bar if sigma is None else lambda x: longest_bar(interpolated(x, sigma))
            y = x.clone().requires_grad_()
            x = x - 0.05 * torch.autograd.grad(moved(y), y)[0]
        raise AssertionError(f"no bar of {length} in 400 steps")

    assert steps_until(0.2) <= 0.5 * steps_until(None)


def test_a_second_derivative_is_an_error():
    x = cloud("circle", 8, 2).requires_grad_()
    (slope,) = torch.autograd.grad(longest_bar(interpolated(x, 0.4)), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope.sum(), x)


@pytest.mark.parametrize("sigma", [0, -1.0, math.inf])
def test_a_wrong_width_is_named(sigma):
    with pytest.raises(ValueError, match="sigma: expected a finite number > 0"):
        interpolated(torch.zeros(3, 2), sigma)
