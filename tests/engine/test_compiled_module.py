"""The compiled module alone: instruction sets, threads, and its own argument checks."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from threads import in_threads
from torch.utils.dlpack import to_dlpack

from tsloss_fast import _C
from tsloss_fast._checks import MAX_POINTS

ISAS = ["plain", "avx2", "avx512"]
SHAPES = [(1, 1, 1), (2, 2, 3), (1, 3, 16), (2, 17, 5), (1, 63, 33), (1, 64, 64), (1, 65, 100)]
SHAPES += [(2, 129, 7), (1, 257, 3), (1, 513, 2), (1, 9, 769), (1, 67, 1600)]


def shape_id(shape):
    return "x".join(map(str, shape))


@pytest.fixture(params=ISAS)
def isa(request):
    if ISAS.index(request.param) > ISAS.index(_C.best_isa()):
        pytest.skip(f"this processor lacks {request.param}")
    return request.param


def cloud(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_the_best_instruction_set_of_the_processor_is_found():
    """A wheel whose compiler could not ask the processor ran the plain loops, without a word."""
    if not Path("/proc/cpuinfo").exists() or platform.machine() != "x86_64":
        pytest.skip("Linux says what an x86 processor has; nothing else is asked here")
    flags = set(re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    needs = {"avx512": {"avx2", "fma", "avx512f", "avx512dq"}, "avx2": {"avx2", "fma"}}
    assert _C.best_isa() == next((isa for isa in needs if needs[isa] <= flags), "plain")


def tied_matrix(n):
    points = np.random.default_rng(n).integers(0, 3, (1, n, 3)).astype(np.float32)
    return _C.distances(points)


def bars(D, max_dim=1, **options):
    """The bars [..., K, 4] of each dimension."""
    return [diagram.bars for diagram in _C.rips(D, max_dim, **options)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_distances_of_every_instruction_set_match_numpy(isa, shape, dtype):
    x = cloud(shape, dtype)
    D = _C.distances(x, isa=isa)
    wide = x.astype(np.float64)
    expected = np.sqrt(((wide[:, :, None] - wide[:, None]) ** 2).sum(-1))
    # d additions in lanes of 16 or 8 lose less than d / 2 units in the last place.
    tolerance = np.finfo(dtype).eps * max(4, shape[2] / 2)
    np.testing.assert_allclose(D, expected, rtol=tolerance, atol=0)
    assert (D.transpose(0, 2, 1) == D).all()
    assert (np.diagonal(D, axis1=1, axis2=2) == 0).all()


@pytest.mark.parametrize("scale", [1e-36, 1e-30, 1e-22, 1e-18, 1e18, 1e22, 1e37])
def test_distances_keep_their_digits_where_squares_leave_the_range(isa, scale):
    x = (scale * cloud((1, 9, 20), np.float64)).astype(np.float32)
    x[0, 3] = x[0, 5]
    wide = x.astype(np.float64)
    expected = np.sqrt(((wide[:, :, None] - wide[:, None]) ** 2).sum(-1))
    D = _C.distances(x, isa=isa)
    np.testing.assert_allclose(D, expected, rtol=1e-6, atol=0)
    edges = np.array([[[0, 1], [3, 5], [7, 2]]])
    lengths = _C.edge_lengths(x, edges, isa=isa)
    np.testing.assert_array_equal(lengths, [[D[0, 0, 1], 0, D[0, 7, 2]]])


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_fused_multiply_add_sets_agree_to_the_bit(shape):
    if _C.best_isa() != "avx512":
        pytest.skip("this processor lacks avx512")
    x = cloud(shape)
    assert (_C.distances(x, isa="avx2") == _C.distances(x, isa="avx512")).all()


def test_python_and_the_engine_state_one_limit():
    assert _C.max_points == MAX_POINTS


def random_edges(shape, count, seed=1):
    """Edges in any direction, some of them padding or loops; [B, count, 2]."""
    edges = np.random.default_rng(seed).integers(0, shape[1], (shape[0], count, 2))
    edges[:, ::5] = -1
    return edges


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_edge_lengths_have_the_bits_of_the_distances(isa, shape, dtype):
    x, edges = cloud(shape, dtype), random_edges(shape, 23)
    D = _C.distances(x, isa=isa)
    expected = D[np.arange(shape[0])[:, None], edges[..., 0], edges[..., 1]]
    got = _C.edge_lengths(x, edges, isa=isa)
    np.testing.assert_array_equal(got, np.where(edges[..., 0] < 0, 0, expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_scatter_edges_matches_numpy(isa, shape, dtype):
    x, edges = cloud(shape, dtype), random_edges(shape, 23)
    weights = cloud((shape[0], 23), dtype, seed=2)
    expected = np.zeros(shape)
    for b, k in np.ndindex(shape[0], 23):
        i, j = edges[b, k]
        if i >= 0:
            step = weights[b, k].astype(float) * (x[b, i].astype(float) - x[b, j])
            expected[b, i] += step
            expected[b, j] -= step
    got = _C.scatter_edges(x, edges, weights, isa=isa)
    np.testing.assert_allclose(got, expected, rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_scatter_differences_matches_numpy(isa, shape, dtype):
    x = cloud(shape, dtype)
    weights = cloud((shape[0], shape[1], shape[1]), dtype, seed=2)
    wide_x, wide_w = x.astype(float), weights.astype(float)
    expected = wide_w.sum(-1, keepdims=True) * wide_x - wide_w @ wide_x
    got = _C.scatter_differences(x, weights, isa=isa)
    tolerance = 10 * shape[1] * np.finfo(dtype).eps
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def crowd(shape, spread):
    """Three points far from each other, the others within `spread` of one of them."""
    return cloud(shape, np.float64)[:, np.arange(shape[1]) % 3] + spread * cloud(
        shape, np.float64, seed=1
    )


# The clouds, and how far off float32 may be: a few roundings of a distance, over the share of a
# distance that its difference from delta is. In a product crowds would be off by up to 6e-4.
SURROGATE_CLOUDS = {
    "generic": (lambda shape: cloud(shape, np.float64), 2e-5),
    "far from the origin": (lambda shape: 1000 + cloud(shape, np.float64), 2e-5),
    "crowds": (lambda shape: crowd(shape, 1e-4), 1e-5),
    "coincident": (lambda shape: crowd(shape, 0), 1e-4),
    "tiny": (lambda shape: 1e-25 * cloud(shape, np.float64), 2e-5),
    "huge": (lambda shape: 1e25 * cloud(shape, np.float64), 2e-5),
}


@pytest.mark.parametrize("kind", SURROGATE_CLOUDS)
@pytest.mark.parametrize(
    "shape", [(1, 2, 3), (2, 5, 16), (1, 17, 33), (1, 24, 130), (1, 67, 100)], ids=shape_id
)
def test_surrogate_by_products_is_that_by_differences_in_float64(isa, shape, kind):
    make, tolerance = SURROGATE_CLOUDS[kind]
    x = make(shape).astype(np.float32)
    # h0_weight, h1_weight, tau, alpha, lambda_repel, lambda_attract, scale_by_mean, self_pairs,
    # detach_scales, with_grad: scaled, so that tiny and huge clouds have a loss.
    options = (0.7, 1.3, 0.2, 8.0, 1.1, 0.9, True, False, False, True)
    expected = surrogate_in_float64(x.astype(np.float64), *options[:6])
    for dtype, close in ((np.float32, tolerance), (np.float64, 1e-9)):
        loss, _, _, grad = _C.surrogate_loss(x.astype(dtype), *options, isa=isa)
        np.testing.assert_allclose(loss, expected[0], rtol=close)
        norms = np.linalg.norm(expected[1], axis=(1, 2))
        assert (np.linalg.norm(grad - expected[1], axis=(1, 2)) <= close * norms).all()


def test_surrogate_of_distances_whose_squares_float32_cannot_hold(isa):
    """A simplex of size 3e19, but for a hundredth: the loss itself is no larger than 1e36."""
    x = (3e19 * np.eye(7)[None] + 1e17 * cloud((1, 7, 7), np.float64)).astype(np.float32)
    options = (1.0, 1.0, 1e17, 1e-17, 1.0, 1.0, False, False, False, True)
    expected = _C.surrogate_loss(x.astype(np.float64), *options, isa="plain")
    found = _C.surrogate_loss(x, *options, isa=isa)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3)
    norm = np.linalg.norm(expected[3])
    assert norm > 0
    assert np.linalg.norm(found[3] - expected[3]) < 1e-3 * norm


def surrogate_in_float64(x, h0_weight, h1_weight, tau, alpha, lambda_repel, lambda_attract):
    """The scaled loss [B] and its gradient [B, n, d] from differences of rows, by autograd."""
    points = torch.from_numpy(x / np.abs(x).max()).requires_grad_()
    n = points.shape[1]
    i, j = torch.triu_indices(n, n, 1)
    # Each pair once; the root has no derivative at 0, where the gradient is 0 by definition.
    squares = (points[:, i] - points[:, j]).square().sum(-1)
    lengths = torch.where(squares > 0, squares.where(squares > 0, 1).sqrt(), 0)
    lengths = lengths / (2 * lengths.detach().sum(-1, keepdim=True) / n**2)
    D = lengths.new_zeros(len(x), n, n).index_put((torch.arange(len(x))[:, None], i, j), lengths)
    D = D + D.mT
    hidden = torch.diag(D.new_full((n,), torch.inf))
    s = -tau * torch.logsumexp(-(D + hidden) / tau, -1)
    h0 = (s - s.mean(-1, keepdim=True)).square().mean(-1)
    delta = ((-alpha * lengths).softmax(-1) * lengths).sum(-1, keepdim=True)
    zeta = ((alpha * lengths).softmax(-1) * lengths).sum(-1, keepdim=True)
    near, far = (delta - lengths).relu(), (lengths - zeta).relu()
    h1 = 2 * (lambda_repel * near.square() + lambda_attract * far.square()).sum(-1) / n**2
    loss = h0_weight * h0 + h1_weight * h1
    loss.sum().backward()
    return loss.detach().numpy(), points.grad.numpy() / np.abs(x).max()


@pytest.mark.parametrize("isa", ISAS[1:], indirect=True)
@pytest.mark.parametrize("tied", [False, True], ids=["generic", "tied"])
@pytest.mark.parametrize("n", [1, 2, 3, 16, 17, 63, 64, 65, 127, 128, 129, 257, 513, 1030])
def test_h1_is_that_of_the_plain_build(isa, n, tied):
    D = tied_matrix(n) if tied else _C.distances(cloud((1, n, 5)))
    h0, h1 = bars(D, isa=isa)
    plain_h0, plain_h1 = bars(D, isa="plain")
    np.testing.assert_array_equal(h0, plain_h0)
    np.testing.assert_array_equal(h1, plain_h1)
    assert h0.shape == (1, n - 1, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tied", [False, True], ids=["generic", "tied"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 16, 17, 40, 63, 64, 65, 129, 513])
def test_h0_alone_is_that_of_the_plain_sweep(isa, n, tied, dtype):
    """Rows that end inside a vector, with it and behind it; without and with ties."""
    D = (tied_matrix(n) if tied else _C.distances(cloud((1, n, 5)))).astype(dtype)
    np.testing.assert_array_equal(bars(D, max_dim=0, isa=isa)[0], bars(D, isa="plain")[0])
    D[np.greater(D, np.median(D))] = np.inf  # The longer half of the edges are missing.
    (h0,), (swept, _) = _C.rips(D, 0, isa=isa), _C.rips(D, 1, isa="plain")
    np.testing.assert_array_equal(h0.bars, swept.bars)
    np.testing.assert_array_equal(h0.essential_edges, swept.essential_edges)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prompt", [0, 1, 20])
def test_attention_trees_of_every_instruction_set_are_the_plain_ones(isa, prompt, dtype):
    maps = np.random.default_rng(0).random((3, 45, 45)).astype(dtype)
    maps[1:] = np.round(maps[1:] * 16) / 16
    found, plain = (_C.attention_trees(maps, prompt, isa=each) for each in (isa, "plain"))
    np.testing.assert_array_equal(found, plain)


SPACINGS = {
    "even": lambda rank: rank + 1,
    "geometric": lambda rank: np.exp2(rank / rank.max() * 200 - 100),
    "neighbouring floats": lambda rank: 1 + rank * 2.0**-23,
    "two crowds": lambda rank: np.where(rank < rank.mean(), 1e-3, 1) * (1 + rank * 2.0**-18),
    "one far": lambda rank: np.where(rank < rank.max(), 1 + rank, 1e30),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("n", [20, 40, 90, 150])
def test_edges_depend_on_the_order_of_the_lengths_alone(isa, n, spacing):
    """However lengths are spaced, equal ranks give equal edges: no bucket of them is special."""
    D = _C.distances(cloud((1, n, 5)))[0]
    i, j = np.triu_indices(n, 1)
    rank = np.empty(len(i))
    rank[np.argsort(D[i, j], kind="stable")] = np.arange(len(i))
    spaced = np.zeros((1, n, n), np.float32)
    spaced[0, i, j] = spaced[0, j, i] = SPACINGS[spacing](rank)
    assert len(np.unique(spaced)) == len(i) + 1
    for got, expected in zip(bars(spaced, isa=isa), bars(D[None], isa="plain"), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
@pytest.mark.parametrize("n", [2, 5, 70])
def test_a_matrix_that_nobody_checked_gives_vertices_or_padding(isa, n, value):
    """Its bars mean nothing, but nothing is read or written where it should not be."""
    D = np.full((2, n, n), value, np.float32)
    D[1] = _C.distances(cloud((1, n, 3)))
    D[1, 0, 1:] = D[1, 1:, 0] = value
    for diagram in (*_C.rips(D, 0, isa=isa), *_C.rips(D, 1, isa=isa)):
        assert ((diagram.bars >= -1) & (diagram.bars < n)).all()
        np.testing.assert_array_equal(diagram.mask, diagram.bars[..., 0] >= 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 40), (2, 2, 17), (1, 1), (0, 9), (70,)], ids=shape_id)
def test_diagrams_are_bars_with_their_lengths(isa, shape, dtype):
    D = _C.distances(cloud((*shape, 4), dtype))
    lead, n = shape[:-1], shape[-1]
    # Padding -1 reads the last entry, which is 0.
    padded = np.pad(D, [(0, 0)] * len(lead) + [(0, 1)] * 2)

    def of(edges):
        at = np.indices(edges.shape[:-1])[:-1]
        return padded[(*at, edges[..., 0], edges[..., 1])]

    (only,), (h0, h1) = _C.rips(D, 0, isa=isa), _C.rips(D, 1, isa=isa)
    for diagram, K, E in ((only, n - 1, 1), (h0, n - 1, 1), (h1, h1.bars.shape[-2], 0)):
        assert diagram.bars.shape == (*lead, K, 4)
        assert diagram.bars.dtype == np.int64
        np.testing.assert_array_equal(diagram.birth_edges, diagram.bars[..., :2])
        np.testing.assert_array_equal(diagram.death_edges, diagram.bars[..., 2:])
        np.testing.assert_array_equal(diagram.births, of(diagram.birth_edges))
        np.testing.assert_array_equal(diagram.deaths, of(diagram.death_edges))
        np.testing.assert_array_equal(diagram.mask, diagram.bars[..., 0] >= 0)
        for lengths in (diagram.births, diagram.deaths, diagram.essential_births):
            assert lengths.dtype == dtype
        np.testing.assert_array_equal(diagram.essential_births, np.zeros((*lead, E)))
        np.testing.assert_array_equal(diagram.essential_edges, np.zeros((*lead, E, 2)))
        np.testing.assert_array_equal(diagram.essential_mask, np.ones((*lead, E), bool))
    np.testing.assert_array_equal(only.bars, h0.bars)
    np.testing.assert_array_equal(h0.birth_edges[..., 0], h0.birth_edges[..., 1])
    assert h0.mask.all()


def test_arrays_of_a_diagram_outlive_it():
    D = _C.distances(cloud((3, 40, 4)))
    kept = _C.rips(D, 1)[1].bars
    copy = kept.copy()
    for _ in range(50):
        _C.rips(D, 1)
    np.testing.assert_array_equal(kept, copy)


@pytest.mark.parametrize("max_dim", [0, 1])
def test_clouds_of_unequal_size_are_the_first_rows_of_their_matrices(isa, max_dim):
    D = _C.distances(cloud((4, 30, 3)))
    lengths = np.array([30, 1, 17, 29])
    found = _C.rips(D, max_dim, lengths, isa=isa)
    for b, m in enumerate(lengths):
        alone = _C.rips(np.ascontiguousarray(D[b, :m, :m]), max_dim, isa=isa)
        for dgm, expected in zip(found, alone, strict=True):
            K = expected.bars.shape[0]
            np.testing.assert_array_equal(dgm.bars[b, :K], expected.bars)
            np.testing.assert_array_equal(dgm.births[b, :K], expected.births)
            np.testing.assert_array_equal(dgm.deaths[b, :K], expected.deaths)
            np.testing.assert_array_equal(dgm.mask[b], np.arange(dgm.mask.shape[1]) < K)
            assert (dgm.bars[b, K:] == -1).all()
            assert (dgm.deaths[b, K:] == 0).all()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.array([3, 6]), "lengths: expected from 0 to 5 points, got 6"),
        (np.array([-1, 5]), "lengths: expected from 0 to 5 points, got -1"),
        (np.array([5]), r"lengths: expected int64 \[...\], one a cloud, got int64 \[1\]"),
        (np.array([5.0, 5.0]), r"lengths: expected int64 \[...\], one a cloud, got float64 \[2\]"),
    ],
)
def test_lengths_that_do_not_fit(lengths, message):
    with pytest.raises(ValueError, match=message):
        _C.rips(_C.distances(cloud((2, 5, 3))), 1, lengths)


def capsule(values):
    return to_dlpack(torch.as_tensor(values))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 40), (2, 2, 17), (1, 1), (0, 9), (70,)], ids=shape_id)
def test_a_tensor_gives_what_its_array_gives(shape, dtype):
    D = _C.distances(cloud((*shape, 4), dtype))
    for max_dim in (0, 1):
        for got, expected in zip(
            _C.rips_of_tensor(capsule(D), max_dim), _C.rips(D, max_dim), strict=True
        ):
            np.testing.assert_array_equal(got.bars, expected.bars)
            np.testing.assert_array_equal(got.deaths, expected.deaths)
            assert got.births.dtype == dtype


def test_a_tensor_may_begin_anywhere_in_its_memory():
    D = torch.from_numpy(_C.distances(cloud((4, 12, 3))))
    got = _C.rips_of_tensor(to_dlpack(D[2]), 1)[1]
    np.testing.assert_array_equal(got.bars, _C.rips(D[2].numpy(), 1)[1].bars)


@pytest.mark.parametrize(
    "D",
    [
        torch.zeros(4, 4, dtype=torch.float16),
        torch.zeros(4, 4, dtype=torch.int64),
        torch.zeros(4, 4, dtype=torch.complex64),
        torch.zeros(4, 5),
        torch.zeros(0, 0),
        torch.zeros(4),
        torch.zeros(()),
        torch.zeros(4, 8)[:, ::2],
        torch.zeros(3, 5, 4)[:, :4],
    ],
    ids=lambda D: f"{D.dtype} {tuple(D.shape)} {D.stride()}",
)
def test_tensors_that_are_no_matrices_of_the_engine_give_none(D):
    assert _C.rips_of_tensor(to_dlpack(D), 1) is None


def test_the_first_fault_of_a_tensor_is_named():
    D = np.zeros((2, 3, 3))
    D[1, 0, 2] = 1
    fault = _C.rips_of_tensor(capsule(D), 1)
    assert fault == ("asymmetric", 1, 0, 2) == _C.first_matrix_fault(D)


def test_a_used_capsule_is_refused():
    memory = to_dlpack(torch.zeros(3, 3))
    torch.utils.dlpack.from_dlpack(memory)
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        _C.rips_of_tensor(memory, 1)


LOSSES = [
    (_C.persistence_loss, (1.0, 1.0, 2.0, False, True)),
    (_C.surrogate_loss, (1.0, 1.0, 1.0, 10.0, 1.0, 1.0, False, False, False, True)),
]


@pytest.mark.parametrize(("loss", "options"), LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 4), (2, 3, 7, 5), (0, 3, 2)], ids=shape_id)
def test_a_loss_of_a_tensor_is_that_of_its_array(loss, options, shape, dtype):
    x = cloud(shape, dtype)
    for got, expected in zip(loss(capsule(x), *options), loss(x, *options), strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("loss", "options"), LOSSES)
@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(4, 4, dtype=torch.float16),
        torch.ones(4, 4, dtype=int),
        torch.ones(4, 8)[:, ::2],
        torch.ones(4),
        torch.ones(0, 4),
        torch.ones(4, 0),
        torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]),
        torch.tensor([[0.0, torch.inf], [0.0, 0.0]]),
        torch.tensor([[[1.0], [2.0]], [[3e38], [-3e38]]]),
    ],
    ids=lambda x: f"{x.dtype} {list(x.shape)} {x.stride()} {x.max() if x.numel() else ''}",
)
def test_a_loss_leaves_to_python_what_it_cannot_read_or_answer(loss, options, x):
    assert loss(to_dlpack(x), *options) is None


@pytest.mark.parametrize("n", [7, 65, 150])
def test_word_counts_agree_on_a_cloud_and_its_padding_by_far_points(n):
    """Far points add no loop and change no edge, but widen the rows of vertex bits."""
    D = _C.distances(cloud((1, n, 4)).astype(np.float64))[0]
    for extra in (64, 200, 600 - n):
        far = 1e3 + np.arange(extra)
        gaps = np.abs(far[:, None] - far[None]) * 1e3
        wide = np.block([[D, np.tile(far, (n, 1))], [np.tile(far[:, None], (1, n)), gaps]])
        _, h1 = bars(np.ascontiguousarray(wide[None]))
        np.testing.assert_array_equal(h1[0], bars(D[None])[1][0])


@pytest.mark.parametrize("threads", [2, 5, 100])
def test_threads_change_nothing(threads):
    """Enough work for as many threads as there are clouds: those of less than 50 us start none."""
    x = cloud((24, 120, 60))
    D = _C.distances(x, threads=threads)
    np.testing.assert_array_equal(D, _C.distances(x))
    for got, expected in zip(bars(D, threads=threads), bars(D), strict=True):
        np.testing.assert_array_equal(got, expected)
    for loss, options in LOSSES:
        for got, expected in zip(
            loss(x, *options, threads=threads), loss(x, *options), strict=True
        ):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_cloud_without_a_loss_has_no_gradient(value, threads):
    """Was whatever the memory held before. The distance of 3e38 from -3e38 overflows."""
    x = cloud((3, 9, 4))
    x[1, 3, 2], x[1, 4, 2] = value, -value
    for loss, options in LOSSES:
        for _ in range(5):
            # NumPy gives freed memory of this size to the next who asks.
            del [np.full(x.shape, 7.0, x.dtype) for _ in range(9)][:]
            losses, h0, h1, gradient = loss(x, *options, threads=threads)
            for values in (losses, h0, h1, gradient.reshape(3, -1)[:, 0]):
                assert np.isfinite(values).tolist() == [True, False, True]
            assert np.isnan(gradient[1]).all()
            np.testing.assert_array_equal(gradient[::2], loss(x[::2].copy(), *options)[3])


@pytest.mark.parametrize("batch", [1, 6])
def test_calls_from_several_python_threads_do_not_mix(batch):
    """A batch of 6 asks for helpers, which all callers share."""
    matrices = [_C.distances(cloud((batch, 120, 6), seed=seed)) for seed in range(4)]
    expected = [bars(D)[1] for D in matrices]
    wrong = []

    def repeat(k):
        for _ in range(30):
            if not np.array_equal(bars(matrices[k], threads=3)[1], expected[k]):
                wrong.append(k)

    in_threads(4, repeat)
    assert wrong == []


IN_A_CHILD = """
import os
import numpy as np
from tsloss_fast import _C

