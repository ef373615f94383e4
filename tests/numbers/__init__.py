"""How exact results are, and when they repeat: the two tables of docs/hardening.md.

python -m tests.numbers           # prints them
python -m tests.numbers --write   # puts them into the page
"""

import re
from pathlib import Path

from tests.numbers import determinism, precision

PAGE = Path(__file__).parents[2] / "docs" / "hardening.md"
TABLES = {"determinism": determinism.table, "precision": precision.table}


def written(page: str, name: str, text: str) -> str:
    """The page with a table in its place."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, after = re.split(f"{start}.*{end}", page, flags=re.S)
    return f"{before}{start}\n{text}\n{end}{after}"


def rows_of(page: str, name: str) -> dict[str, list[str]]:
    """The cells of each row of a table in the page, by its first."""
    text = re.search(f"<!-- {name} -->(.*)<!-- end of {name} -->", page, flags=re.S)[1]
    lines = [line.strip("|").split("|") for line in text.strip().splitlines()]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in lines[2:]}
