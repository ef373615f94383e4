"""Draw the results, from their JSON alone: python -m benchmarks.plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.goals import ENGINE, PUBLIC, times
from benchmarks.growth import PATHS
from benchmarks.providers import NAMES, OURS
from benchmarks.rows import Row, cases_of, good, ratio, select, timed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = results.ROOT / "docs" / "benchmarks"
BAR_N = 100

# Okabe and Ito's colours, which the colour-blind tell apart; in grey, marker and dash do.
_OUR_COLOURS = {PUBLIC: "#000000", ENGINE: "#0072B2"}
_PEER_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*Xhp<>d8H"
_DASHES = ("-", "--", "-.", ":")
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")


class NothingToDraw(ValueError):
    """Results without the rows of a picture."""


def style(name: str) -> dict[str, Any]:
    """Colour, marker and dash of a provider, the same in every picture."""
    index = list(NAMES).index(name)
    return {
        "color": _OUR_COLOURS.get(name, _PEER_COLOURS[index % len(_PEER_COLOURS)]),
        "marker": _MARKERS[index],
        "linestyle": "-" if name in OURS else _DASHES[1 + index % 3],
        "linewidth": 2.6 if name in OURS else 1.2,
        "markersize": 7 if name in OURS else 5,
        "zorder": 3 if name in OURS else 2,
    }


def time_against_n(content: dict[str, Any], phase: str = "h1") -> Figure:
    """Median seconds of a phase against n, both logarithmic: a panel a family, a line a provider.

    Bars give p20 to p80. An arrow upwards stands where a provider exceeded its time.
    """
    from matplotlib.figure import Figure

    cases = [c for c in cases_of(content["rows"], phase) if c[3] == 1 and c[4] == 1]
    families = list(dict.fromkeys(case[0] for case in cases))
    if not families:
        raise NothingToDraw(f"expected rows of phase {phase!r}, got none")
    columns = min(3, len(families))
    count = -(-len(families) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * count + 1.2), layout="constrained")
    axes = list(figure.subplots(count, columns, sharex=True, sharey=True, squeeze=False).flat)
    sizes = sorted({case[1] for case in cases})
    for axis, family in zip(axes, families, strict=False):
        _panel(axis, content, phase, family, sizes)
        axis.set(title=family, xscale="log", yscale="log", xlabel="points n")
        axis.tick_params(labelbottom=True)
        axis.set_xticks(sizes, [str(n) for n in sizes], minor=False)
        axis.minorticks_off()
        axis.grid(color="0.9", linewidth=0.6)
    for axis in axes[len(families) :]:
        axis.set_visible(False)
    figure.supylabel("time of one call (s)")
    _legend_below(figure, columns + 1)
    return figure


def _panel(axis: Any, content: dict[str, Any], phase: str, family: str, sizes: list[int]) -> None:
    limit_s = content["limits"]["call_s"]
    for name in NAMES:
        rows = [timed(content["rows"], phase, family, n).get(name) for n in sizes]
        found = [row for row in rows if good(row)]
        look = style(name)
        if found:
            middle = [row["median_s"] for row in found]
            below = [row["median_s"] - row["p20_s"] for row in found]
            above = [row["p80_s"] - row["median_s"] for row in found]
            points = [row["n"] for row in found]
            axis.errorbar(points, middle, yerr=(below, above), label=name, capsize=2, **look)
        for row in rows:
            if row is not None and row["status"] == "exceeded its time":
                arrow = {"marker": r"$\uparrow$", "markersize": 12, "linestyle": "none"}
                text = f"exceeded {limit_s:g} s"
                axis.plot(row["n"], limit_s, color=look["color"], label=text, **arrow)


def speed_up(content: dict[str, Any], n: int = BAR_N) -> Figure:
    """How many times longer each peer's H0 + H1 takes than the engine, a group a family."""
    from matplotlib.figure import Figure

    families = [c[0] for c in cases_of(content["rows"], "h1") if c[1] == n and c[3] == c[4] == 1]
    names = [
        name
        for name in NAMES
        if name not in OURS
        and any(good(timed(content["rows"], "h1", f, n).get(name)) for f in families)
    ]
    if not names:
        raise NothingToDraw(f"expected rows of H1 at n = {n}, got none")
    # A row each for every provider of a group, and one of air.
    step = len(families) + 1
    figure = Figure(figsize=(8.4, 0.24 * step * len(names) + 1.6), layout="constrained")
    axis = figure.subplots()
    for index, family in enumerate(families):
        case = timed(content["rows"], "h1", family, n)
        pairs = [
            (place * step + index, ratio(case[name], case[ENGINE])[0])
            for place, name in enumerate(names)
            if good(case.get(name)) and good(case.get(ENGINE))
        ]
        places, values = zip(*pairs, strict=True)
        colour, hatch = _COLOURS[index % len(_COLOURS)], _HATCHES[index % len(_HATCHES)]
        face = {"facecolor": colour, "edgecolor": "white", "hatch": hatch}
        bars = axis.barh(places, values, height=0.85, label=family, **face)
        axis.bar_label(bars, [times(value) for value in values], padding=2, fontsize=7)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks([k * step + (len(families) - 1) / 2 for k in range(len(names))], names)
    axis.set(xscale="log", xlabel=f"time of the peer / time of {ENGINE}, H0 + H1, n = {n}")
    axis.margins(x=0.12, y=0.01)
    axis.invert_yaxis()
    _legend_below(figure, 3)
    return figure


