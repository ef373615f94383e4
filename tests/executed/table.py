"""The table of kernels and sizes of docs/kernel-notes.md, from what `--executed` recorded.

    python -m tests.executed.table           # prints it
    python -m tests.executed.table --write   # puts it into the page

It reads every JSON of this folder. A row is a kernel, a column a range of n, and a cell counts the
launches of each, in the order of `WAYS`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "kernel-notes.md"
START, END = "<!-- executed -->", "<!-- end of executed -->"

WAYS = {
    "interpreter": "Triton's interpreter",
    "ptx": "compiled for sm_90, in `tests/ptx`",
    "device": "an H200",
}
# The last n of each column.
LIMITS = (16, 32, 64, 128, 256, 512, 1025, 65535)


def column_of(n: int) -> int:
    """The column of clouds of n points."""
    return next(k for k, limit in enumerate(LIMITS) if n <= limit)


def heads() -> list[str]:
    """The ranges of n."""
    starts = [1, *(limit + 1 for limit in LIMITS)]
    return [f"{a:,} to {b:,}" for a, b in zip(starts, LIMITS, strict=False)]


def recorded(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """What was recorded, in the order of the ways."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda content: list(WAYS).index(content["way"]))


def counted(contents: list[dict[str, Any]]) -> dict[str, dict[tuple[int, int], int]]:
    """Launches by kernel, then by the number of what was recorded and by column."""
    cells: dict[str, Counter[tuple[int, int]]] = {}
    for k, content in enumerate(contents):
        for kernel, _dtype, n, _d, _K, launches in content["rows"]:
            cells.setdefault(kernel, Counter())[k, column_of(n)] += launches
    return {kernel: dict(cells[kernel]) for kernel in sorted(cells)}


def table(contents: list[dict[str, Any]]) -> str:
    """The table, and under it what each way was run with."""
    lines = [f"| kernel, n = | {' | '.join(heads())} |", f"| --- |{' ---: |' * len(LIMITS)}"]
    for kernel, counts in counted(contents).items():
        cells = []
        for column in range(len(LIMITS)):
            found = [counts.get((k, column), 0) for k in range(len(contents))]
            cells.append(" / ".join(f"{k:,}" if k else "-" for k in found) if any(found) else "")
        lines.append(f"| {kernel.strip('_').removesuffix('_kernel')} | {' | '.join(cells)} |")
    order = " / ".join(f"{WAYS[one['way']]} (Triton {one['triton']})" for one in contents)
    lines += ["", f"Launches in the tests, in the order {order}:", ""]
    for content in contents:
        with_ = ", ".join(f"{name} {content[name]}" for name in ("torch", "triton", "numpy"))
        lines.append(f"- {WAYS[content['way']]}: commit {content['commit']}, {with_}.")
    return "\n".join(lines)


def written(page: str, text: str) -> str:
    """The page with the table in its place."""
    before, after = re.split(f"{START}.*{END}", page, flags=re.S)
    return f"{before}{START}\n{text}\n{END}{after}"


def main() -> int:
    """Print the table or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.executed.table", description=__doc__)
    parser.add_argument("--write", action="store_true")
    text = table(recorded())
    if parser.parse_args().write:
        PAGE.write_text(written(PAGE.read_text(), text))
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
