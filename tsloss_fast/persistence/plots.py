"""Pictures of persistence diagrams. Needs matplotlib; uses no global figure."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tsloss_fast._checks import check_cloud, check_whole, describe
from tsloss_fast.persistence.cycles import loops_of
from tsloss_fast.persistence.diagram import PersistenceDiagram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's blue and vermilion: told apart by the colour-blind, and in grey with the markers.
STYLES: tuple[dict[str, Any], ...] = (
    {"marker": "o", "edgecolors": "#0072B2", "facecolors": "none", "s": 34, "linewidths": 1.3},
    {"marker": "^", "edgecolors": "black", "facecolors": "#D55E00", "s": 42, "linewidths": 0.6},
)

BAR_STYLES: tuple[dict[str, Any], ...] = ({"colors": "#0072B2"}, {"colors": "#D55E00"})

# The rest of Okabe and Ito's colours behind those two, the yellow darkened to be seen on white.
LOOP_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800")

NAMES = ("H0 (components)", "H1 (loops)")

Bar = tuple[float, float]

# The diagrams of one cloud, H0 then H1, or those of several by their titles.
Panels = Mapping[str, Sequence[PersistenceDiagram]] | Sequence[PersistenceDiagram]

# The births of classes that never die, of each panel and dimension.
Births = list[list[list[float]]]


def plot_diagrams(panels: Panels, loops: bool = False, essential: bool | None = None) -> Figure:
    """Persistence diagrams side by side, on the same axes.

    Parameters
    ----------
    panels : sequence of PersistenceDiagram, or mapping of str to such sequences
        The diagrams (H0, then H1) of one cloud, as `rips_persistence` returns them, or those of
        several clouds by their titles.
    loops : bool, default False
        Add a row of H1 alone, lifetimes over births: where loops live for a small part of their
        birth, as those of a prompt do, they lie on the diagonal of the first row. All panels of a
        row have the same axes.
    essential : bool, optional
        Whether to draw classes that never die, on a line above all deaths. Unless given, they are
        drawn where edges are missing: where there are more of them than H0's oldest class, which
        every cloud has.

    Returns
    -------
    matplotlib.figure.Figure
        Births to the right, deaths upwards, both distances in embedding space. The dashed line is
        the diagonal, where bars have no length, and the dotted one infinity. The axis of deaths
        begins near the first death, for the rows of a prompt are about equally far apart and bars
        would lie on each other. The diagonal is steep then, and a line below the panels says so.

    Raises
    ------
    TypeError
        For anything but diagrams.
    ValueError
        Without a panel, for a panel with more than two diagrams, or for a batch of clouds.
    """
    from matplotlib.figure import Figure

    bars, endless = _panel_bars(panels), _endless(panels, essential)
    rows = 1 + loops
    # One panel alone has a line of the legend for infinity.
    of_legend = 0.6 if len(bars) == 1 and any(births for dgms in endless for births in dgms) else 0
    size = (_row_width(bars), 0.9 + of_legend + 3.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, len(bars), sharey="row", squeeze=False)
    first_death = _diagram_row(grid[0], bars, endless)
    if loops:
        _lifetime_row(grid[1], _of_dimension(bars.values(), 1), _of_dimension(endless, 1))
    handles, labels = grid[0][0].get_legend_handles_labels()
    set_margins(figure, w_pad=0.08)
    note = None
    if first_death > 0:
        note = f"deaths begin at {first_death:.3g}, not at 0, so birth = death is steep"
        note += "; second row: H1 alone, on the same axes in all panels" if loops else ""
    # Below all panels, where it covers no point.
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels) if len(bars) > 1 else 1,
        frameon=False,
        title=None if note is None else _wrapped(note, figure),
    )
    return figure


def _first_birth(panels: Iterable[list[list[Bar]]], births: Sequence[float]) -> float:
    """Where axes of births begin: at 0, or where vertices are born before it."""
    return min([0.0, *births, *(b for dgms in panels for bar in dgms for b, _ in bar)])


def _wrapped(note: str, figure: Figure, letters: int = 12) -> str:
    """A line about the axes, in as many lines as the figure's width and letters an inch ask for."""
    return textwrap.fill(note, int(letters * figure.get_figwidth()))


