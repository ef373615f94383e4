"""The pictures of a run: every feature is drawn, with its unit, and no legend covers data."""

import itertools

import pytest
import torch
from clouds import cloud

from tsloss_fast.analysis import figures
from tsloss_fast.analysis.features import FEATURES, topologies
from tsloss_fast.analysis.statistics import associations

EPOCHS = [0, 20, 50]
RESULTS = topologies([(1 + k) * cloud("gaussian", 9, 4, k) for k in range(3)])
DISTANCE = "distance in embedding space"


def curves(figure):
    return {
        (axis.get_title(), line.get_label()): line for axis in figure.axes for line in axis.lines
    }


def test_every_feature_is_drawn_over_the_epochs_with_its_unit():
    figure = figures.features_figure(EPOCHS, RESULTS)
    drawn = [name for panel in figures.PANELS for name in panel.features]
    assert sorted(drawn) == sorted(FEATURES)
    lines = curves(figure)
    for panel, axis in zip(figures.PANELS, figure.axes, strict=True):
        assert axis.get_title() == panel.title
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", panel.unit)
        for name, label in panel.features.items():
            line = lines[panel.title, label]
            assert list(line.get_xdata()) == EPOCHS
            assert list(line.get_ydata()) == [one.features[name] for one in RESULTS]
    units = {panel.title: panel.unit for panel in figures.PANELS}
    assert units["H0 lifetimes"] == units["H1 lifetimes"] == units["mean distance"] == DISTANCE


def test_curves_of_a_panel_differ_without_colour():
    figure = figures.features_figure(EPOCHS, RESULTS)
    for axis in figure.axes:
        styles = [(line.get_linestyle(), line.get_marker()) for line in axis.lines]
        assert len(set(styles)) == len(styles)


def test_no_legend_covers_an_axis_or_a_title():
    figure = figures.features_figure(EPOCHS, RESULTS)
    figure.draw_without_rendering()
    for axis in figure.axes:
        box = axis.get_legend().get_window_extent()
        assert not box.overlaps(axis.get_window_extent().shrunk(1, 0.98))
        assert not box.overlaps(axis.title.get_window_extent())


@pytest.mark.parametrize(
    "results",
    [RESULTS[:1], topologies([torch.ones(1, 3)]), topologies([torch.ones(4, 3)] * 3)],
    ids=["one-epoch", "one-row", "equal-rows"],
)
def test_runs_with_little_to_show(results):
    epochs = EPOCHS[: len(results)]
    for figure in figures_of(epochs, results):
        figure.draw_without_rendering()


def figures_of(epochs, results):
    panels = {f"epoch {k}": one for k, one in zip(epochs, results, strict=True)}
    accuracy = [0.1 + 0.1 * k for k in range(len(epochs))]
    yield figures.features_figure(epochs, results)
    yield figures.diagrams_figure(panels)
    yield figures.barcodes_figure(panels)
    yield figures.accuracy_figure(epochs, results, accuracy, None)


@pytest.mark.parametrize("count", [2, 4, 6])
@pytest.mark.parametrize("scale", [1e-6, 0.01, 1e5], ids=str)
def test_numbers_of_an_axis_do_not_touch(count, scale):
    """Clouds that differ a little: all their features lie in narrow ranges far from 0."""
    x = cloud("unit", 40, 64, 0)
    results = topologies([scale * (x + 0.003 * k * cloud("unit", 40, 64, k)) for k in range(count)])
    for figure in figures_of([20 * k for k in range(count)], results):
        figure.draw_without_rendering()
        for axis in figure.axes:
            low, high = axis.get_xlim()
            shown = [tick for tick in axis.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
            boxes = [tick.label1.get_window_extent() for tick in shown]
            for left, right in itertools.pairwise(boxes):
                assert left.x1 + 2 < right.x0, [tick.label1.get_text() for tick in shown]


def test_counts_have_whole_ticks():
    figure = figures.accuracy_figure(EPOCHS, RESULTS, [0.1, 0.2, 0.3], None)
    (axis,) = (axis for axis in figure.axes if axis.get_xlabel().startswith("H1 count"))
    assert all(tick == int(tick) for tick in axis.get_xticks())


def test_accuracy_stands_over_each_feature_and_says_what_it_is_worth():
    accuracy = [0.1, 0.4, 0.3]
    columns = {name: [one.features[name] for one in RESULTS] for name in FEATURES}
    table = associations(EPOCHS, columns, accuracy)
    figure = figures.accuracy_figure(EPOCHS, RESULTS, accuracy, table, "step")
    first, *scatters, colours = figure.axes
    assert list(first.lines[0].get_ydata()) == accuracy
    assert colours.get_ylabel() == first.get_xlabel() == "step"
    rho = {row.feature: row.spearman for row in table.rows}
    for axis, name in zip(scatters, figures.SCATTERED, strict=True):
        points = axis.collections[0].get_offsets().data.tolist()
        assert points == [list(pair) for pair in zip(columns[name], accuracy, strict=True)]
        unit = {"h1_count": "", "entropy": "\n(nats)"}.get(name, f"\n({DISTANCE})")
        assert axis.get_xlabel() == FEATURES[name].label + unit
        said = "rho undefined" if rho[name] is None else f"Spearman's rho {rho[name]:+.2f}"
        assert axis.get_title() == said
    assert "not independent samples" in figure.get_supxlabel()
