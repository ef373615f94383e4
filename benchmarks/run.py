"""Measure: python -m benchmarks.run quick | full | growth | losses, or a choice of cases.

See `benchmarks.harness` for how; the results go to a new file in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import agreement, cases, plans, results
from benchmarks.cases import Case
from benchmarks.harness import Bench, Row
from benchmarks.providers import NAMES, OURS, provider_class
from tsloss_fast._timing import show_seconds


def show(row: Row) -> str:
    """One line of the progress."""
    name = f"  {row['provider']:<22}"
    if row["status"] != "ok":
        return f"{name}{row['status']}: {row.get('reason') or ''}"
    if row["what"] == "memory":
        return f"{name}{row['peak_bytes'] / 2**20:9.1f} MiB"
    if row["what"] == "step":
        share = f", TSLoss {row['share']:.2%} of it" if "share" in row else ""
        return f"{name}{row['mode']:<12} a step {show_seconds(row['step']['median_s'])}{share}"
    middle = f"{show_seconds(row['p20_s'])} to {show_seconds(row['p80_s'])}"
    line = f"{name}{show_seconds(row['median_s']):>9}  ({middle}, {row['samples']} samples)"
    against = row.get("against", "gudhi")
    return line + ("" if against == "gudhi" else f"  checked against {against}")


def measured(
    bench: Bench, timed: Sequence[Case], weighed: Sequence[Case], rounds: int, threads: int
) -> Iterator[tuple[str, list[Row]]]:
    """A title and the rows of each case: times, peak memory, then the tuning step."""
    before: list[Row] = []
    for index, case in enumerate(timed, 1):
        growing = bench.suite.name == "growth"
        rows = bench.growth(case, before) if growing else bench.measure(case)
        before += rows
        yield f"[{index}/{len(timed)}] {case}", rows
    for case in weighed:
        yield f"[memory] {case}", bench.memory(case)
    if rounds:
        yield "[step] SmolLM2, 20 tokens, batches of 4", bench.tuning_step(rounds, threads)


def choose(suite: plans.Suite, arguments: argparse.Namespace) -> tuple[list[Case], list[Case], int]:
    """What the command line selects: cases to time, to weigh, and rounds of the tuning step."""
    asked = {key: getattr(arguments, key) for key in ("phase", "family", "n")}
    default = ("time", "memory") if any(asked.values()) else ("time", "memory", "step")
    what = arguments.what or default

    def chosen(part: str, of: Sequence[Case]) -> list[Case]:
        return [
            replace(case, threads=arguments.threads) if case.threads == 1 else case
            for case in of
            if part in what
            and all(not values or getattr(case, key) in values for key, values in asked.items())
        ]

    has_step = "step" in what and suite.name not in ("growth", "losses")
    rounds = arguments.step_rounds if has_step else 0
    return chosen("time", suite.cases), chosen("memory", suite.memory), rounds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    again = {"action": "append", "help": "only this one (again)"}
    add("suite", choices=plans.SUITES, help="quick, growth: about ten minutes; full: hours")
    add("--what", choices=("time", "memory", "step"), **again)
    add("--phase", choices=tuple(cases.PHASES), **again)
    add("--family", choices=tuple(cases.FAMILIES), **again)
    add("--n", type=int, **again)
    add("--provider", choices=tuple(NAMES), **again)
    add("--threads", type=int, default=1, help="threads of each provider")
    add("--limit", type=float, metavar="S", help="seconds that one call may take (the suite's)")
    add("--memory-limit", type=float, metavar="GIB", help="of a provider (the suite's); 0: none")
    add("--step-rounds", type=int, default=5, help="prompt-tuning steps of each loss; 0: none")
    add("--out", type=Path, default=results.FOLDER, help="folder for the results")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every one of our own rows is there, 1 if not, 130 on Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.threads < 1:
        parser.error(f"--threads: expected at least 1, got {arguments.threads}")
    if arguments.limit is not None and not arguments.limit > 0:
        parser.error(f"--limit: expected seconds > 0, got {arguments.limit:g}")
    suite = plans.SUITES[arguments.suite]()
    if arguments.limit is not None:
        suite = replace(suite, limit_s=arguments.limit, only=())
    if arguments.memory_limit is not None:
        suite = replace(suite, memory_gib=arguments.memory_limit)
    chosen = choose(suite, arguments)
    if not any(chosen):
        parser.error("expected a selection with at least one case of the suite, got none")
    # Any option but the folder makes it a selection, which no report is made of.
    narrowed = any(
        getattr(arguments, action.dest) != action.default
        for action in parser._actions
        if action.option_strings and action.dest not in ("help", "out")
    )
    content = results.about_this_run(
        "selection" if narrowed else suite.name,
        command=" ".join(["python -m benchmarks.run", *(sys.argv[1:] if argv is None else argv)]),
        threads=arguments.threads,
        limits={"call_s": suite.limit_s, "memory_gib": suite.memory_gib},
        checks=agreement.WHAT_IS_CHECKED,
    )
    machine = content["machine"]
    name = (content["suite"], machine["processor"], content["commit"], content["date"])
    try:
        file = results.ResultFile(arguments.out, *name)
    except OSError as error:
        parser.error(f"--out: cannot write to {arguments.out}: {error.strerror or error}")
    _say(f"{machine['processor']}, {machine['cores']} cores, {machine['isa']}, ")
    _say(f"{arguments.threads} thread(s); load {content['load_at_start']}")
    bench = Bench(suite, arguments.provider or list(NAMES))

    def save(complete: bool) -> None:
        content["providers"] = {
            name: {
                "version": bench.pool.versions.get(name, "not asked"),
                "unavailable": bench.pool.reasons.get(name),
                "note": provider_class(name).note,
            }
            for name in bench.names
        }
        file.write(content | {"complete": complete, "load_at_end": results.load()})

    try:
        for title, rows in measured(bench, *chosen, arguments.threads):
            _say(title, *map(show, rows))
            content["rows"] += rows
            save(complete=False)
        save(complete=True)
    except KeyboardInterrupt:
        file.discard()
        _say("stopped; what was measured is kept" if file.path.exists() else "stopped")
        return 130
    finally:
        bench.pool.stop()
    _say(f"results: {os.path.relpath(file.path)}")
    ended = ("ok", "not tried", "no data") if suite.name == "growth" else ("ok",)
    lost = [r for r in content["rows"] if r["provider"] in OURS and r["status"] not in ended]
    for row in lost:
        _say(f"our own row is not there: {row}")
    return 1 if lost else 0


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