def _diagram_row(
    axes: Sequence[Any], bars: Mapping[str, list[list[Bar]]], endless: Births
) -> float:
    """H0 and H1 of each cloud, on shared axes; returns where the axis of deaths begins."""
    right, bottom, top = _limits([pair for dgms in bars.values() for bar in dgms for pair in bar])
    births = [birth for dgms in endless for each in dgms for birth in each]
    right = max(right, 1.08 * max(births, default=0.0))
    left = _first_birth(bars.values(), births)
    for axis, (title, dgms), its_endless in zip(axes, bars.items(), endless, strict=True):
        axis.plot([left, top], [left, top], "--", color="0.5", linewidth=1, label="birth = death")
        for dim, bar in enumerate(dgms):
            points = [b for b, _ in bar], [d for _, d in bar]
            axis.scatter(*points, label=NAMES[dim], **_style(dim, len(bar)))
        axis.set(title=_wrapped_title(title, bars), xlabel="birth (distance in embedding space)")
        axis.set(xlim=(left - 0.06 * (right - left), right), ylim=(bottom, top))
        if births:
            _infinity(axis, its_endless, 0)
        few_ticks(axis.xaxis, 4)
    axes[0].set_ylabel("death (distance in embedding space)")
    return bottom


def _infinity(axis: Any, endless: Sequence[list[float]], first_dim: int) -> None:
    """Draw infinity above the limits of the axis, the classes that never die on it by birth."""
    bottom, top = axis.get_ylim()
    at = top + 0.06 * (top - bottom)
    axis.axhline(at, linestyle=":", color="0.35", linewidth=1, label="never dies (infinity)")
    for dim, births in enumerate(endless, first_dim):
        if births:
            axis.scatter(births, [at] * len(births), **_style(dim, len(births)))
    ticks = [tick for tick in axis.get_yticks() if bottom <= tick <= top]
    names = axis.yaxis.get_major_formatter().format_ticks(ticks)
    axis.set_yticks([*ticks, at], [*names, "\N{INFINITY}"])
    axis.set_ylim(bottom, top + 0.12 * (top - bottom))


def _lifetime_row(
    axes: Sequence[Any], drawn: Sequence[list[Bar]], endless: Sequence[list[float]]
) -> None:
    """Lifetimes of H1 over births, on shared axes."""
    longest = max((death - birth for bar in drawn for birth, death in bar), default=0.0) or 1.0
    births = [birth for bar in drawn for birth, _ in bar]
    limits = _around(births + [birth for each in endless for birth in each])
    for axis, bar, its_endless in zip(axes, drawn, endless, strict=True):
        births, lifetimes = [b for b, _ in bar], [d - b for b, d in bar]
        axis.axhline(0, linestyle="--", color="0.5", linewidth=1)
        axis.scatter(births, lifetimes, **_style(1, len(bar)))
        axis.set(xlabel="birth (distance in embedding space)")
        axis.set(xlim=limits, ylim=(-0.06 * longest, 1.08 * longest))
        if any(endless):
            _infinity(axis, [its_endless], 1)
        few_ticks(axis.xaxis)
        if not bar and not its_endless:
            _say_none(axis)
    axes[0].set_ylabel("H1 lifetime (distance\nin embedding space)")


