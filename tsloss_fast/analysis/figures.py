"""The pictures of a run: features over epochs, diagrams and barcodes, features against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tsloss_fast.analysis.features import DISTANCE, FEATURES, Topology
from tsloss_fast.analysis.statistics import Table
from tsloss_fast.persistence.plots import (
    few_ticks,
    plot_barcodes,
    plot_diagrams,
    set_margins,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours; the line and the marker tell the two apart without any.
FIRST: dict[str, Any] = {"color": "#0072B2", "linestyle": "-", "marker": "o"}
SECOND: dict[str, Any] = {"color": "#D55E00", "linestyle": "--", "marker": "^"}

# More markers than this would hide the line.
MOST_MARKERS = 24


@dataclass(frozen=True)
class Curves:
    """One panel over the run: its title, its unit, and up to two features with their labels."""

    title: str
    unit: str
    features: Mapping[str, str]


PANELS = (
    Curves(
        "feature counts",
        "number",
        {"h0_count": "H0 (distinct rows)", "h1_count": "H1 (loops)"},
    ),
    Curves("H0 lifetimes", DISTANCE, {"h0_mean_lifetime": "mean", "h0_max_lifetime": "maximum"}),
    Curves("H1 lifetimes", DISTANCE, {"h1_mean_lifetime": "mean", "h1_max_lifetime": "maximum"}),
    Curves("persistence entropy", "nats", {"entropy": "H0 and H1 together"}),
    Curves("loops per row", "number per row", {"loops_per_row": "H1 count / rows"}),
    Curves("mean distance", DISTANCE, {"mean_distance": "over all pairs of rows"}),
)

# The features that accuracy is plotted against, and the unit of their axis.
SCATTERED = {
    "h1_count": "",
    "h0_mean_lifetime": f"\n({DISTANCE})",
    "h1_mean_lifetime": f"\n({DISTANCE})",
    "entropy": "\n(nats)",
    "mean_distance": f"\n({DISTANCE})",
}


def features_figure(
    positions: Sequence[int], topologies: Sequence[Topology], unit: str = "epoch"
) -> Figure:
    """All features over the run, in the panels of `PANELS`."""
    figure, axes = _grid(2, 3)
    for axis, panel in zip(axes, PANELS, strict=True):
        for (name, label), style in zip(panel.features.items(), (FIRST, SECOND), strict=False):
            values = [topology.features[name] for topology in topologies]
            _curve(axis, positions, values, label=label, **style)
        axis.set(title=panel.title, ylabel=panel.unit, xlabel=unit)
        _legend_above(axis)
        if panel.unit == "number":
            axis.yaxis.get_major_locator().set_params(integer=True)
    return figure


def diagrams_figure(panels: Mapping[str, Topology]) -> Figure:
    """Persistence diagrams side by side, by title, and their loops alone below."""
    diagrams = {title: topology.diagrams for title, topology in panels.items()}
    return plot_diagrams(diagrams, loops=True)


def barcodes_figure(panels: Mapping[str, Topology]) -> Figure:
    """Barcodes side by side, by title."""
    return plot_barcodes({title: topology.diagrams for title, topology in panels.items()})


def accuracy_figure(
    positions: Sequence[int],
    topologies: Sequence[Topology],
    accuracy: Sequence[float],
    table: Table | None,
    unit: str = "epoch",
) -> Figure:
    """Accuracy over the run, then five features against it; darker points are earlier ones."""
    figure, axes = _grid(2, 3)
    _curve(axes[0], positions, accuracy, **FIRST)
    axes[0].set(title="accuracy", xlabel=unit, ylabel="accuracy")
    associations = {row.feature: row for row in table.rows} if table else {}
    for axis, name in zip(axes[1:], SCATTERED, strict=True):
        values = [topology.features[name] for topology in topologies]
        dots = axis.scatter(
            values, accuracy, c=list(positions), cmap="cividis", edgecolors="0.2", linewidths=0.5
        )
        rho = associations[name].spearman if name in associations else None
        title = f"Spearman's rho {rho:+.2f}" if rho is not None else "rho undefined"
        axis.set(title=title, xlabel=FEATURES[name].label + SCATTERED[name], ylabel="accuracy")
        few_ticks(axis.xaxis)
        axis.xaxis.get_major_locator().set_params(integer=name == "h1_count")
    figure.supxlabel(
        f"{unit}s of one run are not independent samples: what drifts goes with what rises",
        fontsize="medium",
        color="0.3",
    )
    colours = figure.colorbar(dots, ax=axes, label=unit, aspect=40, pad=0.02)
    locator: Any = colours.locator  # Which kind it is, the type does not say.
    locator.set_params(integer=True)
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * columns, 3.4 * rows), layout="constrained")
    set_margins(figure, h_pad=0.12, w_pad=0.08)
    axes = list(figure.subplots(rows, columns).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.9", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def _curve(axis: Any, positions: Sequence[int], values: Sequence[float], **style: Any) -> None:
    every = max(1, len(positions) // MOST_MARKERS)
    axis.plot(positions, values, markevery=every, markersize=4, linewidth=1.5, **style)
    # Epochs are whole numbers.
    axis.xaxis.get_major_locator().set_params(integer=True)


def _legend_above(axis: Any) -> None:
    """Put the legend between title and axes, where it covers no data."""
    axis.set_title(axis.get_title(), pad=24)
    count = len(axis.get_legend_handles_labels()[0])
    axis.legend(
        loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=count, frameon=False, fontsize="small"
    )
