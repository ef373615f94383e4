"""What the losses on two clouds of the same points share: batches, modes of autograd, errors."""

import math

import pytest
import torch
from clouds import cloud

import tsloss_fast as tsl
from tsloss_fast import losses
from tsloss_fast.losses.paired import PairedCloud

LOSSES = {
    "rtd": losses.rtd,
    "rtd maximum": lambda a, b, **o: losses.rtd(a, b, mode="maximum", power=2, **o),
    "rtd immovable": lambda a, b, **o: losses.rtd(a, b, immovable="a", card=3, **o),
    "rtd_lite": losses.rtd_lite,
    "signature": losses.signature,
    "cascade_distortion": losses.cascade_distortion,
    "signature squared": lambda a, b, **o: losses.signature(
        a, b, squared=True, dimensions=(0, 1), **o
    ),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def pair(n=12, B=None, family="circle", dtype=torch.float64):
    """A cloud of four coordinates and one of two, [n, d] or [B, n, d]."""
    a = torch.stack([cloud(family, n, 4, seed) for seed in range(B or 1)]).to(dtype)
    b = torch.stack([cloud("gaussian", n, 2, 100 + seed) for seed in range(B or 1)]).to(dtype)
    return (a, b) if B else (a[0], b[0])


def value_and_slopes(loss, a, b):
    a, b = (x.detach().clone().requires_grad_() for x in (a, b))
    value = loss(a, b)
    return value.detach(), torch.autograd.grad(value.sum(), (a, b))


# The scale


@pytest.mark.parametrize("n", [1, 2, 3, 9, 12])
@pytest.mark.parametrize("scale", ["quantile", "max"])
def test_the_scale_is_that_of_all_entries(n, scale):
    x = cloud("gaussian", n, 3).requires_grad_()
    D = tsl.pairwise_distances(x)
    unit = torch.quantile(D.flatten(), 0.9) if scale == "quantile" else D.max()
    expected = D / unit if n > 1 else D
    found = PairedCloud(x, "a", scale, detach_scale=False)
    torch.testing.assert_close(found.scaled(), expected.detach(), rtol=1e-13, atol=0)
    edges = torch.triu_indices(n, n, 1).T
    (lengths,) = found.lengths(edges)
    torch.testing.assert_close(lengths, expected[tuple(edges.T)], rtol=1e-13, atol=0)
    fixed = PairedCloud(x, "a", scale, detach_scale=True).lengths(edges)[0]
    assert torch.equal(fixed, lengths)
    if n > 1:
        (slope,) = torch.autograd.grad(fixed.sum(), x)
        of_all = D[tuple(edges.T)].sum() / unit.detach()
        (of_all,) = torch.autograd.grad(of_all, x, retain_graph=True)
        torch.testing.assert_close(slope, of_all, rtol=1e-11, atol=1e-13)
        weights = torch.randn(len(edges), dtype=torch.float64)
        slopes = [
            torch.autograd.grad(v @ weights, x)[0] for v in (lengths, expected[tuple(edges.T)])
        ]
        torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "cascade_distortion"])
def test_a_scaled_loss_does_not_depend_on_the_scale_of_either_cloud(name):
    (a, b), loss = pair(), LOSSES[name]
    torch.testing.assert_close(loss(7 * a, b / 3), loss(a, b), rtol=1e-11, atol=1e-13)


# What they give


@every_loss
def test_a_batch_is_its_clouds(loss):
    a, b = pair(B=4)
    batch, slopes = value_and_slopes(loss, a, b)
    each = [value_and_slopes(loss, *clouds) for clouds in zip(a, b, strict=True)]
    assert batch.shape == (4,)
    torch.testing.assert_close(batch, torch.stack([value for value, _ in each]), rtol=0, atol=1e-14)
    for side in range(2):
        one_by_one = torch.stack([slope[side] for _, slope in each])
        torch.testing.assert_close(slopes[side], one_by_one, rtol=1e-12, atol=1e-14)
    grid = loss(a.reshape(2, 2, *a.shape[1:]), b.reshape(2, 2, *b.shape[1:]))
    assert torch.equal(grid, batch.reshape(2, 2))


