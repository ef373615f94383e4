"""The public functions on the Triton kernels: interpreted in CI, on a CUDA device with --gpu."""

import subprocess
import sys
import textwrap
import types
from contextlib import contextmanager

import pytest
import torch
from clouds import FAMILIES, cloud, matrix
from devices import DEVICE, moved
from torch.autograd import forward_ad

from tsloss_fast import (
    _C,
    TSLoss,
    losses,
    pairwise_distances,
    persistent_homology_dimension,
    reference,
    rips_persistence,
    vectorise,
)
from tsloss_fast._engine import cuda, host_h1
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.host_h1 import bar_tensors, start_bars
from tsloss_fast.persistence.diagram import PersistenceDiagram

pytest.importorskip("triton", reason="the kernels need Triton")

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run")]

MODES = ["persistence", "surrogate"]
OPTIONS = [{}, {"scale": "mean"}, {"reduction": "none"}, {"lambda_ts": 0.3, "beta_h1": 2.5}]
KERNELS = ops._CUDA_KERNELS
ENGINE = {op: op._backend_fns["cpu"] for op in KERNELS}
FUSES, IS_PLAIN = ops.fuses_persistence_loss, ops.is_plain
FUSES_SURROGATE = ops.fuses_surrogate_loss


@pytest.fixture
def through_kernels(monkeypatch):
    """The operators run their CUDA kernels, also where these are interpreted on CPU tensors."""
    if DEVICE == "cuda":
        return
    for op in KERNELS:
        # As registered, which torch.compile does not look into.
        monkeypatch.setitem(op._backend_fns, "cpu", op._backend_fns["cuda"])
    monkeypatch.setattr(ops, "fuses_persistence_loss", lambda x: False)
    monkeypatch.setattr(ops, "fuses_surrogate_loss", lambda x, lengths: lengths is None)
    # Nor may eager calls go to the engine without its operators, but to the kernels without theirs.
    monkeypatch.setattr(ops, "is_plain", lambda x, on="cpu": on == "cuda" and IS_PLAIN(x))


def points(family="gaussian", n=17, d=5, B=2, dtype=torch.float32):
    x = torch.stack([cloud(family, n, d, seed, torch.float64) for seed in range(B)])
    return x.to(dtype)


def value_and_gradient(call, x):
    """The value of a scalar function of `x` and its gradient, on the CPU."""
    x = moved(x.clone()).requires_grad_()
    value = call(x)
    value.sum().backward()
    return value.detach().cpu(), x.grad.cpu()


