"""TSLoss in metrics but the Euclidean: the reference's formulas on the metric's distances."""

import pickle

import pytest
import torch
from clouds import cloud

import tsloss_fast as tsl
from tsloss_fast import reference

METRICS = ["cosine", "correlation", "cityblock", "chebyshev"]
MODES = ["persistence", "surrogate"]
modes = pytest.mark.parametrize("mode", MODES)
metrics = pytest.mark.parametrize("metric", METRICS)


def prompts():
    return torch.stack([cloud("gaussian", 12, 5, seed) for seed in range(3)])


class ReferenceOnDistances(reference.TSLoss):
    """The reference with the distances of a metric in place of the Euclidean."""

    def __init__(self, metric, **options):
        super().__init__(**options)
        self.metric = metric

    def forward(self, prompt):
        D = reference.pairwise_distances(prompt, self.metric)
        if self.scale == "mean":
            D = D / D.detach().mean((-2, -1), keepdim=True)
        h0, h1 = self._persistence(D) if self.mode == "persistence" else self._surrogate(D)
        loss = self.lambda_ts * (self.beta_h0 * h0 + self.beta_h1 * h1)
        return loss.mean() if self.reduction == "mean" else loss


@modes
@metrics
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": "mean", "reduction": "none"},
        {"lambda_ts": 0.5, "beta_h0": 2.0, "beta_h1": 3.0, "h1_power": 1.5},
        {"tau": 0.5, "alpha": 3.0, "self_pairs": True, "lambda_repel": 2.0},
        {"detach_scales": True, "lambda_attract": 0.5},
    ],
    ids=str,
)
def test_value_and_gradient_are_those_of_the_reference(mode, metric, options):
    x = prompts().requires_grad_()
    ours = tsl.TSLoss(mode, metric=metric, **options)(x)
    theirs = ReferenceOnDistances(metric, mode=mode, **options)(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)
    slopes = [torch.autograd.grad(loss.sum(), x)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)


@modes
def test_the_formulas_on_distances_are_those_of_the_engine(mode):
    x = prompts().requires_grad_()
    losses = [tsl.TSLoss(mode, metric=m)(x) for m in ("euclidean", tsl.pairwise_distances)]
    torch.testing.assert_close(*losses, rtol=1e-11, atol=1e-13)
    slopes = [torch.autograd.grad(loss, x)[0] for loss in losses]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)


@modes
@metrics
def test_gradcheck(mode, metric):
    x = (prompts()[0] + 3).requires_grad_()
    assert torch.autograd.gradcheck(tsl.TSLoss(mode, metric=metric), x)


@modes
@pytest.mark.parametrize("metric", ["cosine", "cityblock"])
def test_one_point_and_coincident_points_have_gradient_0(mode, metric):
    for n in (1, 4):
        x = torch.ones(n, 3, requires_grad=True)
        loss = tsl.TSLoss(mode, metric=metric)(x)
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss.abs() < 1e-6
        assert torch.equal(gradient, torch.zeros_like(x))


@modes
def test_terms_start_and_half(mode):
    x = prompts().half()
    loss = tsl.TSLoss(mode, metric="cityblock", beta_h0=2.0)
    value, terms = loss(x, return_terms=True)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, 2 * terms["h0"] + terms["h1"])
    assert torch.equal(loss.start(x).result(), value)


def test_the_classes_of_each_formulation_take_it():
    x = prompts()
    for kind, mode in (
        (tsl.losses.PersistenceLoss, MODES[0]),
        (tsl.losses.SurrogateLoss, MODES[1]),
    ):
        ours = kind(metric="chebyshev")
        assert torch.equal(ours(x), tsl.TSLoss(mode, metric="chebyshev")(x))
        assert repr(ours).endswith("reduction='mean', metric='chebyshev')")
        assert "metric" not in repr(kind())
        assert pickle.loads(pickle.dumps(ours)).metric == "chebyshev"


@modes
def test_what_is_refused(mode):
    with pytest.raises(ValueError, match=r"^metric: .*'cityblock'.*got 'l1'"):
        tsl.TSLoss(mode, metric="l1")
    loss = tsl.TSLoss(mode, metric="cityblock", beta_h1=0.0)
    with pytest.raises(ValueError, match=r'^metric: expected "euclidean" for a graph'):
        loss.graphed(torch.randn(4, 3, requires_grad=True))
    x = torch.randn(4, 3)
    x[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"^prompt: .*prompt\[2, 1\]"):
        loss(x)
