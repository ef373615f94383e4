"""The kernels of the surrogate loss against the reference in float64, and against the engine."""

import itertools

import pytest
import torch
from clouds import FAMILIES, cloud
from devices import on_device

from tsloss_fast import _C, reference

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels.surrogate import launch as surrogate

surrogate_terms = on_device(surrogate.surrogate_terms)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

DTYPES = [torch.float32, torch.float64]
NUMBERS = {"h0_weight": 0.7, "h1_weight": 1.3, "tau": 0.5, "alpha": 2.0}
NUMBERS |= {"lambda_repel": 0.8, "lambda_attract": 1.2}
NAMES = ("scale_by_mean", "self_pairs", "detach_scales")
FLAGS = [
    dict(zip(NAMES, flags, strict=True)) for flags in itertools.product((False, True), repeat=3)
]
DEFAULTS = NUMBERS | FLAGS[0]


@pytest.fixture(params=["fused", "tiled"])
def path(request, monkeypatch):
    """Small clouds through the kernel for small clouds, and through those for large ones."""
    if request.param == "tiled":
        monkeypatch.setattr(surrogate, "MAX_POINTS", dict.fromkeys(DTYPES, 0))


def name(value):
    if isinstance(value, dict):
        return ",".join(key for key, chosen in value.items() if chosen) or "plain"
    return str(value).removeprefix("torch.")


def distances(family, n, B=1, d=4, dtype=torch.float32):
    x = torch.stack([cloud(family, n, d, seed, dtype) for seed in range(B)])
    return torch.from_numpy(_C.distances(x.numpy()))


def expected(D, options):
    """What the reference makes of the distances in float64: (loss, h0, h1, weights)."""
    D = D.double().contiguous().requires_grad_()
    module = reference.TSLoss(
        "surrogate",
        tau=options["tau"],
        alpha=options["alpha"],
        lambda_repel=options["lambda_repel"],
        lambda_attract=options["lambda_attract"],
        self_pairs=options["self_pairs"],
        detach_scales=options["detach_scales"],
    )
    mean = D.detach().mean((-2, -1), keepdim=True)
    scaled = D / torch.where(mean == 0, 1, mean) if options["scale_by_mean"] else D
    h0, h1 = module._surrogate(scaled)
    loss = options["h0_weight"] * h0 + options["h1_weight"] * h1
    (gradient,) = torch.autograd.grad(loss.sum(), D)
    apart = D.detach() > 0
    weights = torch.where(apart, (gradient + gradient.mT) / torch.where(apart, D.detach(), 1), 0)
    return loss.detach(), h0.detach(), h1.detach(), weights, scaled.detach()


def check(D, options=DEFAULTS):
    results = surrogate_terms(D, **options)
    *terms, weights, scaled = expected(D, options)
    n = D.shape[-1]
    assert [part.dtype for part in results] == [D.dtype] * 4
    assert [part.shape for part in results] == [D.shape[:1]] * 3 + [D.shape]

    # s_i, delta and zeta pass at most 32 roundings (loading, exp, a tree of sums, a quotient) of
    # numbers no larger than the longest length, tau and 1 / alpha. A mean of squares whose roots
    # are off by e is off by at most 2 e root + e^2.
    longest = scaled.amax((-2, -1))
    eps = torch.finfo(D.dtype).eps
    e = 32 * eps * (longest + options["tau"] + 1 / options["alpha"])
    steepest = max(options["lambda_repel"], options["lambda_attract"], 1e-300)
    _, h0, h1 = terms
    bounds = [2 * e * h0.sqrt() + e**2, 2 * e * (steepest * h1).sqrt() + 2 * steepest * e**2]
    bounds.insert(0, options["h0_weight"] * bounds[0] + options["h1_weight"] * bounds[1])
    for got, right, bound in zip(results[:3], terms, bounds, strict=True):
        rounding = 2 * eps * right.abs() + torch.finfo(D.dtype).tiny
        assert ((got.double() - right).abs() <= bound + rounding).all()

    # A gradient is a sum of such roots, times softmax weights and alpha * D e^(-alpha D) < 1.
    mean = D.double().mean((-2, -1)) if options["scale_by_mean"] else torch.ones(len(D)).double()
    unit = 1 / torch.where(mean == 0, 1, mean)
    size = 4 / n * options["h0_weight"] * (e + 32 * eps * h0.sqrt() * n**0.5)
    size += 8 / n * options["h1_weight"] * steepest * (e + 32 * eps * longest)
    apart = D > 0
    errors = (results[3].double() - weights).abs() * D.double()
    assert (errors.amax((-2, -1)) <= unit * size + 1e-300).all()
    assert (results[3][~apart] == 0).all()


@pytest.mark.parametrize("n", [1, 2, 17, 64, 65, 129])
def test_float32(n):
    check(distances("gaussian", n, B=2 if n <= 65 else 1))


@pytest.mark.parametrize("n", [1, 2, 32, 33, 64])
def test_float64(n):
    check(distances("gaussian", n, dtype=torch.float64))