def call_on_engine(call, x):
    x = x.double().requires_grad_()
    value = call(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def close(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        size = theirs.abs().max().item()
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance * (size + 1e-12))


@pytest.fixture
def engine():
    """What the CPU engine says of a call, also where the operators run their CUDA kernels."""

    def compute(call, x):
        with pytest.MonkeyPatch.context() as patch:
            for op in KERNELS:
                patch.setitem(op._backend_fns, "cpu", ENGINE[op])
            patch.setattr(ops, "fuses_persistence_loss", FUSES)
            patch.setattr(ops, "fuses_surrogate_loss", FUSES_SURROGATE)
            patch.setattr(ops, "is_plain", IS_PLAIN)
            return call_on_engine(call, x)

    return compute


@pytest.mark.usefixtures("through_kernels")
class TestPublicFunctions:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    @pytest.mark.parametrize("mode", MODES)
    def test_loss_is_that_of_the_engine(self, mode, options, engine):
        loss, x = TSLoss(mode, **options), points("circle", 23)
        close(value_and_gradient(loss, x), engine(loss, x), 2e-5)

    @pytest.mark.parametrize("size", [1e-25, 1e25])
    @pytest.mark.parametrize("mode", MODES)
    def test_a_scaled_loss_has_a_gradient_at_any_size(self, mode, size):
        loss, x = TSLoss(mode, scale="mean"), points("circle", 19)
        value, gradient = value_and_gradient(loss, x)
        scaled_value, scaled_gradient = value_and_gradient(loss, size * x)
        torch.testing.assert_close(scaled_value, value, rtol=1e-5, atol=0)
        assert gradient.norm() > 0
        error = (scaled_gradient.double() * size - gradient).norm() / gradient.norm()
        assert error < 1e-4

    @pytest.mark.parametrize("family", sorted(FAMILIES))
    @pytest.mark.parametrize("mode", MODES)
    def test_every_family(self, mode, family, engine):
        # Whole numbers and repeated rows tie in float32 as they do in float64.
        loss, x = TSLoss(mode), points(family, 20, 3).double()
        close(value_and_gradient(loss, x), engine(loss, x), 1e-9)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("mode", MODES)
    def test_half_prompts_give_float32_losses(self, mode, dtype, engine):
        loss, x = TSLoss(mode), points(dtype=dtype)
        value, gradient = value_and_gradient(loss, x)
        assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
        close((value, gradient), engine(loss, x), 1e-2)

    @pytest.mark.parametrize("mode", MODES)
    def test_one_point_and_equal_points(self, mode):
        for x in (points(n=1), torch.ones(2, 9, 4)):
            value, gradient = value_and_gradient(TSLoss(mode), x)
            assert gradient.isfinite().all()
            assert value == 0 or mode == "surrogate"

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_distances_and_their_gradient(self, metric, engine):
        slopes = torch.randn(2, 17, 17)

        def call(x):
            D = pairwise_distances(x, metric)
            return (D * slopes.to(D)).sum()

        x = points()
        close(value_and_gradient(call, x), engine(call, x), 1e-5)

    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "precomputed"])
    @pytest.mark.parametrize("max_dim", [0, 1])
    def test_diagrams_have_the_edges_of_the_engine(self, metric, max_dim, engine):
        if metric == "precomputed":
            x = torch.stack([matrix("ties", 19, seed, torch.float32) for seed in range(2)])
        else:
            x = points("circle", 19)
        found = rips_persistence(moved(x), max_dim, metric)
        edges = []
        engine(lambda x: edges.append(rips_persistence(x, max_dim, metric)) or x.sum(), x)
        for ours, theirs in zip(found, edges[0], strict=True):
            assert torch.equal(ours.birth_edges.cpu(), theirs.birth_edges)
            assert torch.equal(ours.death_edges.cpu(), theirs.death_edges)
            close([ours.pairs.cpu()], [theirs.pairs.detach()], 1e-5)

    def test_the_dimension_is_that_of_the_engine(self, engine):
        sizes = {"min_points": 4, "max_points": 9, "point_jump": 4}
        draws = {"n_reruns": 1, "n_points": 2, "n_points_min": 2}

        def call(x):
            generator = torch.Generator().manual_seed(0)
            return persistent_homology_dimension(x, **sizes, **draws, generator=generator)

        x = points("circle", 9, 3, B=1).double()
        close(value_and_gradient(call, x), engine(call, x), 1e-9)

    def test_interpolated_gradients_are_those_of_the_engine(self, engine):
        def call(x):
            return -rips_persistence(losses.interpolated(x, 0.4))[1].lifetimes.amax(-1)

        x = points("circle", 17).double()
        close(value_and_gradient(call, x), engine(call, x), 1e-9)

    def test_betti_curves_are_those_of_the_engine(self):
        x, grid = points("circle", 17), torch.linspace(0, 2, 30)
        found, expected = (
            [vectorise.betti_curve(dgm, grid=grid).cpu() for dgm in rips_persistence(each)]
            for each in (moved(x), x)
        )
        assert all(map(torch.equal, found, expected))

    @pytest.mark.parametrize("n_prompt", [0, 1, 9])
    def test_mtop_div_is_that_of_the_engine(self, n_prompt, engine):
        def call(x):
            layers = ((x @ x.mT).softmax(-1), (x @ x.mT / 2).softmax(-1))
            return losses.mtop_div(layers, n_prompt)

        x = points("circle", 17).double()
        close(value_and_gradient(call, x), engine(call, x), 1e-9)

    @pytest.mark.parametrize("mode", MODES)
    def test_vmap_over_prompts_is_the_batch(self, mode):
        x = moved(points(B=3))
        losses = torch.func.vmap(TSLoss(mode))(x)
        assert torch.equal(losses, TSLoss(mode, reduction="none")(x))

    @pytest.mark.parametrize("fullgraph", [True, False])
    @pytest.mark.parametrize("begin", [False, True], ids=["called", "started"])
    @pytest.mark.parametrize("mode", MODES)
    def test_compiled_loss_is_the_eager_loss(self, mode, begin, fullgraph):
        """Also where H1, whose number follows the values, ends a graph and begins another."""
        x, loss = points("circle", 30), TSLoss(mode)
        call = (lambda x: loss.start(x).result()) if begin else loss
        compiled = torch.compile(call, backend="aot_eager", fullgraph=fullgraph)
        found, expected = value_and_gradient(compiled, x), value_and_gradient(loss, x)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


