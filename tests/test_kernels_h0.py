"""The kernels of H0 against the CPU engine: the same integers."""

import pytest
import torch
from clouds import FAMILIES, cloud, matrix
from devices import on_device
from oracles import elder_rule

from tsloss_fast import _C

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast.kernels import distances as distance_kernels
from tsloss_fast.kernels import h0

pairwise_distances = on_device(distance_kernels.pairwise_distances)
h0_critical_edges = on_device(h0.h0_critical_edges)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

SIZES = [1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 129, 256]


def distances(family, n, d=5, B=2):
    x = torch.stack([cloud(family, n, d, seed, torch.float32) for seed in range(B)])
    return torch.from_numpy(_C.distances(x.numpy()))


def check(D):
    bars = h0_critical_edges(D)
    expected = torch.from_numpy(_C.h0(D.contiguous().numpy()))
    assert (bars.dtype, bars.shape) == (torch.int64, expected.shape)
    assert torch.equal(bars, expected)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_bars_are_those_of_the_engine(kind, n):
    B = 2 if n < 100 else 1
    check(torch.stack([matrix(kind, n, seed, torch.float32) for seed in range(B)]))


@pytest.mark.parametrize("n", [17, 65])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family(family, n):
    check(distances(family, n))


@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_bars_obey_the_elder_rule(kind):
    D = matrix(kind, 23, 7, torch.float32)
    expected = [(v, i, j) for v, _, i, j in elder_rule(D)]
    assert [tuple(bar) for bar in h0_critical_edges(D[None])[0].tolist()] == expected


@pytest.mark.parametrize("n", [16, 64, 256])
def test_clouds_that_need_every_round(n):
    """Points on a line whose gaps follow the ruler: each round joins components in pairs."""
    k = torch.arange(1, n)
    gaps = 1.0 + (k & -k)
    x = torch.cat((torch.zeros(1), gaps.cumsum(0)))
    for order in (torch.arange(n), torch.randperm(n)):
        at = x[order]
        check((at[:, None] - at).abs()[None])


@pytest.mark.parametrize("n", [16, 64, 256])
def test_chains_as_long_as_the_cloud(n):
    """Growing gaps: every point chooses the one before it, in the first round.

    Two points far away leave a second round, which sees whether the chain found its one root.
    """
    x = torch.arange(n).float() ** 2
    x[-2:] += 2 * n**2
    x[-1] = x[-2] + 1
    for order in (torch.arange(n), torch.arange(n).flip(0), torch.randperm(n)):
        at = x[order]
        check((at[:, None] - at).abs()[None])


def test_the_sign_of_zero_breaks_no_tie():
    n = 19
    D = torch.zeros(2, n, n)
    i, j = torch.triu_indices(n, n, 1)
    signs = torch.where(torch.rand(len(i)) < 0.5, -0.0, 0.0)
    D[0, i, j] = D[0, j, i] = signs
    expected = torch.tensor([[v, 0, v] for v in range(1, n)])
    for bars in h0_critical_edges(D):
        assert torch.equal(bars, expected)


def test_infinite_lengths_are_edges():
    D = matrix("ranks", 21, 0, torch.float32)
    D[:10, 10:] = D[10:, :10] = float("inf")
    check(D[None])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_counts_as_longer_than_infinity(sign):
    n, bad = 21, 6
    D = matrix("ranks", n, 0, torch.float32)[None]
    D[0, :, 3] = D[0, 3, :] = float("inf")
    D[0, :, bad] = D[0, bad, :] = torch.copysign(torch.tensor(float("nan")), torch.tensor(sign))
    bars = h0_critical_edges(D)[0]
    assert bars[-2].tolist() == [3, 0, 3]
    assert bars[-1].tolist() == [bad, 0, bad]
    assert ((bars[:-1, 1:] != bad).all(-1)).all()


def test_strides_are_followed():
    D = distances("grid", 34, B=4)
    for view in (D[::2, ::2, ::2], D.mT, D[:1].expand(3, 34, 34), D[:, 5:, 5:]):
        assert not view.is_contiguous()
        check(view)


def test_a_batch_is_its_clouds():
    D = distances("grid", 30, B=5)
    single = torch.cat([h0_critical_edges(one[None]) for one in D])
    assert torch.equal(h0_critical_edges(D), single)


def test_distances_and_h0_together():
    x = torch.stack([cloud("grid", 65, 4, seed, torch.float32) for seed in range(2)])
    check(pairwise_distances(x))


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 1, 1), (0, 1, 1)])
def test_no_bars(shape):
    assert h0_critical_edges(torch.zeros(shape)).shape == (shape[0], shape[1] - 1, 3)


@pytest.mark.parametrize(
    ("D", "error", "message"),
    [
        (None, TypeError, "D: expected a torch.Tensor distance matrices .B, n, n., got NoneType"),
        (
            torch.zeros(1, 3, 3, dtype=torch.float64),
            TypeError,
            "D: expected float32, got float64",
        ),
        (torch.zeros(3, 3), ValueError, "D: expected distance matrices .* got float32 .3, 3."),
        (torch.zeros(1, 3, 4), ValueError, "D: expected distance matrices .* got float32 .1, 3, 4"),
        (torch.zeros(1, 0, 0), ValueError, "D: expected distance matrices"),
        (torch.zeros(1, 257, 257), ValueError, "D: expected at most 256 points, .* on the CPU"),
        (torch.zeros(1, 4, 4, device="meta"), ValueError, "D: expected a CUDA tensor"),
    ],
    ids=["none", "float64", "rank2", "oblong", "no-point", "too-large", "meta"],
)
def test_bad_arguments_are_named(D, error, message):
    with pytest.raises(error, match=message):
        h0_critical_edges(D)
