"""Pictures of persistence diagrams. Needs matplotlib; uses no global figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsloss_fast.diagram import PersistenceDiagram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's blue and vermilion: told apart by the colour-blind, and in grey with the markers.
STYLES: tuple[dict[str, Any], ...] = (
    {"marker": "o", "edgecolors": "#0072B2", "facecolors": "none", "s": 34, "linewidths": 1.3},
    {"marker": "^", "edgecolors": "black", "facecolors": "#D55E00", "s": 42, "linewidths": 0.6},
)

BAR_STYLES: tuple[dict[str, Any], ...] = ({"colors": "#0072B2"}, {"colors": "#D55E00"})

NAMES = ("H0 (components)", "H1 (loops)")


def plot_diagrams(panels: Mapping[str, Sequence[PersistenceDiagram]]) -> Figure:
    """Persistence diagrams side by side, on the same axes.

    Parameters
    ----------
    panels : mapping of str to sequence of PersistenceDiagram
        Title and diagrams (H0, then H1) of one cloud, such as `rips_persistence` returns.

    Returns
    -------
    matplotlib.figure.Figure
        Births to the right, deaths upwards, both distances in embedding space. The dashed line is
        the diagonal, where bars have no length. The axis of deaths begins near the first death,
        for the rows of a prompt are about equally far apart and bars would lie on each other.

    Raises
    ------
    ValueError
        Without a panel, for a panel with more than two diagrams, or for a batch of clouds.
    """
    from matplotlib.figure import Figure

    bars = _panel_bars(panels)
    right, bottom, top = _limits([pair for dgms in bars.values() for bar in dgms for pair in bar])
    figure = Figure(figsize=(3.5 * len(bars), 4.3), layout="constrained")
    axes = figure.subplots(1, len(bars), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, dgms) in zip(axes, bars.items(), strict=True):
        axis.plot([0, top], [0, top], "--", color="0.5", linewidth=1, label="birth = death")
        for dim, (bar, style) in enumerate(zip(dgms, STYLES, strict=False)):
            axis.scatter([b for b, _ in bar], [d for _, d in bar], label=NAMES[dim], **style)
        axis.set(title=title, xlabel="birth (distance in embedding space)")
        axis.set(xlim=(-0.06 * right, right), ylim=(bottom, top))
    axes[0].set_ylabel("death (distance in embedding space)")
    handles, labels = axes[0].get_legend_handles_labels()
    # Below all panels, where it covers no point.
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def plot_barcodes(panels: Mapping[str, Sequence[PersistenceDiagram]]) -> Figure:
    """Barcodes side by side: H0 above and H1 below, one axis of distances for each dimension.

    Parameters
    ----------
    panels : mapping of str to sequence of PersistenceDiagram
        Title and diagrams (H0 and H1) of one cloud.

    Returns
    -------
    matplotlib.figure.Figure
        One line from birth to death a bar, the first to die (H0) or to be born (H1) at the bottom.
        The axis of H1 begins near its first birth, because loops live for a small part of it.

    Raises
    ------
    ValueError
        As `plot_diagrams`.
    """
    from matplotlib.figure import Figure

    bars = _panel_bars(panels)
    figure = Figure(figsize=(0.9 + 2.9 * len(bars), 5.6), layout="constrained")
    grid = figure.subplots(2, len(bars), sharex="row", sharey="row", squeeze=False)
    for dim, row in enumerate(grid):
        drawn = [sorted(dgms[dim]) if dim < len(dgms) else [] for dgms in bars.values()]
        _barcode_row(row, drawn, dim)
    for axis, title in zip(grid[0], bars, strict=True):
        axis.set_title(title)
    figure.supxlabel("distance in embedding space")
    return figure


def _barcode_row(row: Sequence[Any], drawn: Sequence[list[tuple[float, float]]], dim: int) -> None:
    """The barcodes of one dimension, on shared axes."""
    line = BAR_STYLES[dim]
    most = max(len(bar) for bar in drawn) or 1
    values = [value for bar in drawn for pair in bar for value in pair]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.04 * (high - low) or 0.04 * (high or 1)
    for axis, bar in zip(row, drawn, strict=True):
        heights = range(1, len(bar) + 1)
        births, deaths = [b for b, _ in bar], [d for _, d in bar]
        # Points of height that one bar has, less a gap.
        width = min(2.6, 95 / most)
        axis.hlines(heights, births, deaths, linewidth=width, **line)
        # A tick at the end shows bars of little or no length, and lengthens none.
        height = min(6.0, 1.6 * width) ** 2
        axis.scatter(deaths, heights, s=height, color=line["colors"], marker="|", linewidths=1)
        if not bar:
            axis.text(0.5, 0.5, "no bars", transform=axis.transAxes, ha="center", color="0.35")
        axis.set(xlim=(low - room, high + room), ylim=(0, most + 1))
    row[0].set_ylabel(f"{NAMES[dim]}, bars in order")
    row[0].yaxis.get_major_locator().set_params(integer=True)


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


def _panel_bars(
    panels: Mapping[str, Sequence[PersistenceDiagram]],
) -> dict[str, list[list[tuple[float, float]]]]:
    """Births and deaths of each panel and dimension."""
    if not panels:
        raise ValueError("panels: expected at least one, got none")
    bars = {title: [_bars(dgm, title) for dgm in dgms] for title, dgms in panels.items()}
    for title, dgms in bars.items():
        if len(dgms) > len(STYLES):
            raise ValueError(f"panels: expected at most H0 and H1, got {len(dgms)} for {title!r}")
    return bars


def _limits(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The last birth shown, and the first and last death shown; some room around all bars."""
    deaths = [death for _, death in pairs if death > 0] or [1.0]
    room = max(0.08 * (max(deaths) - min(deaths)), 0.02 * max(deaths))
    # Bars of no length, from coincident rows, have to be seen too.
    low = 0.0 if any(death == 0 for _, death in pairs) else min(deaths)
    return 1.08 * max(deaths), low - room, max(deaths) + room


def _bars(dgm: PersistenceDiagram, title: str) -> list[tuple[float, float]]:
    if dgm.mask.dim() != 1:
        raise ValueError(f"panels: expected one cloud for {title!r}, got a batch")
    (pairs,) = dgm.unbatch()  # [k, 2]
    return [(birth, death) for birth, death in pairs.detach().cpu().tolist()]