@every_loss
def test_the_same_cloud_twice_gives_0_and_no_gradient(loss):
    a, _ = pair()
    value, slopes = value_and_slopes(loss, a, a)
    assert abs(value) < 1e-12
    assert all(slope.isfinite().all() for slope in slopes)


@every_loss
@pytest.mark.parametrize("metric", ["cityblock", "cosine", "precomputed"])
def test_other_metrics_are_their_distances(loss, metric):
    a, b = pair()
    matrices = [
        tsl.pairwise_distances(x, "cosine" if metric == "cosine" else "cityblock") for x in (a, b)
    ]
    points = matrices if metric == "precomputed" else (a, b)
    expected = loss(*matrices, metric="precomputed")
    torch.testing.assert_close(loss(*points, metric=metric), expected, rtol=1e-11, atol=1e-13)


@every_loss
def test_distances_that_are_symmetric_up_to_rounding(loss):
    a, b = pair(n=40, dtype=torch.float32)
    rounded = [torch.cdist(x, x) for x in (a, b)]
    direct = loss(*map(tsl.pairwise_distances, (a, b)), metric="precomputed")
    torch.testing.assert_close(loss(*rounded, metric="precomputed"), direct, rtol=1e-3, atol=1e-4)


# Autograd


@every_loss
@pytest.mark.parametrize("metric", ["euclidean", "precomputed"])
def test_gradcheck_first_and_second(loss, metric):
    clouds = pair(n=9)
    if metric == "precomputed":
        # A step of gradcheck at one entry alone would make the matrix asymmetric.
        i, j = torch.triu_indices(9, 9, 1)
        clouds = [tsl.pairwise_distances(x)[i, j] for x in clouds]

        def call(*entries):
            matrices = [x.new_zeros(9, 9).index_put((i, j), x) for x in entries]
            return loss(*(D + D.mT for D in matrices), metric=metric)
    else:
        call = loss
    clouds = [x.requires_grad_() for x in clouds]
    assert torch.autograd.gradcheck(call, clouds)
    assert torch.autograd.gradgradcheck(call, clouds)


@every_loss
@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("coincident", ["a", "b", "both"])
def test_coincident_points_have_gradient_0(loss, n, coincident):
    a, b = pair(n=n)
    a, b = (
        torch.ones_like(x) if coincident in (name, "both") else x
        for x, name in ((a, "a"), (b, "b"))
    )
    value, slopes = value_and_slopes(loss, a, b)
    assert value.isfinite()
    assert all(slope.isfinite().all() for slope in slopes)
    for slope, name in zip(slopes, "ab", strict=True):
        if n == 1 or coincident in (name, "both"):
            assert not slope.any()


@every_loss
@pytest.mark.parametrize("family", ["grid", "duplicated", "collinear"])
def test_ties_are_finite_and_the_same_on_every_run(loss, family):
    a, b = pair(n=14, family=family)
    b = b.round()
    first, second = (value_and_slopes(loss, a, b) for _ in range(2))
    assert torch.equal(first[0], second[0])
    for one, other in zip(first[1], second[1], strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)


@every_loss
def test_float32_and_half(loss):
    a, b = pair(n=30, dtype=torch.float32)
    single = loss(a, b)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), loss(a.double(), b.double()), rtol=1e-4, atol=1e-5)
    half = a.half().requires_grad_()
    found = loss(half, b)
    assert torch.equal(found, loss(half.float(), b))
    assert torch.autograd.grad(found, half)[0].dtype == torch.float16


@every_loss
def test_under_autocast_nothing_rounds(loss):
    a, b = pair(dtype=torch.float32)
    with torch.autocast("cpu"):
        found = value_and_slopes(loss, a, b)
    expected = value_and_slopes(loss, a, b)
    assert torch.equal(found[0], expected[0])
    assert all(map(torch.equal, found[1], expected[1]))


@every_loss
def test_compiled(loss):
    a, b = pair(B=2)
    compiled = torch.compile(lambda a, b: loss(a, b), backend="aot_eager", fullgraph=True)
    found, expected = (value_and_slopes(call, a, b) for call in (compiled, loss))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@every_loss
