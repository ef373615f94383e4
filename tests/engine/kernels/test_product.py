"""The kernels of distances by a product against float64, and the bound on their error."""

import pytest
import torch
from clouds import FAMILIES, cloud
from devices import on_device

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels.distances import launch as distances
from tsloss_fast._engine.kernels.distances import product
from tsloss_fast._engine.kernels.distances.product import BLOCK_K, TRUSTED

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_run", "poisoned")]

U = 2.0**-24


@on_device
def product_distances(x):
    """The product at every n, where the public launcher takes it above its limit alone."""
    D = torch.empty(len(x), x.shape[1], x.shape[1], dtype=torch.float32, device=x.device)
    product.fill_by_product(x, D)
    return D


def bound(d):
    """The relative error of a distance in the worst case, as product.py derives it."""
    return ((55 + d / BLOCK_K) / 2 / TRUSTED + 2) * U


def exact(x):
    return torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")


def check(x):
    D = product_distances(x)
    torch.testing.assert_close(D.double(), exact(x), rtol=bound(x.shape[-1]), atol=0)
    assert torch.equal(D, D.mT)
    assert (D.diagonal(dim1=-2, dim2=-1) == 0).all()
    return D


def gaussian(n, d, B=1):
    return torch.stack([cloud("gaussian", n, d, seed, torch.float32) for seed in range(B)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("B", "n", "d"), [(1, 1, 1), (1, 2, 17), (2, 17, 100), (1, 65, 33), (1, 129, 200)]
)
def test_distances_are_those_of_float64(B, n, d, dtype):
    check(gaussian(n, d, B).to(dtype))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family(family):
    check(cloud(family, 19, 40, dtype=torch.float32)[None])


def test_parts_without_a_close_pair_are_those_of_the_product(monkeypatch):
    """The bound would mean nothing if every part were summed anew; the diagonal asks for none."""
    x = gaussian(40, 768)
    x[0, 39] = x[0, 38] + 1e-3 * x[0, 0]
    summed = product_distances(x)
    monkeypatch.setattr(product, "TRUSTED", 100.0)
    anew = product_distances(x)
    assert not torch.equal(summed[0, :32, :32], anew[0, :32, :32])
    assert not torch.equal(summed[0, :32, 32:], anew[0, :32, 32:])
    assert torch.equal(summed[0, 32:, 32:], anew[0, 32:, 32:])


@pytest.mark.parametrize("radius", [1e-1, 1e-3, 1e-5])
def test_a_cluster_far_from_the_origin_keeps_its_digits(radius):
    x = gaussian(35, 64)
    check(100 * x[:, :1] + radius * x)


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-6])
def test_tight_pairs_inside_a_wide_cloud_keep_their_digits(gap):
    x = gaussian(40, 200)
    x[0, 33] = x[0, 2] + gap * x[0, 5]
    x[0, 39] = x[0, 3]
    D = check(x)
    assert D[0, 3, 39] == 0
    assert 0 < D[0, 2, 33] < 2 * gap * x[0, 5].norm()


@pytest.mark.parametrize("scale", [1e-40, 1e-22, 1e-18, 1e18, 4e18, 1e22, 1e37])
def test_distances_keep_their_digits_where_squares_leave_the_range(scale):
    x = (scale * cloud("gaussian", 19, 33)).float()[None]
    smallest = torch.finfo(torch.float32).tiny * torch.finfo(torch.float32).eps
    torch.testing.assert_close(
        product_distances(x).double(), exact(x), rtol=bound(33), atol=smallest / 2
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_reach_every_distance(value):
    x = gaussian(20, 33, 2)
    x[0, 18, 3] = value
    D = product_distances(x)
    assert not D[0, 18].isfinite().any()
    assert not D[0, :, 18].isfinite().any()
    assert D[0].isfinite().sum() == 19**2
    assert torch.equal(D[1], product_distances(x[1:])[0])


def test_strides_are_followed():
    x = gaussian(40, 50, 4)
    for view in (x[::2, 1::2, ::2], x.mT[:, :20], x[:1].expand(2, 40, 50)):
        assert not view.is_contiguous()
        D = check(view)
        # The compiler sums a norm in an order that follows the strides: equal strides, equal bits.
        assert torch.equal(D[:1], product_distances(view[:1]))


@pytest.mark.parametrize("n", [17, 18])
def test_the_public_launcher_changes_over_at_its_limit(n, monkeypatch):
    taken = []
    monkeypatch.setattr(distances, "MAX_DIRECT_POINTS", 17)
    monkeypatch.setattr(distances, "fill_direct", lambda x, D: taken.append("direct"))
    monkeypatch.setattr(distances, "fill_by_product", lambda x, D: taken.append("product"))
    for dtype in (torch.float32, torch.float64):
        on_device(distances.pairwise_distances)(gaussian(n, 3).to(dtype))
    assert taken == ["direct" if n == 17 else "product", "direct"]


def tf32(x):
    """float32 rounded to 11 bits, ties away from zero, as cvt.rna.tf32.f32 does."""
    return ((x.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


def cut(x):
    """float64 cut to the 24 bits of a float32, towards zero."""
    exponent = torch.frexp(x).exponent
    return torch.ldexp(torch.ldexp(x, 24 - exponent).trunc(), exponent - 24)


def emulated_square(a, b):
    """|a - b|^2 [m] of the rows of a and b [m, d] as a tensor core sums it, cutting every sum."""
    a, b = a.float(), b.float()
    a1, b1 = tf32(a), tf32(b)
    a2, b2 = tf32(a - a1), tf32(b - b1)
    total = torch.zeros(len(a), dtype=torch.float32)
    for start in range(0, a.shape[1], BLOCK_K):
        step = torch.zeros(len(a), dtype=torch.float64)
        for left, right in ((a2, b1), (a1, b2), (a1, b1)):
            for k in range(start, start + BLOCK_K, 8):
                terms = left[:, k : k + 8].double() * right[:, k : k + 8].double()
                step = cut(step + terms.sum(-1))
        total += -2 * step.float()
    return (a * a).sum(-1) + (b * b).sum(-1) + total


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 0.45])
@pytest.mark.parametrize("d", [768, 2048, 5120])
def test_tf32_keeps_the_bound(d, cosine):
    """The interpreter multiplies in float32, so the tensor core is emulated here."""
    # Of one sign, so that no error cancels another.
    a = cloud("gaussian", 200, d).abs()
    b = cosine * a + (1 - cosine**2) ** 0.5 * cloud("gaussian", 200, d, 1)
    a, b = a.float(), b.float()
    expected = (a.double() - b.double()).square().sum(-1)
    sums = a.double().square().sum(-1) + b.double().square().sum(-1)
    kept = expected >= TRUSTED * sums
    assert kept.sum() > 100
    error = (emulated_square(a, b).double().sqrt() / expected.sqrt() - 1).abs()[kept]
    assert error.max() <= bound(d)
    # One tf32 product would not do.
    plain = expected + 2 * (a.double() * b.double() - tf32(a).double() * tf32(b).double()).sum(-1)
    assert (plain.sqrt() / expected.sqrt() - 1).abs()[kept].max() > 10 * error.max()
