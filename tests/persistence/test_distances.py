"""pairwise_distances: accuracy, symmetry, dtypes, batches, gradients."""

import pytest
import torch
from clouds import cloud, clouds
from hypothesis import given

from tsloss_fast.persistence.distances import METRICS

SHAPES = [(1, 1), (2, 3), (7, 5), (16, 64), (33, 17), (65, 130), (130, 9), (5, 2049)]


def exact(x):
    """Distances in float64 by direct differences, from the values that x holds."""
    return torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")


def euclidean_bound(x):
    """Relative error of a distance from direct differences, whatever the order of summation.

    With unit roundoff u: u for the difference, which the square doubles, u for the square and
    (d - 1) u for the sum, all halved by the root, and u for the root. One part in 1000 on top
    covers second-order terms, and a second times covers the float64 answer compared with.
    """
    unit_roundoff = torch.finfo(x.dtype).eps / 2
    return 2 * 1.001 * (x.shape[-1] / 2 + 2) * unit_roundoff


def assert_within(D, expected, rtol, atol=0.0):
    error = (D.double() - expected).abs()
    assert (error <= rtol * expected + atol).all(), (error / expected).nan_to_num(0).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_error_is_within_the_bound_of_direct_differences(impl, shape, dtype):
    x = torch.randn(shape, dtype=dtype)
    D = impl.pairwise_distances(x)
    assert D.dtype == dtype
    assert_within(D, exact(x), euclidean_bound(x))


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("n", [20, 130])
def test_near_duplicate_rows_keep_their_distances(impl, n, spread):
    """The Gram trick loses these rows altogether in float32."""
    x = (torch.randn(1, 65) + spread * torch.randn(n, 65)).float()
    assert_within(impl.pairwise_distances(x), exact(x), euclidean_bound(x))


@given(x=clouds())
def test_symmetric_bit_for_bit_with_a_zero_diagonal(impl, x):
    for metric in METRICS:
        if metric == "cosine" and (x == 0).all(-1).any():
            continue
        if metric == "correlation" and (x == x[:, :1]).all(-1).any():
            continue
        D = impl.pairwise_distances(x, metric)
        assert D.shape == (len(x), len(x))
        assert torch.equal(D, D.mT)
        assert (D.diagonal() == 0).all()
        assert (D >= 0).all()


@given(x=clouds(families=("duplicated", "identical", "grid")))
def test_zero_exactly_where_rows_coincide(impl, x):
    D = impl.pairwise_distances(x)
    assert torch.equal(D == 0, (x.unsqueeze(0) == x.unsqueeze(1)).all(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
@pytest.mark.parametrize("metric", METRICS)
def test_half_is_computed_in_float32(tsl, metric, dtype):
    x = torch.randn(19, 33).to(dtype)
    D = tsl.pairwise_distances(x, metric)
    assert D.dtype == torch.float32
    assert torch.equal(D, tsl.pairwise_distances(x.float(), metric))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_half_sums_do_not_overflow(impl, dtype):
    """The square of 300 is beyond float16."""
    x = torch.tensor([[0.0], [300.0]], dtype=dtype)
    assert impl.pairwise_distances(x)[0, 1] == 300


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (1, 1), (0,), (2, 0)], ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_a_batch_is_the_loop_over_its_clouds(tsl, metric, batch):
    x = torch.randn(*batch, 9, 5)
    D = tsl.pairwise_distances(x, metric)
    assert D.shape == (*batch, 9, 9)
    for one, cloud_ in zip(D.reshape(-1, 9, 9), x.reshape(-1, 9, 5), strict=True):
        assert torch.equal(one, tsl.pairwise_distances(cloud_, metric))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.mT.contiguous().mT,
        lambda x: torch.stack((x, -x), dim=1)[:, 0],
        lambda x: torch.cat((x, x), dim=-1)[:, : x.shape[-1]],
        lambda x: x.flip(0).flip(0),
    ],
    ids=["transposed", "row-strided", "column-slice", "flipped"],
)
def test_strides_do_not_matter(tsl, view):
    x = torch.randn(17, 6)
    assert torch.equal(view(x), x)
    assert torch.equal(tsl.pairwise_distances(view(x)), tsl.pairwise_distances(x))