def plot_barcodes(panels: Panels, essential: bool | None = None) -> Figure:
    """Barcodes side by side: H0 above and H1 below.

    Parameters
    ----------
    panels, essential
        As `plot_diagrams` takes them. A class that never dies is a bar with an arrow, behind those
        of its dimension that die.

    Returns
    -------
    matplotlib.figure.Figure
        One line from birth to death a bar, the first to die (H0) or to be born (H1) at the bottom.
        All clouds share the axis of H0, which begins at 0. Their axes of H1 are equally long, so
        that lengths of bars compare, but each lies around its own bars: loops live for a small
        part of their birth, and on an axis that held those of all clouds they could not be seen.

    Raises
    ------
    TypeError, ValueError
        As `plot_diagrams`.
    """
    from matplotlib.figure import Figure

    bars, endless = _panel_bars(panels), _endless(panels, essential)
    size = (0.9 + 0.83 * _row_width(bars), 5.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2, len(bars), sharey="row", squeeze=False)
    for dim, row in enumerate(grid):
        _barcode_row(
            row,
            [sorted(bar) for bar in _of_dimension(bars.values(), dim)],
            _of_dimension(endless, dim),
            dim,
        )
    last = max((death for dgms in bars.values() for _, death in dgms[0]), default=0.0) or 1.0
    first = _first_birth(
        [dgms[:1] for dgms in bars.values()], [birth for dgms in endless for birth in dgms[0]]
    )
    for axis, title in zip(grid[0], bars, strict=True):
        axis.set_title(_wrapped_title(title, bars))
        room = 0.04 * (last - first)
        axis.set_xlim(first - room, last + room)
        few_ticks(axis.xaxis, 4)
    loops = [
        _with_room([value for pair in bar for value in pair], births)
        for bar, births in zip(
            _of_dimension(bars.values(), 1), _of_dimension(endless, 1), strict=True
        )
    ]
    for axis, limits in zip(grid[1], _equally_long(loops), strict=True):
        axis.set_xlim(*limits)
        few_ticks(axis.xaxis)
    for dim, row in enumerate(grid):
        for axis, births in zip(row, _of_dimension(endless, dim), strict=True):
            _endless_bars(axis, sorted(births), dim)
    set_margins(figure, w_pad=0.08)
    note = "distance in embedding space"
    if any(births for dgms in endless for births in dgms):
        note += "; bars with an arrow never die"
    if len(bars) > 1:
        note += "; axes of H1 are equally long, but each lies around its own bars"
    figure.supxlabel(_wrapped(note, figure, letters=10))
    return figure


def _endless_bars(axis: Any, births: Sequence[float], dim: int) -> None:
    """Bars that never die, above the others, to the end of an axis whose limits are set."""
    if not births:
        return
    left, right = axis.get_xlim()
    end = right - 0.02 * (right - left)
    bottom = len(axis.collections[0].get_segments()) + 1
    heights = range(bottom, bottom + len(births))
    width = _bar_width(axis.get_ylim()[1] - 1)
    axis.hlines(heights, births, [end] * len(births), linewidth=width, **BAR_STYLES[dim])
    axis.scatter(
        [end] * len(births), heights, s=(3 + 2 * width) ** 2, marker=">", **_filled(BAR_STYLES[dim])
    )


def _with_room(values: list[float], births: list[float]) -> list[float]:
    """The values that an axis has to hold, with room for bars from these births to its end."""
    if not births:
        return values
    low, high = min(values + births), max(values + births)
    return [*values, *births, high + 0.3 * ((high - low) or high)]


def _filled(line: Mapping[str, Any]) -> dict[str, Any]:
    return {"color": line["colors"], "linewidths": 0}


def _bar_width(most: float) -> float:
    """In points: the height that each of so many bars has, less a gap."""
    return min(2.6, 95 / most)


