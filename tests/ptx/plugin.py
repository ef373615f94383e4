"""`pytest --ptx`: the kernels' tests on compiled kernels, executed by the interpreter of PTX.

A test fails if a launch of it has a race; an access out of bounds is an error of the launch. The
end of the report counts what was executed, by kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ptx import driver


def pytest_configure(config: pytest.Config) -> None:
    driver.install()


@pytest.fixture(autouse=True)
def _no_races() -> Iterator[None]:
    first = len(driver.SESSION.launches)
    yield
    races = [
        f"{launch.program.name}: {race}"
        for launch in driver.SESSION.launches[first:]
        for race in launch.outcome.races
    ]
    if races:
        pytest.fail("races:\n" + "\n".join(races), pytrace=False)


def table(launches: list[driver.Launch]) -> list[str]:
    """A line a kernel and architecture: launches, programs, instructions, seconds, races."""
    rows: dict[tuple[str, int], list[float]] = {}
    for launch in launches:
        row = rows.setdefault((launch.program.name, launch.architecture), [0, 0, 0, 0.0, 0])
        outcome = launch.outcome
        counted = (1, launch.grid, outcome.instructions, launch.seconds, len(outcome.races))
        row[:] = [a + b for a, b in zip(row, counted, strict=True)]
    lines = ["kernel                       sm  launches  programs  warp instr.  seconds  races"]
    for (name, architecture), (times, programs, count, seconds, races) in sorted(rows.items()):
        lines.append(
            f"{name:<28} {architecture} {times:>9} {programs:>9} {count:>12} "
            f"{seconds:>8.1f} {races:>6}"
        )
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if driver.SESSION.launches:
        terminalreporter.section("compiled kernels executed")
        terminalreporter.write_line("\n".join(table(driver.SESSION.launches)))
