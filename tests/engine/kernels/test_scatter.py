"""The kernel that scatters edge gradients against the CPU engine."""

import pytest
import torch
from clouds import cloud
from devices import moved, on_device

from tsloss_fast import _C

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels.scatter import BLOCK_D, BLOCK_K
from tsloss_fast._engine.kernels.scatter import edges as scatter

scatter_edges = on_device(scatter.scatter_edges)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# B, n, d, K
SHAPES = [(1, 1, 1, 1), (2, 2, 3, 1), (2, 3, 5, 4), (2, 17, 40, 16), (1, 63, 9, 62)]
SHAPES += [(1, 64, 3, 63), (1, 65, 3, 100), (1, 100, 4, 129), (1, 129, 2, 128), (2, 5, 129, 33)]


def name(value):
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return "x".join(map(str, value))


def sample(shape, dtype=torch.float32, family="gaussian"):
    """A cloud, edges in both directions with padding and loops among them, and weights."""
    B, n, d, K = shape
    x = torch.stack([cloud(family, n, d, seed, dtype) for seed in range(B)])
    edges = torch.randint(0, n, (B, K, 2))
    edges[:, ::5] = -1
    total = torch.float64 if dtype == torch.float64 else torch.float32
    return x, edges, torch.randn(B, K, dtype=total)


def rounding(x, edges, weights):
    """How far from exact the sums may be."""
    # Each of the K terms of a sum is rounded thrice, and their partial sums once each.
    size = (weights.double().abs().amax() * 2 * x.double().abs().amax()).item()
    K = edges.shape[1]
    return (K + 3) * K * size * torch.finfo(weights.dtype).eps / 2