def _barcode_row(
    row: Sequence[Any], drawn: Sequence[list[Bar]], endless: Sequence[list[float]], dim: int
) -> None:
    """The barcodes of one dimension, with room for the bars that never die."""
    line = BAR_STYLES[dim]
    most = max(len(bar) + len(births) for bar, births in zip(drawn, endless, strict=True)) or 1
    for axis, bar, its_endless in zip(row, drawn, endless, strict=True):
        heights = range(1, len(bar) + 1)
        births, deaths = [b for b, _ in bar], [d for _, d in bar]
        width = _bar_width(most)
        axis.hlines(heights, births, deaths, linewidth=width, **line)
        # A tick at its end shows a bar that is too short to be seen, and makes none longer.
        height = min(6.0, 1.6 * width) ** 2
        axis.scatter(deaths, heights, s=height, color=line["colors"], marker="|", linewidths=1)
        axis.set(ylim=(0, most + 1))
        if not bar and not its_endless:
            _say_none(axis)
            axis.set_xticks([])
    row[0].set_ylabel(f"{NAMES[dim]}, bars in order")
    row[0].yaxis.get_major_locator().set_params(integer=True)


def plot_cycles(
    x: Tensor, dgm: PersistenceDiagram, cycles: Sequence[Tensor], most: int = 5
) -> Figure:
    """The points of a cloud with the loops of its longest bars of H1, and these bars.

    Parameters
    ----------
    x : Tensor, shape [n, d]
        The points; those of a precomputed matrix have no place, but any coordinates will do.
    dgm : PersistenceDiagram
        Their H1.
    cycles : sequence of Tensor
        Of each bar, and then of each class that never dies, as `representative_cycles` gives them.
    most : int, default 5
        So many classes are drawn: those that never die first, then those of the longest bars; not
        those whose cycles have no edges.

    Returns
    -------
    matplotlib.figure.Figure
        Left the points, in two or three dimensions as they are and in more in the plane of their
        two principal components, with each loop in a colour of its own; right its bar, in the same
        colour. Where loops share an edge, that of the longer bar is seen on both sides of the
        other.

    Raises
    ------
    TypeError, ValueError
        For anything but one cloud, or cycles that are not those of the diagram.
    """
    from matplotlib.figure import Figure

    places, titles = _places(x)
    bars = _bars_of_cycles(dgm, cycles, len(places))
    known = [k for k, cycle in enumerate(cycles) if len(cycle)]
    order = sorted(known, key=lambda k: bars[k][0] - bars[k][1])
    drawn = order[: check_whole(most, "most", least=1)]
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1.35, 1))
    is_solid = len(titles) == 3
    # Of two axes or of three.
    cloud: Any = figure.add_subplot(grid[0], **({"projection": "3d"} if is_solid else {}))
    cloud.scatter(*zip(*places, strict=True), s=14, color="0.45", linewidths=0, zorder=1)
    for rank, k in enumerate(drawn):
        # A shorter bar's loop is drawn later and narrower.
        line = {"color": _loop_colour(rank), "linewidth": max(1.2, 4.5 - 0.7 * rank)}
        for loop in loops_of(cycles[k]):
            around = [places[v] for v in [*loop.tolist(), int(loop[0])]]
            cloud.plot(*zip(*around, strict=True), zorder=2 + rank, solid_joinstyle="round", **line)
    cloud.set(**dict(zip(("xlabel", "ylabel", "zlabel"), titles, strict=False)))
    cloud.set_aspect("equal")
    for axis in (cloud.xaxis, cloud.yaxis, *([cloud.zaxis] if is_solid else [])):
        few_ticks(axis, 4)
    _loop_bars(figure.add_subplot(grid[1]), [bars[k] for k in drawn], len(bars))
    return figure


def _places(x: Tensor) -> tuple[list[list[float]], tuple[str, ...]]:
    """Where each point of a cloud is drawn, and the titles of the two or three axes."""
    check_cloud(x)
    if x.ndim != 2:
        raise ValueError(f"x: expected one cloud [n, d], got {describe(x)}")
    x = x.detach().cpu().double()
    d = x.shape[-1]
    if d > 3:
        left, sizes, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        x = (left * sizes)[:, :2]
        share = (sizes[:2].square() / sizes.square().sum().clamp(min=1e-300)).tolist()
        shares = [*share, 0.0][:2]
        titles = tuple(f"principal component {k + 1} ({s:.0%})" for k, s in enumerate(shares))
    else:
        titles = ("x", "y", "z")[: max(d, 2)]
    return torch.nn.functional.pad(x, (0, max(0, 2 - x.shape[-1]))).tolist(), titles


