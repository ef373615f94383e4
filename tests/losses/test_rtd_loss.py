"""RTD: by hand, and against the authors' matrix with both of its triangles, by gudhi."""

import math

import pytest
import torch
from clouds import FAMILIES, WITHOUT_TIES, cloud

import tsloss_fast as tsl
from tsloss_fast import reference
from tsloss_fast.losses import RTDLoss, rtd, rtd_loss

SQUARE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)


def scaled(x, detach_scale=False):
    D = reference.pairwise_distances(x)
    unit = torch.quantile(D.flatten(), 0.9)
    return D / (unit.detach() if detach_scale else unit)


def matrix_of(w, other, mode):
    """The authors' matrix [2n, 2n], as a formula."""
    if mode == "minimum":
        u, v = w, torch.minimum(w, other)
    else:
        u, v = torch.maximum(w, other), other
    return torch.cat((torch.cat((torch.zeros_like(u), u.mT), 1), torch.cat((u, v), 1)), 0)


def bars(w, other, mode="minimum"):
    """The bars [K, 2] of the cross-barcode in H1, by gudhi, in the graph of both matrices."""
    _, h1 = reference.rips_persistence(matrix_of(w, other, mode), metric="precomputed")
    return h1.pairs


def twin(w, other, mode="minimum", power=1.0, card=None):
    def one(w, other):
        lifetimes = bars(w, other, mode).diff(dim=1).squeeze(1)
        return lifetimes.sort(descending=True).values[:card].pow(power).sum()

    return one(w, other), one(other, w)


def pair(family="gaussian", n=11, seed=0):
    return cloud(family, n, 3, seed), cloud(family, n, 2, seed + 50)


# By hand


def test_two_points():
    """1 apart in b and 3 in a: joined in the smaller graph from 1 on, in a's from 3 on."""
    a, b = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [1.0]])
    xz, zx, mean = RTDLoss(metric="euclidean", immovable=None)(a, b)
    assert (xz.item(), zx.item(), mean.item()) == (2.0, 0.0, 1.0)
    assert rtd(a, b, scale=None).item() == 1.0
    assert rtd(a, b).item() == 0.0  # both scaled to 1


def test_the_loop_of_a_square_that_a_line_lacks():
    line = torch.arange(4.0, dtype=torch.float64).unsqueeze(-1)
    xz, zx, _ = RTDLoss(metric="euclidean", immovable=None)(SQUARE, line)
    assert xz.item() == 0
    assert zx.item() == pytest.approx(math.sqrt(2) - 1, rel=1e-14)


def test_the_gradient_by_hand():
    """The bar is born with b's distance and dies with a's."""
    a = torch.tensor([[0.0], [3.0]], requires_grad=True)
    b = torch.tensor([[0.0], [1.0]], requires_grad=True)
    rtd(a, b, scale=None).backward()
    assert a.grad.flatten().tolist() == [-0.5, 0.5]
    assert b.grad.flatten().tolist() == [0.5, -0.5]


# Against gudhi