DERIVED = {
    "persistence": TSLoss("persistence", h1_power=1.5),
    "surrogate": TSLoss("surrogate", scale="mean"),
    "distances": lambda x: pairwise_distances(x).pow(3).sum(),
    "cosine": lambda x: pairwise_distances(x, "cosine").square().sum(),
    "diagrams": lambda x: sum(dgm.lifetimes.square().sum() for dgm in rips_persistence(x)),
    "precomputed": lambda x: (
        rips_persistence(pairwise_distances(x), metric="precomputed")[1].lifetimes.square().sum()
    ),
    "rtd": lambda x: losses.rtd(x, x[..., :2], power=2).sum(),
    "rtd maximum": lambda x: losses.rtd(x, x[..., :2], mode="maximum", card=3).square().sum(),
    "rtd immovable": lambda x: losses.rtd(x, x[..., :2], immovable="a").square().sum(),
    "rtd_lite": lambda x: losses.rtd_lite(x, x[..., :2]).square().sum(),
    "signature": lambda x: losses.signature(x, x[..., :2], squared=True, dimensions=(0, 1)).sum(),
    "cascade": lambda x: losses.cascade_distortion(x, x[..., :2]).square().sum(),
    "bridges": lambda x: (
        losses.bridge_alignment(x[..., :4, :], x[..., 4:, :], x[..., 6:10, :]).square().sum()
    ),
    "mtop_div": lambda x: losses.mtop_div((x @ x.mT).softmax(-1), 4).square().sum(),
    "image": lambda x: vectorise.persistence_image(rips_persistence(x)[1], 0.5).square().sum(),
    "landscape": lambda x: vectorise.landscape(rips_persistence(x)[0], 3).square().sum(),
    "silhouette": lambda x: vectorise.silhouette(rips_persistence(x)[0]).square().sum(),
    "sliced": lambda x: vectorise.sliced_wasserstein_distance(*rips_persistence(x)).square().sum(),
}


@pytest.mark.usefixtures("through_kernels")
@pytest.mark.parametrize("f", DERIVED.values(), ids=DERIVED.keys())
class TestDerivatives:
    """Forward, reverse and their compositions, in float64, against the backward of the engine."""

    def test_forward_and_reverse(self, f, engine):
        x, v = points("circle", 11, 3).double(), torch.randn(2, 11, 3, dtype=torch.float64)
        slopes = torch.stack([engine(f, cloud)[1] for cloud in x])
        along = (slopes * v).sum((1, 2))
        x, v = moved(x), moved(v)
        found = (
            torch.func.vmap(torch.func.grad(f))(x).cpu(),
            torch.func.jacrev(f)(x[0]).cpu(),
            torch.func.vmap(lambda x, v: torch.func.jvp(f, (x,), (v,))[1])(x, v).cpu(),
        )
        close(found, (slopes, slopes[0], along), 1e-9)
        with forward_ad.dual_level():
            value = f(forward_ad.make_dual(x[1], v[1]))
            close([forward_ad.unpack_dual(value).tangent.cpu()], [along[1]], 1e-9)

    def test_the_second_derivative(self, f, engine):
        x, v = points("circle", 11, 3)[0].double(), torch.randn(11, 3, dtype=torch.float64)
        over = lambda x: torch.func.jvp(torch.func.grad(f), (x,), (moved(v),))[1]  # noqa: E731
        if isinstance(f, TSLoss):
            with pytest.raises(RuntimeError, match="differentiable once"):
                over(moved(x))
            return
        expected = []

        def second(x):
            (slope,) = torch.autograd.grad(f(x), x, create_graph=True)
            expected.append(torch.autograd.grad((slope * v).sum(), x, retain_graph=True)[0])
            return slope

        engine(second, x)
        close([over(moved(x)).cpu()], expected, 1e-9)


