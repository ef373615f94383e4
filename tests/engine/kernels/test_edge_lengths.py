"""The kernel of edge lengths against the CPU engine."""

import pytest
import torch
from clouds import cloud
from devices import on_device

from tsloss_fast import _C

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels import edge_lengths as module

edge_lengths = on_device(module.edge_lengths)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# B, n, d, K
SHAPES = [(1, 1, 1, 1), (2, 2, 3, 1), (2, 17, 511, 16), (1, 65, 513, 64), (1, 129, 2, 33)]


def sample(shape, dtype=torch.float32):
    """A cloud, and edges in both directions with padding and loops among them."""
    B, n, d, K = shape
    x = torch.stack([cloud("gaussian", n, d, seed, dtype) for seed in range(B)])
    edges = torch.randint(0, n, (B, K, 2))
    edges[:, ::5, 0] = -1
    return x, edges


def expected(x, edges):
    return torch.from_numpy(_C.edge_lengths(x.double().contiguous().numpy(), edges.numpy(), 1))


def check(x, edges, atol=0.0):
    lengths = edge_lengths(x, edges)
    total = torch.float64 if x.dtype == torch.float64 else torch.float32
    assert (lengths.dtype, lengths.shape) == (total, edges.shape[:2])
    # Half units: 3 in a square, 9 levels of a sum, a step each for d, halved; the root's own.
    units = 2 * ((3 + 9 + x.shape[-1] / module.BLOCK_D) / 2 + 1)
    rtol = units * torch.finfo(total).eps / 2
    torch.testing.assert_close(lengths.double(), expected(x, edges), rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lengths_are_those_of_the_engine(shape, dtype):
    check(*sample(shape, dtype))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, s) for s in (1e-44, 1e-36, 1e-22, 1e22, 1e37)]
    + [(torch.float64, s) for s in (1e-322, 1e-170, 1e200, 1e307)],
    ids=str,
)
def test_lengths_keep_their_digits_where_squares_leave_the_range(dtype, scale):
    x, edges = sample((1, 9, 20, 30), torch.float64)
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    check((scale * x).to(dtype), edges, atol=smallest)


def test_near_duplicate_rows_keep_their_digits_and_equal_rows_have_length_zero():
    x, edges = sample((1, 20, 24, 60))
    x = x[:, :1] + 1e-4 * x
    x[0, 3] = x[0, 5]
    check(x, edges)
    assert edge_lengths(x, torch.tensor([[[3, 5]]])).item() == 0


def test_a_vertex_that_is_no_row_gives_nan():
    edges = torch.tensor([[[0, 3], [3, 3], [2**40, 1], [-1, 3], [0, 1]]])
    nan = edge_lengths(torch.ones(1, 3, 2), edges).isnan()
    assert nan.tolist() == [[True, True, True, False, False]]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_reach_the_length(value):
    x = torch.ones(1, 3, 5)
    x[0, 1, 3] = value
    finite = edge_lengths(x, torch.tensor([[[0, 1], [1, 2], [0, 2]]])).isfinite()
    assert finite.tolist() == [[False, False, True]]


def test_strides_are_followed():
    x, edges = sample((4, 20, 30, 24))
    views = (
        (x[::2, :, ::3], edges[::2, ::2]),
        (x.mT, edges.clamp(max=19).mT.contiguous().mT),
        (x[:1].expand(4, 20, 30), edges[:1].expand(4, 24, 2)),
    )
    for view in views:
        assert not any(part.is_contiguous() for part in view)
        assert torch.equal(edge_lengths(*view), edge_lengths(*(part.contiguous() for part in view)))


@pytest.mark.parametrize(("B", "K"), [(0, 2), (2, 0)])
def test_nothing_to_measure(B, K):
    assert edge_lengths(torch.ones(B, 3, 2), torch.zeros(B, K, 2).long()).shape == (B, K)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 1.0}, TypeError, "x: expected a torch.Tensor"),
        ({"x": torch.zeros(4, 5)}, ValueError, "x: expected points"),
        ({"edges": torch.zeros(2, 3, 2)}, TypeError, "edges: expected int64, got float32"),
        ({"edges": torch.zeros(1, 3, 2).long()}, ValueError, r"edges: expected \[2, K, 2\]"),
        ({"x": torch.zeros(2, 4, 5, device="meta")}, ValueError, "x: expected a CUDA tensor"),
    ],
    ids=["float", "rank", "float-edges", "clouds", "meta"],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"x": torch.zeros(2, 4, 5), "edges": torch.zeros(2, 3, 2).long()}
    with pytest.raises(error, match=message):
        edge_lengths(**(arguments | change))
