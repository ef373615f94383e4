"""The kernel of the exact loss's terms against the formulas in float64 torch."""

import pytest
import torch
from devices import on_device

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels import persistence_terms as module
from tsloss_fast._engine.persistence_terms import persistence_terms as plain

persistence_terms = on_device(module.persistence_terms)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

# B, n, K; the last two take several steps of a block each.
SHAPES = [(1, 1, 0), (2, 2, 0), (3, 20, 7), (1, 100, 31), (2, 1200, 3), (2, 9, 1100)]


def sample(shape, dtype):
    """Lengths of H0, births, and later deaths; the last bars of the last cloud are padding."""
    B, n, K = shape
    h0, births, lifetimes = torch.rand(B, n - 1), torch.rand(B, K), torch.rand(B, K)
    h0[:, ::4] = 0
    deaths = births + lifetimes
    births[-1, K // 2 :] = deaths[-1, K // 2 :] = 0
    return torch.cat((h0, births, deaths), dim=-1).to(dtype)


def scales_of(lengths):
    return torch.rand(len(lengths), dtype=torch.float64) + 0.5


def test_scales_may_have_gaps():
    """The kernel reads one a cloud, next to each other."""
    lengths = sample((3, 20, 7), torch.float32)
    scales = scales_of(torch.zeros(6))[::2]
    found = persistence_terms(lengths, 20, 0.3, 2.5, 2.0, scales)
    for ours, theirs in zip(
        found, persistence_terms(lengths, 20, 0.3, 2.5, 2.0, scales.clone()), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_without_scales_they_are_one():
    lengths = sample((2, 20, 7), torch.float32)
    ones = torch.ones(2, dtype=torch.float64)
    found = persistence_terms(lengths, 20, 0.3, 2.5, 2.0)
    for ours, theirs in zip(
        found, persistence_terms(lengths, 20, 0.3, 2.5, 2.0, ones), strict=True
    ):
        assert torch.equal(ours, theirs)


def autograd_weights(lengths, n, h0_weight, h1_weight, power, scales):
    """Loss, terms, and weights by autograd of the formulas."""
    lengths = lengths.double().requires_grad_()
    K = (lengths.shape[-1] - (n - 1)) // 2
    h0, births, deaths = (lengths * scales[:, None]).split((n - 1, K, K), dim=-1)
    count = max(n - 1, 1)
    h0_term = (h0 - h0.sum(-1, keepdim=True) / count).square().sum(-1) / count
    # 0 where there is no lifetime, and so no gradient, as the padding asks.
    h1_term = (deaths - births).pow(power).where(deaths > 0, 0).sum(-1) / n
    loss = h0_weight * h0_term + h1_weight * h1_term
    (gradient,) = torch.autograd.grad(loss.sum(), lengths)
    weights = (gradient / scales[:, None] / lengths).where(lengths > 0, 0)
    return [part.detach() for part in (loss, h0_term, h1_term, weights)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("terms", [persistence_terms, plain], ids=["kernel", "torch"])
def test_terms_and_weights_are_those_of_the_formulas(terms, shape, power, dtype):
    lengths, n = sample(shape, dtype), shape[1]
    scales = scales_of(lengths)
    found = terms(lengths, n, 0.3, 2.5, power, scales)
    wanted = autograd_weights(lengths, n, 0.3, 2.5, power, scales)
    tolerance = 4 * torch.finfo(dtype).eps
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == dtype
        size = theirs.abs().max().item() if theirs.numel() else 1
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance * size)


def test_a_cloud_alone_has_the_bits_that_it_has_in_a_batch():
    lengths = sample((3, 30, 11), torch.float32)
    scales = scales_of(lengths)
    together = persistence_terms(lengths, 30, 1.0, 1.0, 1.7, scales)
    for b in range(3):
        alone = persistence_terms(lengths[b : b + 1], 30, 1.0, 1.0, 1.7, scales[b : b + 1])
        assert all(torch.equal(a[0], t[b]) for a, t in zip(alone, together, strict=True))


def test_a_nan_length_makes_the_loss_nan():
    lengths = sample((2, 8, 3), torch.float32)
    lengths[1, 2] = torch.nan
    loss, *_, weights = persistence_terms(lengths, 8, 1.0, 1.0, 2.0, scales_of(lengths))
    assert loss[0].isfinite()
    assert loss[1].isnan()
    assert weights[0].isfinite().all()


@pytest.mark.parametrize("edges", [3, 6])
def test_lengths_that_fit_no_cloud_are_refused(edges):
    with pytest.raises(ValueError, match=r"lengths: expected .*contiguous, with n = 6"):
        persistence_terms(torch.zeros(1, edges), 6, 1.0, 1.0, 2.0, scales_of([0]))