@pytest.mark.usefixtures("through_kernels")
class TestCloudsOfDifferentSizes:
    SIZES = (17, 0, 3, 1, 2, 9)

    def poisoned(self, dtype=torch.float64):
        """Clouds on a grid, whose lengths tie, with NaN behind their points."""
        x = points("grid", 17, 3, B=len(self.SIZES), dtype=dtype)
        lengths = torch.tensor(self.SIZES)
        beyond = torch.arange(17) >= lengths.unsqueeze(-1)
        return x.masked_fill(beyond.unsqueeze(-1), torch.nan), lengths

    @pytest.mark.parametrize("longest", [None, 1.5])
    @pytest.mark.parametrize("max_dim", [0, 1])
    @pytest.mark.parametrize("precomputed", [False, True])
    def test_diagrams_are_those_of_the_engine(self, longest, max_dim, precomputed):
        x, lengths = self.poisoned()
        clouds = [each[:m] for each, m in zip(x, self.SIZES, strict=True)]
        if precomputed:
            clouds = [torch.cdist(each, each, p=1) for each in clouds]
            x = torch.full((len(clouds), 17, 17), torch.nan, dtype=torch.float64)
            for D, each in zip(x, clouds, strict=True):
                D[: len(each), : len(each)] = each
        metric = "precomputed" if precomputed else "euclidean"
        expected = reference.rips_persistence(clouds, max_dim, metric, longest)
        for arguments in ((moved(x), moved(lengths)), ([moved(each) for each in clouds], None)):
            x, counts = arguments
            found = rips_persistence(x, max_dim, metric, longest, counts)
            for ours, theirs in zip(found, expected, strict=True):
                for name in ("birth_edges", "death_edges", "mask"):
                    assert torch.equal(getattr(ours, name).cpu(), getattr(theirs, name)), name
                torch.testing.assert_close(ours.pairs.cpu(), theirs.pairs, rtol=1e-14, atol=0)
                for b in range(len(self.SIZES)):
                    mask = ours.essential_mask[b].cpu()
                    classes = ours.essential_edges[b].cpu()[mask]
                    assert torch.equal(classes, theirs.essential_edges[b][theirs.essential_mask[b]])

    @pytest.mark.parametrize("longest", [None, 2.0])
    @pytest.mark.parametrize(("n", "max_dim"), [(17, 0), (17, 1), (260, 0)])
    def test_births_of_vertices_are_those_of_the_engine(self, longest, n, max_dim):
        """Of which many are equal, and many more than the edges' lengths."""
        D = torch.stack([matrix("ties", n, seed) for seed in range(3)])
        lengths = torch.tensor([n, 0, n // 2])
        generator = torch.Generator().manual_seed(n)
        births = torch.randint(-3, 8, (3, n), generator=generator) / 2.0
        arrays = (D.numpy(), max_dim, lengths.numpy())
        expected = _C.rips(*arrays, max_edge_length=longest, vertex_births=births.double().numpy())
        leaf = moved(births).requires_grad_()
        found = rips_persistence(
            moved(D), max_dim, "precomputed", longest, moved(lengths), vertex_births=leaf
        )
        for ours, arrays in zip(found, expected, strict=True):
            theirs = PersistenceDiagram._of_engine(arrays, {})
            for name in ("births", "deaths", "birth_edges", "death_edges", "mask"):
                assert torch.equal(getattr(ours, name).detach().cpu(), getattr(theirs, name)), name
            for b in range(3):
                mask, other = ours.essential_mask[b].cpu(), theirs.essential_mask[b]
                for name in ("essential_edges", "essential_births"):
                    got, wanted = getattr(ours, name)[b].cpu()[mask], getattr(theirs, name)[b]
                    assert torch.equal(got.detach(), wanted[other]), name
        (found[0].births.sum() + found[0].essential_births.sum()).backward()
        exists = torch.ones(n, dtype=torch.bool) if longest is None else births[0] <= longest
        assert torch.equal(leaf.grad[0].cpu(), exists.float())
        assert leaf.grad[1].eq(0).all()

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    @pytest.mark.parametrize("mode", MODES)
    def test_losses_are_those_of_the_engine(self, mode, options, engine):
        x, lengths = self.poisoned()
        loss = TSLoss(mode, **options)
        expected = engine(lambda x: loss(x, lengths=lengths), x.clone())
        counts = moved(lengths)
        calls = [
            lambda x: loss(x, lengths=counts),
            lambda x: loss.start(x, counts).result(),
            lambda x: loss([each[:m] for each, m in zip(x, self.SIZES, strict=True)]),
        ]
        if options in ({}, {"scale": "mean"}):
            # The others' graphs differ in their constants.
            calls.append(torch.compile(calls[0], backend="aot_eager", fullgraph=True))
        for call in calls:
            value, gradient = value_and_gradient(call, x)
            close((value, gradient), expected, 1e-9)
            assert gradient[~(torch.arange(17) < lengths.unsqueeze(-1))].eq(0).all()

    def test_lengths_that_are_none_are_nan_where_nothing_waits(self):
        x, wrong = moved(points(n=5)), moved(torch.tensor([4, 6]))
        if DEVICE == "cpu":
            # Values on the CPU are looked at, so only the operators meet them.
            h0 = torch.func.vmap(lambda x, m: rips_persistence(x, 0, lengths=m)[0].deaths)(x, wrong)
        else:
            h0 = rips_persistence(x, 0, lengths=wrong)[0].deaths
        assert h0[0].isfinite().all()
        assert h0[1].isnan().all()
        with pytest.raises(ValueError, match=r"^lengths: expected from 0 to 5 points, got"):
            rips_persistence(x, 1, lengths=wrong)


@pytest.mark.usefixtures("through_kernels")
class TestMissingEdges:
    def graphs(self, n, dtype=torch.float32):
        """A graph in many components, one with most edges, and one without any."""
        D = torch.stack([matrix("ties", n, seed, dtype) for seed in range(3)])
        generator = torch.Generator().manual_seed(n)
        shares = torch.tensor([0.9, 0.2, 1.0])[:, None, None]
        gone = (torch.rand(3, n, n, generator=generator) < shares).triu(1)
        return D.masked_fill(gone | gone.mT, torch.inf)

    def assert_same_classes(self, found, expected):
        """The classes that never die may be padded to another number."""
        for name in ("births", "deaths", "birth_edges", "death_edges", "mask"):
            assert torch.equal(getattr(found, name).cpu(), getattr(expected, name)), name
        for b in range(len(found.mask)):
            ours, theirs = found.essential_mask[b].cpu(), expected.essential_mask[b]
            assert torch.equal(ours, ours.sort(descending=True, stable=True).values)
            for name in ("essential_births", "essential_edges"):
                got, wanted = getattr(found, name)[b].cpu(), getattr(expected, name)[b]
                assert torch.equal(got[ours], wanted[theirs]), name

    @pytest.mark.parametrize("longest", [torch.inf, 2.0, 0.5])
    @pytest.mark.parametrize("n", [1, 2, 9, 33, 257])
    def test_components_that_stay_apart_never_die(self, n, longest):
        D = self.graphs(n)
        (expected,) = diagrams_of_engine(D, 0, longest)
        (found,) = rips_persistence(moved(D), 0, "precomputed", max_edge_length=longest)
        self.assert_same_classes(found, expected)

    @pytest.mark.parametrize("longest", [torch.inf, 2.0])
    def test_loops_that_nothing_fills_never_die(self, longest):
        D = self.graphs(20)
        expected = diagrams_of_engine(D, 1, longest)
        found = rips_persistence(moved(D), 1, "precomputed", max_edge_length=longest)
        for dgm, other in zip(found, expected, strict=True):
            self.assert_same_classes(dgm, other)

    @pytest.mark.parametrize("max_dim", [0, 1])
    def test_points_with_a_longest_edge(self, max_dim):
        x = points("circle", 20)
        D = pairwise_distances(moved(x)).cpu()
        found = rips_persistence(moved(x), max_dim, max_edge_length=0.7)
        for dgm, other in zip(found, diagrams_of_engine(D, max_dim, 0.7), strict=True):
            assert torch.equal(dgm.death_edges.cpu(), other.death_edges)
            assert torch.equal(dgm.mask.cpu(), other.mask)
            assert dgm.essential_mask.sum() == other.essential_mask.sum()

    @pytest.mark.parametrize("fullgraph", [True, False])
    @pytest.mark.parametrize("max_dim", [0, 1])
    def test_a_longest_edge_is_compiled(self, max_dim, fullgraph):
        """H1 looks at points on the host first, but not in a graph: there NaN gives NaN."""

        def deaths(x):
            found = rips_persistence(x, max_dim, max_edge_length=0.7)
            return torch.cat([dgm.deaths for dgm in found], dim=-1)

        x = points("circle", 20)
        compiled = torch.compile(deaths, backend="aot_eager", fullgraph=fullgraph)
        found, expected = value_and_gradient(compiled, x), value_and_gradient(deaths, x)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        x[1, 3, 2] = torch.nan
        found = compiled(moved(x))
        assert torch.equal(found[0].cpu(), expected[0][0, : found.shape[1]])
        assert found[1].isnan().all()
        if max_dim == 1:
            with pytest.raises(
                ValueError, match=r"^x: expected finite values, got x.1, 3, 2. = nan"
            ):
                deaths(moved(x))

    def test_infinity_is_an_error_on_a_device_unless_edges_may_be_missing(self):
        if DEVICE == "cpu":
            pytest.skip("needs values that nothing looks at")
        (h0,) = rips_persistence(moved(self.graphs(9)), 0, "precomputed")
        assert h0.deaths.isnan().all()


def diagrams_of_engine(D, max_dim, longest):
    """The compiled module's diagrams, their arrays tensors."""
    found = _C.rips(D.numpy(), max_dim, max_edge_length=longest)
    return [PersistenceDiagram._of_engine(arrays, {}) for arrays in found]


# One number a cloud, of what waits for nothing on a device.
WITHOUT_WAITING = {
    "surrogate": TSLoss("surrogate", reduction="none"),
    "scaled": TSLoss("surrogate", scale="mean", reduction="none"),
    "distances": lambda x: pairwise_distances(x).square().sum((1, 2)),
    "h0": lambda x: rips_persistence(x, 0)[0].deaths.square().sum(1),
    "h0 below a threshold": lambda x: (
        rips_persistence(x, 0, max_edge_length=2.0)[0].deaths.square().sum(1)
    ),
    "graphed h0": lambda x: TSLoss(beta_h1=0.0, reduction="none")._capturable_loss(x),
}


@pytest.mark.usefixtures("through_kernels")
class TestBadValues:
    def test_nan_comes_out_of_what_does_not_wait(self):
        x = points()
        x[1, 3, 2] = torch.nan
        value, _ = value_and_gradient(TSLoss("surrogate", reduction="none"), x)
        assert value[0].isfinite()
        assert value[1].isnan()
        D = pairwise_distances(moved(x)).cpu()
        assert not D[1, 3].isfinite().any()

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38])
    @pytest.mark.parametrize("name", sorted(WITHOUT_WAITING))
    def test_bad_points_give_no_number(self, name, value, poisoned):
        """Nor do distances that overflow. Clouds beside them keep theirs.

        Of the surrogate no entry of the gradient is a number; H0's follows its critical edges.
        """
        x = points()
        x[1, 3, 2], x[1, 4, 2] = value, -value
        found, gradient = value_and_gradient(WITHOUT_WAITING[name], x)
        fine, fine_gradient = value_and_gradient(WITHOUT_WAITING[name], x[:1])
        assert torch.equal(found[0], fine[0])
        assert torch.equal(gradient[0], fine_gradient[0])
        assert not found[1].isfinite()
        if name in ("surrogate", "scaled"):
            assert not gradient[1].isfinite().any()

    def test_h1_names_the_nan(self):
        x = points()
        x[1, 3, 2] = torch.nan
        with pytest.raises(ValueError, match=r"prompt: expected finite values, got prompt.1, 3, 2"):
            TSLoss(h1="host")(moved(x))

    def test_h1_refuses_a_distance_that_overflows(self):
        x = 3e38 * points().sign()
        with pytest.raises(ValueError, match=r"prompt: expected rows whose distances .* overflow"):
            TSLoss(h1="host")(moved(x))

    @pytest.mark.parametrize("max_dim", [0, 1])
    @pytest.mark.parametrize("fault", ["asymmetric", "negative", "nan", "diagonal"])
    def test_what_is_no_distance_matrix_gives_no_number(self, fault, max_dim):
        D = torch.stack([matrix("ranks", 7, seed, torch.float32) for seed in range(2)])
        entries = {"asymmetric": 0.5, "negative": -1, "nan": torch.nan, "diagonal": 2}
        D[1, 4, 4 if fault == "diagonal" else 2] = entries[fault]
        if DEVICE == "cpu" or max_dim == 1:
            with pytest.raises(ValueError, match="x: expected a symmetric, non-negative"):
                rips_persistence(moved(D), max_dim, "precomputed")
            return
        (h0,) = rips_persistence(moved(D), max_dim, "precomputed")
        assert h0.deaths[0].isfinite().all()
        assert h0.deaths[1].isnan().all()