def test_an_expanded_row_gives_zeros(impl):
    x = torch.randn(1, 6).expand(5, 6)
    assert torch.equal(impl.pairwise_distances(x), torch.zeros(5, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_cosine_is_one_minus_the_cosine(impl, spread, dtype):
    """Near-duplicate rows too, where 1 - cos has no correct digit in float32.

    A unit row is off by e = (d/2 + 4) u at most, a difference of two by 2e, so that its half
    square is off by 2e * sqrt(2 D) + 2e^2, and by (d + 3) u of itself from rounding.
    """
    x = (torch.randn(1, 33) + spread * torch.randn(21, 33)).to(dtype)
    y = x.double()
    unit = y / y.norm(dim=-1, keepdim=True)
    expected = exact(unit) ** 2 / 2
    u = torch.finfo(dtype).eps / 2
    e = 2 * (33 / 2 + 4) * u
    D = impl.pairwise_distances(x, "cosine")
    assert_within(D, expected, 2 * 36 * u, 2 * (e * (2 * expected).sqrt() + e**2))
    if spread == 1.0 and dtype == torch.float64:
        cosine = torch.nn.functional.cosine_similarity(x.unsqueeze(0), x.unsqueeze(1), dim=-1)
        assert torch.allclose(D, 1 - cosine, rtol=0, atol=1e-14)


def test_cosine_known_by_hand(impl):
    x = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-3.0, 0.0]])
    expected = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    D = impl.pairwise_distances(x, metric="cosine")
    assert torch.allclose(D, expected, rtol=4 * torch.finfo(x.dtype).eps, atol=0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (7, 4), (2, 3, 5)], ids=str)
def test_gradcheck(impl, metric, shape):
    if metric == "correlation" and shape[-1] == 1:
        pytest.skip("rows of one entry are constant")
    x = (torch.randn(shape, dtype=torch.float64) + 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: impl.pairwise_distances(x, metric), x)


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_between_coincident_rows_is_zero(impl, metric):
    x = cloud("identical", 4, 3, dtype=torch.float32).requires_grad_()
    (gradient,) = torch.autograd.grad(impl.pairwise_distances(x, metric).sum(), x)
    assert torch.equal(gradient, torch.zeros(4, 3))


def test_gradient_of_one_entry_by_hand(impl):
    """d D_01 / d x_0 = (x_0 - x_1) / D_01: the two entries of a pair are told apart."""
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]], requires_grad=True)
    weights = torch.tensor([[9.0, 2.0, 0.0], [0.5, 9.0, 7.0], [0.0, 7.0, 9.0]])
    (gradient,) = torch.autograd.grad(impl.pairwise_distances(x), x, weights)
    expected = 2.5 * torch.tensor([[-0.6, -0.8], [0.6, 0.8], [0.0, 0.0]])
    assert torch.allclose(gradient, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_gradient_comes_back_in_the_dtype_of_the_input(tsl, dtype):
    x = torch.randn(6, 5).to(dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(tsl.pairwise_distances(x).sum(), x)
    y = x.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(tsl.pairwise_distances(y).sum(), y)
    assert gradient.dtype == dtype
    assert torch.allclose(gradient.float(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


@pytest.mark.parametrize("family", ["gaussian", "duplicated", "grid"])
@pytest.mark.parametrize("metric", METRICS)
def test_gradient_agrees_with_the_reference_and_repeats(tsl, metric, family):
    from tsloss_fast import reference

    x = (cloud(family, 23, 7) + 5).requires_grad_()
    weights = torch.randn(23, 23, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(tsl.pairwise_distances(x, metric), x, weights)
    (again,) = torch.autograd.grad(tsl.pairwise_distances(x, metric), x, weights)
    (expected,) = torch.autograd.grad(reference.pairwise_distances(x, metric), x, weights)
    assert torch.equal(gradient, again)
    assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-13)
