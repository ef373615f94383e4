"""Draw the results, from their JSON alone; legible at the width of a page, 800 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.cases import FAMILIES, PHASES, Case, family_dim
from benchmarks.plans import HARD_FAMILIES
from benchmarks.providers import ENGINE, OURS, PUBLIC, REDZED, REFERENCE, SIMPLEX_TREE
from benchmarks.rows import good, ratio, select, timed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points (x, y) by the name of the line, of each panel by its title.
Panels = dict[str, dict[str, Sequence[tuple[float, float]]]]
FOLDER = results.ROOT / "docs" / "benchmarks"
# Okabe and Ito's colours, which the colour-blind tell apart; in grey the markers do.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
MARKERS = "osD^vP"
# Few lines, and no two alike: the other peers are in the tables.
LINES = (PUBLIC, ENGINE, REDZED, "tda", "ripser.py", SIMPLEX_TREE)
SIZES_SHOWN = (20, 50, 100, 300, 1000, 5000, 20_000)


def h1_time(content: dict[str, Any]) -> Figure:
    """Median seconds of H0 + H1 against n: a panel a family, a line a provider."""
    rows = select(content["rows"], what="time", phase="h1", batch=1, threads=1, status="ok")
    panels: Panels = {}
    for family in HARD_FAMILIES:
        if of_family := select(rows, family=family):
            panels[f"{family}: seconds a call"] = {
                name: [(r["n"], r["median_s"]) for r in select(of_family, provider=name)]
                for name in LINES
            }
    return _against_size(panels, sharey=True)


def growth(content: dict[str, Any]) -> Figure:
    """Seconds and peak MiB of each path on Gaussian points, and of H1 on its hardest family."""
    seconds, peaks = {}, {}
    paths = [(phase, "gaussian") for phase in dict.fromkeys(r["phase"] for r in content["rows"])]
    for phase, family in (*paths, ("h1", "unit vectors")):
        rows = select(content["rows"], phase=phase, family=family, status="ok")
        name = PHASES[phase] + (f", {family}" if family != "gaussian" else "")
        seconds[name] = [(row["n"], row["median_s"]) for row in rows]
        # Below 0.1 MiB a call finds its memory in what the process has.
        sizes = [(row["n"], row["peak_bytes"] / 2**20) for row in rows]
        peaks[name] = [(n, size) for n, size in sizes if size > 0.1]
    panels = {"gaussian: seconds a call": seconds, "gaussian: peak MiB of a call": peaks}
    return _against_size(panels, sharey=False)


def speed_up(content: dict[str, Any], n: int = 100) -> Figure:
    """Time of each peer over that of the public call, H0 + H1: a row a peer, a mark a family."""
    found: dict[str, dict[str, float]] = {}
    for family in FAMILIES:
        case = timed(content["rows"], Case("h1", family, n, family_dim(family, 768)))
        for name, row in case.items():
            if name not in (*OURS, REFERENCE) and good(row) and good(case.get(PUBLIC)):
                found.setdefault(name, {})[family] = ratio(row, case[PUBLIC])[0]
    names = sorted(found, key=lambda name: min(found[name].values()), reverse=True)
    marks = {
        family: [(found[name][family], y) for y, name in enumerate(names) if family in found[name]]
        for family in FAMILIES
    }
    figure = _drawn({"": marks}, False, 0.32 * len(names) + 1.6, linestyle="none")
    (axis,) = figure.axes
    axis.set(yscale="linear", xlabel=f"times as long as tsloss_fast's public call, n = {n}")
    axis.set_yticks(range(len(names)), names)
    axis.axvline(1, color="black", linewidth=1)
    return figure


def _against_size(panels: Panels, sharey: bool) -> Figure:
    figure = _drawn(panels, sharey, 3.2 * -(-len(panels) // 2) + 0.6)
    largest = max(n for lines in panels.values() for points in lines.values() for n, _ in points)
    ticks = [n for n in SIZES_SHOWN if n <= largest]
    for axis in figure.axes:
        axis.set(xlabel="points n")
        axis.set_xticks(ticks, ticks)
    return figure


def _drawn(panels: Panels, sharey: bool, height: float, **looks: Any) -> Figure:
    """A panel a title, two beside each other, with logarithmic axes and one legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    columns = min(len(panels), 2)
    grid = {"sharex": True, "sharey": sharey, "squeeze": False}
    axes = figure.subplots(-(-len(panels) // columns), columns, **grid).flat
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for (name, points), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            if points:
                width = 2.5 if name in OURS else 1.5
                x, y = zip(*points, strict=True)
                axis.plot(x, y, marker=marker, color=colour, label=name, linewidth=width, **looks)
        axis.set(title=title, xscale="log", yscale="log")
        axis.minorticks_off()
        axis.grid(color="0.9")
    # The first panel has every line.
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def draw(content: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """Draw the pictures that a run has rows for; returns their paths."""
    makers = (growth,) if content["suite"] == "growth" else (h1_time, speed_up)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{make.__name__}.png" for make in makers]
    for make, file in zip(makers, files, strict=True):
        make(content).savefig(file, dpi=150)
    return files
