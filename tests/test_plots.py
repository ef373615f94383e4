"""The picture of diagrams: what is drawn where, and what is refused."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch

from tsloss_fast.persistence import rips_persistence
from tsloss_fast.plots import plot_diagrams, save_figure

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


def test_files_are_a_png_and_an_svg_with_its_labels(tmp_path):
    png, svg = save_figure(plot_diagrams({"a": rips_persistence(SQUARE)}), tmp_path / "dgm")
    assert (png.name, svg.name) == ("dgm.png", "dgm.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_wrong_panels():
    with pytest.raises(ValueError, match="panels: expected at least one, got none"):
        plot_diagrams({})
    with pytest.raises(ValueError, match="panels: expected one cloud for 'a', got a batch"):
        plot_diagrams({"a": rips_persistence(SQUARE.expand(2, -1, -1))})
    with pytest.raises(ValueError, match="panels: expected at most H0 and H1, got 3 for 'a'"):
        plot_diagrams({"a": (*rips_persistence(SQUARE), rips_persistence(SQUARE)[0])})
