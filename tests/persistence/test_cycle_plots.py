"""The picture of loops and their bars: what is drawn where, its colours, and what is refused."""

import pytest
import torch
from clouds import cloud
from matplotlib.colors import to_hex

from tsloss_fast import loops_of, representative_cycles
from tsloss_fast.persistence.plots import LOOP_COLOURS, plot_cycles


def two_squares(d=2):
    """Squares of sides 1 and 2 far from each other, in the first two of d dimensions."""
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return torch.nn.functional.pad(torch.cat((x, 2 * x + 9)), (0, d - 2))


def drawn(x, **options):
    (_, h1), cycles = representative_cycles(x, **options)
    return plot_cycles(x, h1, cycles), h1, cycles


def lines(axis):
    """The coordinates and the colour of each line of an axis."""
    return [
        (torch.tensor([list(row) for row in line.get_xydata()]), to_hex(line.get_color()))
        for line in axis.get_lines()
    ]


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_each_loop_goes_around_in_the_colour_of_its_bar(needs_gradient):
    x = two_squares().requires_grad_(needs_gradient)
    figure, h1, cycles = drawn(x)
    points, bars = figure.axes
    (dots,) = points.collections
    assert dots.get_offsets().data.tolist() == x.tolist()
    assert len(cycles) == 2
    # The longer bar, of the larger square, comes first.
    order = h1.lifetimes.argsort(descending=True).tolist()
    colours = [colour.lower() for colour in LOOP_COLOURS]
    for k, (around, colour), expected in zip(order, lines(points), colours, strict=False):
        (loop,) = loops_of(cycles[k])
        assert around.tolist() == x[[*loop.tolist(), int(loop[0])]].tolist()
        assert colour == expected
    for k, (bar, colour), expected in zip(order, lines(bars), colours, strict=False):
        assert bar[:, 0].tolist() == pytest.approx(h1.pairs[k].tolist())
        assert colour == expected
    assert bars.get_xlim()[0] < 1
    assert bars.get_xlim()[1] > 8**0.5


def test_a_class_that_never_dies_has_an_arrow():
    figure, h1, cycles = drawn(two_squares(), max_edge_length=1.5)
    # The smaller square is filled at 1.41, and of the larger one no side is there.
    assert (len(h1.births), len(h1.essential_births), len(cycles)) == (1, 0, 1)
    figure, h1, _ = drawn(two_squares(), max_edge_length=2.5)
    (endless, _), (arrow, _), (bar, _) = lines(figure.axes[1])
    assert endless[:, 0].tolist() == [2, figure.axes[1].get_xlim()[1]]
    assert arrow[:, 0].tolist() == [figure.axes[1].get_xlim()[1]]
    assert bar[:, 0].tolist() == pytest.approx([1, 2**0.5])
    assert h1.essential_births.tolist() == [2]


def test_three_dimensions_are_drawn_as_they_are():
    figure, _, _ = drawn(two_squares(3))
    points = figure.axes[0]
    assert points.name == "3d"
    assert (points.get_xlabel(), points.get_ylabel(), points.get_zlabel()) == ("x", "y", "z")
    assert [len(line.get_data_3d()) for line in points.get_lines()] == [3, 3]
    figure.draw_without_rendering()


def test_more_dimensions_are_drawn_in_the_plane_of_two_principal_components():
    turned = torch.linalg.qr(cloud("gaussian", 6, 6, 0, torch.float32)).Q
    x = two_squares(6) @ turned.T
    figure, _, _ = drawn(x)
    points = figure.axes[0]
    places = torch.tensor(points.collections[0].get_offsets().data)
    # The points lie in a plane, so nothing of their distances is lost.
    torch.testing.assert_close(torch.pdist(places), torch.pdist(x.double()), rtol=1e-5, atol=1e-5)
    assert points.get_xlabel().startswith("principal component 1 (")


@pytest.mark.parametrize("x", [torch.zeros(1, 2), torch.zeros(3, 1), torch.zeros(5, 7)])
def test_clouds_without_a_loop(x):
    figure, _, _ = drawn(x)
    figure.draw_without_rendering()
    assert lines(figure.axes[1]) == []


@pytest.mark.parametrize("d", [2, 3, 5])
def test_nothing_reaches_beyond_the_picture(d):
    figure, _, cycles = drawn(cloud("circle", 40, d, 0))
    assert len(cycles) > 0
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert max(-box.x0, -box.y0, box.x1 - width, box.y1 - height) <= 0


def test_more_loops_than_colours_and_fewer_than_there_are():
    x = cloud("gaussian", 40, 8, 0)
    (_, h1), cycles = representative_cycles(x)
    assert len(cycles) > 9
    assert len(plot_cycles(x, h1, cycles, most=9).axes[1].get_lines()) == 9
    title = plot_cycles(x, h1, cycles, most=2).axes[1].get_title()
    assert title == f"H1 (loops), the 2 longest of {len(cycles)} bars"


def test_wrong_arguments():
    x = two_squares()
    (_, h1), cycles = representative_cycles(x)
    with pytest.raises(ValueError, match=r"x: expected one cloud \[n, d\], got .* \[1, 8, 2\]"):
        plot_cycles(x.unsqueeze(0), h1, cycles)
    with pytest.raises(ValueError, match=r"cycles: expected those of 2 classes .*, got 1"):
        plot_cycles(x, h1, cycles[:1])
    with pytest.raises(ValueError, match="cycles: expected vertices of 4 points, got 7"):
        plot_cycles(x[:4], h1, cycles)
    with pytest.raises(ValueError, match="most: expected at least 1, got 0"):
        plot_cycles(x, h1, cycles, most=0)
    with pytest.raises(TypeError, match="dgm: expected a PersistenceDiagram, got Tensor"):
        plot_cycles(x, x, cycles)
    (_, batched), _ = representative_cycles(x.unsqueeze(0))
    with pytest.raises(ValueError, match="dgm: expected that of one cloud, got a batch"):
        plot_cycles(x, batched, cycles)