def _bars_of_cycles(dgm: PersistenceDiagram, cycles: Sequence[Tensor], n: int) -> list[Bar]:
    """Birth and death of the class of each cycle, infinite where it never dies."""
    if not isinstance(dgm, PersistenceDiagram):
        raise TypeError(f"dgm: expected a PersistenceDiagram, got {type(dgm).__name__}")
    if dgm.mask.dim() != 1:
        raise ValueError("dgm: expected that of one cloud, got a batch")
    bars = _bars(dgm, "")
    births = dgm.essential_births[dgm.essential_mask].tolist()
    bars += [(birth, float("inf")) for birth in births]
    if len(cycles) != len(bars):
        raise ValueError(
            f"cycles: expected those of {len(bars)} classes of the diagram, got {len(cycles)}"
        )
    for cycle in cycles:
        if cycle.numel() and int(cycle.max()) >= n:
            raise ValueError(f"cycles: expected vertices of {n} points, got {int(cycle.max())}")
    return bars


def _loop_colour(rank: int) -> str:
    return LOOP_COLOURS[rank % len(LOOP_COLOURS)]


def _loop_bars(axis: Any, drawn: Sequence[Bar], count: int) -> None:
    """The bars of loops, the longest on top; one that never ends leads to an arrow."""
    ends = [value for bar in drawn for value in bar if value < float("inf")] or [0.0, 1.0]
    low, high = _around(ends)
    for rank, (birth, death) in enumerate(drawn):
        line = {"color": _loop_colour(rank), "linewidth": 5.0}
        axis.plot([birth, min(death, high)], [-rank, -rank], solid_capstyle="butt", **line)
        if death == float("inf"):
            axis.plot([high], [-rank], marker=">", color=line["color"], clip_on=False)
    axis.set(xlim=(low, high), ylim=(-max(len(drawn), 4), 1), yticks=[])
    axis.set(xlabel="birth to death (distance)")
    which = f", the {len(drawn)} longest of {count} bars" if len(drawn) < count else ""
    axis.set_title(f"{NAMES[1]}{which}", fontsize="medium")
    few_ticks(axis.xaxis, 4)
    if not drawn:
        _say_none(axis)


def _panel_width(bars: Mapping[str, Any]) -> float:
    """Inches; more than four panels become narrower, so that their letters can still be read."""
    return 3.5 if len(bars) <= 4 else 2.9


def _row_width(bars: Mapping[str, Any]) -> float:
    """Inches; one panel alone has to make room for the numbers on its axis of deaths."""
    return _panel_width(bars) * len(bars) + (0.6 if len(bars) == 1 else 0)


def _wrapped_title(title: str, bars: Mapping[str, Any]) -> str:
    """A title in as many lines as the width of a panel asks for."""
    return textwrap.fill(title, int(7 * _panel_width(bars)))


def _style(dim: int, count: int) -> dict[str, Any]:
    """Marker of a dimension, smaller where many would lie on each other."""
    style = STYLES[dim]
    return style | {"s": style["s"] * min(1.0, max(0.25, 40 / max(count, 1)))}


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis with some room around its values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.06 * (high or 1)
    return low - room, high + room


