"""The kernel of pairwise distances against the CPU engine."""

import pytest
import torch
from clouds import FAMILIES, cloud
from devices import on_device

from tsloss_fast import _C

pytest.importorskip("triton", reason="the kernels need Triton")

import triton
import triton.language as tl

from tsloss_fast._engine.kernels.distances import direct
from tsloss_fast._engine.kernels.distances import launch as distances

BLOCK_N = direct.TILES[torch.float32]["BLOCK_N"]
# Sums in parallel that the tolerance stands for. The kernel has 8, of d / 8 terms each, whose worst
# case is beyond it: errors that do not all point one way stay within.
SUMS = {torch.float32: 32, torch.float64: 16}

pairwise_distances = on_device(distances.pairwise_distances)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(1, 1, 1), (2, 2, 3), (3, 3, 33), (2, 17, 100), (1, 63, 5), (1, 64, 32), (1, 65, 40)]
SHAPES += [(2, 100, 7), (1, 129, 20), (1, 20, 768)]


def name(value):
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return "x".join(map(str, value)) if isinstance(value, tuple) else None


def batch(family, shape, dtype):
    B, n, d = shape
    return torch.stack([cloud(family, n, d, seed, dtype) for seed in range(B)])


def check(x, D=None):
    """Compare the distances of `x` [B, n, d] with the engine's, computed in float64."""
    D = pairwise_distances(x) if D is None else D
    B, n, d = x.shape
    accumulator = torch.float64 if x.dtype == torch.float64 else torch.float32
    assert (D.dtype, D.shape) == (accumulator, (B, n, n))
    expected = torch.from_numpy(_C.distances(x.double().contiguous().numpy()))
    # Half units of rounding: 3 in a square, log2(SUMS) to join the sums, one for each of their
    # terms, all halved by the root, which adds its own. The float64 engine has as many.
    units = (3 + SUMS[accumulator].bit_length() - 1 + d / SUMS[accumulator]) / 2 + 1
    units *= 1 if accumulator == torch.float32 else 2
    tolerance = units * torch.finfo(accumulator).eps / 2
    torch.testing.assert_close(D.double(), expected, rtol=tolerance, atol=0)
    assert torch.equal(D, D.mT)
    assert (D.diagonal(dim1=-2, dim2=-1) == 0).all()


# Halves are float32 once they are loaded.
SHAPES_AND_DTYPES = [(shape, dtype) for dtype in DTYPES[:2] for shape in SHAPES]
SHAPES_AND_DTYPES += [(shape, dtype) for dtype in DTYPES[2:] for shape in SHAPES[1::3]]


@pytest.mark.parametrize(("shape", "dtype"), SHAPES_AND_DTYPES, ids=name)
def test_distances_are_those_of_the_engine(shape, dtype):
    check(batch("gaussian", shape, dtype))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_every_family(family, dtype):
    check(batch(family, (2, 2 * BLOCK_N + 1, 6), dtype))


@pytest.mark.parametrize("n", [40, 140])
@pytest.mark.parametrize("radius", [1e-3, 1e-5])
def test_near_duplicate_rows_keep_their_digits(radius, n):
    x = batch("gaussian", (1, n, 24), torch.float64)
    check((x[:, :1] + radius * x).float())


def test_equal_rows_have_distance_zero():
    x = batch("gaussian", (1, 35, 9), torch.float32)
    x[0, 20] = x[0, 3]
    D = pairwise_distances(x)
    assert D[0, 3, 20] == 0
    check(x, D)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (torch.float32, [1e-44, 1e-40, 1e-36, 1e-30, 1e-22, 1e-18, 1e18, 1e22, 1e37]),
        (torch.float64, [1e-322, 1e-300, 1e-170, 1e-150, 1e150, 1e200, 1e307]),
        # Not 1e-36: Triton's interpreter misreads bfloat16 below the smallest normal number.
        (torch.bfloat16, [1e-33, 1e-22, 1e22, 1e37]),
        (torch.float16, [1e-7, 1e4]),
    ],
    ids=name,
)
def test_distances_keep_their_digits_where_squares_leave_the_range(dtype, scales):
    for scale in scales:
        x = (scale * batch("gaussian", (1, 19, 20), torch.float64)).to(dtype)
        x[0, 3] = x[0, 5]
        # One pair of ordinary size in the same tile as those that are scaled.
        x[0, 7], x[0, 8] = 1, 3
        D = pairwise_distances(x)
        expected = torch.from_numpy(_C.distances(x.double().numpy()))
        smallest = torch.finfo(D.dtype).smallest_normal * torch.finfo(D.dtype).eps
        torch.testing.assert_close(D.double(), expected, rtol=1e-6, atol=smallest / 2)


