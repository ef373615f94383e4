"""The kernels of H0 against the CPU engine: the same integers."""

import pytest
import torch
from clouds import FAMILIES, cloud, matrix
from devices import INTERPRETED, on_device
from oracles import elder_rule

from tsloss_fast import _C

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels import distances as distance_kernels
from tsloss_fast._engine.kernels.h0 import elder as h0_elder
from tsloss_fast._engine.kernels.h0 import large as h0_large
from tsloss_fast._engine.kernels.h0 import launch as h0

pairwise_distances = on_device(distance_kernels.pairwise_distances)
h0_critical_edges = on_device(h0.h0_critical_edges)
length_ranks = on_device(h0.length_ranks)


@on_device
def large_bars(D):
    """The kernels for large clouds, whatever the size."""
    return h0_elder.elder_bars(*h0_large.boruvka_rounds(D))


pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned", "few_programs")]

ZERO = torch.zeros(())


@pytest.fixture
def few_programs(monkeypatch):
    """Taller tiles in Triton's interpreter, whose time goes by programs and not by entries."""
    if INTERPRETED:
        monkeypatch.setattr(h0_large, "ROWS", 64)


SIZES = [1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 129, 256]


def distances(family, n, d=5, B=2):
    x = torch.stack([cloud(family, n, d, seed, torch.float32) for seed in range(B)])
    return torch.from_numpy(_C.distances(x.numpy()))


def check(D, kernels=h0_critical_edges):
    bars = kernels(D)
    expected = torch.from_numpy(_C.rips(D.contiguous().numpy(), 0)[0].bars)
    assert (bars.dtype, bars.shape) == (torch.int64, expected.shape)
    assert torch.equal(bars, expected)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_bars_are_those_of_the_engine(kind, n):
    B = 2 if n < 100 else 1
    check(torch.stack([matrix(kind, n, seed, torch.float32) for seed in range(B)]))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family(family):
    check(distances(family, 65))


@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_bars_obey_the_elder_rule(kind):
    D = matrix(kind, 23, 7, torch.float32)
    expected = [tuple(bar) for bar in elder_rule(D)]
    assert [tuple(bar) for bar in h0_critical_edges(D[None])[0].tolist()] == expected


def ruler(n):
    """Points on a line whose gaps follow the ruler: each round joins components in pairs."""
    k = torch.arange(1, n)
    gaps = 1.0 + (k & -k)
    x = torch.cat((torch.zeros(1), gaps.cumsum(0)))
    return (x[:, None] - x).abs()


def chain(n):
    """Growing gaps: every point chooses the one before it, in the first round.

    Two points far away leave a second round, which sees whether the chain found its one root.
    """
    x = torch.arange(n).float() ** 2
    x[-2:] += 2 * n**2
    x[-1] = x[-2] + 1
    return (x[:, None] - x).abs()


@pytest.mark.parametrize("n", [16, 64, 256])
def test_clouds_that_need_every_round(n):
    for order in (torch.arange(n), torch.randperm(n)):
        check(ruler(n)[order][:, order][None])


@pytest.mark.parametrize("n", [16, 64, 256])
def test_chains_as_long_as_the_cloud(n):
    for order in (torch.arange(n), torch.arange(n).flip(0), torch.randperm(n)):
        check(chain(n)[order][:, order][None])


def test_the_sign_of_zero_breaks_no_tie():
    n = 19
    D = torch.zeros(2, n, n)
    i, j = torch.triu_indices(n, n, 1)
    signs = torch.where(torch.rand(len(i)) < 0.5, -0.0, 0.0)
    D[0, i, j] = D[0, j, i] = signs
    expected = torch.tensor([[v, v, 0, v] for v in range(1, n)])
    for bars in h0_critical_edges(D):
        assert torch.equal(bars, expected)