def step_share(content: dict[str, Any]) -> Figure:
    """Share of a whole prompt-tuning step that TSLoss takes, a bar a loss."""
    from matplotlib.figure import Figure

    steps = [row for row in select(content["rows"], what="step", status="ok") if "share" in row]
    if not steps:
        raise NothingToDraw("expected rows of the prompt-tuning step, got none")
    steps.sort(key=lambda row: row["share"])
    names = [f"{row['provider']}\n({row['mode']})" for row in steps]
    shares = [100 * row["share"] for row in steps]
    figure = Figure(figsize=(7.4, 0.6 * len(steps) + 1.4), layout="constrained")
    axis = figure.subplots()
    colours = ["#0072B2" if row["provider"] == PUBLIC else "#E69F00" for row in steps]
    hatches = ["" if row["provider"] == PUBLIC else "//" for row in steps]
    bars = axis.barh(names, shares, color=colours, hatch=hatches, edgecolor="white", height=0.7)
    axis.bar_label(bars, [_percent(row) for row in steps], padding=4, fontsize=8)
    axis.set(xlabel="share of a prompt-tuning step of SmolLM2-135M (%)")
    axis.margins(x=0.28)
    axis.invert_yaxis()
    return figure


def _percent(row: Row) -> str:
    return f"{100 * row['share']:.2g} %, {row['loss']['median_s'] * 1e3:.3g} ms"


def _legend_below(figure: Figure, columns: int) -> None:
    """One legend for all panels, below them, where it covers no data."""
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    options = {"loc": "outside lower center", "frameon": False, "fontsize": 8}
    figure.legend(handles.values(), handles.keys(), ncols=columns, **options)


def growth(content: dict[str, Any], quantity: str) -> Figure:
    """Seconds or peak MiB of each path of tsloss_fast against n, a panel a path."""
    from matplotlib.figure import Figure

    label, scale = {"seconds": ("time (s)", 1.0), "peak_bytes": ("peak memory (MiB)", 2.0**-20)}[
        quantity
    ]
    if not content["rows"]:
        raise NothingToDraw("expected rows of growth, got none")
    paths = list(dict.fromkeys(row["path"] for row in content["rows"]))
    families = list(dict.fromkeys(row["family"] for row in content["rows"]))
    figure = Figure(figsize=(3.4 * len(paths), 4.2), layout="constrained")
    axes = figure.subplots(1, len(paths), sharex=True, sharey=True, squeeze=False)[0]
    for axis, path in zip(axes, paths, strict=True):
        shown = 0
        for index, family in enumerate(families):
            rows = [
                row
                for row in select(content["rows"], path=path, family=family, status="ok")
                if row.get(quantity)
            ]
            look = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKERS[index]}
            look |= {"linestyle": _DASHES[index % 4], "markersize": 4, "linewidth": 1.2}
            values = [scale * row[quantity] for row in rows]
            axis.plot([row["n"] for row in rows], values, label=family, **look)
            shown += len(rows)
        axis.set(title=PATHS[path], xscale="log", yscale="log", xlabel="points n")
        if shown <= len(families):
            axis.text(0.5, 0.5, "next to nothing", transform=axis.transAxes, ha="center")
        axis.grid(color="0.9", linewidth=0.6)
    axes[0].set_ylabel(label)
    _legend_below(figure, len(families))
    return figure


def draw(content: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the pictures that a run has rows for into a folder; returns their paths.

    Raises
    ------
    ValueError
        If there are rows for none.
    """
    figures: dict[str, Callable[[dict[str, Any]], Figure]]
    if content["kind"] == "growth":
        figures = {
            "growth_time": lambda content: growth(content, "seconds"),
            "growth_memory": lambda content: growth(content, "peak_bytes"),
        }
    else:
        figures = {"h1_time": time_against_n, "speed_up": speed_up, "step_share": step_share}
    folder.mkdir(parents=True, exist_ok=True)
    files, missing = [], []
    for name, make in figures.items():
        try:
            figure = make(content)
        except NothingToDraw as error:
            missing.append(str(error))
            continue
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=130)
    if not files:
        raise ValueError("; ".join(missing))
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the latest results, or those of a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="results (the latest of both kinds)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures")
    arguments = parser.parse_args(argv)
    try:
        if arguments.file:
            files = [arguments.file]
        else:
            files = [results.latest("bench", ("quick", "full"))]
            if list(results.FOLDER.glob("growth_*.json")):
                files.append(results.latest("growth", ("full",)))
        for file in files:
            for picture in draw(results.read(file), arguments.out):
                sys.stdout.write(f"{picture}\n")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
