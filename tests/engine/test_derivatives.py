"""Forward and reverse derivatives and their compositions: right or an error, never a silent 0."""

import subprocess
import sys
import textwrap

import pytest
import torch
from clouds import cloud
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.torch_version import TorchVersion

import tsloss_fast as tsl
from tsloss_fast._engine import operators as ops

MODES = ["persistence", "surrogate"]


def points(B=3, n=9, d=3):
    """Clouds with loops, none of whose distances tie."""
    return torch.stack([cloud("circle", n, d, seed) for seed in range(B)])


def symmetric(upper):
    """A matrix given by hand, of which the entries above the diagonal count."""
    D = upper.triu(1)
    return D + D.mT


def lifetimes(x, metric="euclidean"):
    return sum(
        (dgm.deaths.square() - 0.3 * dgm.births.square()).sum()
        for dgm in tsl.rips_persistence(x, metric=metric)
    )


EDGES = torch.tensor([[0, 1], [3, 2], [4, 4], [5, 8], [0, 1], [-1, -1]])

# Scalar functions of one cloud [n, d], differentiable twice.
TWICE = {
    "distances": lambda x: tsl.pairwise_distances(x).pow(3).sum(),
    "cosine": lambda x: tsl.pairwise_distances(x, "cosine").pow(2).sum(),
    "diagrams": lifetimes,
    "cosine diagrams": lambda x: lifetimes(x, "cosine"),
    "precomputed": lambda x: lifetimes(symmetric(x @ x.mT + 9), "precomputed"),
    "edges": lambda x: tsl.edge_lengths(x, EDGES).pow(3).sum(),
    "cosine edges": lambda x: tsl.edge_lengths(x, EDGES, "cosine").pow(2).sum(),
    "entries": lambda x: tsl.edge_lengths(symmetric(x @ x.mT), EDGES, "precomputed").sin().sum(),
    "total persistence": lambda x: tsl.total_persistence(tsl.rips_persistence(x)[1], p=2),
    "variance": lambda x: tsl.lifetime_variance(tsl.rips_persistence(x, max_dim=0)[0]),
    "entropy": lambda x: tsl.persistence_entropy(*tsl.rips_persistence(x)),
}
# Those that are differentiable once.
ONCE = {
    **{mode: tsl.TSLoss(mode) for mode in MODES},
    **{f"{mode}, scaled": tsl.TSLoss(mode, scale="mean", h1_power=1.5) for mode in MODES},
}
EVERY = {**TWICE, **ONCE}


def of_each(functions):
    return pytest.mark.parametrize("f", functions.values(), ids=functions.keys())


