"""The registered operators: opcheck and gradcheck on each, and tracing."""

import re

import pytest
import torch
from clouds import cloud, matrix
from torch.autograd import gradcheck, gradgradcheck

import tsloss_fast as tsl
from tsloss_fast import _C
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.host_h1 import critical_edges

DEFINED = {
    value._name: value
    for value in vars(ops).values()
    if isinstance(value, torch.library.CustomOpDef)
}


def batch(B=2, n=7, d=3, dtype=torch.float64, grad=True):
    clouds = torch.stack([cloud("circle", n, d, seed) for seed in range(B)])
    return clouds.to(dtype).requires_grad_(grad)


def vertex_pairs(B=2, n=7):
    """Edges with a repeated one, a degenerate one and padding among them, int64 [B, K, 2]."""
    i, j = torch.triu_indices(n, n, 1)
    pairs = torch.stack((i, j), dim=-1)[::3]
    extra = torch.tensor([[0, 1], [0, 1], [2, 2], [-1, -1]])
    return torch.cat((pairs, extra)).repeat(B, 1, 1)


def weights(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype).requires_grad_()


def critical(x):
    """The critical edges of a cloud or a batch, [..., n - 1 + 2 K, 2]."""
    return critical_edges(*ops.h1_critical_edges(tsl.pairwise_distances(x).detach()))


def ragged_loss_of_edges(x, lengths):
    """Arguments of `loss_of_edges` for clouds of these numbers of points."""
    D = tsl.pairwise_distances(x, lengths=lengths).detach()
    return x, D, critical_edges(*ops.h1_critical_edges(D, lengths)), *PERSISTENCE, lengths


PERSISTENCE = (0.7, 1.3, 2.0, False)
SURROGATE = (0.7, 1.3, 1.0, 2.0, 0.5, 1.5, False, False, False)


def samples(dtype=torch.float64):
    """Sample inputs of every operator, on odd sizes, with and without batch dimensions."""
    x = batch(dtype=dtype)
    D = torch.stack([matrix("ties", 9, seed, dtype) for seed in range(3)])
    one = batch(dtype=dtype)[0].detach().requires_grad_()
    return {
        "pairwise_distances": [
            (x,),
            (one,),
            (batch(1, 1, 2, dtype),),
            (batch(1, 5, 2, dtype),),
        ],
        "scatter_differences": [
            (x, weights(2, 7, 7, dtype=dtype)),
            (one, weights(7, 7, dtype=dtype)),
        ],
        "edge_lengths": [(x, vertex_pairs()), (one, vertex_pairs()[0])],
        "scatter_edges": [
            (x, vertex_pairs(), weights(2, 11, dtype=dtype)),
            (one, vertex_pairs()[0], weights(11, dtype=dtype)),
        ],
        "rips_bars": [
            (D, 0),
            (D[0], 0),
            (D[:, :1, :1].contiguous(), 0),
            (D, 1),
            (D[0], 1),
            (D[:, :1, :1].contiguous(), 1),
            (D, 0, torch.tensor([9, 1, 4])),
            (D, 1, torch.tensor([9, 1, 4])),
            (D, 1, torch.tensor([0, 9, 2])),
            (D, 0, None, None, D[:, 0]),
            (D, 1, torch.tensor([9, 1, 4]), 3.0, D[:, 0] - 2),
        ],
        "checked_matrix": [(D,), (D[0],)],
        "gradient_for_once": [
            (weights(2, 7, 3, dtype=dtype), x.detach()),
            (weights(7, 3, dtype=dtype), one.detach()),
        ],
        "persistence_loss": [
            (x, *PERSISTENCE),
            (one, *PERSISTENCE),
            (x, 0.7, 1.3, 1.5, True),
            (x, 0.7, 1.3, 1.0, False),
            (x, *PERSISTENCE, torch.tensor([4, 7])),
        ],
        "loss_of_edges": [
            (x, tsl.pairwise_distances(x).detach(), critical(x), 0.7, 1.3, 2.0, False),
            (one, tsl.pairwise_distances(one).detach(), critical(one), 0.7, 1.3, 2.0, False),
            (x, tsl.pairwise_distances(x).detach(), critical(x), 0.7, 1.3, 1.5, True),
            ragged_loss_of_edges(x, torch.tensor([4, 7])),
        ],
        "surrogate_loss": [
            (x, *SURROGATE),
            (one, *SURROGATE),
            (x, *SURROGATE[:-3], True, True, True),
            (x, *SURROGATE, torch.tensor([4, 7])),
        ],
    }


CASES = [(name, index) for name, inputs in samples().items() for index in range(len(inputs))]


def named(name):
    return getattr(torch.ops.tsloss_fast, name)


