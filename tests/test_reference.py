"""The reference alone: gudhi on the lengths themselves, ties, and what it refuses.

The textbook algorithms and what is known by hand are in tests/persistence and tests/losses, by the
fixture `impl`.
"""

import subprocess
import sys

import pytest
import torch
from clouds import clouds, matrix
from hypothesis import given
from oracles import (
    edges,
    gudhi_intervals,
    values,
)

from tsloss_fast import reference


@given(x=clouds())
def test_values_are_those_of_gudhi_on_the_lengths_themselves(x):
    """The ranks that the reference gives to gudhi lose nothing that the lengths say."""
    D = reference.pairwise_distances(x)
    dgms = reference.rips_persistence(D, metric="precomputed")
    assert [values(dgm) for dgm in dgms] == gudhi_intervals(D)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_nan_and_inf_never_give_a_plausible_number(mode, value):
    x = torch.randn(5, 3)
    x[2, 1] = value
    try:
        loss = reference.TSLoss(mode)(x)
    except ValueError:
        return
    assert loss.isnan()


def test_a_nan_cloud_of_a_batch_is_an_error():
    x = torch.randn(2, 4, 3)
    x[1, 3, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        reference.rips_persistence(x)


def test_ties_do_not_depend_on_the_order_that_gudhi_sees():
    """With all lengths equal, every merge and every class is decided by (i, j) alone."""
    D = 1.0 - torch.eye(5)
    h0, h1 = reference.rips_persistence(D, metric="precomputed")
    assert edges(h0) == [(v, v, 0, v) for v in range(1, 5)]
    assert edges(h1) == []
    D[0, 2] = D[2, 0] = D[1, 3] = D[3, 1] = 2.0
    _, h1 = reference.rips_persistence(D[:4, :4], metric="precomputed")
    assert edges(h1) == [(2, 3, 0, 2)]


def test_without_gudhi_the_error_says_how_to_install_it():
    code = """
import sys
sys.modules["gudhi"] = None
import torch
from tsloss_fast import reference
print(reference.pairwise_distances(torch.zeros(2, 1)).sum().item())
try:
    reference.rips_persistence(torch.zeros(3, 1))
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "0.0",
        "tsloss_fast.reference needs gudhi: pip install 'tsloss-fast[reference]'",
    ]


def test_the_matrix_strategy_makes_what_it_says():
    ranks, ties, zeros = (matrix(kind, 12) for kind in ("ranks", "ties", "zeros"))
    upper = torch.ones(12, 12).triu(1).bool()
    assert len(ranks[upper].unique()) == 66
    assert len(ties[upper].unique()) == 4
    assert (zeros[upper] == 0).any()
    assert zeros[upper].signbit().any()
    for D in (ranks, ties, zeros):
        assert torch.equal(D, D.mT)
        assert (D.diagonal() == 0).all()
