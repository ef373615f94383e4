"""TopologicalLoss: what a new loss gets from its base, and the two losses behind TSLoss."""

import copy
import pickle

import pytest
import torch
from clouds import cloud

from tsloss_fast import pairwise_distances, rips_persistence, total_persistence
from tsloss_fast.losses import Pending, PersistenceLoss, SurrogateLoss, TopologicalLoss, TSLoss
from tsloss_fast.losses.started import can_start


class Loops(TopologicalLoss):
    """Two terms, one of them with a weight."""

    def __init__(self, beta_loops=1.0, **options):
        super().__init__(**options)
        self.beta_loops = beta_loops

    def terms(self, x):
        _, h1 = rips_persistence(x)
        return {"loops": total_persistence(h1, 1.0), "size": x.square().sum((-2, -1))}


def circles(B=None, n=14):
    x = torch.stack([cloud("circle", n, 3, seed) for seed in range(B or 1)])
    return (x if B else x[0]).requires_grad_()


def by_hand(x, lambda_ts=1.0, beta_loops=1.0):
    loops = total_persistence(rips_persistence(x)[1], 1.0)
    return lambda_ts * (beta_loops * loops + x.square().sum((-2, -1)))


@pytest.mark.parametrize("B", [None, 1, 3])
def test_weights_and_reduction(B):
    x, weights = circles(B), {"lambda_ts": 0.3, "beta_loops": 2.0}
    expected = by_hand(x, **weights)
    none, terms = Loops(**weights, reduction="none")(x, return_terms=True)
    mean, means = Loops(**weights)(x, return_terms=True)
    torch.testing.assert_close(none, expected)
    torch.testing.assert_close(mean, expected.mean())
    for name in ("loops", "size"):
        assert terms[name].shape == expected.shape
        assert not terms[name].requires_grad
        torch.testing.assert_close(means[name], terms[name].mean())
    gradients = [torch.autograd.grad(loss, x)[0] for loss in (mean, expected.mean())]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().sum() > 0


def test_lambda_ts_and_beta_may_be_set_between_steps():
    x, loss = circles(), Loops()
    loss.lambda_ts, loss.beta_loops = 0.5, 3.0
    torch.testing.assert_close(loss(x), by_hand(x, 0.5, 3.0))


def test_scale_by_the_mean_has_no_gradient_through_the_mean():
    x = circles(2)
    mean = pairwise_distances(x.detach()).mean((-2, -1), keepdim=True)
    loss = Loops(scale="mean")(x)
    expected = by_hand(x / mean).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, x)[0] for value in (loss, expected)))
    torch.testing.assert_close(Loops(scale="mean")(1000 * x), loss)


def test_a_new_loss_is_started_copied_pickled_and_shown():
    x, loss = circles(), Loops(lambda_ts=0.5)
    pending = loss.start(x)
    assert isinstance(pending, Pending)
    assert can_start(loss)
    assert pending.seconds > 0
    assert torch.equal(pending.result(), loss(x))
    assert pending.result(return_terms=True)[1] == loss(x, return_terms=True)[1]
    for clone in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(clone(x), loss(x))
    assert repr(loss) == "Loops(lambda_ts=0.5, scale=None, reduction='mean')"


def test_half_points_reach_the_terms_as_float32():
    x = circles().detach().half().requires_grad_()
    loss = Loops()(x)
    assert loss.dtype == torch.float32
    assert torch.autograd.grad(loss, x)[0].dtype == torch.float16