def check(x, edges, weights):
    out = scatter_edges(x, edges, weights)
    assert (out.dtype, out.shape) == (weights.dtype, x.shape)
    wide = [part.contiguous().numpy() for part in (x.double(), edges, weights.double())]
    expected = torch.from_numpy(_C.scatter_edges(*wide))
    tolerance = rounding(x, edges, weights)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_sums_are_those_of_the_engine(shape):
    check(*sample(shape))


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_every_dtype(dtype):
    check(*sample((2, 17, 40, BLOCK_K + 5), dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_whole_numbers_are_summed_exactly(dtype):
    x, edges, weights = sample((2, 19, 7, 3 * BLOCK_K + 1), dtype, "grid")
    weights = (4 * weights).round()
    out = scatter_edges(x, edges, weights)
    wide = (x.double().numpy(), edges.numpy(), weights.double().numpy())
    assert torch.equal(out.double(), torch.from_numpy(_C.scatter_edges(*wide)))


def test_the_direction_of_an_edge_changes_no_bit():
    x = torch.zeros(1, 3 * BLOCK_K + 1, 1)
    x[0, 1:, 0] = torch.randn(3 * BLOCK_K)
    K = x.shape[1] - 1
    edges = torch.stack((torch.zeros(K, dtype=torch.int64), torch.arange(1, K + 1)), dim=-1)[None]
    weights = 10.0 ** torch.randint(-4, 5, (1, K))
    out = scatter_edges(x, edges, weights)
    flipped = scatter_edges(x, edges.flip(-1), weights)
    assert torch.equal(out, flipped)
    assert torch.equal(out[0, 1:, 0], weights[0] * x[0, 1:, 0])


def test_equal_rows_get_no_gradient_from_their_edge():
    x = torch.full((1, 4, 3), 0.1)
    edges = torch.tensor([[[0, 1], [2, 3], [0, 3]]])
    assert torch.equal(scatter_edges(x, edges, torch.full((1, 3), 1e30)), torch.zeros(1, 4, 3))


def test_padding_and_loops_add_nothing():
    x, _, _ = sample((1, 6, 4, 1))
    edges = torch.tensor([[[-1, -1], [2, 2], [-1, 3], [3, -1]]])
    weights = torch.full((1, 4), float("nan"))
    assert torch.equal(scatter_edges(x, edges, weights), torch.zeros_like(x))


def test_a_vertex_that_is_no_row_gives_nan():
    x, _, _ = sample((2, 6, 4, 1))
    edges = torch.tensor([[[2, 6], [0, 1]], [[2**40, 3], [0, 1]]])
    out = scatter_edges(x, edges, torch.ones(2, 2))
    wrong = torch.zeros(2, 6, dtype=torch.bool)
    wrong[0, 2] = wrong[1, 3] = True
    assert torch.equal(out.isnan().all(-1), wrong)
    assert torch.equal(out.isnan().any(-1), wrong)


def test_strides_are_followed():
    x, edges, weights = sample((4, 20, 30, 24))
    views = (
        (x[::2, :, ::3], edges[::2, ::2], weights[::2, ::2]),
        (x.mT, edges.flip(1).mT.contiguous().mT, weights.mT.contiguous().mT),
        (x[:1].expand(4, 20, 30), edges[:1].expand(4, 24, 2), weights[:, :1].expand(4, 24)),
    )
    for view in views:
        assert not any(part.is_contiguous() for part in view)
        # The layout of a compiled kernel follows the strides, and the order of its sums with it,
        # so that the bits are those of equal strides alone.
        check(*view)
        assert torch.equal(scatter_edges(*view), scatter_edges(*view))


@pytest.mark.parametrize("limit", [scatter.MAX_UNSORTED, 0], ids=["unsorted", "sorted"])
def test_factors_multiply_the_sums(limit, monkeypatch):
    """The gradient and the scale are multiplied first, in float64, as `operators` does it."""
    monkeypatch.setattr(scatter, "MAX_UNSORTED", limit)
    x, edges, weights = sample((3, 9, 20, 14))
    out = scatter_edges(x, edges, weights)
    scales = torch.rand(3, dtype=torch.float64) + 0.5
    for grad in (torch.randn(3), torch.randn(3, 2)[:, 0], torch.randn(1).expand(3)):
        found = scatter_edges(x, edges, weights, (moved(grad), moved(scales)))
        assert torch.equal(found, out * (grad * scales).float()[:, None, None])
        found = scatter_edges(x, edges, weights, (moved(grad), None))
        assert torch.equal(found, out * grad[:, None, None])


@pytest.mark.parametrize("d", [BLOCK_D - 1, BLOCK_D, BLOCK_D + 1])
def test_blocks_of_coordinates_meet(d):
    check(*sample((1, 3, d, 4)))


@pytest.mark.parametrize("shape", [(0, 4, 3, 2), (2, 4, 3, 0)], ids=name)
def test_nothing_to_sum(shape):
    B, n, d, _ = shape
    x, edges, weights = sample((2, *shape[1:]))
    assert torch.equal(scatter_edges(x[:B], edges[:B], weights[:B]), torch.zeros(B, n, d))


@pytest.mark.parametrize("shape", [*SHAPES[2:4], SHAPES[6], *SHAPES[8:]], ids=name)
def test_sorting_the_ends_changes_no_bit(shape, monkeypatch):
    _, n, _, K = shape
    x, edges, weights = sample(shape)
    edges[:, 1::7, 1] = -1
    edges[:, 2::7, 0] = n + 3
    # A row that nearly every edge touches, beside rows that none does.
    edges[-1, :, 0] = n // 2
    unsorted = scatter_edges(x, edges, weights)
    taken = []
    sorted_ends = scatter._sorted_ends
    monkeypatch.setattr(scatter, "_sorted_ends", lambda *a: taken.append(a) or sorted_ends(*a))
    monkeypatch.setattr(scatter, "MAX_UNSORTED", n * K - 1)
    out = scatter_edges(x, edges, weights)
    torch.testing.assert_close(out, unsorted, rtol=0, atol=0, equal_nan=True)
    out = scatter_edges(x.mT.contiguous().mT, edges, weights)
    tolerance = 2 * rounding(x, edges, weights)
    torch.testing.assert_close(out, unsorted, rtol=0, atol=tolerance, equal_nan=True)
    assert len(taken) == 2


EDGES = torch.zeros(2, 3, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 1.0}, TypeError, "x: expected a torch.Tensor"),
        ({"x": torch.zeros(4, 5)}, ValueError, "x: expected points"),
        ({"edges": EDGES.int()}, TypeError, r"edges: expected int64, got int32 \[2, 3, 2\]"),
        ({"edges": EDGES[:1]}, ValueError, r"edges: expected \[2, K, 2\]"),
        ({"edges": EDGES[..., :1]}, ValueError, r"edges: expected \[2, K, 2\]"),
        ({"weights": torch.zeros(2, 3).double()}, TypeError, "weights: expected float32"),
        ({"weights": torch.zeros(2, 4)}, ValueError, r"weights: expected \[2, 3\], one per edge"),
        (
            {"weights": torch.zeros(2, 3, device="meta")},
            ValueError,
            "weights: expected a tensor on",
        ),
        ({"x": torch.zeros(2, 4, 5, device="meta")}, ValueError, "x: expected a CUDA tensor"),
        ({"factors": (torch.zeros(2).double(), None)}, TypeError, r"factors.0.: expected float32"),
        ({"factors": (torch.zeros(3), None)}, ValueError, r"factors.0.: expected \[2\], got"),
        ({"factors": (torch.zeros(2), torch.zeros(2))}, TypeError, r"factors.1.: expected float64"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"x": torch.zeros(2, 4, 5), "edges": EDGES, "weights": torch.zeros(2, 3)}
    with pytest.raises(error, match=message):
        scatter_edges(**(arguments | change))
