"""Write the tables and pictures of docs/does-it-help*.md: python -m experiments.report.

Everything comes from the JSON of the runs. ``--check`` writes nothing, and has status 1 if a page
does not match.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import pictures, plan, tables
from experiments.comparison import Comparison
from experiments.run import RESULTS
from experiments.tasks import GENERATED
from tsloss_fast._files import write_atomically
from tsloss_fast.persistence.plots import render_figure

DOCS = Path(__file__).parents[1] / "docs"
# The generated parts of each page.
PAGES = {
    "does-it-help.md": ("pooled", "verdict", "pictures", "progress"),
    "does-it-help-tables.md": ("main", "rates", "gradients", "topology"),
}
MARK = "<!-- experiments: {}, written by `python -m experiments.report`; do not edit -->"
IMAGE = "does-it-help-{}.png"
IMAGES = {
    "cells": "Each cell's mean difference from cross-entropy alone, their mean and its interval",
    "differences": "Each seed's difference from cross-entropy alone, its mean and interval",
    "curves": "Cross-entropy, validation accuracy and topology along the way",
}
# With fewer there are no paired differences to speak of.
LEAST_SEEDS = 3
NOTHING = "Not run yet."
CURVES = ("ce", "surrogate-b0.5", "exact-l1", "exact-b0.5", "h0-b0.5", "h1-b0.5")


def comparisons(out: Path) -> list[Comparison]:
    """Every block of the full plan, with the files that joined it."""
    return [Comparison(block, out) for block in plan.full(tasks=file_tasks(out))]


def file_tasks(out: Path) -> list[str]:
    """The labels of tasks that came from files, of which the results hold runs."""
    firsts = (next(folder.glob("*.json"), None) for folder in sorted(out.iterdir()))
    labels = (json.loads(first.read_text())["task"] for first in firsts if first is not None)
    return sorted(set(labels) - GENERATED.keys())


def parts(found: Sequence[Comparison]) -> dict[str, str]:
    """The generated parts of the pages, by their names."""
    sections: dict[str, list[str]] = {name: [] for names in PAGES.values() for name in names}

    def add(name: str, words: str, text: str) -> None:
        sections[name] += [f"**{words}**", text]

    for comparison in found:
        if comparison.sweep and comparison.rates is not None:
            words = tables.block_words(comparison.block)
            add("rates", words, tables.sweep_table(comparison))
    compared = enough(found)
    for comparison in compared:
        words = tables.block_words(comparison.block)
        add("main", words, tables.arms_table(comparison))
        add("gradients", words, tables.gradients_table(comparison))
        add("topology", words, tables.topology_table(comparison))
    if compared:
        for measure, form, words in tables.MEASURES:
            text = tables.verdict_table(compared, measure, form)
            add("verdict", f"{words[0].upper()}{words[1:]}", text)
    if len(cells := own_rates(compared)) > 1:
        words = f"{len(cells)} cells, {sum(len(cell.seeds) for cell in cells)} seeds in all:"
        sections["pooled"] += [words, tables.pooled_table(cells), image("cells")]
    if found[0] in compared:
        sections["pictures"] += ["Of the first cell:", image("differences"), image("curves")]
    sections["progress"].append(tables.progress_table(found))
    return {name: "\n\n".join(lines) or NOTHING for name, lines in sections.items()}


def enough(found: Sequence[Comparison]) -> list[Comparison]:
    """Those with seeds enough to speak of."""
    return [comparison for comparison in found if len(comparison.seeds) >= LEAST_SEEDS]


def own_rates(found: Sequence[Comparison]) -> list[Comparison]:
    """Those in which each arm has its own rate; no two of them share a cell."""
    return [comparison for comparison in found if comparison.block.fixed_rate is None]


def image(name: str) -> str:
    """A picture, as Markdown has it."""
    return f"![{IMAGES[name]}]({IMAGE.format(name)})"


def written(text: str, name: str, body: str) -> str:
    """`text` with `body` between the two marker comments of a generated part.

    Raises
    ------
    ValueError
        If the markers are not there once each, in order.
    """
    first, last = MARK.format(name), MARK.format(f"end of {name}")
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ValueError(f"expected the marker comments of {name!r} once each, in order")
    return f"{text.split(first)[0]}{first}\n{body}\n{last}{text.split(last)[1]}"


def draw(found: Sequence[Comparison], folder: Path) -> None:
    """The pictures, of those cells of which there is something to show."""
    figures, compared = {}, enough(found)
    if len(cells := own_rates(compared)) > 1:
        figures["cells"] = pictures.over_cells(cells)
    if found[0] in compared:
        figures["differences"] = pictures.differences(found[0])
        figures["curves"] = pictures.curves(found[0], CURVES)
    for name, figure in figures.items():
        write_atomically(folder / IMAGE.format(name), render_figure(figure)[".png"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--check", action="store_true", help="compare alone")
    arguments = parser.parse_args(argv)
    found = comparisons(arguments.results)
    bodies = parts(found)
    differ = 0
    for page, names in PAGES.items():
        text = before = (DOCS / page).read_text()
        for name in names:
            text = written(text, name, bodies[name])
        differ |= text != before
        if not arguments.check:
            write_atomically(DOCS / page, text.encode())
    if arguments.check:
        return int(differ)
    draw(found, DOCS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
