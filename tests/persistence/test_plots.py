"""The pictures of diagrams and barcodes: what is drawn where, and what is refused."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch

from tsloss_fast.persistence import rips_persistence
from tsloss_fast.persistence.plots import plot_barcodes, plot_diagrams, save_figure

SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def test_points_lie_at_birth_and_death():
    figure = plot_diagrams(
        {"square": rips_persistence(SQUARE), "twice": rips_persistence(2 * SQUARE)}
    )
    for axis, scale in zip(figure.axes, (1.0, 2.0), strict=True):
        h0, h1 = (dots.get_offsets().data for dots in axis.collections)
        assert h0.tolist() == [[0.0, scale]] * 3
        assert h1.tolist() == [[scale, pytest.approx(scale * 2**0.5)]]


def test_labels_units_and_legend():
    figure = plot_diagrams({"a": rips_persistence(SQUARE), "b": rips_persistence(SQUARE)})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"birth (distance in embedding space)"}
    assert figure.axes[0].get_ylabel() == "death (distance in embedding space)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "birth = death",
        "H0 (components)",
        "H1 (loops)",
    ]
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert not any(box.overlaps(axis.get_tightbbox()) for axis in figure.axes)


def test_the_legend_of_one_panel_is_not_cut_off():
    figure = plot_diagrams({"a": rips_persistence(SQUARE)}, loops=True)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


@pytest.mark.parametrize("plot", [plot_diagrams, plot_barcodes])
def test_the_diagrams_of_one_cloud_need_no_title(plot):
    """Was an error: 'tuple' object has no attribute 'items'."""
    dgms = rips_persistence(SQUARE)
    alone, titled = plot(dgms), plot({"": list(dgms)})
    assert [axis.get_title() for axis in alone.axes] == [axis.get_title() for axis in titled.axes]
    for ours, theirs in zip(alone.axes, titled.axes, strict=True):
        for dots, expected in zip(ours.collections, theirs.collections, strict=True):
            assert dots.get_offsets().data.tolist() == expected.get_offsets().data.tolist()


def beyond_the_canvas(figure):
    """How far anything that is drawn reaches beyond the picture, inches."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


@pytest.mark.parametrize(
    "plot",
    [plot_diagrams, lambda panels: plot_diagrams(panels, loops=True), plot_barcodes],
    ids=["diagrams", "loops", "barcodes"],
)
@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("title", ["", "a circle of sixty points in the plane, with noise"])
@pytest.mark.parametrize("panels", [1, 2])
def test_nothing_reaches_beyond_the_picture(plot, scale, title, panels):
    dgms = rips_persistence(scale * torch.randn(30, 8))
    assert beyond_the_canvas(plot({title + "'" * k: dgms for k in range(panels)})) <= 0


def test_dimensions_differ_in_marker_and_every_bar_is_inside():
    figure = plot_diagrams({"a": rips_persistence(SQUARE)})
    h0, h1 = figure.axes[0].collections
    assert len(h0.get_paths()[0].vertices) != len(h1.get_paths()[0].vertices)
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    for dots in (h0, h1):
        for birth, death in dots.get_offsets().data:
            assert left < birth < right
            assert bottom < death < top


@pytest.mark.parametrize(
    "cloud", [torch.zeros(1, 2), torch.zeros(3, 2)], ids=["one-point", "coincident"]
)
def test_clouds_without_length(cloud):
    figure = plot_diagrams({"a": rips_persistence(cloud)})
    figure.draw_without_rendering()
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < top
    h0 = figure.axes[0].collections[0].get_offsets().data
    assert len(h0) == len(cloud) - 1
    assert all(bottom < death < top for _, death in h0)