# All flags together, and any two of them with either dtype.
EVERY_FLAG = [(flags, DTYPES[sum(flags.values()) % 2]) for flags in FLAGS]


@pytest.mark.parametrize(("flags", "dtype"), EVERY_FLAG, ids=name)
def test_every_flag(path, flags, dtype):
    check(distances("circle", 11, dtype=dtype), NUMBERS | flags)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family(path, family):
    check(distances(family, 9), NUMBERS | {"scale_by_mean": True} | dict.fromkeys(NAMES[1:], False))


def test_more_than_one_block_of_columns():
    check(distances("unit", 200), NUMBERS | FLAGS[4])


@pytest.mark.parametrize("flags", FLAGS[::3], ids=name)
def test_the_gradient_on_the_points_is_that_of_the_reference(path, flags):
    x = torch.stack([cloud("gaussian", 11, 5, seed) for seed in range(2)]).requires_grad_()
    options = {key: NUMBERS[key] for key in ("tau", "alpha", "lambda_repel", "lambda_attract")}
    module = reference.TSLoss(
        "surrogate", beta_h0=0.7, beta_h1=1.3, reduction="none", **options,
        scale="mean" if flags["scale_by_mean"] else None,
        self_pairs=flags["self_pairs"], detach_scales=flags["detach_scales"],
    )  # fmt: skip
    right = module(x)
    (gradient,) = torch.autograd.grad(right.sum(), x)
    x = x.detach()
    loss, _, _, weights = surrogate_terms(reference.pairwise_distances(x), **NUMBERS, **flags)
    got = weights.sum(-1, keepdim=True) * x - weights @ x
    torch.testing.assert_close(loss, right.detach(), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(got, gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("flags", [FLAGS[0], FLAGS[7]], ids=name)
def test_the_engine_says_the_same(path, flags):
    x = torch.stack([cloud("circle", 20, 3, seed) for seed in range(2)])
    D = torch.from_numpy(_C.distances(x.numpy()))
    *terms, weights = surrogate_terms(D, **NUMBERS, **flags)
    got = weights.sum(-1, keepdim=True) * x - weights @ x
    engine = _C.surrogate_loss(x.numpy(), *NUMBERS.values(), *flags.values(), True)
    for ours, theirs in zip((*terms, got), engine, strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [1e-15, 1e15])
def test_scaled_lengths_give_the_same_loss(path, size):
    D = distances("gaussian", 17)
    options = DEFAULTS | {"scale_by_mean": True}
    loss, _, _, weights = surrogate_terms(D, **options)
    again, _, _, scaled = surrogate_terms(D * size, **options)
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(scaled * size * size, weights, rtol=1e-3, atol=1e-5)


def test_lengths_whose_sum_overflows_have_a_mean(path):
    D = distances("gaussian", 17)
    options = DEFAULTS | {"scale_by_mean": True}
    large = D * (3e38 / D.max())
    assert large.sum(-1).isinf().any()
    for ours, right in zip(
        surrogate_terms(large, **options)[:3], expected(large, options), strict=False
    ):
        torch.testing.assert_close(ours.double(), right, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("tau", "alpha"), [(1e-40, 1e40), (1e-3, 1e4), (1e6, 1e-6)])
@pytest.mark.parametrize("size", [1e-10, 1.0, 1e10])
def test_extreme_options_and_lengths_stay_finite(path, tau, alpha, size):
    D = size * distances("gaussian", 9)
    options = DEFAULTS | {"tau": tau, "alpha": alpha}
    results = surrogate_terms(D, **options)
    assert all(part.isfinite().all() for part in results)
    if tau < 1 and size == 1:
        # The softmax has become the minimum and the maximum.
        _, h0, h1, *_ = expected(D, options)
        torch.testing.assert_close(results[1].double(), h0, rtol=1e-5, atol=1e-12)
        torch.testing.assert_close(results[2].double(), h1, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("weight", ["h0_weight", "h1_weight", "lambda_repel", "lambda_attract"])
def test_weights_of_zero(path, weight):
    check(distances("gaussian", 9), DEFAULTS | {weight: 0.0})


def test_nearly_equal_lengths_keep_their_digits(path):
    """Lengths of 1000 that differ by 0.1 %: their differences are what the loss is made of."""
    n = 17
    D = 1000 + torch.rand(1, n, n)
    D = torch.triu(D, 1) + torch.triu(D, 1).mT
    _, h0, h1, _ = surrogate_terms(D, **DEFAULTS)
    _, right_h0, right_h1, *_ = expected(D, DEFAULTS)
    # Relative to differences of order 1, not to the lengths.
    torch.testing.assert_close(h0.double(), right_h0, rtol=1e-5, atol=0)
    torch.testing.assert_close(h1.double(), right_h1, rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [(3, 5), (4, 4)], ids=["pair", "diagonal"])
def test_one_bad_length_makes_its_cloud_nan(path, value, at):
    flags = FLAGS[4]
    D = distances("gaussian", 9, B=2)
    D[1][at] = D[1][at[::-1]] = value
    good = surrogate_terms(D[:1], **NUMBERS, **flags)
    for both, one in zip(surrogate_terms(D, **NUMBERS, **flags), good, strict=True):
        assert torch.equal(both[:1], one)
        assert both[1].isnan().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_point_with_a_bad_length(value):
    assert all(
        part.isnan().all() for part in surrogate_terms(torch.full((2, 1, 1), value), **DEFAULTS)
    )


def test_identical_rows_have_no_gradient(path):
    for flags in (FLAGS[0], FLAGS[4]):
        _, h0, h1, weights = surrogate_terms(torch.zeros(1, 9, 9), **NUMBERS, **flags)
        assert (h0, h1) == (0, 0)
        assert torch.equal(weights, torch.zeros(1, 9, 9))


def test_strides_are_followed(path):
    """To the bit, for a strided matrix is copied first."""
    D = distances("grid", 22, B=3)
    for view in (D[::2, ::2, ::2], D.mT[:2, :7, :7], D[:1, 3:12, 3:12].expand(2, 9, 9)):
        assert not view.is_contiguous()
        for ours, theirs in zip(
            surrogate_terms(view, **DEFAULTS),
            surrogate_terms(view.contiguous(), **DEFAULTS),
            strict=True,
        ):
            assert torch.equal(ours, theirs)


def test_a_batch_is_its_clouds_and_runs_repeat(path):
    D = distances("unit", 18, B=2)
    whole = surrogate_terms(D, **DEFAULTS)
    singles = zip(*(surrogate_terms(one[None], **DEFAULTS) for one in D), strict=True)
    for batch, again, single in zip(whole, surrogate_terms(D, **DEFAULTS), singles, strict=True):
        assert torch.equal(batch, again)
        assert torch.equal(batch, torch.cat(single))


def test_whole_numbers_do_for_options(path):
    D = distances("gaussian", 5)
    ones = dict.fromkeys(NUMBERS, 1) | FLAGS[0]
    floats = dict.fromkeys(NUMBERS, 1.0) | FLAGS[0]
    assert all(map(torch.equal, surrogate_terms(D, **ones), surrogate_terms(D, **floats)))


@pytest.mark.parametrize("n", [1, 5, 200])
def test_an_empty_batch(n):
    loss, h0, h1, weights = surrogate_terms(torch.zeros(0, n, n), **DEFAULTS)
    assert loss.shape == h0.shape == h1.shape == (0,)
    assert weights.shape == (0, n, n)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"D": None}, TypeError, "D: expected a torch.Tensor distance matrices"),
        ({"D": torch.zeros(1, 3, 3).half()}, TypeError, "D: expected float32 or float64, got fl"),
        ({"D": torch.zeros(3, 3)}, ValueError, "D: expected distance matrices .B, n, n., got"),
        ({"D": torch.zeros(1, 3, 4)}, ValueError, "D: expected distance matrices .B, n, n., got"),
        ({"D": torch.zeros(1, 0, 0)}, ValueError, "D: expected distance matrices .B, n, n., got"),
        ({"D": torch.zeros(1, 3, 3, device="meta")}, ValueError, "D: expected a CUDA tensor"),
        ({"tau": 0.0}, ValueError, "tau: expected a finite number > 0, got 0"),
        ({"alpha": float("nan")}, ValueError, "alpha: expected a finite number > 0, got nan"),
        ({"h1_weight": -1}, ValueError, "h1_weight: expected a finite number >= 0"),
        ({"lambda_repel": "1"}, TypeError, "lambda_repel: expected a number, got '1'"),
        ({"self_pairs": 1}, TypeError, "self_pairs: expected True or False, got 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        surrogate_terms(**({"D": torch.zeros(1, 3, 3)} | DEFAULTS | change))


def errors(D):
    """How far loss and weights are off, relative to the loss and to the largest weight."""
    loss, _, _, weights = surrogate_terms(D, **DEFAULTS)
    right, _, _, right_weights, _ = expected(D, DEFAULTS)
    off = (weights.double() - right_weights).abs().amax() / right_weights.abs().amax()
    return ((loss.double() - right).abs() / right).max().item(), off.item()


@pytest.mark.ptx
@pytest.mark.parametrize("n", [12, 30, 50])
def test_sums_without_fused_products_are_as_accurate(n, monkeypatch):
    """Fusing a product into a sum saves a rounding; that copies of a sum are equal costs no more.

    The bound is that of `check` in short: a few roundings of float32, of 6e-8 each.
    """
    from tests.ptx.driver import SESSION
    from tsloss_fast._engine.kernels import launching

    D = distances("gaussian", n, B=2)
    apart = errors(D)
    first = len(SESSION.launches)
    monkeypatch.setattr(launching, "_compiled", {})
    monkeypatch.setattr(surrogate, "COMPILER", {"enable_fp_fusion": True})
    fused = errors(D)
    # Those have the race for which products are no longer fused.
    del SESSION.launches[first:]
    assert max(*apart, *fused) <= 2e-6
    for without, with_fusion in zip(apart, fused, strict=True):
        assert without <= with_fusion + 2.0**-22
