"""The one door to the engine: whatever way a tensor goes, the diagrams are the same bits."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from clouds import FAMILIES, cloud, matrix

import tsloss_fast as tsl
from tsloss_fast._engine import operators as ops

PACKAGE = Path(tsl.__file__).parent
FIELDS = [field.name for field in fields(tsl.PersistenceDiagram)]


class Wrapped(torch.Tensor):
    """A tensor of a class of its own, which only operators may look into."""


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for name in FIELDS:
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


def lifetimes_and_gradient(x, **options):
    x = x.detach().requires_grad_()
    diagrams = tsl.rips_persistence(x, **options)
    (gradient,) = torch.autograd.grad(sum(dgm.lifetimes.square().sum() for dgm in diagrams), x)
    return diagrams, gradient


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "precomputed"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_operators_give_what_the_direct_way_gives(monkeypatch, family, metric):
    x = torch.stack([cloud(family, 14, 3, seed) for seed in range(3)]) + 9
    x = tsl.pairwise_distances(x) if metric == "precomputed" else x
    for max_dim in (0, 1):
        options = {"max_dim": max_dim, "metric": metric}
        direct, gradient = lifetimes_and_gradient(x, **options)
        assert_same(tsl.rips_persistence(x, **options), direct)
        with monkeypatch.context() as patch:
            patch.setattr(ops, "is_plain", lambda x: False)
            found, found_gradient = lifetimes_and_gradient(x, **options)
        assert_same(found, direct)
        # The direct way gathers all edges in one sum, the operators in three.
        largest = gradient.abs().max().item()
        torch.testing.assert_close(found_gradient, gradient, rtol=0, atol=1e-13 * largest)


@pytest.mark.parametrize(
    "given",
    [
        lambda D: D.mT.contiguous().mT,
        lambda D: torch.nn.functional.pad(D, (1, 2, 3, 4))[:, 3:-4, 1:-2],
        lambda D: torch.nn.Parameter(D),
        lambda D: D.as_subclass(Wrapped),
        lambda D: D.double().float(),
    ],
    ids=["transposed", "cut out", "parameter", "subclass", "converted"],
)
def test_a_matrix_may_lie_anywhere(given):
    D = torch.stack([matrix("ranks", 11, seed, torch.float32) for seed in range(2)])
    for max_dim in (0, 1):
        expected = tsl.rips_persistence(D, max_dim, "precomputed")
        assert_same(tsl.rips_persistence(given(D), max_dim, "precomputed"), expected)


def test_half_matrices_are_those_in_float32():
    D = matrix("ties", 11, 0, torch.float32)
    expected = tsl.rips_persistence(D.half().float(), metric="precomputed")
    assert_same(tsl.rips_persistence(D.half(), metric="precomputed"), expected)


WITHOUT_THE_QUESTION = """
import torch
ask = torch._C._are_functorch_transforms_active
del torch._C._are_functorch_transforms_active
import tsloss_fast as tsl
torch._C._are_functorch_transforms_active = ask
from tsloss_fast._engine import operators as ops
x = torch.load(IN)
assert not ops.is_plain(x)
torch.save(tsl.rips_persistence(x), OUT)
"""


def test_a_torch_without_the_private_question_uses_operators(tmp_path):
    x = cloud("circle", 15, 3)
    given, found = str(tmp_path / "x.pt"), str(tmp_path / "found.pt")
    torch.save(x, given)
    code = WITHOUT_THE_QUESTION.replace("IN", repr(given)).replace("OUT", repr(found))
    subprocess.run([sys.executable, "-c", code], check=True)
    assert_same(torch.load(found), tsl.rips_persistence(x))


def test_only_the_engine_asks_how_a_tensor_may_go():
    """A caller that asks knows of two ways, and forgets one."""
    asking = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\bis_plain\(", path.read_text())
    }
    assert asking == {"_engine"}
    private = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if "_are_functorch_transforms_active" in path.read_text()
    ]
    assert private == ["plain.py"]