@pytest.mark.parametrize("mode", ["minimum", "maximum"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_values_are_those_of_the_authors_matrix(family, n, mode):
    a, b = pair(family, n)
    D = [tsl.pairwise_distances(x) for x in (a, b)]
    expected = sum(twin(*D, mode)) / 2
    torch.testing.assert_close(rtd(a, b, scale=None, mode=mode), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["minimum", "maximum"])
@pytest.mark.parametrize("family", WITHOUT_TIES)
@pytest.mark.parametrize("options", [{}, {"power": 2.0}, {"card": 2}, {"power": 1.5, "card": 1}])
@pytest.mark.parametrize("detach_scale", [True, False])
def test_values_and_gradients_scaled(family, mode, options, detach_scale):
    clouds = [x.requires_grad_() for x in pair(family)]
    expected = sum(twin(*(scaled(x, detach_scale) for x in clouds), mode, **options)) / 2
    found = rtd(*clouds, mode=mode, detach_scale=detach_scale, **options)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    slopes = [torch.autograd.grad(value, clouds) for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)
    assert slopes[0][0].abs().sum() > 0


@pytest.mark.parametrize("seed", range(5))
def test_more_points(seed):
    a, b = cloud("circle", 28, 5, seed), cloud("gaussian", 28, 2, seed)
    expected = sum(twin(scaled(a), scaled(b))) / 2
    torch.testing.assert_close(rtd(a, b), expected, rtol=1e-11, atol=1e-13)


# The authors' class


def authors_loss(x, z, mode, power, card, movable):
    """Their reading of the bars: deaths in the block of the minimum are those of what moves.

    Where the minimum is w, the edge in this block and the one between the copies are as long; the
    former is taken for the last.
    """

    def one(w, other, moves):
        n = len(w)
        DX = matrix_of(w, other, mode)
        DX_2 = DX.clone()
        if mode == "minimum" and moves is not None:
            DX_2[n:, n:] = moves
        _, h1 = reference.rips_persistence(DX, metric="precomputed")
        lengths = []
        for birth, death in zip(h1.birth_edges.tolist(), h1.death_edges.tolist(), strict=True):
            i, j = (v % n + n for v in death)
            last = (i, j) if DX[i, j] == DX[tuple(death)] else tuple(death)
            lengths.append((DX[tuple(death)] - DX[tuple(birth)], DX_2[last] - DX[tuple(birth)]))
        lengths.sort(key=lambda pair: -pair[0].item())
        return sum((routed.abs() ** power for _, routed in lengths[:card]), DX.sum() * 0)

    moves = z if movable else None
    return one(x, z, moves), one(z, x, moves)


@pytest.mark.parametrize("mode", ["minimum", "maximum"])
@pytest.mark.parametrize("immovable", [None, "x"])
@pytest.mark.parametrize(("lp", "card"), [(1.0, 50), (2.0, 3)])
@pytest.mark.parametrize("family", WITHOUT_TIES)
def test_the_class_is_the_authors(family, mode, immovable, lp, card):
    x, z = (tsl.pairwise_distances(x).requires_grad_() for x in pair(family))
    upper = [D.triu(1) + D.triu(1).mT for D in (x, z)]
    xz, zx = authors_loss(*upper, mode, lp, card, immovable == "x")
    found = RTDLoss(1, card, 25, "ripser", mode, True, lp, immovable=immovable)(x, z)
    torch.testing.assert_close(found, (xz, zx, (xz + zx) / 2), rtol=1e-12, atol=1e-14)
    slopes = [torch.autograd.grad(loss, (x, z)) for loss in (found[2], (xz + zx) / 2)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


def test_what_is_immovable_by_hand():
    """The second copy joins both points to the third at 1; x joins them at 2, and the third at 3.

    Where x's 2 enters, so does the smaller distance of its pair, and z's of this pair is 5.
    """
    x = torch.tensor([[0.0, 2.0, 3.0], [2.0, 0.0, 3.0], [3.0, 3.0, 0.0]])
    z = torch.tensor([[0.0, 5.0, 1.0], [5.0, 0.0, 1.0], [1.0, 1.0, 0.0]], requires_grad=True)
    assert RTDLoss(immovable=None)(x, z)[0].item() == (2 - 1) + (3 - 1)
    xz, _, _ = RTDLoss()(x, z)
    assert xz.item() == (5 - 1) + (3 - 1)
    xz.backward()
    assert z.grad.tolist() == [[0.0, 1.0, -1.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]


def test_what_is_immovable_makes_the_loss_no_less():
    a, b = pair(n=20)
    assert rtd(a, b, immovable="a") > rtd(a, b)
    torch.testing.assert_close(rtd(b, a, immovable="b"), rtd(a, b, immovable="a"))


def test_one_direction():
    x, z = map(tsl.pairwise_distances, pair())
    xz, zx, mean = RTDLoss(is_sym=False)(x, z)
    both = RTDLoss()(x, z)
    assert torch.equal(xz, both[0])
    assert zx == 0
    assert torch.equal(mean, xz / 2)


def test_descent_brings_the_topology_of_one_cloud_to_another():
    """A circle in five coordinates: noise in the plane opens into one."""
    x, z = cloud("circle", 24, 5), (0.3 * cloud("gaussian", 24, 2, 1)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    before = rtd(x, z).item()
    for _ in range(150):
        optimizer.zero_grad()
        rtd(x, z, immovable="a").backward()
        optimizer.step()
    assert rtd(x, z).item() < 0.35 * before


@pytest.mark.parametrize("mode", ["minimum", "maximum"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [2, 5, 12, 24])
def test_edges_between_the_copies_that_are_left_out_change_nothing(family, n, mode, monkeypatch):
    a, b = (torch.stack([cloud(family, n, d, k) for k in range(3)]) for d in (3, 2))
    a = torch.cat((a, cloud("grid", n, 3)[None]))
    b = torch.cat((b, cloud("circle", n, 2)[None]))
    values = {}
    for least in (0, math.inf):
        monkeypatch.setattr(rtd_loss, "SPARSE_FROM", least)
        values[least] = rtd(a, b, mode=mode, power=2)
    torch.testing.assert_close(values[0], values[math.inf], rtol=1e-12, atol=1e-14)