def test_infinite_lengths_are_the_last_edges():
    """Of which `cuda.rips_bars` then says that they are absent, as the engine does at once."""
    D = matrix("ranks", 21, 0, torch.float32)[None]
    D[0, :10, 10:] = D[0, 10:, :10] = 2 * D.max()
    longest = h0_critical_edges(D)
    check(D)
    D[0, :10, 10:] = D[0, 10:, :10] = float("inf")
    assert torch.equal(h0_critical_edges(D), longest)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_counts_as_longer_than_infinity(sign):
    n, bad = 21, 6
    D = matrix("ranks", n, 0, torch.float32)[None]
    D[0, :, 3] = D[0, 3, :] = float("inf")
    D[0, :, bad] = D[0, bad, :] = torch.copysign(torch.tensor(float("nan")), torch.tensor(sign))
    bars = h0_critical_edges(D)[0]
    assert bars[-2].tolist() == [3, 3, 0, 3]
    assert bars[-1].tolist() == [bad, bad, 0, bad]
    assert ((bars[:-1] != bad).all(-1)).all()


@pytest.mark.parametrize("n", [2, 16, 33, 256])
def test_nans_with_the_largest_bits_are_edges(n):
    """Nothing that a kernel puts behind every edge may come before one."""
    D = torch.tensor(2**31 - 1, dtype=torch.int32).view(torch.float32).expand(1, n, n)
    expected = torch.tensor([[v, v, 0, v] for v in range(1, n)])
    assert torch.equal(h0_critical_edges(D)[0], expected)


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


@pytest.mark.parametrize("n", [2, 3, 64, 65, 256])
@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_the_kernels_for_large_clouds_serve_small_ones(kind, n):
    D = torch.stack([matrix(kind, n, seed, torch.float32) for seed in range(2)])
    check(D, large_bars)


@pytest.mark.parametrize(
    ("kind", "n"),
    [("ranks", 257), ("zeros", 300), ("ties", 1023), ("zeros", 1024), ("zeros", 1025)],
)
def test_clouds_of_more_than_256_points(kind, n):
    check(torch.stack([matrix(kind, n, seed, torch.float32) for seed in range(2)]))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_of_more_than_256_points(family):
    check(distances(family, 259, B=1))


def test_several_blocks_and_tiles(monkeypatch):
    """Each loop of the kernels goes round more than once, and the last time is not full."""
    monkeypatch.setattr(h0_large, "ROWS", 16)
    monkeypatch.setattr(h0_large, "COLS", 64)
    monkeypatch.setattr(h0_large, "BLOCK", 64)
    monkeypatch.setattr(h0_elder, "BLOCK", 32)
    for D in (distances("gaussian", 149), ruler(131)[None]):
        check(D, large_bars)


@pytest.mark.parametrize("n", [257, 300])
def test_large_clouds_that_need_every_round_or_one_long_chain(n):
    order = torch.randperm(n)
    for D in (ruler(n), chain(n)):
        check(torch.stack((D, D.flip(0, 1), D[order][:, order])))


def test_a_finished_cloud_waits_for_the_others():
    """One round joins a star, the ruler takes all of them."""
    n = 259
    star = torch.ones(n, n)
    check(torch.stack((star, ruler(n), star)))


def test_large_strided_and_unusual_lengths():
    D = distances("grid", 540, B=1)
    D[0, :200, 300:] = D[0, 300:, :200] = float("inf")
    D[0, 100:, :100] *= -0.0
    D[0, :100, 100:] *= -0.0
    D.nan_to_num_(nan=float("inf"))
    for view in (D[:, ::2, ::2], D.mT[:, 3:263, 3:263], D[:, :260, :260].expand(2, 260, 260)):
        assert not view.is_contiguous()
        check(view)


def test_a_nan_of_a_large_cloud_counts_as_longer_than_infinity():
    n, bad = 260, 100
    D = matrix("ranks", n, 0, torch.float32)[None]
    D[0, :, 3] = D[0, 3, :] = float("inf")
    # The NaN whose bits are the largest.
    D[0, :, bad] = D[0, bad, :] = torch.tensor(2**31 - 1, dtype=torch.int32).view(torch.float32)
    bars = h0_critical_edges(D)[0]
    assert bars[-2:].tolist() == [[3, 3, 0, 3], [bad, bad, 0, bad]]
    assert ((bars[:-1] != bad).all(-1)).all()