def test_without_triton_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    cuda.kernels.cache_clear()
    with pytest.raises(ImportError, match=r"CUDA tensors need Triton.*pip install triton.*x.cpu"):
        cuda.pairwise_distances(points())
    cuda.kernels.cache_clear()


class TestStartBars:
    def test_bars_are_those_of_the_engine(self):
        D = torch.stack([matrix("ties", 21, seed, torch.float32) for seed in range(3)])
        expected = bar_tensors(_C.rips(D.numpy(), 1))
        pending = start_bars(moved(D), moved(D), "x")
        for _ in range(2):
            for got, part in zip(pending.result(), expected, strict=True):
                assert torch.equal(got.cpu(), part)

    def test_an_error_of_the_thread_reaches_the_caller(self):
        D = matrix("ranks", 5, 0, torch.float32)
        D[1, 2] = torch.inf
        with pytest.raises(ValueError, match=r"x: expected finite values, got x.1, 2. = inf"):
            start_bars(moved(D), moved(D), "x").result()


def test_the_thread_waits_on_the_device_of_its_tensors(monkeypatch):
    """Its own first device is 0, where the wait would create a context that nobody needs."""
    current, seen = [], []

    @contextmanager
    def device(index):
        current.append(index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    copied = types.SimpleNamespace(synchronize=lambda: seen.extend(current))
    host_h1._wait_for(copied, torch.device("cuda", 3))
    assert seen == [torch.device("cuda", 3)]


def test_python_may_end_while_h1_is_computed():
    """An exception in the model's forward ends the process with its own message, not an abort."""
    code = """
        import types, torch
        from tsloss_fast import host_h1

        rows = torch.nn.functional.normalize(torch.randn(1000, 64))
        D = torch.cdist(rows, rows)
        D = (D + D.mT).fill_diagonal_(0)
        copied = types.SimpleNamespace(synchronize=lambda: None)
        host_h1._copy_to_host = lambda parts: ([x.on_host for x in parts], copied)
        host_h1._wait_for = lambda copied, device: None
        on_device = types.SimpleNamespace(device=torch.device("cuda"), on_host=D)
        pending = host_h1.start_bars(on_device, on_device, "x")
        raise RuntimeError("the model failed")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().endswith("RuntimeError: the model failed")


@pytest.mark.usefixtures("cuda")
class TestOnTheDevice:
    """What only a CUDA device can show."""

    CALLS = {  # noqa: RUF012
        "distances": lambda x: pairwise_distances(x),
        "cosine": lambda x: pairwise_distances(x, "cosine"),
        "h0": lambda x: rips_persistence(x, max_dim=0)[0].deaths,
        "surrogate": TSLoss("surrogate"),
        "exact": TSLoss(h1="device"),
    }

    @staticmethod
    def forward_and_backward(call, x):
        value = call(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    @pytest.mark.parametrize("n", [20, 100, 300])
    @pytest.mark.parametrize("name", sorted(CALLS))
    def test_nothing_waits_for_the_device(self, name, n):
        call, x = self.CALLS[name], points("circle", n).cuda().requires_grad_()
        expected = self.forward_and_backward(call, x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = self.forward_and_backward(call, x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))

    @pytest.mark.parametrize("n", [20, 100, 300])
    @pytest.mark.parametrize("name", sorted(CALLS))
    def test_a_cuda_graph_captures_it(self, name, n):
        call, x = self.CALLS[name], points("circle", n).cuda().requires_grad_()
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            self.forward_and_backward(call, x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            found = self.forward_and_backward(call, x)
        for seed in range(2):
            fresh = cloud("unit", n, 5, 7 + seed, torch.float32).expand_as(x).cuda()
            with torch.no_grad():
                x.copy_(fresh)
            graph.replay()
            expected = self.forward_and_backward(call, x)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))

    @pytest.mark.parametrize(
        "options", [("surrogate",), ("persistence",), ("persistence", 1.0, 1.0, 0.0)], ids=str
    )
    @pytest.mark.parametrize("shape", [(20, 5), (100, 40), (3, 30, 8)], ids=str)
    def test_a_graphed_loss_is_the_eager_loss(self, options, shape):
        loss, prompt = TSLoss(*options), torch.nn.Parameter(torch.randn(*shape, device="cuda"))
        graphed = loss.graphed(prompt)
        for lambda_ts in (1.0, 1.0, 0.5):
            loss.lambda_ts = lambda_ts
            with torch.no_grad():
                prompt.normal_()
            prompt.grad = None
            found = graphed().clone(), prompt.grad
            expected = self.forward_and_backward(loss, prompt)
            close([part.cpu() for part in found], [p.cpu().double() for p in expected], 1e-6)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("n", [4, 30, 100, 200, 400])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_h1_on_the_device_has_the_bars_of_the_engine(self, family, n, dtype):
        D = pairwise_distances(points(family, n, dtype=dtype))
        edges, overflow = cuda.critical_edges_on_device(D.cuda())
        births, deaths = edges[:, n - 1 :].cpu().chunk(2, dim=1)
        bars = _C.rips(D.numpy(), 1)[1].bars
        K = bars.shape[1]
        assert not overflow.any()
        assert torch.equal(torch.cat((births, deaths), dim=-1)[:, :K], torch.from_numpy(bars))
        assert (births[:, K:] == -1).all()
        assert (deaths[:, K:] == -1).all()

    def test_h1_in_a_cuda_graph_is_a_clear_error(self):
        x = points().cuda()
        TSLoss(h1="host")(x)
        with (
            pytest.raises(RuntimeError, match="a CUDA graph cannot capture"),
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            TSLoss(h1="host")(x)

    def test_h1_does_not_wait_for_what_is_launched_after_its_start(self):
        x = points("circle", 60).cuda().requires_grad_()
        expected = TSLoss(h1="host")(x).item()
        pending = TSLoss(h1="host").start(x)
        # About half a second of work on the model's stream, between start and result.
        torch.cuda._sleep(10**9)
        model_done = torch.cuda.Event()
        model_done.record()
        loss = pending.result()
        assert not model_done.query()
        assert loss.item() == expected

    def test_another_graph_may_be_captured_while_h1_is_computed(self):
        x = points("unit", 300, 8).cuda()
        expected = TSLoss(h1="host")(x).item()
        y = torch.ones(3, device="cuda")
        graph = torch.cuda.CUDAGraph()
        pending = TSLoss(h1="host").start(x)
        with torch.cuda.graph(graph):
            doubled = y * 2
        assert pending.result().item() == expected
        graph.replay()
        assert doubled.tolist() == [2, 2, 2]

    @pytest.mark.parametrize("mode", MODES)
    def test_two_runs_give_the_same_bits(self, mode):
        x = points("grid", 129, 64).cuda().requires_grad_()
        first = self.forward_and_backward(TSLoss(mode), x)
        for _ in range(5):
            again = self.forward_and_backward(TSLoss(mode), x)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))

    def test_a_matrix_may_be_off_by_rounding(self):
        """H0 alone needed exact symmetry."""
        x = torch.randn(2, 60, 64, device="cuda")
        D = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist")
        upper = D.cpu().triu(1)
        (expected,) = _C.rips((upper + upper.mT).numpy(), 0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            (h0,) = rips_persistence(D, 0, "precomputed")
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(h0.death_edges.cpu(), torch.from_numpy(expected.death_edges))
        assert torch.equal(h0.deaths.cpu(), torch.from_numpy(expected.deaths))

    def test_h0_of_many_points(self):
        x = torch.randn(5000, 32, device="cuda")
        D = pairwise_distances(x)
        (h0,) = rips_persistence(D, max_dim=0, metric="precomputed")
        (expected,) = _C.rips(D.cpu().numpy(), 0)
        assert torch.equal(h0.death_edges.cpu(), torch.from_numpy(expected.death_edges))
        assert torch.equal(h0.birth_edges.cpu(), torch.from_numpy(expected.birth_edges))
