"""start_loss: which modules begin early, what they give, and the seconds that they take."""

import pytest
import torch

import tsloss_fast as tsl
from tsloss_fast._engine import pending as pending_module
from tsloss_fast.losses.started import can_start, start_loss


class Starting(torch.nn.Module):
    """Tells what is called, and takes a second for each call."""

    def __init__(self, clock=None):
        super().__init__()
        self.clock = clock
        self.called = []

    def work(self, name):
        self.called.append(name)
        if self.clock is not None:
            self.clock.now += 1.0

    def start(self, prompt):
        self.work("start")
        self.prompt = prompt
        return self

    def result(self, return_terms=False):
        self.work("result")
        loss = self.prompt.sum()
        return (loss, {"sum": loss.detach()}) if return_terms else loss

    def forward(self, prompt, return_terms=False):
        return self.start(prompt).result(return_terms)


class Plain(Starting):
    """Without a start of its own: what it inherits belongs to another forward."""

    def forward(self, prompt, return_terms=False):
        self.work("forward")
        loss = 2 * prompt.sum()
        return (loss, {"sum": loss.detach()}) if return_terms else loss


@pytest.mark.parametrize(
    ("kind", "early", "late"), [(Starting, ["start"], ["result"]), (Plain, [], ["forward"])]
)
def test_what_can_start_starts_at_once(kind, early, late):
    module, prompt = kind(), torch.ones(3, 2, requires_grad=True)
    started = start_loss(module, prompt)
    assert module.called == early
    loss, terms = started.result()
    assert module.called == early + late
    assert loss.item() == terms["sum"].item() == (12 if kind is Plain else 6)
    assert loss.requires_grad


@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_of_tsloss_is_that_of_its_call(mode):
    ts_loss, prompt = tsl.TSLoss(mode), torch.randn(9, 4, requires_grad=True)
    assert can_start(ts_loss)
    loss, terms = start_loss(ts_loss, prompt).result()
    expected, expected_terms = ts_loss(prompt, return_terms=True)
    assert torch.equal(loss, expected)
    assert terms == expected_terms
    gradients = [torch.autograd.grad(value, prompt)[0] for value in (loss, expected)]
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize(
    "register",
    [
        lambda module, hook: module.register_forward_hook(hook),
        lambda module, hook: module.register_forward_pre_hook(hook),
        lambda module, hook: module.register_full_backward_hook(hook),
    ],
    ids=["forward", "forward-pre", "backward"],
)
def test_hooks_are_not_passed_by(register):
    module, calls = tsl.TSLoss(), []
    handle = register(module, lambda *_: calls.append(1))
    start_loss(module, torch.randn(5, 2, requires_grad=True)).result()[0].backward()
    assert calls == [1]
    handle.remove()
    start_loss(module, torch.randn(5, 2)).result()
    assert calls == [1]


def test_a_subclass_that_overrides_forward_alone_is_called():
    class Twice(tsl.TSLoss):
        def forward(self, prompt, return_terms=False):
            loss, terms = super().forward(prompt, return_terms=True)
            return (2 * loss, terms) if return_terms else 2 * loss

    prompt = torch.randn(9, 4)
    assert start_loss(Twice(), prompt).result()[0] == 2 * tsl.TSLoss()(prompt)


def test_a_compiled_module_is_called():
    assert not can_start(torch.compile(tsl.TSLoss(), backend="eager"))


def test_a_start_that_is_no_method_is_none():
    class Scheduled(Plain):
        start = 100

    assert start_loss(Scheduled(), torch.ones(3, 2)).result()[0].item() == 12


@pytest.mark.parametrize(
    ("returned", "error", "got"),
    [
        (torch.ones(()), TypeError, "got Tensor"),
        (1.0, TypeError, "got float"),
        ((1.0, {}), TypeError, r"got \(float, dict\)"),
        ((torch.ones(()), {}, {}), TypeError, r"got \(Tensor, dict, dict\)"),
        ((torch.ones(3), {}), ValueError, r"expected a scalar, got shape \[3\]"),
    ],
    ids=["scalar", "float", "float-and-terms", "three", "vector"],
)
def test_another_result_is_refused(returned, error, got):
    class Other(torch.nn.Module):
        def forward(self, prompt, return_terms=False):
            return returned

    with pytest.raises(error, match=f"ts_loss: .*{got}"):
        start_loss(Other(), torch.ones(3, 2)).result()


@pytest.mark.parametrize(("kind", "expected"), [(Starting, (1.0, 2.0)), (Plain, (0.0, 1.0))])
def test_seconds_are_those_of_start_and_result(kind, expected, monkeypatch):
    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    monkeypatch.setattr(pending_module, "time", clock := Clock())
    started = start_loss(kind(clock), torch.ones(3, 2))
    before = started.seconds
    clock.now += 1000.0  # the model's forward pass
    started.result()
    assert (before, started.seconds) == expected