def test_pairs_of_the_most_points_fit():
    """The last pairs of 65,535 points, whose numbers need all 32 bits without a sign.

    The lengths fall as i + j grows, in memory of 2 n numbers; only the last rows are sought, all
    others are given an edge to vertex 0.
    """
    n, last = 65535, 255
    descending = torch.arange(2 * n, 0, -1, dtype=torch.float32)
    D = descending.as_strided((1, n, n), (0, 1, 1))
    labels = torch.arange(n, dtype=torch.int32)[None]
    nearest = labels.to(torch.int64).clone()
    nearest[0, 1 : n - last] = 0x7F800000 << 32
    nearest[0, 0] = 0x7F800000 << 32 | 1
    shortest = first_edges(D, labels, nearest)
    i = torch.arange(n - last, n - 1)
    length, pair = shortest[0, i] >> 32, shortest[0, i] & 0xFFFFFFFF
    assert torch.equal(length.to(torch.int32).view(torch.float32), descending[i + n - 1])
    assert torch.equal(pair // n, i)
    assert (pair % n == n - 1).all()
    assert shortest[0, n - 1] == shortest[0, n - 2]
    assert (pair >= 2**31).all()


@on_device
def first_edges(D, labels, nearest):
    """The first edge out of each component, from one launch of its kernel."""
    n = D.shape[-1]
    components = torch.full((1,), n, dtype=torch.int32, device=D.device)
    shortest = torch.full((1, n), 2**63 - 1, device=D.device)
    programs = -(-n // 256)
    h0_large._nearest_kernel[(programs,)](
        D, labels, components, nearest, shortest, n, programs, *D.stride(), ROWS=256, COLS=64
    )
    return shortest


@pytest.mark.parametrize("n", [1, 2, 17, 64, 259])
@pytest.mark.parametrize("kind", ["ranks", "ties", "zeros"])
def test_float64_lengths_that_float32_cannot_tell_apart(kind, n):
    D = torch.stack([matrix(kind, n, seed) for seed in range(2)])
    D = D * 2.0**-40 + (1.0 if kind != "zeros" else 0.0)
    if kind == "ranks" and n > 2:
        assert len(D.float().unique()) < len(D.unique())
    check(D)
    check(D.mT)


def test_ranks_keep_order_and_ties():
    nan, inf = float("nan"), float("inf")
    rows = [[0.0, 1e-300, nan], [-0.0, inf, -nan], [1e300, 2.0, -2.0]]
    ranks = length_ranks(torch.tensor([rows], dtype=torch.float64)).view(torch.int32)
    assert ranks.tolist() == [[[0, 2, 7], [0, 6, 7], [5, 3, 3]]]


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 1, 1), (0, 1, 1)])
def test_no_bars(shape):
    assert h0_critical_edges(torch.zeros(shape)).shape == (shape[0], shape[1] - 1, 4)


@pytest.mark.parametrize(
    ("D", "error", "message"),
    [
        (None, TypeError, "D: expected a torch.Tensor distance matrices .B, n, n., got NoneType"),
        (torch.zeros(1, 3, 3).half(), TypeError, "D: expected float32 or float64, got float16"),
        (torch.zeros(3, 3), ValueError, "D: expected distance matrices .* got float32 .3, 3."),
        (torch.zeros(1, 3, 4), ValueError, "D: expected distance matrices .* got float32 .1, 3, 4"),
        (torch.zeros(1, 0, 0), ValueError, "D: expected distance matrices"),
        (ZERO.expand(1, 65536, 65536), ValueError, "D: expected at most 65535 points"),
        (
            ZERO.double().expand(1, 46341, 46341),
            ValueError,
            "D: expected at most 46340 points, got float64 .1, 46341, 46341.",
        ),
        (torch.zeros(1, 4, 4, device="meta"), ValueError, "D: expected a CUDA tensor"),
    ],
    ids=["none", "half", "rank2", "oblong", "no-point", "too-large", "too-large-float64", "meta"],
)
def test_bad_arguments_are_named(D, error, message):
    with pytest.raises(error, match=message):
        h0_critical_edges(D)
