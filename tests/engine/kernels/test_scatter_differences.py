"""The kernel that scatters the gradient of all distances against the CPU engine."""

import pytest
import torch
from clouds import cloud
from devices import on_device

from tsloss_fast import _C

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels.scatter import differences as module
from tsloss_fast._engine.kernels.scatter.differences import BLOCK_D

scatter_differences = on_device(module.scatter_differences)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(1, 1, 1), (2, 2, 3), (2, 3, 33), (2, 17, 40), (1, 63, 5), (1, 65, 9), (1, 100, 3)]
SHAPES += [(1, 5, BLOCK_D - 1), (1, 5, BLOCK_D + 1), (1, 3, 5120)]


def sample(shape, dtype=torch.float32, family="gaussian"):
    B, n, d = shape
    x = torch.stack([cloud(family, n, d, seed, dtype) for seed in range(B)])
    total = torch.float64 if dtype == torch.float64 else torch.float32
    return x, torch.randn(B, n, n, dtype=total)


def expected(x, weights):
    wide = [part.double().contiguous().numpy() for part in (x, weights)]
    return torch.from_numpy(_C.scatter_differences(*wide, 1))


def check(x, weights):
    out = scatter_differences(x, weights)
    assert (out.dtype, out.shape) == (weights.dtype, x.shape)
    # Each of the n terms is rounded twice and their partial sums once each; both sides sum.
    n = x.shape[1]
    a, w = x.double(), weights.double().abs()
    size = (w[..., None] * (a[:, :, None] - a[:, None]).abs()).sum(2)  # [B, n, d]
    error = (out.double() - expected(x, weights)).abs()
    assert (error <= 2 * (n + 2) * torch.finfo(out.dtype).eps / 2 * size).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_the_engine(shape):
    check(*sample(shape))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype):
    check(*sample((2, 17, 40), dtype))


def test_near_duplicate_rows_keep_their_digits():
    x, weights = sample((1, 20, 24))
    check(x[:, :1] + 1e-5 * x, 1e5 * weights)


def test_equal_rows_add_nothing_to_each_other():
    out = scatter_differences(torch.full((1, 9, 3), 0.1), torch.full((1, 9, 9), 1e30))
    assert torch.equal(out, torch.zeros(1, 9, 3))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_reach_the_sums(value):
    x, weights = sample((2, 11, 5))
    bad = x.clone()
    bad[0, 10, 2] = value
    finite = scatter_differences(bad, weights).isfinite()
    assert not finite[0, :, 2].any()
    assert finite.sum() == 2 * 11 * 5 - 11
    bad = weights.clone()
    bad[0, 10, 2] = value
    finite = scatter_differences(x, bad).isfinite()
    assert not finite[0, 10].any()
    assert finite.sum() == 2 * 11 * 5 - 5


def test_strides_are_followed():
    x, weights = sample((4, 20, 30))
    views = (
        (x[::2, ::2, ::3], weights[::2, ::2, ::2]),
        (x.mT.contiguous().mT, weights.mT),
        (x[:1].expand(4, 20, 30), weights[:1, :1].expand(4, 20, 20)),
    )
    for view in views:
        assert not any(part.is_contiguous() for part in view)
        copy = [part.contiguous() for part in view]
        assert torch.equal(scatter_differences(*view), scatter_differences(*copy))


def test_empty_batch():
    assert scatter_differences(torch.ones(0, 3, 2), torch.ones(0, 3, 3)).shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 1.0}, TypeError, "x: expected a torch.Tensor"),
        ({"x": torch.zeros(4, 5)}, ValueError, "x: expected points"),
        ({"weights": torch.zeros(2, 4, 4).double()}, TypeError, "weights: expected float32"),
        ({"weights": torch.zeros(2, 4, 3)}, ValueError, r"weights: expected \[2, 4, 4\]"),
        (
            {"weights": torch.zeros(2, 4, 4, device="meta")},
            ValueError,
            "weights: expected a tensor on",
        ),
        ({"x": torch.zeros(2, 4, 5, device="meta")}, ValueError, "x: expected a CUDA tensor"),
    ],
    ids=["float", "rank", "dtype", "shape", "devices", "meta"],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"x": torch.zeros(2, 4, 5), "weights": torch.zeros(2, 4, 4)}
    with pytest.raises(error, match=message):
        scatter_differences(**(arguments | change))
