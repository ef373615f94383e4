"""TSLoss: both formulations against their formulas, the reference, and finite differences."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from clouds import FAMILIES, WITHOUT_TIES, cloud, clouds
from hypothesis import given

from tsloss_fast import reference
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.host_h1 import critical_edges

MODES = ["persistence", "surrogate"]
SQUARE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])

PERSISTENCE_OPTIONS = [
    {"mode": "persistence", "h1_power": power, "scale": scale}
    for power, scale in itertools.product((1.0, 2.0, 2.5), (None, "mean"))
]
SURROGATE_OPTIONS = [
    {"mode": "surrogate", "self_pairs": self_pairs, "detach_scales": detach, "scale": scale}
    for self_pairs, detach, scale in itertools.product((False, True), (False, True), (None, "mean"))
] + [
    {"mode": "surrogate", "tau": 0.3, "alpha": 2.0, "lambda_repel": 0.5, "lambda_attract": 3.0},
    {"mode": "surrogate", "tau": 5.0, "alpha": 0.2, "lambda_repel": 2.0, "lambda_attract": 0.0},
    {"mode": "surrogate", "tau": 0.5, "alpha": 40.0, "lambda_repel": 0.0, "self_pairs": True},
]
OPTIONS = [
    {**options, **weights}
    for options, weights in zip(
        [*PERSISTENCE_OPTIONS, *SURROGATE_OPTIONS],
        itertools.cycle(({}, {"lambda_ts": 0.3, "beta_h0": 2.0, "beta_h1": 0.7})),
        strict=False,
    )
]


def names(options):
    return ",".join(f"{key}={value}" for key, value in options.items())


def gradient(loss, x):
    (result,) = torch.autograd.grad(loss, x)
    return result


def surrogate_by_hand(D, tau, alpha, lambda_repel, lambda_attract, self_pairs):
    """Eq. 1 to 6 of the paper, one pair at a time, D a list of rows."""
    n = len(D)
    pairs = [(i, j) for i in range(n) for j in range(n) if self_pairs or i != j]
    s = [
        -tau * math.log(sum(math.exp(-D[i][j] / tau) for k, j in pairs if k == i)) for i in range(n)
    ]
    mean = sum(s) / n
    h0 = sum((value - mean) ** 2 for value in s) / n
    scales = []
    for sharpness in (-alpha, +alpha):
        weights = {(i, j): math.exp(sharpness * D[i][j]) for i, j in pairs}
        scales.append(sum(w * D[i][j] for (i, j), w in weights.items()) / sum(weights.values()))
    delta, zeta = scales
    h1 = 0.0
    for i, j in pairs:
        h1 += lambda_repel * max(0.0, delta - D[i][j]) ** 2
        h1 += lambda_attract * max(0.0, D[i][j] - zeta) ** 2
    return h0, h1 / n**2


# The formulas


@pytest.mark.parametrize("self_pairs", [False, True], ids=["pairs", "self-pairs"])
@pytest.mark.parametrize("scale", [None, "mean"])
@pytest.mark.parametrize(
    ("tau", "alpha", "lambda_repel", "lambda_attract"),
    [(1.0, 10.0, 1.0, 1.0), (0.3, 1.5, 2.0, 0.25)],
)
@pytest.mark.parametrize("n", [2, 7])
def test_surrogate_is_the_papers_sums(
    impl, n, tau, alpha, lambda_repel, lambda_attract, scale, self_pairs
):
    x = cloud("gaussian", n, 3, seed=n)
    D = reference.pairwise_distances(x)
    D = (D / D.mean() if scale else D).tolist()
    h0, h1 = surrogate_by_hand(D, tau, alpha, lambda_repel, lambda_attract, self_pairs)
    loss, terms = impl.TSLoss(
        "surrogate",
        lambda_ts=0.5,
        beta_h0=3.0,
        beta_h1=4.0,
        tau=tau,
        alpha=alpha,
        lambda_repel=lambda_repel,
        lambda_attract=lambda_attract,
        scale=scale,
        self_pairs=self_pairs,
    )(x, return_terms=True)
    assert terms["h0"].item() == pytest.approx(h0, rel=1e-11, abs=1e-14)
    assert terms["h1"].item() == pytest.approx(h1, rel=1e-11, abs=1e-14)
    assert loss.item() == pytest.approx(0.5 * (3 * h0 + 4 * h1), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_persistence_of_the_square_by_hand(impl, power):
    """Three sides of one length: no variance. One loop from 1 to sqrt 2, over four points."""
    loss, terms = impl.TSLoss(h1_power=power)(SQUARE.double(), return_terms=True)
    assert terms["h0"].item() == pytest.approx(0, abs=1e-30)
    assert terms["h1"].item() == pytest.approx((math.sqrt(2) - 1) ** power / 4, rel=1e-14)
    assert loss.item() == pytest.approx(terms["h1"].item(), rel=1e-14)


def test_persistence_of_a_line_by_hand(impl):
    """Lifetimes 1, 3, 9 of four points: mean 13/3, variance 104/9."""
    x = torch.tensor([[0.0], [1.0], [10.0], [13.0]], dtype=torch.float64)
    _, terms = impl.TSLoss()(x, return_terms=True)
    assert terms["h0"].item() == pytest.approx(104 / 9, rel=1e-14)
    assert terms["h1"].item() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_persistence_terms_are_those_of_the_diagrams(impl, family):
    x = cloud(family, 20, 3)
    h0, h1 = impl.rips_persistence(x)
    _, terms = impl.TSLoss(h1_power=1.5)(x, return_terms=True)
    variance = impl.lifetime_variance(h0)
    assert torch.allclose(terms["h0"], variance, rtol=1e-11, atol=1e-28)
    assert torch.allclose(terms["h1"], impl.total_persistence(h1, 1.5) / 20, rtol=1e-11, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_weights_multiply_the_terms_once(impl, mode):
    x = cloud("circle", 12, 2)
    _, terms = impl.TSLoss(mode)(x, return_terms=True)
    for lambda_ts, beta_h0, beta_h1 in [(2.0, 3.0, 5.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)]:
        weights = {"lambda_ts": lambda_ts, "beta_h0": beta_h0, "beta_h1": beta_h1}
        loss, again = impl.TSLoss(mode, **weights)(x, return_terms=True)
        expected = lambda_ts * (beta_h0 * terms["h0"] + beta_h1 * terms["h1"])
        assert torch.allclose(loss, expected, rtol=1e-14, atol=0)
        assert again == terms


def test_defaults_are_those_of_the_paper_and_the_design(impl):
    loss = impl.TSLoss()
    assert (loss.mode, loss.lambda_ts, loss.beta_h0, loss.beta_h1) == ("persistence", 1, 1, 1)
    assert (loss.h1_power, loss.tau, loss.alpha) == (2, 1, 10)
    assert (loss.lambda_repel, loss.lambda_attract, loss.scale) == (1, 1, None)
    assert (loss.self_pairs, loss.detach_scales, loss.reduction) == (False, False, "mean")


@pytest.mark.parametrize("mode", MODES)
def test_scale_by_the_mean_makes_the_loss_scale_free(impl, mode):
    x = cloud("circle", 15, 3)
    loss = impl.TSLoss(mode, scale="mean")
    assert torch.allclose(loss(1000 * x), loss(x), rtol=1e-11, atol=0)
    assert not torch.allclose(impl.TSLoss(mode)(1000 * x), impl.TSLoss(mode)(x))


def test_detach_scales_changes_the_gradient_alone(impl):
    x = cloud("gaussian", 9, 3).requires_grad_()
    free = impl.TSLoss("surrogate", alpha=1.0)(x)
    detached = impl.TSLoss("surrogate", alpha=1.0, detach_scales=True)(x)
    assert torch.equal(free, detached)
    assert not torch.allclose(gradient(free, x), gradient(detached, x))


# Against the reference and finite differences


@pytest.mark.parametrize("size", [1e-25, 1e25])
@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_a_scaled_loss_has_a_gradient_at_any_size(tsl, mode, size):
    """The weights of differences go as the square of the scale, which float32 cannot hold here."""
    loss = tsl.TSLoss(mode, scale="mean")
    x = cloud("gaussian", 20, 8, dtype=torch.float32).requires_grad_()
    y = (size * x.detach()).requires_grad_()
    expected = gradient(loss(x), x).double()
    got = gradient(loss(y), y).double() * size
    assert (got - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("options", OPTIONS, ids=names)
@pytest.mark.parametrize("n", [2, 4, 70])
def test_value_and_gradient_are_those_of_the_reference(tsl, n, options):
    x = torch.stack([cloud("gaussian", n, 3, seed) for seed in range(2)]).requires_grad_()
    ours, our_terms = tsl.TSLoss(**options)(x, return_terms=True)
    theirs, their_terms = reference.TSLoss(**options)(x, return_terms=True)
    assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-15)
    for name in ("h0", "h1"):
        assert torch.allclose(our_terms[name], their_terms[name], rtol=1e-10, atol=1e-15)
    assert torch.allclose(gradient(ours, x), gradient(theirs, x), rtol=1e-9, atol=1e-14)


@given(x=clouds(families=WITHOUT_TIES, min_n=2, max_n=40, dtypes=(torch.float32,)))
def test_float32_is_close_to_float64(tsl, x):
    """A relative error of n terms' rounding, where the surrogate's D / tau is of order 1."""
    for mode in MODES:
        got = tsl.TSLoss(mode, alpha=1.0)(x)
        expected = reference.TSLoss(mode, alpha=1.0)(x.double())
        assert got.dtype == torch.float32
        # L_H0 is a variance: its error is relative to the squares of the lengths themselves.
        squares = reference.pairwise_distances(x.double()).square().mean()
        assert (got - expected).abs() <= 1e-5 * expected + 1e-6 * squares


@pytest.mark.parametrize("options", [PERSISTENCE_OPTIONS[i] for i in (0, 2, 4)], ids=names)
@pytest.mark.parametrize("n", [1, 2, 12])
def test_gradcheck_persistence(impl, n, options):
    x = torch.stack([cloud("circle", n, 2, seed) for seed in range(2)]).requires_grad_()
    loss = impl.TSLoss(**options, reduction="none")
    if n == 12:
        assert (loss(x, return_terms=True)[1]["h1"] > 0).any()
    assert torch.autograd.gradcheck(loss, x)


@pytest.mark.parametrize(
    "options",
    [o for o in SURROGATE_OPTIONS if not o.get("detach_scales") and not o.get("scale")],
    ids=names,
)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_gradcheck_surrogate(impl, n, options):
    x = torch.stack([cloud("gaussian", n, 2, seed) for seed in range(2)]).requires_grad_()
    assert torch.autograd.gradcheck(impl.TSLoss(**options, reduction="none"), x)


@pytest.mark.parametrize("mode", MODES)
def test_gradient_of_the_scaled_loss_holds_the_mean_fixed(impl, mode):
    """The mean is detached, so the gradient is that of the plain loss on D / constant."""
    x = cloud("circle", 12, 3).requires_grad_()
    mean = impl.pairwise_distances(x).mean().item()
    scaled = gradient(impl.TSLoss(mode, scale="mean")(x), x)
    plain = gradient(impl.TSLoss(mode)(x / mean), x)
    assert torch.allclose(scaled, plain, rtol=1e-9, atol=1e-13)


def test_gradient_of_detached_scales_holds_them_fixed(impl):
    """Against finite differences of the formula with delta and zeta frozen."""
    x = cloud("gaussian", 6, 2)
    alpha, n = 1.5, 6
    D = reference.pairwise_distances(x)
    off = ~torch.eye(n, dtype=torch.bool)
    delta, zeta = (((a * D[off]).softmax(0) * D[off]).sum() for a in (-alpha, alpha))

    def frozen(x):
        D = reference.pairwise_distances(x)[off]
        return ((delta - D).clamp(min=0) ** 2 + (D - zeta).clamp(min=0) ** 2).sum() / n**2

    x = x.requires_grad_()
    loss = impl.TSLoss("surrogate", beta_h0=0.0, alpha=alpha, detach_scales=True)
    assert torch.allclose(gradient(loss(x), x), gradient(frozen(x), x), rtol=1e-10, atol=1e-14)


# Ties, coincident rows, one point


@pytest.mark.parametrize("family", ["duplicated", "grid"])
@pytest.mark.parametrize("options", OPTIONS, ids=names)
def test_gradient_is_finite_and_repeats_at_ties(tsl, options, family):
    x = torch.stack([cloud(family, 14, 3, seed) for seed in range(2)]).requires_grad_()
    loss = tsl.TSLoss(**options)
    first = gradient(loss(x), x)
    assert first.isfinite().all()
    assert torch.equal(first, gradient(loss(x), x))


@pytest.mark.parametrize("options", OPTIONS, ids=names)
def test_identical_rows_have_zero_loss_and_zero_gradient(tsl, options):
    """The authors' start: one token repeated. Every s_i is -tau log n, at most 15 here: rounding
    it leaves a variance of (15 eps)^2."""
    x = cloud("identical", 20, 5, dtype=torch.float32).requires_grad_()
    loss = tsl.TSLoss(**options)(x)
    assert loss.item() == pytest.approx(0, abs=(15 * 1.2e-7) ** 2)
    assert torch.equal(gradient(loss, x), torch.zeros_like(x))


@pytest.mark.parametrize("options", OPTIONS, ids=names)
@pytest.mark.parametrize("shape", [(1, 4), (3, 1, 4)], ids=str)
def test_one_point_has_zero_loss_and_zero_gradient(tsl, shape, options):
    x = torch.randn(shape, requires_grad=True)
    loss, terms = tsl.TSLoss(**options)(x, return_terms=True)
    assert [loss.item(), terms["h0"].item(), terms["h1"].item()] == [0, 0, 0]
    assert torch.equal(gradient(loss, x), torch.zeros_like(x))


# Batches, dtypes, layouts, modules


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [(1,), (3,), (2, 2)], ids=str)
def test_a_batch_is_the_mean_over_its_clouds(tsl, batch, mode):
    x = torch.randn(*batch, 11, 2, dtype=torch.float64, requires_grad=True)
    loss, terms = tsl.TSLoss(mode)(x, return_terms=True)
    singles = [tsl.TSLoss(mode)(one, return_terms=True) for one in x.reshape(-1, 11, 2)]
    expected = torch.stack([single for single, _ in singles]).mean()
    assert torch.allclose(loss, expected, rtol=1e-13, atol=0)
    for name in ("h0", "h1"):
        mean = torch.stack([single[name] for _, single in singles]).mean()
        assert torch.allclose(terms[name], mean, rtol=1e-13, atol=0)
    assert torch.allclose(gradient(loss, x), gradient(expected, x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [(), (3,), (2, 2), (0,)], ids=str)
def test_reduction_none_gives_one_number_a_cloud(tsl, batch, mode):
    x = torch.randn(*batch, 9, 2, dtype=torch.float64, requires_grad=True)
    loss, terms = tsl.TSLoss(mode, reduction="none")(x, return_terms=True)
    assert loss.shape == terms["h0"].shape == terms["h1"].shape == batch
    singles = [tsl.TSLoss(mode)(one) for one in x.reshape(loss.numel(), 9, 2)]
    assert torch.equal(loss.flatten(), torch.stack(singles) if singles else loss.flatten())
    weights = torch.randn(batch, dtype=torch.float64)
    (got,) = torch.autograd.grad(loss, x, weights)
    expected = sum(w * single for w, single in zip(weights.flatten(), singles, strict=True))
    assert got.shape == x.shape
    if singles:
        assert torch.allclose(got, gradient(expected, x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mode", MODES)
def test_terms_are_detached_and_the_loss_is_not(tsl, mode):
    x = torch.randn(5, 2, requires_grad=True)
    loss, terms = tsl.TSLoss(mode)(x, return_terms=True)
    assert set(terms) == {"h0", "h1"}
    assert loss.shape == terms["h0"].shape == terms["h1"].shape == ()
    assert loss.requires_grad
    assert not terms["h0"].requires_grad
    assert not terms["h1"].requires_grad
    with torch.no_grad():
        assert not tsl.TSLoss(mode)(x).requires_grad
    assert not tsl.TSLoss(mode)(x.detach()).requires_grad


@pytest.mark.parametrize("mode", MODES)
def test_the_engine_forms_a_gradient_only_where_one_is_asked_for(tsl, mode, monkeypatch):
    gradients = []
    operator = getattr(ops, f"{mode}_loss")
    kernel = ops._COMPILED[operator]

    def spy(*args):
        results = kernel(*args)
        gradients.append(results[3] is not None)
        return results

    monkeypatch.setitem(ops._COMPILED, operator, spy)
    x = torch.randn(5, 2, requires_grad=True)
    loss = tsl.TSLoss(mode)
    loss(x)
    loss(x.detach())
    with torch.no_grad():
        loss(x)
    assert gradients == [True, False, False]


@pytest.mark.parametrize("shape", [(5, 2), (3, 5, 2)], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_eager_mode_gives_the_bits_of_the_operator(tsl, mode, shape):
    """Eager mode calls the engine without the operator, which traced code takes."""
    options = {
        "persistence": (1.0, 1.0, 2.0, False),
        "surrogate": (1.0, 1.0, 1.0, 10.0, 1.0, 1.0, False, False, False),
    }[mode]
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    loss = tsl.TSLoss(mode, reduction="none")(x)
    expected = getattr(ops, f"{mode}_loss")(y, *options)[0]
    loss.sum().backward()
    expected.sum().backward()
    assert torch.equal(loss, expected)
    assert torch.equal(x.grad, y.grad)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("dtype", "computed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
    ids=["f16", "bf16", "f32", "f64"],
)
def test_dtype_of_loss_and_gradient(tsl, dtype, computed, mode):
    x = cloud("circle", 16, 3).to(dtype).requires_grad_()
    loss, terms = tsl.TSLoss(mode)(x, return_terms=True)
    assert loss.dtype == terms["h0"].dtype == terms["h1"].dtype == computed
    y = x.detach().to(computed).requires_grad_()
    expected = tsl.TSLoss(mode)(y)
    assert torch.equal(loss, expected)
    got = gradient(loss, x)
    assert got.dtype == dtype
    assert torch.allclose(
        got.to(computed), gradient(expected, y), rtol=4 * torch.finfo(dtype).eps, atol=1e-3
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def test_autocast_changes_nothing(tsl, dtype, mode):
    x = cloud("circle", 16, 3).to(dtype).requires_grad_()
    expected = tsl.TSLoss(mode)(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = tsl.TSLoss(mode)(x)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(gradient(loss, x), gradient(expected, x))


@pytest.mark.parametrize("mode", MODES)
def test_strides_do_not_matter(tsl, mode):
    x = torch.stack([cloud("circle", 13, 3, seed) for seed in range(2)])
    loss = tsl.TSLoss(mode)
    base = x.mT.contiguous().requires_grad_()
    plain = x.clone().requires_grad_()
    assert not base.mT.is_contiguous()
    assert torch.equal(loss(base.mT), loss(plain))
    assert torch.equal(gradient(loss(base.mT), base).mT, gradient(loss(plain), plain))


@pytest.mark.parametrize("mode", MODES)
def test_an_expanded_cloud_sums_its_gradients(tsl, mode):
    x = cloud("circle", 13, 2).requires_grad_()
    together = gradient(tsl.TSLoss(mode)(x.expand(4, 13, 2)), x)
    assert torch.allclose(together, gradient(tsl.TSLoss(mode)(x), x), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("mode", MODES)
def test_permuting_the_points_permutes_the_gradient(tsl, mode):
    x = cloud("circle", 17, 3).requires_grad_()
    order = torch.randperm(17)
    assert torch.allclose(tsl.TSLoss(mode)(x[order]), tsl.TSLoss(mode)(x), rtol=1e-12, atol=0)
    one = gradient(tsl.TSLoss(mode)(x), x)
    y = x.detach()[order].requires_grad_()
    assert torch.allclose(gradient(tsl.TSLoss(mode)(y), y), one[order], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_upstream_factors_reach_the_gradient(tsl, mode):
    x = cloud("circle", 12, 2).requires_grad_()
    loss = tsl.TSLoss(mode)
    tripled = gradient(3 * loss(x), x)
    squared = gradient(loss(x) ** 2, x)
    one = gradient(loss(x), x)
    assert torch.allclose(tripled, 3 * one, rtol=1e-14, atol=0)
    assert torch.allclose(squared, 2 * loss(x).detach() * one, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("mode", MODES)
def test_backward_twice_over_a_retained_graph(tsl, mode):
    x = cloud("circle", 12, 2).requires_grad_()
    loss = tsl.TSLoss(mode)(x)
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward(retain_graph=True)
    assert torch.equal(x.grad, 2 * once)
    x.grad.zero_()
    loss.backward()
    assert torch.equal(x.grad, once)


@pytest.mark.parametrize("mode", MODES)
def test_a_change_of_the_prompt_after_forward_does_not_reach_the_gradient(tsl, mode):
    """The gradient is saved by the forward, so it is that of the old prompt."""
    x = cloud("circle", 12, 2).requires_grad_()
    expected = gradient(tsl.TSLoss(mode)(x), x)
    loss = tsl.TSLoss(mode)(x)
    with torch.no_grad():
        x.mul_(2)
    assert torch.equal(gradient(loss, x), expected)


@pytest.mark.parametrize("mode", MODES)
def test_the_prompt_is_left_alone(tsl, mode):
    x = cloud("circle", 12, 2).requires_grad_()
    before = x.detach().clone()
    tsl.TSLoss(mode)(x).backward()
    assert torch.equal(x, before)


@pytest.mark.parametrize("mode", MODES)
def test_grad_of_grad_is_an_error_not_a_wrong_number(tsl, mode):
    x = cloud("circle", 12, 2).requires_grad_()
    loss = tsl.TSLoss(mode)(x)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(loss, x, create_graph=True)


@pytest.mark.parametrize("mode", MODES)
def test_lambda_ts_may_change_between_steps(tsl, mode):
    x = cloud("circle", 12, 2)
    loss = tsl.TSLoss(mode)
    before = loss(x)
    loss.lambda_ts = 0.25
    assert torch.allclose(loss(x), before / 4, rtol=1e-14, atol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
def test_the_module_copies_and_holds_no_parameters(tsl, clone, mode):
    x = cloud("circle", 12, 2)
    loss = tsl.TSLoss(mode, lambda_ts=0.5, h1_power=1.5, tau=0.7)
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}
    assert torch.equal(clone(loss)(x), loss(x))


@pytest.mark.parametrize("mode", MODES)
def test_gradient_descent_lowers_the_loss(tsl, mode):
    x = (1.5 * cloud("circle", 16, 3)).requires_grad_()
    loss = tsl.TSLoss(mode)
    start = loss(x).item()
    for _ in range(20):
        x = (x - 0.1 * gradient(loss(x), x)).detach().requires_grad_()
    assert loss(x).item() < 0.9 * start


@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_started_loss_is_the_loss(tsl, mode, reduction):
    loss = tsl.TSLoss(mode, reduction=reduction)
    x = torch.randn(3, 14, 4, dtype=torch.float64, requires_grad=True)
    pending = loss.start(x)
    expected = loss(x)
    for _ in range(2):
        assert torch.equal(pending.result(), expected)
    started, terms = pending.result(return_terms=True)
    assert torch.equal(terms["h1"], loss(x, return_terms=True)[1]["h1"])
    gradients = [torch.autograd.grad(value.sum(), x)[0] for value in (started, expected)]
    assert torch.equal(*gradients)


def test_terms_on_known_edges_are_those_of_the_fused_loss(tsl):
    """The loss of CUDA prompts, whose edges come from the host, in all its options."""
    for n, power, scale in ((1, 2.0, None), (2, 1.0, None), (25, 2.0, "mean"), (25, 1.5, None)):
        loss = tsl.TSLoss(lambda_ts=0.7, beta_h1=3.0, h1_power=power, scale=scale, reduction="none")
        x = torch.stack([cloud("circle", n, 3, seed) for seed in range(2)]).requires_grad_()
        D = tsl.pairwise_distances(x.detach())
        edges = critical_edges(*ops.h1_critical_edges(D))
        options = (0.7, 0.7 * 3, power, scale == "mean")
        found, h0, h1, *_ = ops.loss_of_edges(x, D, edges, *options)
        expected, terms = loss(x, return_terms=True)
        close = {"rtol": 1e-10, "atol": 1e-12}
        torch.testing.assert_close(found, expected, **close)
        torch.testing.assert_close((h0, h1), (terms["h0"], terms["h1"]), **close)
        gradients = [torch.autograd.grad(value.sum(), x)[0] for value in (found, expected)]
        torch.testing.assert_close(*gradients, **close)
