"""Write the tables and pictures of docs/does-it-help.md: python -m experiments.report.

Everything comes from the JSON of the runs. ``--check`` writes nothing, and has status 1 if the page
does not match.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import pictures, plan, tables
from experiments.comparison import Comparison
from experiments.run import RESULTS
from tsloss_fast._files import write_atomically
from tsloss_fast.persistence.plots import render_figure

PAGE = Path(__file__).parents[1] / "docs" / "does-it-help.md"
MARK = "<!-- experiments: {}, written by `python -m experiments.report`; do not edit -->"
CURVES = ("ce", "surrogate-b0.5", "exact-l1", "exact-b0.5", "h0-b0.5", "h1-b0.5")


def comparisons(out: Path) -> list[Comparison]:
    """Every block of the full plan once, with as many seeds as any block has."""
    blocks: dict[tuple[object, ...], plan.Block] = {}
    for block in plan.full():
        key = (block.cell, tuple(block.arms))
        if key not in blocks or len(block.seeds) > len(blocks[key].seeds):
            blocks[key] = block
    return [Comparison(block, out) for block in blocks.values()]


def parts(found: Sequence[Comparison]) -> dict[str, str]:
    """The generated parts of the page, by their names."""
    sections: dict[str, list[str]] = {"main": [], "rates": [], "gradients": [], "topology": []}
    for comparison in found:
        title = f"**{tables.cell_words(comparison.block.cell)}**"
        if comparison.sweep:
            sections["rates"] += [title, tables.sweep_table(comparison)]
        if len(comparison.seeds) < 2:
            continue
        sections["main"] += [title, tables.arms_table(comparison)]
        sections["main"] += [tables.detectable_words(comparison)]
        sections["gradients"] += [title, tables.gradients_table(comparison)]
        sections["topology"] += [title, tables.topology_table(comparison)]
    texts = {name: "\n\n".join(lines) or "Not run." for name, lines in sections.items()}
    return texts | {"progress": tables.progress_table(found)}


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
    """The pictures of the first cell."""
    first = found[0]
    if len(first.seeds) > 1:
        for name, figure in (
            ("differences", pictures.differences(first)),
            ("curves", pictures.curves(first, CURVES)),
        ):
            write_atomically(folder / f"does-it-help-{name}.png", render_figure(figure)[".png"])


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
