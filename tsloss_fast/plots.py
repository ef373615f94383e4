"""Pictures of persistence diagrams. Needs matplotlib; uses no global figure."""

from __future__ import annotations

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

    if not panels:
        raise ValueError("panels: expected at least one, got none")
    bars = {title: [_bars(dgm, title) for dgm in dgms] for title, dgms in panels.items()}
    for title, dgms in bars.items():
        if len(dgms) > len(STYLES):
            raise ValueError(f"panels: expected at most H0 and H1, got {len(dgms)} for {title!r}")
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


def save_figure(figure: Figure, stem: str | Path) -> list[Path]:
    """Save as ``stem.png`` and ``stem.svg``; returns both paths."""
    files = [Path(f"{stem}.png"), Path(f"{stem}.svg")]
    for file in files:
        figure.savefig(file, dpi=160)
    return files


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