D = _C.distances(np.random.default_rng(0).standard_normal((6, 120, 6)))
expected = _C.rips(D, 1, threads=3)[1].bars
child = os.fork()
if child == 0:
    is_equal = np.array_equal(_C.rips(D, 1, threads=3)[1].bars, expected)
    os._exit(0 if is_equal and len(os.listdir("/proc/self/task")) == 3 else 1)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(_C.rips(D, 1, threads=3)[1].bars, expected)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_the_child_of_a_fork_has_helpers_of_its_own():
    """As a DataLoader's worker is; the threads of its parent are not there."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", IN_A_CHILD], check=True, timeout=60)


@pytest.mark.parametrize("isa_name", ["sse", "", "AVX2"])
def test_unknown_instruction_set_is_named(isa_name):
    with pytest.raises(ValueError, match="isa: expected auto, plain, avx2 or avx512"):
        _C.distances(cloud((1, 3, 3)), isa=isa_name)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: _C.distances(x[0, 0]), ValueError, "x: expected a contiguous array of rank 2"),
        (lambda x: _C.distances(x[:, ::2]), ValueError, "x: expected a contiguous array"),
        (lambda x: _C.distances(x.astype(np.int32)), TypeError, "x: expected float32 or float64"),
        (lambda x: _C.rips(x, 1), ValueError, "D: expected square matrices"),
        (lambda x: _C.rips(x, 0), ValueError, "D: expected square matrices"),
        (
            lambda x: _C.edge_lengths(x, np.array([[[0, 4]]])),
            ValueError,
            "edges: expected vertices from 0 to 3 or padding -1, got 4",
        ),
        (
            lambda x: _C.edge_lengths(x, np.array([[0, 1]])),
            ValueError,
            r"edges: expected int64 \[..., K, 2\], got int64 \[1, 2\]",
        ),
        (
            lambda x: _C.edge_lengths(x, np.array([[[0, 1]]], dtype=np.int32)),
            ValueError,
            "edges: expected int64",
        ),
        (
            lambda x: _C.scatter_edges(x, np.array([[[0, 1]]]), np.zeros((1, 1))),
            ValueError,
            "weights: expected .* in the dtype of x",
        ),
        (
            lambda x: _C.scatter_differences(x, np.zeros((1, 3, 3), np.float32)),
            ValueError,
            "weights: expected",
        ),
        # These four were a RuntimeError that named a C++ type.
        (
            lambda x: _C.packed_distances_of_each([x[0], None]),
            TypeError,
            "x: expected a NumPy array, got NoneType",
        ),
        (
            lambda x: _C.persistence_loss([x[0], 1.5], 1, 1, 2, False, False),
            TypeError,
            "x: expected a NumPy array, got float",
        ),
        (
            lambda x: _C.persistence_loss(None, 1, 1, 2, False, False),
            TypeError,
            "x: expected a NumPy array, got NoneType",
        ),
        (
            lambda x: _C.rips(np.zeros((1, 4, 4)), 1, [4]),
            TypeError,
            "lengths: expected a NumPy array, got list",
        ),
    ],
)
def test_bad_arrays_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(cloud((1, 4, 5)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 255, 256, 600])
def test_first_nonfinite_finds_the_first(at, value, dtype):
    a = np.zeros(601, dtype)
    assert _C.first_nonfinite(a) == -1
    a[at:] = value
    assert _C.first_nonfinite(a) == at


@pytest.mark.parametrize(
    ("entry", "value", "fault"),
    [
        ((0, 1), np.nan, "not a number"),
        ((1, 0), np.inf, "asymmetric"),
        ((3, 3), np.inf, "non-zero on the diagonal"),
        ((2, 2), 1.0, "non-zero on the diagonal"),
        ((1, 2), 7.0, "asymmetric"),
    ],
)
def test_first_matrix_fault_names_the_entry(entry, value, fault):
    D = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))[None]
    assert _C.first_matrix_fault(D) is None
    D[0][entry] = value
    what, b, i, j = _C.first_matrix_fault(D)
    assert (what, b, i, j) == (fault, 0, *sorted(entry))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 19, 33])
def test_no_entry_escapes_the_check_of_a_matrix(n, dtype):
    """The check takes square blocks, and what is left over on two sides."""
    D = np.abs(np.subtract.outer(np.arange(1, n + 1), np.arange(1, n + 1))).astype(dtype)[None]
    assert _C.first_matrix_fault(D) is None
    for i in range(n):
        for j in range(n):
            for value, mirrored in ((9999, None), (np.nan, None), (-1, -1), (np.nan, np.nan)):
                spoilt = D.copy()
                spoilt[0, i, j] = value
                if mirrored is not None:
                    spoilt[0, j, i] = mirrored
                fault = _C.first_matrix_fault(spoilt)
                assert fault is not None
                assert fault[1:] == (0, min(i, j), max(i, j))


def test_negative_entries_are_a_fault():
    D = np.zeros((2, 2, 2))
    D[1, 0, 1] = D[1, 1, 0] = -1.0
    assert _C.first_matrix_fault(D) == ("negative", 1, 0, 1)


def attention_maps(B, n, dtype=np.float32):
    weights = np.random.default_rng(n).random((B, n, n)).astype(dtype)
    return weights / weights.sum(-1, keepdims=True, dtype=dtype)


@pytest.mark.parametrize("prompt", [0, 1, 9, 39])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attention_trees_are_those_of_the_distances(dtype, prompt):
    """The whole graph with the prompt at distance 0 has these edges and others of no length."""
    maps = attention_maps(5, 40, dtype)
    weights = np.maximum(maps, maps.swapaxes(-1, -2))
    D = 1 - weights
    D[:, range(40), range(40)] = 0
    D[:, :prompt, :prompt] = 0
    deaths = _C.rips(D, 0)[0].deaths[:, max(prompt - 1, 0) :]
    places = _C.attention_trees(maps, prompt)
    assert np.array_equal(1 - np.take_along_axis(maps.reshape(5, -1), places, -1), deaths)
    assert np.array_equal(_C.attention_trees(maps, prompt, 2), places)


def test_attention_trees_refuse_what_they_cannot_read():
    maps = attention_maps(2, 4)
    with pytest.raises(ValueError, match="prompt: expected less than 4 tokens, got 4"):
        _C.attention_trees(maps, 4)
    with pytest.raises(ValueError, match="maps: expected square matrices"):
        _C.attention_trees(maps[:, :3].copy(), 1)
    with pytest.raises(TypeError, match="maps: expected float32 or float64"):
        _C.attention_trees(maps.astype(np.float16), 1)
