"""Write the tables and pictures of docs/does-it-help.md: python -m experiments.report.

Everything comes from the JSON of the runs. ``--check`` writes nothing, and has status 1 if the page
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

PAGE = Path(__file__).parents[1] / "docs" / "does-it-help.md"
MARK = "<!-- experiments: {}, written by `python -m experiments.report`; do not edit -->"
IMAGE = "does-it-help-{}.png"
IMAGES = {
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
    """The generated parts of the page, by their names."""
    names = ("verdict", "main", "rates", "gradients", "topology")
    sections: dict[str, list[str]] = {name: [] for name in names}

    def add(name: str, comparison: Comparison, *texts: str) -> None:
        sections[name] += [f"**{tables.block_words(comparison.block)}**", *texts]

    for comparison in found:
        if comparison.sweep and comparison.rates is not None:
            add("rates", comparison, tables.sweep_table(comparison))
        if len(comparison.seeds) < LEAST_SEEDS:
            continue
        detectable = tables.detectable_words(comparison)
        add("verdict", comparison, tables.verdict_words(comparison), detectable)
        add("main", comparison, tables.arms_table(comparison))
        add("gradients", comparison, tables.gradients_table(comparison))
        add("topology", comparison, tables.topology_table(comparison))
    texts = {name: "\n\n".join(lines) or NOTHING for name, lines in sections.items()}
    drawn = len(found[0].seeds) >= LEAST_SEEDS
    images = "\n\n".join(f"![{words}]({IMAGE.format(name)})" for name, words in IMAGES.items())
    pictures = f"Of the first cell above:\n\n{images}" if drawn else NOTHING
    return texts | {"pictures": pictures, "progress": tables.progress_table(found)}


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
    """The pictures of the first cell, if there is something to show."""
    if len(found[0].seeds) < LEAST_SEEDS:
        return
    figures = {
        "differences": pictures.differences(found[0]),
        "curves": pictures.curves(found[0], CURVES),
    }
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
    text = before = PAGE.read_text()
    for name, body in parts(found).items():
        text = written(text, name, body)
    if arguments.check:
        return int(text != before)
    write_atomically(PAGE, text.encode())
    draw(found, PAGE.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