def test_under_torch_func():
    x = circles(3).detach()
    losses = torch.func.vmap(Loops())(x)
    torch.testing.assert_close(losses, by_hand(x))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Loops(lambda_ts=-1), ValueError, "lambda_ts: expected a finite number >= 0"),
        (lambda: Loops(scale="max"), ValueError, "scale: expected one of None, 'mean'"),
        (lambda: Loops(reduction="sum"), ValueError, "reduction: expected one of 'mean', 'none'"),
        (lambda: Loops()([1.0]), TypeError, "prompt: expected a torch.Tensor"),
        (lambda: Loops()(torch.zeros(0, 3, 2)), ValueError, "prompt: expected at least one cloud"),
        (
            lambda: Loops()(torch.tensor([[0.0], [torch.nan]])),
            ValueError,
            r"prompt: expected finite values, got prompt\[1, 0\] = nan",
        ),
        (lambda: TopologicalLoss()(circles()), NotImplementedError, "TopologicalLoss defines no"),
    ],
)
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_term_of_another_shape_is_an_error():
    class Wrong(TopologicalLoss):
        def terms(self, x):
            return {"rows": x.sum(-1)}

    with pytest.raises(ValueError, match=r"terms: .* shape \[2\], got 'rows' of shape \[2, 14\]"):
        Wrong()(circles(2))


# The two losses behind TSLoss

PAIRS = [
    (PersistenceLoss, {"h1_power": 1.5}, "persistence"),
    (
        SurrogateLoss,
        {"tau": 0.3, "alpha": 2.0, "lambda_repel": 0.5, "self_pairs": True, "detach_scales": True},
        "surrogate",
    ),
]


@pytest.mark.parametrize(
    "common", [{}, {"lambda_ts": 0.3, "beta_h1": 2.5, "scale": "mean"}], ids=str
)
@pytest.mark.parametrize(("kind", "options", "mode"), PAIRS)
def test_each_loss_is_tsloss_of_its_mode(kind, options, mode, common):
    x = circles(3)
    ours, theirs = kind(**options, **common), TSLoss(mode, **options, **common)
    for reduction in ("mean", "none"):
        ours.reduction = theirs.reduction = reduction
        found, expected = ours(x, return_terms=True), theirs(x, return_terms=True)
        assert torch.equal(found[0], expected[0])
        assert all(torch.equal(found[1][name], expected[1][name]) for name in ("h0", "h1"))
        gradients = [torch.autograd.grad(loss.sum(), x)[0] for loss in (found[0], expected[0])]
        assert torch.equal(*gradients)
    assert f"mode={mode!r}, {ours.extra_repr()}" == theirs.extra_repr()


@pytest.mark.parametrize(("kind", "options", "mode"), PAIRS)
def test_each_loss_has_the_options_of_its_own_alone(kind, options, mode):
    others = {name for _, each, other in PAIRS if other != mode for name in each}
    for name in others:
        assert not hasattr(kind(), name)
        with pytest.raises(TypeError, match=name):
            kind(**{name: 1.0})


def test_the_mode_of_tsloss_may_be_set_between_steps():
    x, loss = circles(), TSLoss(tau=0.3, h1_power=1.5)
    loss.mode = "surrogate"
    assert torch.equal(loss(x), SurrogateLoss(tau=0.3)(x))
    loss.mode, loss.h1_power = "persistence", 3.0
    assert torch.equal(loss(x), PersistenceLoss(h1_power=3.0)(x))


def test_a_pickle_from_before_the_two_losses_loads():
    """It held the options of both modes, and nothing else, in the attributes of the module."""
    loss = TSLoss("surrogate", tau=0.3)
    names = {"mode", "lambda_ts", "beta_h0", "beta_h1", "h1_power", "tau", "alpha", "scale"}
    names |= {"lambda_repel", "lambda_attract", "self_pairs", "detach_scales", "reduction"}
    own = {name for name in vars(loss) if not name.startswith("_")} - {"training"}
    younger = {"metric", "max_edge_length", "h1"}
    assert own == names | younger
    assert list(loss.modules()) == [loss]
    # What is younger the class has as it was before.
    old = pickle.loads(pickle.dumps(loss))
    for name in younger:
        del old.__dict__[name]
    x = circles()
    assert torch.equal(old(x), loss(x))


def test_seconds_are_not_asked_for_under_compile():
    loss = TSLoss()
    compiled = torch.compile(lambda x: loss.start(x).result(), backend="aot_eager", fullgraph=True)
    x = circles().detach().float()
    assert torch.equal(compiled(x), loss(x))
