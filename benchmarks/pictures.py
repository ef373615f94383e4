"""Draw the results, from their JSON alone; legible at the width of a page, 800 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import results
from benchmarks.cases import PHASES
from benchmarks.providers import ENGINE, NAMES, OURS, PUBLIC, REDZED, REFERENCE, SIMPLEX_TREE
from benchmarks.rows import good, ratio, select, timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points (n, value) by the name of the line.
Lines = dict[str, Sequence[tuple[float, float]]]
FOLDER = results.ROOT / "docs" / "benchmarks"
TITLES = {
    "h1_time": "Time of H0 + H1 against the number of points, for tsloss_fast and peers",
    "speed_up": "How many times as long as tsloss_fast each peer takes for 100 points",
    "growth": "Time and peak memory of tsloss_fast against the number of points",
}
# Okabe and Ito's colours, which the colour-blind tell apart; in grey the markers do.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
MARKERS = "osD^vP"
# Few lines, and no two alike: the other peers are in the tables.
LINES = (PUBLIC, ENGINE, REDZED, "tda", "ripser.py", SIMPLEX_TREE)


def h1_time(content: dict[str, Any]) -> Figure:
    """Median seconds of H0 + H1 against n, both logarithmic: a panel a family."""
    rows = select(content["rows"], what="time", phase="h1", batch=1, threads=1)
    families = list(dict.fromkeys(row["family"] for row in rows))
    families = [f for f in families if len({r["n"] for r in select(rows, family=f)}) > 2][:4]
    panels = {}
    for family in families:
        panels[f"{family}: seconds a call"] = {
            name: [
                (row["n"], row["median_s"])
                for row in sorted(select(rows, family=family, provider=name), key=lambda r: r["n"])
                if good(row)
            ]
            for name in LINES
        }
    return _panels(panels, sharey=True)


def speed_up(content: dict[str, Any], n: int = 100) -> Figure:
    """Time of each peer over that of the public call, H0 + H1: a row a peer, a mark a family."""
    from matplotlib.figure import Figure

    rows = select(content["rows"], what="time", phase="h1", n=n)
    families = list(dict.fromkeys(row["family"] for row in rows))
    case_of = {family: timed(rows, "h1", family, n) for family in families}
    found = {
        name: {
            family: ratio(case[name], case[PUBLIC])[0]
            for family, case in case_of.items()
            if good(case.get(name)) and good(case.get(PUBLIC))
        }
        for name in NAMES
        if name not in (*OURS, REFERENCE)
    }
    names = [name for name in found if found[name]]
    names.sort(key=lambda name: min(found[name].values()), reverse=True)
    figure = Figure(figsize=(8, 0.32 * len(names) + 1.6), layout="constrained")
    axis = figure.subplots()
    for family, colour, marker in zip(families, COLOURS, MARKERS, strict=False):
        points = [(found[name][family], y) for y, name in enumerate(names) if family in found[name]]
        axis.plot(*zip(*points, strict=True), marker, color=colour, label=family, markersize=7)
    axis.axvline(1, color="black", linewidth=1)
    axis.set(xscale="log", xlabel=f"times as long as tsloss_fast's public call, n = {n}")
    axis.set_yticks(range(len(names)), names)
    axis.grid(color="0.9")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def growth(content: dict[str, Any]) -> Figure:
    """Seconds and peak MiB of each path on Gaussian points, and of H1 on its hardest family."""
    seconds: Lines = {}
    peaks: Lines = {}
    for phase in dict.fromkeys(row["phase"] for row in content["rows"]):
        for family in ("gaussian", "unit vectors") if phase == "h1" else ("gaussian",):
            rows = select(content["rows"], phase=phase, family=family, status="ok")
            name = PHASES[phase].split(",")[0]
            name += ", unit vectors" if family != "gaussian" else ""
            seconds[name] = [(row["n"], row["median_s"]) for row in rows]
            # Below that a call finds its memory in what the process has.
            sizes = [(row["n"], row["peak_bytes"] / 2**20) for row in rows]
            peaks[name] = [(n, size) for n, size in sizes if size > 0.1]
    panels = {"gaussian: seconds a call": seconds, "gaussian: peak MiB of a call": peaks}
    return _panels(panels, sharey=False)


def _panels(panels: dict[str, Lines], sharey: bool) -> Figure:
    """A panel a title, two beside each other, with logarithmic axes and the same sizes."""
    from matplotlib.figure import Figure

    down = -(-len(panels) // 2)
    figure = Figure(figsize=(8, 3.4 * down), layout="constrained")
    axes = figure.subplots(down, 2, sharex=True, sharey=sharey, squeeze=False).flat
    sizes = sorted({n for lines in panels.values() for points in lines.values() for n, _ in points})
    # The names stand to the right of the last size.
    limits = (0.8 * sizes[0], sizes[-1] * (sizes[-1] / sizes[0]) ** 0.85)
    ticks = sizes if len(sizes) < 6 else [n for n in sizes if str(n).strip("0") == "1" or n == 20]
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        axis.set(title=title, xlabel="points n", xscale="log", yscale="log", xlim=limits)
        axis.set_xticks(ticks, ticks)
        axis.minorticks_off()
        axis.grid(color="0.9")
        _draw_lines(axis, lines, at=1.4 * sizes[-1])
    return figure


def _draw_lines(axis: Axes, lines: Lines, at: float) -> None:
    """Lines, each with its name beside its end, at ``x = at`` and clear of the other names."""
    for (name, points), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        width = 2.5 if name in OURS else 1.5
        axis.plot(*np.array(points).reshape(-1, 2).T, color=colour, marker=marker, lw=width, ms=5)
    low, high = axis.get_ylim()
    gap = (high / low) ** 0.065
    ends = [(*points[-1], name) for name, points in lines.items() if points]
    ends.sort(key=lambda end: end[1])
    places = [0.0]
    for _, y, _ in ends:
        places.append(max(y, places[-1] * gap))
    # Half of what the highest name was pushed up is given back by all.
    down = (places[-1] / ends[-1][1]) ** 0.5 if ends else 1.0
    for (x, y, name), place in zip(ends, places[1:], strict=True):
        colour = COLOURS[list(lines).index(name)]
        leader = {"arrowstyle": "-", "color": colour, "lw": 0.6}
        text = {"va": "center", "fontsize": 8.5, "color": colour}
        text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axis.annotate(name, (x, y), xytext=(at, place / down), arrowprops=leader, **text)
    axis.set_ylim(low, max(high, places[-1] / down * gap))


def draw(content: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the pictures that a run has rows for; returns their paths."""
    makers = (growth,) if content["suite"] == "growth" else (h1_time, speed_up)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{make.__name__}.png" for make in makers]
    for make, file in zip(makers, files, strict=True):
        make(content).savefig(file, dpi=150)
    return files


def draw_latest(folder: Path = FOLDER) -> list[Path]:
    """Draw the latest full or quick run, and the latest growth where there is one."""
    files = []
    for suites in (("quick", "full"), ("growth",)):
        try:
            content = results.read(results.latest(*suites))
        except FileNotFoundError:
            continue
        files += draw(content, folder)
    return files
