"""TSLoss.graphed: what it refuses, and what a call does around the replay of its graph."""

import pytest
import torch
from graphs import run_instead_of_capturing

from tsloss_fast import TSLoss

OPTIONS = [
    {"mode": "surrogate"},
    {"mode": "surrogate", "scale": "mean"},
    {"mode": "persistence", "beta_h1": 0.0},
]


def parameter(*shape):
    return torch.nn.Parameter(torch.randn(*(shape or (9, 4)), dtype=torch.float64))


@pytest.fixture
def captures(monkeypatch):
    return run_instead_of_capturing(monkeypatch)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(9, 4), (3, 9, 4)], ids=str)
def test_a_call_is_forward_and_backward(captures, options, shape):
    loss, prompt = TSLoss(**options), parameter(*shape)
    graphed = loss.graphed(prompt)
    for _ in range(3):
        with torch.no_grad():
            prompt.normal_()
        prompt.grad = None
        expected = loss(prompt)
        (gradient,) = torch.autograd.grad(expected, prompt)
        found = graphed()
        assert not found.requires_grad
        torch.testing.assert_close(found, expected.detach(), rtol=1e-13, atol=0)
        torch.testing.assert_close(prompt.grad, gradient, rtol=1e-12, atol=1e-15)
    assert len(captures) == 1


@pytest.mark.usefixtures("captures")
def test_gradients_add_up_and_are_the_callers():
    prompt = parameter()
    graphed = TSLoss("surrogate").graphed(prompt)
    graphed()
    once, kept = prompt.grad.clone(), prompt.grad
    graphed()
    assert prompt.grad is kept
    torch.testing.assert_close(kept, 2 * once, rtol=1e-15, atol=0)
    prompt.grad = None
    graphed()
    # A call that did not add to it left it as it was.
    torch.testing.assert_close(kept, 2 * once, rtol=1e-15, atol=0)


def test_a_change_of_the_loss_or_of_the_memory_captures_anew(captures):
    loss, prompt = TSLoss("surrogate"), parameter()
    graphed = loss.graphed(prompt)
    first = graphed().clone()
    loss.eval()
    graphed()
    assert len(captures) == 1
    loss.lambda_ts = 0.5
    torch.testing.assert_close(graphed(), first / 2, rtol=1e-15, atol=0)
    assert len(captures) == 2
    prompt.data = prompt.data.clone()
    graphed()
    assert len(captures) == 3


def test_an_option_without_a_graph_is_refused_later_too(captures):
    loss = TSLoss(beta_h1=0)
    graphed = loss.graphed(parameter())
    loss.beta_h1 = 1.0
    with pytest.raises(ValueError, match="H1 is computed on the host"):
        graphed()
    assert len(captures) == 2


@pytest.mark.parametrize(
    ("options", "prompt", "error", "message"),
    [
        (
            {"h1": "host"},
            parameter(),
            ValueError,
            "beta_h1: expected 0 for a graph of the exact loss.*got 1",
        ),
        ({"reduction": "none"}, parameter(), ValueError, "reduction: expected .mean. for a graph"),
        ({}, None, TypeError, "prompt: expected a torch.Tensor"),
        ({}, torch.zeros(3, 2), ValueError, "prompt: expected a leaf that requires a gradient"),
        ({}, 2 * parameter(), ValueError, "prompt: expected a leaf that requires a gradient"),
        (
            {},
            parameter(),
            ValueError,
            "prompt: expected a CUDA tensor for a CUDA graph",
        ),
    ],
)
def test_what_has_no_graph_is_refused(options, prompt, error, message):
    mode = "persistence" if message.startswith("beta_h1") else "surrogate"
    with pytest.raises(error, match=message):
        TSLoss(mode, **options).graphed(prompt)


def test_clouds_of_different_sizes_have_no_graph():
    """Was told to take torch.as_tensor, which such a list has none of."""
    clouds = [torch.randn(3, 2), torch.randn(4, 2)]
    with pytest.raises(TypeError, match=r"prompt: expected one tensor .* got a list: capture one"):
        TSLoss("surrogate").graphed(clouds)
