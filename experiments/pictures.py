"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from experiments.arms import Arm
from experiments.comparison import ALONE, Comparison, Record, pooled
from experiments.statistics import Paired
from experiments.tables import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def over_cells(cells: Sequence[Comparison]) -> Figure:
    """The mean difference over several cells with its interval, and each cell's, an arm a row."""
    panels = []
    for measure, _, _ in MEASURES:
        each = [cell.compared(measure) for cell in cells]
        together = pooled(cells, measure)
        panels.append((together, {arm: [of[arm].mean for of in each] for arm in together}))
    return _forest(panels)


def differences(comparison: Comparison) -> Figure:
    """The mean difference over the seeds of a cell, and each seed's, an arm a row."""
    panels = []
    for measure, _, _ in MEASURES:
        values, compared = comparison.values(measure), comparison.compared(measure)
        each = {
            arm: [values[arm][seed] - values[ALONE][seed] for seed in comparison.seeds]
            for arm in compared
        }
        panels.append((compared, each))
    return _forest(panels)


def _forest(panels: Sequence[tuple[dict[str, Paired], dict[str, list[float]]]]) -> Figure:
    from matplotlib.figure import Figure

    arms = list(panels[0][0])
    figure = Figure(figsize=(10, 1.2 + 0.36 * len(arms)), layout="constrained")
    all_axes = figure.subplots(1, 2, sharey=True)
    for axes, (compared, each), (_, _, words) in zip(all_axes, panels, MEASURES, strict=True):
        for row, arm in enumerate(arms):
            axes.plot(each[arm], [row] * len(each[arm]), "o", color="tab:grey", alpha=0.5, ms=5)
            paired = compared[arm]
            axes.plot([paired.low, paired.high], [row, row], color="tab:blue", lw=2)
            axes.plot(paired.mean, row, "D", color="tab:blue", ms=6)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_xlabel(f"{words}, less that of cross-entropy alone")
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(range(len(arms)), [Arm(arm).label for arm in arms])
    all_axes[0].invert_yaxis()
    return figure


def curves(comparison: Comparison, arms: tuple[str, ...]) -> Figure:
    """Cross-entropy, validation accuracy and two features along the way, medians over the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, 2)
    for index, arm in enumerate(arm for arm in arms if comparison.runs.get(arm)):
        records = list(comparison.runs[arm].values())
        line = {"color": f"C{index}", "label": Arm(arm).label, "lw": 1.5}
        middle = _middle([record["ce"] for record in records])
        panels[0, 0].plot(records[0]["every"] * np.arange(len(middle)), middle, **line)
        for axes, feature in (
            (panels[0, 1], "validation"),
            (panels[1, 0], "h0_mean_lifetime"),
            (panels[1, 1], "h1_count"),
        ):
            steps, middle = _looks(records, feature)
            axes.plot(steps, middle, marker=".", **line)
    panels[0, 0].set_yscale("log")
    titles = ("cross-entropy", "validation accuracy", "mean H0 lifetime", "number of H1 bars")
    for axes, title in zip(panels.flat, titles, strict=True):
        _label(axes, title)
    panels[0, 0].legend(fontsize="small")
    return figure


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)


def _middle(rows: list[list[float]]) -> np.ndarray:
    """Medians, step by step, as far as the shortest goes."""
    shortest = min(map(len, rows))
    return np.median([row[:shortest] for row in rows], axis=0)


def _looks(records: list[Record], feature: str) -> tuple[list[int], list[float]]:
    """The steps at which all runs were looked at, and the median of a feature there."""
    by_step = [{look["step"]: look[feature] for look in record["looks"]} for record in records]
    steps = sorted(set.intersection(*(set(of) for of in by_step)))
    return steps, [median(of[step] for of in by_step) for step in steps]
