"""Print the tables of docs/hardening.md, or put them into the page: see the package's docstring."""

import argparse
import sys

from tests.numbers import PAGE, TABLES, written


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.numbers", description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    for name, table in TABLES.items():
        text = table()
        if write:
            PAGE.write_text(written(PAGE.read_text(), name, text))
        else:
            print(text, end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