def _equally_long(groups: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Limits of one length, the least that holds any group's values, each around its own."""
    around = [_around(values) for values in groups]
    length = max(
        (high - low for (low, high), group in zip(around, groups, strict=True) if group),
        default=1.0,
    )
    middles = [(low + high) / 2 for low, high in around]
    # A distance is not negative, so no axis reaches far below 0.
    starts = [max(middle - length / 2, -0.04 * length) for middle in middles]
    return [(start, start + length) for start in starts]


def set_margins(figure: Figure, **inches: float) -> None:
    """Set the margins of a figure that lays out itself."""
    layout: Any = figure.get_layout_engine()
    layout.set(**inches)


def few_ticks(axis: Any, most: int = 3) -> None:
    """So few that long numbers, as a narrow range far from 0 has them, do not touch."""
    axis.get_major_locator().set_params(nbins=most)
    axis.get_major_formatter().set_useOffset(False)


def _say_none(axis: Any) -> None:
    axis.text(0.5, 0.5, "no bars", transform=axis.transAxes, ha="center", color="0.35")


def render_figure(figure: Figure) -> dict[str, bytes]:
    """The figure as files, by their suffix: ".png" and ".svg"; the same bits on every run."""
    from matplotlib import rc_context

    files = {}
    # Text stays text, and names in the SVG do not change from run to run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tsloss_fast"}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix[1:], dpi=160, metadata=metadata)
            files[suffix] = buffer.getvalue()
    return files


def save_figure(figure: Figure, stem: str | Path) -> list[Path]:
    """Save as ``stem.png`` and ``stem.svg``; returns both paths."""
    files = []
    for suffix, content in render_figure(figure).items():
        file = Path(f"{stem}{suffix}")
        file.write_bytes(content)
        files.append(file)
    return files


def _panel_bars(panels: Panels) -> dict[str, list[list[Bar]]]:
    """Births and deaths of each panel and dimension."""
    if isinstance(panels, PersistenceDiagram):
        raise TypeError(
            "panels: expected the diagrams of a cloud, H0 first, got one alone; put it into a list"
        )
    if not panels:
        raise ValueError("panels: expected at least one, got none")
    if not isinstance(panels, Mapping):
        panels = {"": panels}
    bars = {title: [_bars(dgm, title) for dgm in dgms] for title, dgms in panels.items()}
    for title, dgms in bars.items():
        if not dgms:
            raise ValueError(f"panels: expected H0 and H1, got none for {title!r}")
        if len(dgms) > len(STYLES):
            raise ValueError(f"panels: expected at most H0 and H1, got {len(dgms)} for {title!r}")
    return bars


def _endless(panels: Panels, essential: bool | None) -> Births:
    """The births to be drawn at infinity; none where `plot_diagrams` leaves them out."""
    clouds = list(panels.values()) if isinstance(panels, Mapping) else [panels]
    births = [
        [dgm.essential_births[dgm.essential_mask].detach().cpu().tolist() for dgm in dgms]
        for dgms in clouds
    ]
    if essential is None:
        essential = any(len(h0) > 1 or any(others) for h0, *others in births)
    return births if essential else [[[] for _ in dgms] for dgms in births]


def _of_dimension(panels: Iterable[list[Any]], dim: int) -> list[Any]:
    """What each panel has in a dimension, which is nothing above its last."""
    return [dgms[dim] if dim < len(dgms) else [] for dgms in panels]


def _limits(pairs: Sequence[Bar]) -> tuple[float, float, float]:
    """The last birth shown, and the first and last death shown; some room around all bars."""
    deaths = [death for _, death in pairs if death > 0] or [1.0]
    room = max(0.08 * (max(deaths) - min(deaths)), 0.02 * max(deaths))
    # Bars of no length, from coincident rows, have to be seen too.
    low = 0.0 if any(death == 0 for _, death in pairs) else min(deaths)
    return 1.08 * max(deaths), low - room, max(deaths) + room


def _bars(dgm: PersistenceDiagram, title: str) -> list[Bar]:
    if not isinstance(dgm, PersistenceDiagram):
        raise TypeError(f"panels: expected PersistenceDiagram, got {type(dgm).__name__}")
    if dgm.mask.dim() != 1:
        raise ValueError(f"panels: expected one cloud for {title!r}, got a batch")
    (pairs,) = dgm.unbatch()  # [k, 2]
    return [(birth, death) for birth, death in pairs.detach().cpu().tolist()]