def test_mapped_over(loss):
    a, b = pair(B=3)
    torch.testing.assert_close(torch.func.vmap(loss)(a, b), loss(a, b), rtol=1e-12, atol=1e-14)
    slopes = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(a, b)
    torch.testing.assert_close(slopes, value_and_slopes(loss, a, b)[1], rtol=1e-11, atol=1e-13)


# Errors


@every_loss
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda a, b: (a.tolist(), b), TypeError, "a: expected a torch.Tensor"),
        (lambda a, b: (a, b[:-1]), ValueError, r"b: expected as many clouds and points as a has"),
        (lambda a, b: (a, b.expand(2, -1, -1)), ValueError, "b: expected as many clouds"),
        (
            lambda a, b: (a, b.index_fill(0, torch.tensor(3), math.nan)),
            ValueError,
            r"b: expected finite values, got b\[3, 0\] = nan",
        ),
    ],
)
def test_wrong_clouds_are_named(loss, change, error, words):
    with pytest.raises(error, match=words):
        loss(*change(*pair()))


@every_loss
def test_wrong_matrices_are_named(loss):
    a, b = map(tsl.pairwise_distances, pair())
    wrong = b.clone()
    wrong[1, 2] = 9
    with pytest.raises(ValueError, match=r"b: .* asymmetric: b\[1, 2\] = 9.0"):
        loss(a, wrong, metric="precomputed")
    with pytest.raises(ValueError, match=r"a: expected finite values, got a\[0, 1\] = inf"):
        loss(a.where((a != a[0, 1]), math.inf), b, metric="precomputed")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a, b: losses.rtd(a, b, mode="mean"), ValueError, "mode: expected one of 'minimum'"),
        (
            lambda a, b: losses.rtd(a, b, scale="mean"),
            ValueError,
            "scale: expected one of None, 'q",
        ),
        (
            lambda a, b: losses.rtd(a, b, power=0.5),
            ValueError,
            "power: expected a finite number >= 1",
        ),
        (
            lambda a, b: losses.rtd(a, b, immovable="x"),
            ValueError,
            "immovable: expected one of None",
        ),
        (lambda a, b: losses.rtd(a, b, card=0), ValueError, "card: expected at least 1, got 0"),
        (lambda a, b: losses.RTDLoss(dim=2), ValueError, "dim: expected 1, for H2 .* got 2"),
        (lambda a, b: losses.RTDLoss(lp=0), ValueError, "lp: expected a finite number >= 1"),
        (lambda a, b: losses.RTDLoss(immovable="z"), ValueError, "immovable: expected one of None"),
        (lambda a, b: losses.RTDLoss(reduction="sum"), ValueError, "reduction: expected one of"),
        (
            lambda a, b: losses.signature(a, b, dimensions=2),
            ValueError,
            "dimensions: expected 0, 1",
        ),
        (
            lambda a, b: losses.signature(a, b, p=0.5),
            ValueError,
            "p: expected a finite number >= 1",
        ),
        (lambda a, b: losses.SignatureLoss(p=0), ValueError, "p: expected a finite number >= 1"),
        (
            lambda a, b: losses.SignatureLoss()([a], b),
            ValueError,
            "X: expected a cloud and its diag",
        ),
        (
            lambda a, b: losses.SignatureLoss(dimensions=1)([a, tsl.rips_persistence(a, 0)], b),
            ValueError,
            "diagrams: expected H0 to H1 of a, got 1 of them",
        ),
    ],
)
def test_wrong_options_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call(*pair())


@pytest.mark.parametrize(
    "kind", ["RTDLoss", "RTDLiteLoss", "SignatureLoss", "CascadeDistortionLoss"]
)
def test_modules_are_shown_and_reduce(kind):
    a, b = pair(B=3)
    if kind == "RTDLoss":
        a, b = map(tsl.pairwise_distances, (a, b))
    none, mean = (getattr(losses, kind)(reduction=reduction) for reduction in ("none", "mean"))
    last = lambda found: found[-1] if isinstance(found, tuple) else found  # noqa: E731
    assert last(none(a, b)).shape == (3,)
    torch.testing.assert_close(last(mean(a, b)), last(none(a, b)).mean())
    assert "reduction='mean'" in repr(mean)