def test_every_operator_has_samples():
    assert {name.removeprefix("tsloss_fast::") for name in DEFINED} == set(samples())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(("name", "index"), CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_opcheck(name, index, dtype):
    """Schema, autograd registration, fake kernel, and tracing with dynamic shapes."""
    torch.library.opcheck(named(name).default, samples(dtype)[name][index])


@pytest.mark.parametrize(
    ("name", "index"),
    [case for case in CASES if not re.search("bars|loss|matrix", case[0])],
    ids=str,
)
def test_gradcheck_first_and_second(name, index):
    args = samples()[name][index]
    assert gradcheck(named(name), args)
    assert gradgradcheck(named(name), args)


def test_the_second_derivative_of_distances_ignores_autocast():
    """Its backward takes matrix products, which autocast rounds to bfloat16."""
    x = batch(n=9, d=8, dtype=torch.float32)
    slopes = torch.randn(2, 9, 9)

    def second():
        D = ops.pairwise_distances(x)
        (slope,) = torch.autograd.grad((slopes * D).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    expected = second()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = second()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("index", range(-1, 3))
def test_gradcheck_losses(index):
    """Of the first output; the others have no gradient. Without the detached scalings."""
    for name in ("persistence_loss", "loss_of_edges", "surrogate_loss"):
        args = samples()[name][index]
        if not any(arg is True for arg in args):
            assert gradcheck(lambda *args, name=name: named(name)(*args)[0], args)


@pytest.mark.parametrize("max_dim", [0, 1])
def test_bars_are_those_of_the_compiled_module_without_a_gradient(max_dim):
    D = torch.stack([matrix("ranks", 8, seed) for seed in range(3)]).requires_grad_()
    found = ops.bars_by_dimension(D, max_dim)
    for got, expected in zip(found, _C.rips(D.detach().numpy(), max_dim), strict=True):
        for name, part in got._asdict().items():
            assert torch.equal(part, torch.from_numpy(getattr(expected, name)))
            assert not part.requires_grad


def test_bars_of_clouds_that_vmap_takes_one_by_one():
    D = torch.stack([matrix("ties", 9, seed) for seed in range(3)])
    lengths = torch.tensor([9, 4, 7])
    for max_dim in (0, 1):
        both = torch.func.vmap(lambda D, m, k=max_dim: ops.rips_bars(D, k, m))(D, lengths)
        for got, expected in zip(both, ops.rips_bars(D, max_dim, lengths), strict=True):
            assert torch.equal(got, expected)


def test_older_names_give_the_bars_alone():
    D = matrix("ties", 9)
    h0, h1 = ops.bars_by_dimension(D, 1)
    assert torch.equal(ops.h0_critical_edges(D), h0.bars)
    for got, expected in zip(ops.h1_critical_edges(D), (h0.bars, h1.bars), strict=True):
        assert torch.equal(got, expected)
    diagrams = tsl.rips_persistence(D, 1, "precomputed")
    for got, dgm in zip(ops.eager_diagrams(D, 1), diagrams, strict=True):
        fields = (dgm.births, dgm.deaths, dgm.birth_edges, dgm.death_edges, dgm.mask)
        for field, expected in zip(got, fields, strict=True):
            assert torch.equal(field, expected)


def test_edge_lengths_are_entries_of_the_distances():
    x, edges = batch(grad=False), vertex_pairs()
    D = ops.pairwise_distances(x)
    got = ops.edge_lengths(x, edges)
    i, j = edges.clamp(min=0).unbind(-1)
    expected = D[torch.arange(2).unsqueeze(-1), i, j].where(edges[..., 0] >= 0, 0)
    assert torch.allclose(got, expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("bad", [-2, 7, 2**40])
def test_an_edge_outside_the_cloud_is_an_error(bad):
    """Never a read outside the points."""
    edges = vertex_pairs()
    edges[1, 2, 1] = bad
    with pytest.raises(ValueError, match="edges"):
        ops.edge_lengths(batch(), edges)
    with pytest.raises(ValueError, match="edges"):
        ops.scatter_edges(batch(), edges, weights(2, 11))


# Tracing


@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_compiled_loss_is_the_eager_loss(tsl, mode):
    loss = tsl.TSLoss(mode)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    x = batch(n=12, dtype=torch.float32)
    expected, got = loss(x), compiled(x)
    assert torch.equal(got, expected)
    (slope,) = torch.autograd.grad(got, x)
    assert torch.equal(slope, torch.autograd.grad(expected, x)[0])


def test_compiled_distances_are_the_eager_distances(tsl):
    compiled = torch.compile(tsl.pairwise_distances, backend="aot_eager", fullgraph=True)
    x = batch(n=12, dtype=torch.float32)
    assert torch.equal(compiled(x), tsl.pairwise_distances(x))


# Batching


@pytest.mark.parametrize(("name", "index"), CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_vmap_is_the_batch(name, index):
    """Over a leading dimension of all tensors, and over that of the first with the others fixed."""
    inputs = samples()[name][index]
    tensors = [k for k, value in enumerate(inputs) if isinstance(value, torch.Tensor)]
    for over in (tensors, tensors[:1]):
        stacked = [
            torch.stack((value, value.flip(*range(value.ndim)))) if k in over else value
            for k, value in enumerate(inputs)
        ]
        in_dims = tuple(0 if k in over else None for k in range(len(inputs)))
        found = torch.func.vmap(named(name), in_dims)(*stacked)
        expected = named(name)(
            *(
                value.expand(2, *value.shape) if k in tensors and k not in over else value
                for k, value in enumerate(stacked)
            )
        )
        found, expected = ((r,) if isinstance(r, torch.Tensor) else r for r in (found, expected))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_vmap_of_the_loss_and_its_gradient(tsl, mode):
    x = torch.randn(4, 11, 3, dtype=torch.float64, requires_grad=True)
    loss = tsl.TSLoss(mode)
    losses = torch.func.vmap(loss, in_dims=1)(x.movedim(0, 1))
    expected = tsl.TSLoss(mode, reduction="none")(x)
    assert torch.equal(losses, expected)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert torch.equal(slope, torch.autograd.grad(expected.sum(), x)[0])


def test_vmap_of_diagrams_is_the_batch(tsl):
    x = torch.stack([cloud("circle", 15, 3, seed) for seed in range(3)])
    found = torch.func.vmap(lambda cloud: tsl.rips_persistence(cloud)[1].pairs)(x)
    assert torch.equal(found, tsl.rips_persistence(x)[1].pairs)


def test_compiled_h0_and_h1_are_the_eager_ones(tsl):
    x = batch(n=12, dtype=torch.float32)
    for max_dim in (0, 1):
        call = lambda x, k=max_dim: tsl.rips_persistence(x, max_dim=k)[k].deaths  # noqa: E731
        compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
        expected, got = call(x), compiled(x)
        assert torch.equal(got, expected)
        (slope,) = torch.autograd.grad(got.sum(), x)
        assert torch.equal(slope, torch.autograd.grad(expected.sum(), x)[0])


# The compiled losses alone; see also test_engine


def instruction_sets():
    every = ["plain", "avx2", "avx512"]
    return every[: every.index(_C.best_isa()) + 1]


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("n", [2, 7, 16, 17, 40])
def test_every_instruction_set_gives_the_same_losses(isa, n, dtype):
    x = cloud("circle", n, 5, dtype=dtype).numpy()[None]
    tolerance = 1e3 * torch.finfo(dtype).eps
    for call in (
        lambda isa: _C.persistence_loss(x, *PERSISTENCE, True, 1, isa),
        lambda isa: _C.surrogate_loss(x, *SURROGATE, True, 1, isa),
    ):
        for ours, plain in zip(call(isa), call("plain"), strict=True):
            ours, plain = torch.from_numpy(ours), torch.from_numpy(plain)
            assert torch.allclose(ours, plain, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("d", [3, 16, 64])
def test_the_alignment_of_the_buffer_does_not_matter(d):
    """Vector loads of rows at every offset from a 64-byte boundary."""
    values = torch.randn(16 + 9 * d)
    expected = None
    for offset in range(16):
        x = values.clone()
        x[offset : offset + 9 * d] = values[: 9 * d]
        rows = x[offset : offset + 9 * d].reshape(1, 9, d).numpy()
        results = [
            _C.distances(rows).tolist(),
            *(part.tolist() for part in _C.surrogate_loss(rows, *SURROGATE, True)),
            *(part.tolist() for part in _C.persistence_loss(rows, *PERSISTENCE, True)),
        ]
        expected = expected or results
        assert results == expected


@pytest.mark.parametrize(
    "call",
    [
        tsl.TSLoss(),
        tsl.TSLoss("surrogate"),
        tsl.pairwise_distances,
        lambda x: tsl.rips_persistence(x)[1].deaths.sum(),
        lambda x: tsl.rips_persistence(x.detach()),
    ],
    ids=["persistence", "surrogate", "distances", "diagrams", "diagrams without a graph"],
)
def test_the_storage_of_a_tensor_that_was_read_can_be_resized(call):
    """FSDP gives the memory of parameters back between steps; NumPy's view would forbid it."""
    x = torch.randn(9, 4, requires_grad=True)
    result = call(x)
    if isinstance(result, torch.Tensor):
        result.sum().backward()
    x.untyped_storage().resize_(0)
    assert x.untyped_storage().nbytes() == 0
