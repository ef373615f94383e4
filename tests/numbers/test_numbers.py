"""The tables of docs/hardening.md hold here and now."""

import os
import re

import pytest
import torch

import tsloss_fast as tsl
from tests.numbers import PAGE, determinism, precision, rows_of


@pytest.mark.parametrize("way", determinism.WAYS)
def test_results_repeat_as_the_page_says(way):
    found = determinism.measured(way)
    if found is None:
        pytest.skip("this processor has no such instruction set")
    stated = dict(
        zip(determinism.NAMES, rows_of(PAGE.read_text(), "determinism")[way], strict=True)
    )
    for name, by_dtype in found.items():
        limit = re.fullmatch(r"to (\S+) eps", stated[name])
        # Rounding errors of another processor are others, of the same size.
        assert max(by_dtype.values()) <= (4 * float(limit[1]) if limit else 0), (name, by_dtype)
        assert limit or stated[name] == determinism.SAME


@pytest.mark.parametrize("dtype", precision.DTYPES, ids=str)
@pytest.mark.parametrize("name", precision.QUANTITIES)
def test_errors_are_within_the_bound_of_the_page(name, dtype):
    bound = precision.QUANTITIES[name][2]
    assert float(rows_of(PAGE.read_text(), "precision")[name][-1]) == bound
    assert precision.measured(name, dtype) <= bound


LOSSES = {
    "persistence": tsl.TSLoss(),
    "h1_power 3": tsl.TSLoss(h1_power=3),
    "surrogate": tsl.TSLoss("surrogate"),
    "scaled": tsl.TSLoss("surrogate", scale="mean"),
    "cosine": tsl.TSLoss(metric="cosine"),
}


@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_half_prompt_never_loses_its_loss_to_overflow(loss, dtype, autocast):
    """Not even at the end of float16's range, where squares of distances are 10^10."""
    x = 6e4 * torch.nn.functional.normalize(torch.randn(12, 40), dim=-1)
    x = x.to(dtype).requires_grad_()
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        value = LOSSES[loss](x)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert value == LOSSES[loss](x.detach().float())
    value.backward()
    wide = x.detach().float().requires_grad_()
    LOSSES[loss](wide).backward()
    # What float16 cannot hold is infinite in it, by the sign that it has; nothing is NaN.
    assert torch.equal(x.grad, wide.grad.to(dtype))
    assert not x.grad.isnan().any()


STARTS = {
    "identical rows": lambda n, d: torch.ones(n, d) / d**0.5,
    "one-hot rows": lambda n, d: torch.eye(d)[torch.arange(n) % (d - 3)],
    "zero rows": torch.zeros,
}


# All of them in `make load`.
RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0] if "STEPS" in os.environ else [1.0]


@pytest.mark.parametrize("lr", RATES)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_500_steps_stay_finite(loss, start, lr):
    if loss == "cosine" and start == "zero rows":
        pytest.skip("rows without a direction are an error for this metric")
    prompt = torch.nn.Parameter(STARTS[start](12, 16))
    optimizer = torch.optim.AdamW([prompt], lr=lr)
    for step in range(500):
        optimizer.zero_grad()
        # Something that pulls rows apart, as the cross-entropy of a model does.
        value = LOSSES[loss](prompt) + (prompt * torch.arange(192.0).reshape(12, 16).sin()).sum()
        value.backward()
        assert prompt.grad.isfinite().all(), step
        optimizer.step()
        assert value.isfinite(), step
    assert prompt.isfinite().all()
