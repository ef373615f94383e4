"""MTop-Div of attention maps: by hand, ripser's loop, gradients, wrong arguments."""

import numpy as np
import pytest
import torch

from tsloss_fast import losses
from tsloss_fast.losses import mtop_div


def maps(*shape, causal=True, dtype=torch.float64, seed=0):
    """Softmax of Gaussian scores, [*shape]."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if causal:
        scores = scores.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -torch.inf)
    return scores.softmax(-1).to(dtype)


def by_ripser(attention, n_prompt):
    """The formula on the whole graph of n tokens, by ripser."""
    ripser = pytest.importorskip("ripser")
    D = 1 - np.maximum(attention, attention.T)
    np.fill_diagonal(D, 0)
    D[:n_prompt, :n_prompt] = 0
    with np.errstate(all="ignore"):
        deaths = ripser.ripser(D, distance_matrix=True, maxdim=0)["dgms"][0][:, 1]
    return deaths[np.isfinite(deaths)].sum() / (len(D) - n_prompt)


def test_by_hand():
    attention = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.25, 0.25]])
    # Token 1 is at 3/4 of the prompt, token 2 at 1/2 of it, and they are at 3/4.
    assert mtop_div(attention, 1).item() == (0.75 + 0.5) / 2
    assert mtop_div(attention, 1, normalise=False).item() == 0.75 + 0.5
    assert mtop_div(attention, 2).item() == 0.5
    assert mtop_div(attention, 0, normalise=False).item() == 0.75 + 0.5


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("n_prompt", [0, 1, 11, 29])
def test_values_are_those_of_ripsers_loop(causal, n_prompt):
    attention = maps(2, 3, 30, 30, causal=causal)
    found = mtop_div(attention, n_prompt)
    assert found.shape == (2, 3)
    expected = [by_ripser(each, n_prompt) for each in attention.flatten(0, 1).numpy()]
    np.testing.assert_allclose(found.flatten(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("levels", [None, 4], ids=["generic", "ties"])
@pytest.mark.parametrize(("n", "n_prompt"), [(17, 0), (33, 16), (40, 17), (66, 33), (90, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_engines_tree_is_that_of_the_distances(n, n_prompt, dtype, levels):
    """Beside the way that vmap goes: the distances written in torch, and H0 of them."""
    attention = maps(3, n, n, causal=False, dtype=dtype)
    if levels:
        attention = (attention * levels * 4).round() / (levels * 4)
    found = mtop_div(attention, n_prompt)
    expected = torch.vmap(lambda a: mtop_div(a, n_prompt))(attention)
    torch.testing.assert_close(found, expected, rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    attention = maps(3, 20, 20, dtype=dtype)
    found = mtop_div(attention, 8)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), mtop_div(attention.double(), 8), rtol=1e-6, atol=1e-6
    )


def test_layers_are_stacked():
    layers = tuple(maps(2, 4, 12, 12, seed=seed) for seed in range(3))
    found = mtop_div(layers, 5)
    assert found.shape == (3, 2, 4)
    assert torch.equal(found, torch.stack([mtop_div(each, 5) for each in layers]))


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 1), (2, 2)], ids=str)
def test_small_and_none(shape):
    attention = torch.full(shape, 0.25)
    found = mtop_div(attention, shape[-1] - 1)
    assert torch.equal(found, torch.full(shape[:-2], 0.75 if shape[-1] > 1 else 0.0))


@pytest.mark.parametrize("n_prompt", [0, 4])
def test_gradcheck(n_prompt):
    attention = maps(2, 9, 9, causal=False).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: mtop_div(a, n_prompt), attention)
    assert torch.autograd.gradgradcheck(lambda a: mtop_div(a, n_prompt).square(), attention)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_ties_have_a_finite_gradient(value):
    attention = torch.full((8, 8), value, requires_grad=True)
    found = mtop_div(attention, 3)
    assert found == 1 - value
    (gradient,) = torch.autograd.grad(found, attention)
    assert gradient.isfinite().all()


def test_the_gradient_is_that_of_the_edges_that_attach_the_response():
    attention = torch.tensor(
        [[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.125, 0.375]], requires_grad=True
    )
    (gradient,) = torch.autograd.grad(mtop_div(attention, 1), attention)
    assert gradient.tolist() == [[0.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]


def test_compiled_is_eager():
    attention = maps(2, 12, 12)
    compiled = torch.compile(lambda a: mtop_div(a, 5), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(attention), mtop_div(attention, 5), rtol=1e-12, atol=0)


def test_a_map_over_heads():
    attention = maps(4, 12, 12)
    found = torch.vmap(lambda a: mtop_div(a, 5))(attention)
    torch.testing.assert_close(found, mtop_div(attention, 5), rtol=1e-12, atol=0)


def test_the_module_is_the_function():
    layers = tuple(maps(2, 4, 12, 12, seed=seed) for seed in range(3))
    each, mean = losses.MTopDivLoss(reduction="none"), losses.MTopDivLoss(normalise=False)
    assert torch.equal(each(layers, 5), mtop_div(layers, 5))
    assert mean(layers, 5) == mtop_div(layers, 5, normalise=False).mean()
    assert repr(mean) == "MTopDivLoss(normalise=False, reduction='mean')"
    with pytest.raises(ValueError, match="reduction: expected one of 'mean', 'none', got 'sum'"):
        losses.MTopDivLoss(reduction="sum")


def test_weights_beyond_1_by_rounding():
    attention = torch.full((4, 4), 1 + 2 * torch.finfo(torch.float32).eps)
    assert mtop_div(attention, 2) == 0


@pytest.mark.parametrize(
    ("attention", "n_prompt", "message"),
    [
        (torch.ones(3, 4), 1, "attention: expected maps"),
        (torch.ones(0, 0), 0, "attention: expected maps"),
        (torch.ones(4), 1, r"attention: expected attention maps \[..., n, n\], got float32 \[4\]"),
        (torch.ones(4, 4).long(), 1, "attention: expected float16"),
        (np.ones((4, 4)), 1, "attention: expected a torch.Tensor attention maps"),
        ([], 1, "attention: expected a Tensor for at least one layer, got none"),
        (
            (None, None),
            1,
            "attention: expected a Tensor for each layer, got NoneType: transformers",
        ),
        (torch.full((4, 4), 2.0), 1, "attention: expected weights from 0 to 1, got values from 2"),
        (torch.full((4, 4), -1.0), 1, "attention: expected weights from 0 to 1"),
        (torch.full((4, 4), torch.nan), 1, "attention: expected weights from 0 to 1, got .* nan"),
        (torch.ones(4, 4), 4, "n_prompt: expected at most 3, got 4"),
        (torch.ones(4, 4), -1, "n_prompt: expected at least 0, got -1"),
        (torch.ones(4, 4), 1.5, "n_prompt: expected an int, got 1.5"),
    ],
)
def test_wrong_arguments(attention, n_prompt, message):
    with pytest.raises((TypeError, ValueError), match=message):
        losses.mtop_div(attention, n_prompt)