def test_strides_are_followed():
    x = batch("gaussian", (6, 40, 50), torch.float32)
    for view in (x[::2, 1::3, ::2], x.mT, x.transpose(0, 1), x[:1].expand(3, 40, 50)):
        assert not view.is_contiguous()
        assert torch.equal(pairwise_distances(view), pairwise_distances(view.contiguous()))


def test_a_batch_is_its_clouds():
    x = batch("gaussian", (3, 33, 8), torch.float32)
    single = torch.cat([pairwise_distances(one[None]) for one in x])
    assert torch.equal(pairwise_distances(x), single)


@pytest.mark.parametrize("tiles", [*range(1, 9), 39, 40])
def test_every_pair_of_tiles_has_one_program(tiles):
    pairs = range(tiles * (tiles + 1) // 2)
    numbers = on_device(numbered_tiles)(torch.zeros(len(pairs), 2, dtype=torch.int32), tiles)
    expected = [[row, column] for row in range(tiles) for column in range(row, tiles)]
    assert sorted(numbers.tolist()) == expected


@triton.jit
def _number_kernel(numbers, tiles):
    row, column = direct._tile_of(tl.program_id(0), tiles)
    tl.store(numbers + 2 * tl.program_id(0), row)
    tl.store(numbers + 2 * tl.program_id(0) + 1, column)


def numbered_tiles(numbers, tiles):
    _number_kernel[(len(numbers),)](numbers, tiles)
    return numbers


SHARED_OUT = [(1, 256, torch.float32), (33, 1000, torch.float32), (33, 1000, torch.float64)]
SHARED_OUT += [(17, 300, dtype) for dtype in DTYPES if dtype != torch.float64]


@pytest.mark.parametrize(("n", "d", "dtype"), SHARED_OUT, ids=name)
def test_coordinates_are_shared_out_where_tiles_are_few(n, d, dtype, monkeypatch):
    x = batch("gaussian", (2, n, d), dtype)
    x[0, n // 2] = x[0, 0]
    x[1, n // 2] = x[1, 0] + 1e-30
    assert direct.shares_of(3, d)[0] > 1
    check(x)
    monkeypatch.setattr(direct, "MIN_SHARE", d)
    check(x)


@pytest.mark.parametrize(
    ("n", "d", "shares"),
    [(100, 2048, (16, 128)), (128, 4096, (13, 320)), (20, 2064, (13, 160)), (300, 5120, (2, 2560)),
     (1000, 768, (1, 768))],
)  # fmt: skip
def test_shares_follow_from_one_cloud_alone(n, d, shares):
    tiles = -(-n // BLOCK_N)
    found = direct.shares_of(tiles * (tiles + 1) // 2, d)
    assert found == shares
    # No share is empty, and none but the last begins inside a step.
    assert (found[0] - 1) * found[1] < d <= found[0] * found[1]
    assert found[1] % direct.BLOCK_D == 0


def test_empty_batch():
    assert pairwise_distances(torch.zeros(0, 5, 3)).shape == (0, 5, 5)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("n", [1, 20])
def test_values_that_are_not_finite_reach_every_distance(n, value):
    x = batch("gaussian", (2, n, 5), torch.float32)
    x[0, n // 2, 3] = value
    D = pairwise_distances(x)
    assert not D[0, n // 2].isfinite().any()
    assert not D[0, :, n // 2].isfinite().any()
    assert D[0].isfinite().sum() == (n - 1) ** 2
    assert D[1].isfinite().all()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0]], TypeError, "x: expected a torch.Tensor points .B, n, d., got list"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), TypeError, "x: expected float16 .* got int64"),
        (torch.zeros(3, 4), ValueError, r"x: expected points \[B, n, d\], got float32 \[3, 4\]"),
        (torch.zeros(1, 0, 4), ValueError, "x: expected at least one point and coordinate"),
        (torch.zeros(1, 4, 0), ValueError, "x: expected at least one point and coordinate"),
        (torch.zeros(1, 4, 2, device="meta"), ValueError, "x: expected a CUDA tensor, .* on meta"),
        (
            # Of one point each, whose coordinates 16 programs share.
            torch.zeros(1, 1, 1).expand(2**27, 1, 2048),
            ValueError,
            "x: expected a batch that 2147483647 programs cover",
        ),
    ],
    ids=["list", "int64", "rank2", "no-point", "no-coordinate", "meta", "too-many"],
)
def test_bad_arguments_are_named(x, error, message):
    with pytest.raises(error, match=message):
        pairwise_distances(x)