def slope_of(f, x):
    """The gradient by backward alone, which the other tests compare with differences."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(f(x), x)
    return slope


def close(found, expected):
    """Equal but for the order of sums of some hundred numbers in float64."""
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


LINE = torch.tensor([[0.0], [1.0], [3.0]])
LAST = torch.tensor([[0.0], [0.0], [1.0]])


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda z: tsl.pairwise_distances(z).sum(), 4.0),
        (lambda z: tsl.rips_persistence(z)[0].deaths.sum(), 1.0),
        (tsl.TSLoss(), 0.5),
    ],
    ids=["distances", "deaths", "loss"],
)
def test_forward_mode_of_three_points_on_a_line(f, expected):
    """The last point moves away: by hand."""
    assert jvp(f, (LINE,), (LAST,))[1].item() == expected
    assert (jacfwd(f)(LINE) * LAST).sum().item() == expected
    assert linearize(f, LINE)[1](LAST).item() == expected
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(LINE, LAST))).tangent
    assert tangent.item() == expected


def test_forward_mode_of_entries_and_angles():
    D, slope = tsl.pairwise_distances(LINE), torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, 0]])
    deaths = lambda D: tsl.rips_persistence(D, metric="precomputed")[0].deaths.sum()  # noqa: E731
    assert jvp(deaths, (D,), (slope,))[1].item() == 1.0
    x, v = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    # The cosine rises by 1 / sqrt(2) - 0, and stands at [0, 1] and [1, 0].
    found = jvp(lambda x: tsl.pairwise_distances(x, "cosine").sum(), (x,), (v,))[1]
    torch.testing.assert_close(found.item(), -2 / 2**0.5, rtol=1e-6, atol=0)


@of_each(EVERY)
def test_reverse_modes_give_the_gradient_of_backward(f):
    x = points()
    expected = torch.stack([slope_of(f, cloud) for cloud in x])
    close(grad(f)(x[0]), expected[0])
    close(jacrev(f)(x[0]), expected[0])
    value, pull = vjp(f, x[0])
    close(value, f(x[0]))
    close(pull(torch.tensor(2.0, dtype=x.dtype))[0], 2 * expected[0])
    close(vmap(grad(f))(x), expected)
    close(grad(lambda x: vmap(f)(x).sum())(x), expected)


@of_each(EVERY)
def test_forward_modes_give_the_gradient_of_backward(f):
    x = points()
    v = torch.randn_like(x)
    expected = torch.stack([slope_of(f, cloud) for cloud in x])
    along = (expected * v).sum((1, 2))
    close(jacfwd(f)(x[0]), expected[0])
    close(jvp(f, (x[0],), (v[0],))[1], along[0])
    close(linearize(f, x[0])[1](v[0]), along[0])
    close(vmap(lambda x, v: jvp(f, (x,), (v,))[1])(x, v), along)
    close(jvp(vmap(f), (x,), (v,))[1], along)
    with forward_ad.dual_level():
        value, tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x[0], v[0])))
        close(value, f(x[0]))
    close(tangent, along[0])


# A scale is a constant for the gradient, but not for differences.
@of_each({name: f for name, f in EVERY.items() if "scaled" not in name})
def test_gradcheck_forward_and_batched(f):
    x = points()[0].requires_grad_()
    assert gradcheck(
        f, x, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )


@of_each(TWICE)
def test_gradgradcheck_forward_over_reverse_and_batched(f):
    x = points()[0].requires_grad_()
    assert gradgradcheck(
        f, x, check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True, atol=1e-4
    )


@of_each(TWICE)
def test_second_derivatives_agree_in_every_composition(f):
    x = points()[0]
    expected = torch.autograd.functional.hessian(f, x)
    for compose in (
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: jacfwd(jacfwd(f)),
    ):
        close(compose(f)(x), expected)


@of_each(ONCE)
def test_a_second_derivative_of_the_loss_is_an_error_in_every_composition(f):
    x = points()[0]
    for compose in (
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: jacfwd(jacfwd(f)),
        lambda f: grad(lambda x: grad(f)(x).square().sum()),
        lambda f: lambda x: jvp(grad(f), (x,), (x,)),
        lambda f: lambda x: grad(lambda x: jvp(f, (x,), (x.detach(),))[1])(x),
    ):
        with pytest.raises(RuntimeError, match="differentiable once"):
            compose(f)(x)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_derivative_over_dual_tensors_is_an_error(mode):
    """The gradient of the derivative along a direction, without torch.func."""
    loss, x = tsl.TSLoss(mode), points()[0].requires_grad_()
    with forward_ad.dual_level():
        along = forward_ad.unpack_dual(loss(forward_ad.make_dual(x, x.detach()))).tangent
        with pytest.raises(RuntimeError, match="differentiable once"):
            torch.autograd.grad(along, x)


@of_each(TWICE)
def test_the_gradient_of_a_derivative_along_a_direction(f):
    """By dual tensors of a cloud that requires a gradient."""
    x, v = points()[0].requires_grad_(), torch.randn(9, 3, dtype=torch.float64)
    expected = torch.autograd.functional.hvp(f, x, v)[1]
    with forward_ad.dual_level():
        along = forward_ad.unpack_dual(f(forward_ad.make_dual(x, v))).tangent
        close(torch.autograd.grad(along, x)[0], expected)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_a_loss_taken_together(mode):
    x = points().requires_grad_()
    losses = tsl.TSLoss(mode, reduction="none")(x)
    expected = torch.stack([slope_of(tsl.TSLoss(mode), cloud) for cloud in x])
    (found,) = torch.autograd.grad(
        losses, x, torch.eye(3, dtype=x.dtype), is_grads_batched=True, retain_graph=True
    )
    for k in range(3):
        close(found[k, k], expected[k])
        assert found[k].count_nonzero() == found[k, k].count_nonzero() > 0
    one = points()[0].requires_grad_()
    for keep in (True, False):
        factors = torch.tensor([1.0, 3.0], dtype=x.dtype)
        (found,) = torch.autograd.grad(
            tsl.TSLoss(mode)(one), one, factors, is_grads_batched=True, retain_graph=keep
        )
        close(found, torch.stack((expected[0], 3 * expected[0])))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("B", [None, 3])
def test_a_gradient_changed_in_place_leaves_the_graph_as_it_was(mode, B):
    x = (points()[0] if B is None else points(B)).requires_grad_()
    loss = tsl.TSLoss(mode)(x)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    expected = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(loss, x, retain_graph=True)
    assert torch.equal(second, expected)
    second.mul_(3)
    loss.backward()
    assert torch.equal(x.grad, expected)


@pytest.mark.parametrize("mode", MODES)
def test_per_sample_gradients_of_a_module(mode):
    """The recipe of torch.func: one gradient of the parameters a cloud."""
    layer, loss, x = torch.nn.Linear(3, 4).double(), tsl.TSLoss(mode), points()
    weights = dict(layer.named_parameters())
    one = lambda w, x: loss(functional_call(layer, w, x))  # noqa: E731
    found = vmap(grad(one), in_dims=(None, 0))(weights, x)
    for k, each in enumerate(x):
        layer.zero_grad()
        loss(layer(each)).backward()
        for name, parameter in layer.named_parameters():
            close(found[name][k], parameter.grad)


@of_each(EVERY)
def test_coincident_points_have_slope_0(f):
    x = points()[0]
    x[4] = x[2]
    slope = jacfwd(f)(x)
    assert slope.isfinite().all()
    close(slope, slope_of(f, x))
    close(grad(f)(x), slope_of(f, x))


# Functions whose sizes do not depend on values, as the number of H1's bars does.
FIXED = ("distances", "cosine", "edges", "cosine edges", "entries", "variance", *ONCE)


def compiled_gradient_is_the_gradient(f):
    torch._dynamo.reset()
    compiled = torch.compile(grad(f), backend="aot_eager", fullgraph=True)
    x = points()[0]
    close(compiled(x), grad(f)(x))


@of_each({name: EVERY[name] for name in FIXED})
def test_a_compiled_gradient_is_the_gradient(f):
    compiled_gradient_is_the_gradient(f)


@pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.13",
    reason="torch 2.8 and 2.11 fail at such sizes inside torch.func.grad: 'expected FakeTensor'",
)
@of_each({name: f for name, f in EVERY.items() if name not in FIXED})
def test_a_compiled_gradient_of_bars_is_the_gradient(f):
    compiled_gradient_is_the_gradient(f)


# In forward mode torch.compile does not follow other sizes: an error of torch alone.
@of_each({name: EVERY[name] for name in FIXED})
def test_a_compiled_derivative_along_a_direction_is_that_without(f):
    torch._dynamo.reset()
    # Not a view, at which torch fails.
    x, v = points()[0].clone(), torch.randn(9, 3, dtype=torch.float64)
    along = lambda x, v: jvp(f, (x,), (v,))[1]  # noqa: E731
    close(torch.compile(along, backend="aot_eager", fullgraph=True)(x, v), along(x, v))


def test_forward_mode_of_distances_keeps_all_digits_of_rows_that_nearly_coincide(monkeypatch):
    """Far from the origin, and in blocks of rows as large clouds are."""
    x = 1e6 + torch.tensor([[0.0, 0], [3, 4], [6, 0], [0, 8], [2**-20, 0]], dtype=torch.float64)
    v = torch.randn_like(x)
    D = tsl.pairwise_distances(x)
    expected = ((x[:, None] - x) * (v[:, None] - v)).sum(-1) / D.fill_diagonal_(1)
    for block in (1, 20, 2**24):
        monkeypatch.setattr(ops, "_BLOCK", block)
        found = jvp(tsl.pairwise_distances, (x,), (v,))[1]
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


def test_a_matrix_at_fault_is_named_under_a_transform():
    D = tsl.pairwise_distances(points()[0])
    D[2, 5] += 1
    with pytest.raises(ValueError, match=r"x\[2, 5\]"):
        grad(lambda D: lifetimes(D, "precomputed"))(D)


@pytest.mark.parametrize(
    "name",
    [
        "torch._functorch.utils.enable_single_level_autograd_function",
        "torch._C._AutoDispatchBelowAutograd",
    ],
)
def test_a_torch_without_what_forward_mode_needs(name):
    """Backward passes work, compiled too, and forward mode says what is missing."""
    module, _, attribute = name.rpartition(".")
    code = f"""
        import torch, torch.autograd.forward_ad as fwd
        import torch._functorch.autograd_function
        del {module}.{attribute}
        import tsloss_fast as tsl

        x = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
        loss = lambda x: tsl.rips_persistence(x)[1].lifetimes.square().sum() + tsl.TSLoss()(x)
        assert torch.autograd.gradcheck(loss, x)
        for call in (
            lambda: torch.func.jvp(loss, (x.detach(),), (x.detach(),)),
            lambda: torch.func.jvp(tsl.pairwise_distances, (x.detach(),), (x.detach(),)),
        ):
            try:
                call()
            except RuntimeError as error:
                print(error)
        with fwd.dual_level():
            try:
                tsl.TSLoss()(fwd.make_dual(x.detach(), x.detach()))
            except RuntimeError as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 3
    assert all(line.startswith(f"torch {torch.__version__} lacks what") for line in told)
    assert all(attribute in line and "take backward()" in line for line in told)