def test_loops_have_a_row_of_their_own():
    """Two squares of nearly equal size: the loops that the first row shows on its diagonal."""
    near = SQUARE + torch.tensor([[1e-3, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    panels = {"square": SQUARE, "far": 5 * near, "line": SQUARE[:2]}
    figure = plot_diagrams({name: rips_persistence(x) for name, x in panels.items()}, loops=True)
    first, second = figure.axes[:3], figure.axes[3:]
    assert [axis.get_title() for axis in first] == list(panels)
    (square,), (far,), () = (axis.collections[0].get_offsets().data for axis in second)
    assert square.tolist() == pytest.approx([1.0, 2**0.5 - 1])
    assert far.tolist() == pytest.approx([5.0, 5 * (2**0.5 - 1)], abs=0.02)
    assert len({axis.get_ylim() for axis in second}) == 1
    assert len({axis.get_xlim() for axis in second}) == 1
    assert second[0].get_ylabel().replace("\n", " ") == "H1 lifetime (distance in embedding space)"
    assert {axis.get_xlabel() for axis in second} == {"birth (distance in embedding space)"}
    assert [text.get_text() for text in second[2].texts] == ["no bars"]
    for axis, bar in zip(second, (square, far), strict=False):
        left, right = axis.get_xlim()
        bottom, top = axis.get_ylim()
        assert left < bar[0] < right
        assert bottom < 0 < bar[1] < top


def segments(axis):
    return [line.tolist() for line in axis.collections[0].get_segments()]


def test_a_bar_reaches_from_birth_to_death():
    x = torch.cat([SQUARE, torch.tensor([[4.0, 0.0]])])
    figure = plot_barcodes({"square": rips_persistence(SQUARE), "more": rips_persistence(x)})
    h0_square, h0_more, h1_square, h1_more = figure.axes
    assert segments(h0_square) == [[[0, k], [1, k]] for k in (1, 2, 3)]
    # In order of their deaths.
    assert segments(h0_more) == [[[0, k], [1, k]] for k in (1, 2, 3)] + [[[0, 4], [3, 4]]]
    for axis in (h1_square, h1_more):
        assert segments(axis) == [[[1, 1], [pytest.approx(2**0.5), 1]]]
    assert h0_square.get_xlim() == h0_more.get_xlim()
    assert h0_square.get_ylim() == h0_more.get_ylim()


def test_barcodes_of_loops_far_apart_have_equally_long_axes():
    """Each around its own bars, so that their lengths compare although births lie far apart."""
    # Sides of 1 and a shorter diagonal of 1.015.
    rhombus = torch.tensor([[0.861, 0.0], [0.0, 0.508], [-0.861, 0.0], [0.0, -0.508]])
    panels = {"near": SQUARE, "long": 3 * SQUARE, "far": 50 * rhombus, "line": SQUARE[:2]}
    figure = plot_barcodes({name: rips_persistence(x) for name, x in panels.items()})
    figure.draw_without_rendering()
    assert [len(segments(axis)) for axis in figure.axes[4:]] == [1, 1, 1, 0]
    lengths = []
    for axis in figure.axes[4:]:
        left, right = axis.get_xlim()
        lengths.append(right - left)
        for (birth, _), (death, _) in segments(axis):
            assert left < birth < death < right
            assert 1 <= len(axis.get_xticks()) <= 5
    assert lengths == pytest.approx([lengths[0]] * 4)
    # The longest bar fills most of its axis.
    assert 0.8 * lengths[1] < 3 * (2**0.5 - 1)


def cut_squares():
    """Two squares far apart, whose diagonals are missing: two components, two loops."""
    x = torch.cat((SQUARE, 1.25 * SQUARE + 10))
    return rips_persistence(x, max_edge_length=1.3)


def test_classes_that_never_die_lie_on_the_line_of_infinity():
    figure = plot_diagrams({"cut": cut_squares(), "whole": rips_persistence(SQUARE)}, loops=True)
    first, second = figure.axes[:2], figure.axes[2:]
    for axes, whole in ((first, [[0.0]]), (second, [])):
        heights = {line.get_ydata()[0] for axis in axes for line in axis.lines[-1:]}
        (infinity,) = heights
        births = [[], []]
        for axis, found in zip(axes, births, strict=True):
            bottom, top = axis.get_ylim()
            left, right = axis.get_xlim()
            for dots in axis.collections:
                offsets = dots.get_offsets().data
                at_infinity = offsets[offsets[:, 1] == infinity] if len(offsets) else []
                found += [[birth for birth, _ in at_infinity]] if len(at_infinity) else []
                assert all(bottom < y < top and left < x < right for x, y in offsets)
        assert births == [[[0.0, 0.0], [1.0, 1.25]] if axes is first else [[1.0, 1.25]], whole]
        assert infinity > bottom + 0.9 * (top - bottom)
    (legend,) = figure.legends
    assert "never dies (infinity)" in [text.get_text() for text in legend.get_texts()]
    # Loops without an end are not "no bars".
    assert [text.get_text() for axis in second for text in axis.texts] == []


def test_barcodes_end_classes_that_never_die_with_an_arrow():
    figure = plot_barcodes({"cut": cut_squares(), "whole": rips_persistence(SQUARE)})
    h0, h0_whole, h1, h1_whole = figure.axes
    for axis, dying, endless in ((h0, 6, [0, 0]), (h1, 0, [1, 1.25]), (h0_whole, 3, [0])):
        assert len(segments(axis)) == dying
        lines, arrows = axis.collections[2:]
        assert [line.tolist()[0] for line in lines.get_segments()] == [
            [birth, dying + 1 + k] for k, birth in enumerate(endless)
        ]
        ends = arrows.get_offsets().data
        left, right = axis.get_xlim()
        bottom, top = axis.get_ylim()
        assert all(0.9 * right < x < right and bottom < y < top for x, y in ends)
        assert left < min(endless)
    assert len(h1_whole.collections) == 2
    assert words(figure).endswith(
        "bars with an arrow never die; axes of H1 are equally long, but "
        "each lies around its own bars"
    )


def test_the_class_that_every_cloud_has_is_drawn_on_request_alone():
    dgms = rips_persistence(SQUARE)
    assert len(plot_diagrams(dgms).axes[0].collections) == 2
    assert len(plot_diagrams(dgms, essential=True).axes[0].collections) == 3
    assert len(plot_diagrams(cut_squares(), essential=False).axes[0].collections) == 2
    assert len(plot_barcodes(dgms, essential=True).axes[0].collections) == 4
    assert len(plot_barcodes(cut_squares(), essential=False).axes[0].collections) == 2


@pytest.mark.parametrize(
    "plot",
    [plot_diagrams, lambda panels: plot_diagrams(panels, loops=True), plot_barcodes],
    ids=["diagrams", "loops", "barcodes"],
)
@pytest.mark.parametrize("longest", [0.5, 1.0, 1.3, 2.0])
def test_classes_that_never_die_reach_not_beyond_the_picture(plot, longest):
    x = torch.cat((SQUARE, 1.25 * SQUARE + 10))
    for panels in (1, 3):
        dgms = rips_persistence(x, max_edge_length=longest)
        assert beyond_the_canvas(plot({"cut" + "'" * k: dgms for k in range(panels)})) <= 0


def words(figure):
    """What is said of the axes below the panels, on one line."""
    titles = [legend.get_title().get_text() for legend in figure.legends]
    return " ".join(" ".join([*titles, figure.get_supxlabel()]).split())


def test_unequal_axes_are_said():
    panels = {"a": rips_persistence(SQUARE), "b": rips_persistence(3 * SQUARE)}
    assert words(plot_diagrams(panels)) == (
        "deaths begin at 0.741, not at 0, so birth = death is steep"
    )
    assert "second row: H1 alone" in words(plot_diagrams(panels, loops=True))
    assert "axes of H1 are equally long" in words(plot_barcodes(panels))
    # Nothing to say of axes that begin at 0, or of one panel.
    assert words(plot_diagrams({"a": rips_persistence(torch.zeros(3, 2))})) == ""
    assert words(plot_barcodes({"a": panels["a"]})) == "distance in embedding space"


def test_barcodes_say_what_is_drawn():
    figure = plot_barcodes({"a": rips_persistence(SQUARE), "b": rips_persistence(SQUARE[:3])})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "", ""]
    assert figure.get_supxlabel().startswith("distance in embedding space")
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels == ["H0 (components), bars in order", "", "H1 (loops), bars in order", ""]
    h0, _, h1, no_loops = figure.axes
    assert h0.collections[0].get_colors().tolist() != h1.collections[0].get_colors().tolist()
    assert [text.get_text() for text in no_loops.texts] == ["no bars"]
    assert segments(no_loops) == []


@pytest.mark.parametrize(
    "cloud", [torch.zeros(1, 2), torch.zeros(3, 2)], ids=["one-point", "coincident"]
)
def test_barcodes_without_length(cloud):
    figure = plot_barcodes({"a": rips_persistence(cloud)})
    figure.draw_without_rendering()
    h0 = figure.axes[0]
    assert segments(h0) == [[[0, k], [0, k]] for k in range(1, len(cloud))]
    # A tick stands where a bar has no length.
    assert len(h0.collections[1].get_offsets()) == len(cloud) - 1
    assert h0.get_xlim()[0] < 0 < h0.get_xlim()[1]


def test_files_are_a_png_and_an_svg_with_its_labels(tmp_path):
    png, svg = save_figure(plot_diagrams({"a": rips_persistence(SQUARE)}), tmp_path / "dgm")
    assert (png.name, svg.name) == ("dgm.png", "dgm.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


@pytest.mark.parametrize("plot", [plot_diagrams, plot_barcodes])
def test_wrong_panels(plot):
    with pytest.raises(ValueError, match="panels: expected at least one, got none"):
        plot({})
    with pytest.raises(TypeError, match="panels: expected PersistenceDiagram, got Tensor"):
        plot([SQUARE])
    with pytest.raises(TypeError, match=r"panels: .*H0 first, got one alone"):
        plot(rips_persistence(SQUARE)[0])
    with pytest.raises(ValueError, match="panels: expected one cloud for 'a', got a batch"):
        plot({"a": rips_persistence(SQUARE.expand(2, -1, -1))})
    with pytest.raises(ValueError, match="panels: expected at most H0 and H1, got 3 for 'a'"):
        plot({"a": (*rips_persistence(SQUARE), rips_persistence(SQUARE)[0])})
    with pytest.raises(ValueError, match="panels: expected H0 and H1, got none for 'a'"):
        plot({"a": ()})


@pytest.mark.parametrize("plot", [plot_diagrams, plot_barcodes])
def test_h0_alone(plot):
    (h0,) = rips_persistence(SQUARE, max_dim=0)
    plot({"a": (h0,)}).draw_without_rendering()


def test_vertices_born_below_0_are_in_the_picture():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    births = torch.tensor([0.0, -5.0, 0.5, -2.0])
    dgms = rips_persistence(x, vertex_births=births)
    assert dgms[0].births.min() == -2
    for plot in (plot_diagrams, plot_barcodes):
        left, right = plot(dgms, essential=True).axes[0].get_xlim()
        assert left < -5 < right
