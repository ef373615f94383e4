"""Arms by their names: what is added to the cross-entropy, and by which weight."""

import pytest
import torch

from experiments import plan
from experiments.arms import Arm, PairwiseDistanceLoss
from tsloss_fast import TSLoss


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("surrogate-l1", TSLoss("surrogate")),
        ("surrogate-b0.5-tau0.1", TSLoss("surrogate", tau=0.1)),
        ("literal-b0.1", TSLoss("surrogate", self_pairs=True)),
        ("literal-l10-alpha5", TSLoss("surrogate", self_pairs=True, lambda_ts=10, alpha=5)),
        ("exact-l0.1", TSLoss(lambda_ts=0.1)),
        ("h0-b0.5", TSLoss(beta_h1=0)),
        ("h1-b0.5", TSLoss(beta_h0=0)),
    ],
)
def test_a_name_says_which_loss(name, expected):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    assert Arm(name).penalty()(x) == expected(x)


def test_the_balance_is_no_option_of_the_loss():
    assert Arm("exact-b0.5").balance == 0.5
    assert Arm("exact-l2").balance is None
    assert Arm("ce").penalty() is None


def test_pairwise_distances_by_hand():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    loss = PairwiseDistanceLoss(2.0)(x)
    assert loss.item() == pytest.approx(2 * (5 + 0 + 5) / 3)
    loss.backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    "name", ["", "ce-l1", "exact", "exact-b0.5-l1", "exact-x1", "exact-b0.5-tau1", "none-l1"]
)
def test_a_wrong_name(name):
    with pytest.raises(ValueError, match="arm: expected"):
        Arm(name)


def test_every_arm_of_the_plan_has_words_of_its_own():
    names = {arm for block in plan.full() for arm in block.arms}
    assert len({Arm(name).label for name in names}) == len(names)
