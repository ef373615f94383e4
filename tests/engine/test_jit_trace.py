"""`torch.jit.trace` records the operators, so what it gives follows its input."""

import pytest
import torch

import tsloss_fast as tsl

pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning",
    "ignore:.torch.jit.trace(_method)?. is (deprecated|not supported)",
)
EDGES = torch.tensor([[0, 1], [3, 2]])
CALLS = {
    "pairwise_distances": tsl.pairwise_distances,
    "cosine": lambda x: tsl.pairwise_distances(x, "cosine"),
    "cityblock": lambda x: tsl.pairwise_distances(x, "cityblock"),
    "edge_lengths": lambda x: tsl.edge_lengths(x, EDGES),
    "h0": lambda x: tsl.rips_persistence(x, max_dim=0)[0].deaths,
    "h1": lambda x: tsl.rips_persistence(x)[1].pairs,
    "precomputed": lambda x: (
        tsl.rips_persistence(tsl.pairwise_distances(x), metric="precomputed")[1].pairs
    ),
    "entropy": lambda x: tsl.persistence_entropy(*tsl.rips_persistence(x)),
    "persistence": tsl.TSLoss(reduction="none"),
    "surrogate": tsl.TSLoss("surrogate", reduction="none"),
    "scaled": tsl.TSLoss(scale="mean", reduction="none"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_a_traced_call_follows_its_input(name, batch):
    """Was the value of the input that it was traced with, whatever it was given."""
    call = CALLS[name]
    traced = torch.jit.trace(call, torch.randn(*batch, 9, 3), check_trace=False)
    for n in (9, 12):
        x = torch.randn(*batch, n, 3, requires_grad=True)
        torch.testing.assert_close(traced(x), call(x), rtol=1e-5, atol=1e-6)
        slopes = [torch.autograd.grad(f(x).sum(), x)[0] for f in (traced, call)]
        torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_the_mean_over_a_traced_batch_is_refused(mode):
    """A trace fixes the number of clouds, so a batch of another size had another weight."""
    loss = tsl.TSLoss(mode)
    with pytest.raises(ValueError, match=r"^reduction: .*torch.jit.trace.*got 'mean'"):
        torch.jit.trace(loss, torch.randn(2, 9, 3), check_trace=False)
    traced = torch.jit.trace(loss, torch.randn(9, 3), check_trace=False)
    x = torch.randn(12, 3)
    torch.testing.assert_close(traced(x), loss(x))
