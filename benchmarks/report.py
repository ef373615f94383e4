"""Write the figures of the latest results into the READMEs, with their pictures.

python -m benchmarks.report                          # writes, and prints the goals
python -m benchmarks.report --check                  # status 1 if a README does not match
python -m benchmarks.report --against OTHER.json     # each of our rows beside that of other runs
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pictures, results
from benchmarks.cases import PHASES, Case
from benchmarks.goals import goals
from benchmarks.providers import ENGINE, NAMES, OURS, PUBLIC, REFERENCE, SIMPLEX_TREE
from benchmarks.rows import Row, fastest_peer, good, ratio, select, timed
from tsloss_fast._timing import show_seconds

# The six rows of README.md.
SUMMARY = (
    ("h1", "gaussian", 20),
    ("h1", "gaussian", 100),
    ("h1", "unit vectors", 100),
    ("h1", "noisy circle", 300),
    ("loss_backward", "gaussian", 20),
    ("loss_backward", "gaussian", 100),
)
# Below it, what a call costs at all hides how it grows.
FIT_FROM = 100
EVERY_STEP_S, NOW_AND_THEN_S = 10e-3, 1.0


def table(header: str, lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a header ``what | figure | ...``, columns of figures to the right."""
    figures = [sum(c[:1].isdigit() for c in column) for column in zip(*lines, strict=True)]
    rule = ["---:" if 2 * count > len(lines) else "---" for count in figures]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
        for cells in (header.split(" | "), rule, *lines)
    )


def cell(row: Row | None) -> str:
    """The median, marked if gudhi did not finish; or the status."""
    if not good(row):
        return "-" if row is None else row["status"]
    return show_seconds(row["median_s"]) + (" †" if row.get("against", "gudhi") != "gudhi" else "")


def mebibytes(row: Row | None) -> str:
    """The peak memory, or the status."""
    return f"{row['peak_bytes'] / 2**20:.1f} MiB" if good(row) else cell(row)


def times(value: float) -> str:
    """A ratio as text, three digits at most."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def case_of(row: Row) -> Case:
    """The case that a row belongs to."""
    return Case(**{key: row[key] for key in Case.__dataclass_fields__})


def origin(content: dict[str, Any]) -> str:
    """When, of what, by which command and on which machine a run was made."""
    machine = content["machine"]
    return (
        f"Measured {content['date'][:10]} at commit {content['commit']} by `{content['command']}`: "
        f"{machine['processor']}, {machine['cores']} cores, instruction set {machine['isa']}, "
        f"{machine['threads']} thread, Python {machine['python']}, torch {machine['torch']}."
    )


def summary(content: dict[str, Any]) -> str:
    """README.md's part: six rows, how they were measured, and one picture."""
    lines = []
    for phase, family, n in SUMMARY:
        case = timed(content["rows"], phase, family, n)
        ours, tree = case.get(PUBLIC), case.get(SIMPLEX_TREE)
        peers = [fastest_peer(case, edges=[edges]) for edges in (True, False)]
        beside = [_beside(peer, ours) for peer in peers] + [_beside(tree, ours, named=False)]
        what = f"{PHASES[phase]}, {family}, n = {n}"
        lines.append([what, cell(ours), cell(case.get(ENGINE)), *beside])
    header = "what | public call | engine | fastest peer for the same call"
    header += " | fastest peer without edges | gudhi SimplexTree"
    text = f"""{origin(content)}
The public call is `rips_persistence` of a distance matrix, or `TSLoss` of points of dimension 2048
with `backward`, checks included; the engine is the compiled module on arrays. In brackets: how many
times as long as the public call a peer takes. Figures are medians, of results that the same run
found equal to gudhi's. All rows, peers and failures: [benchmarks](benchmarks/README.md)."""
    picture = f"![{pictures.TITLES['h1_time']}](docs/benchmarks/h1_time.png)"
    return "\n\n".join([table(header, lines), text, *_step_sentence(content), picture])


def _beside(row: Row | None, ours: Row | None, named: bool = True) -> str:
    """A peer's figure, with its name and how many times as long as ours it takes."""
    text = cell(row) + (f" {row['provider']}" if row and named else "")
    return text + (f" ({times(ratio(row, ours)[0])})" if good(row) and good(ours) else "")


def _step_sentence(content: dict[str, Any]) -> list[str]:
    rows = [row for row in select(content["rows"], what="step", status="ok") if "share" in row]
    shares = [
        f"{row['provider']} {row['share']:.2%} ({row['mode']})"
        for row in rows
        if row["provider"] in (PUBLIC, REFERENCE)
    ]
    text = "Of a prompt-tuning step of SmolLM2-135M (20 tokens, batch 4) TSLoss takes: "
    return [f"{text}{', '.join(shares)}."] if shares else []


def goals_table(content: dict[str, Any]) -> str:
    """The goals and whether they are met."""
    lines = []
    for goal in goals(content["rows"]):
        shown = [times(value) for value in goal.measured or ()]
        shown = f"{shown[0]} ({shown[1]} to {shown[2]})" if shown else "-"
        bound = f"{'<=' if goal.at_most else '>='} {goal.bound:g}x"
        lines.append([goal.what, goal.against, bound, shown, goal.met()])
    return table("what | against | goal | measured | met", lines)


def everything(content: dict[str, Any]) -> str:
    """Every phase, every provider, every failure."""
    rows, limits = content["rows"], content["limits"]
    providers = [
        [name, of["version"], of["unavailable"] or of["note"]]
        for name, of in content["providers"].items()
    ]
    parts = [
        origin(content),
        f"Load of the machine {content['load_at_start']} at the start, {content['load_at_end']} "
        f"at the end; one call takes at most {limits['call_s']:g} s, one provider "
        f"{limits['memory_gib']:g} GiB. What is checked before a row is timed:",
        "\n".join(f"- {name}: {text}" for name, text in content["checks"].items()),
        table("provider | version | note", providers),
        f"![{pictures.TITLES['speed_up']}](../docs/benchmarks/speed_up.png)",
    ]
    for phase, title in PHASES.items():
        if of_phase := select(rows, what="time", phase=phase):
            parts += [f"### {title}", _by_case(of_phase, cell)]
    if weighed := select(rows, what="memory"):
        parts += ["### Peak memory of a call", _by_case(weighed, mebibytes)]
    if steps := select(rows, what="step"):
        parts += ["### TSLoss in a prompt-tuning step", _step_table(steps)]
    return "\n\n".join([*parts, "### Who has no figure, and why", _failures(rows)])


def _by_case(rows: Sequence[Row], show: Callable[[Row | None], str]) -> str:
    """A row a case, a column a provider."""
    names = [name for name in NAMES if select(rows, provider=name)]
    by_case: dict[Case, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(case_of(row), {})[row["provider"]] = row
    lines = [[str(case), *(show(of.get(name)) for name in names)] for case, of in by_case.items()]
    return table(" | ".join(["case", *names]), lines)


def _step_table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        what = f"{row['provider']}, {row.get('mode', '')}"
        times_of = [show_seconds(row[k]["median_s"]) if k in row else "" for k in ("step", "loss")]
        share = f"{row['share']:.2%}" if "share" in row else row.get("reason") or ""
        lines.append([what, *times_of, share])
    return table("loss | step | TSLoss alone | share", lines)


def _failures(rows: Sequence[Row]) -> str:
    seen: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row["status"] != "ok" and "phase" in row:
            # One line for a provider that fails alike in many cases.
            key = (row["provider"], row["status"], str(row.get("reason") or ""))
            memory = ", memory" if row["what"] == "memory" else ""
            seen.setdefault(key, []).append(str(case_of(row)) + memory)
    lines = [[*key, "; ".join(where)] for key, where in seen.items()]
    return table("provider | status | why | where", lines) if lines else "No one."


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The slope of log(cost) against log(n) from `FIT_FROM` on; None below three sizes."""
    pairs = zip(sizes, costs, strict=True)
    logs = np.log([(n, cost) for n, cost in pairs if n >= FIT_FROM and cost > 0])
    return float(np.polyfit(*logs.T, 1)[0]) if len(logs) >= 3 else None


def growth(content: dict[str, Any]) -> str:
    """The exponents and how far each path goes, a row a path, as ranges over the families."""
    lines = []
    for phase in dict.fromkeys(row["phase"] for row in content["rows"]):
        rows = select(content["rows"], phase=phase, status="ok")
        paths = [select(rows, family=family) for family in {row["family"] for row in rows}]
        slopes = [
            [exponent([r["n"] for r in path], [r[key] for r in path]) for path in paths]
            for key in ("median_s", "peak_bytes")
        ]
        far = [
            [max((r["n"] for r in path if r["median_s"] <= bound), default=0) for path in paths]
            for bound in (EVERY_STEP_S, NOW_AND_THEN_S)
        ]
        ranges = [*(_range(of, "{:.2f}") for of in slopes), *(_range(of, "{}") for of in far)]
        last = max(rows, key=lambda row: (row["n"], row["median_s"]), default=None)
        where = f"{last['family']}, n = {last['n']}" if last else "-"
        lines.append([PHASES[phase], *ranges, where, cell(last), mebibytes(last)])
    header = "path | time ~ n^ | memory ~ n^ | in every step: n up to | now and then: n up to"
    header += " | largest | its time | its memory"
    text = f"""Exponents are fitted to sizes from {FIT_FROM} on. In every step: at most
{EVERY_STEP_S * 1e3:g} ms; now and then: at most {NOW_AND_THEN_S:g} s; sizes are measured, not
extrapolated. The losses begin with points, the diagrams with distances. Memory is what a call takes
beside its input, at its peak. Ranges are over the families."""
    picture = f"![{pictures.TITLES['growth']}](../docs/benchmarks/growth.png)"
    return "\n\n".join([origin(content), table(header, lines), text, picture])


def _range(values: Sequence[Any], form: str) -> str:
    shown = [form.format(value) for value in sorted(v for v in values if v is not None)]
    return " to ".join(dict.fromkeys([shown[0], shown[-1]])) if shown else "-"


def gpu(content: dict[str, Any]) -> str:
    """The rows of `benchmarks.gpu`, as it prints them."""
    from benchmarks.gpu import printed

    machine = content["machine"]
    title = f"Measured {content['date'][:10]} at commit {content['commit']} by `make bench-gpu`"
    title += f": {machine['device']}, CUDA {machine['cuda']}, torch {machine['torch']}, "
    header = "| what | median, µs | p20 to p80, µs | goal |\n| --- | ---: | ---: | --- |"
    return "\n".join(
        [f"{title}Triton {machine['triton']}.\n", header, *map(printed, content["rows"])]
    )


def against(content: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Each of our rows over the same one of other runs, and whether it leaves their spread.

    The spread goes from the least p20 to the greatest p80 of the others. A row is slower if its
    p20 lies above it, faster if its p80 lies below it, and lost if it has no figure any more.
    """
    known = [{_key(row): row for row in other["rows"] if good(row)} for other in others]
    lines, peers = [], []
    for row in content["rows"]:
        before = [rows[_key(row)] for rows in known if _key(row) in rows and "phase" in row]
        if not before or row["what"] == "memory":
            continue
        middle = statistics.median(old["median_s"] for old in before)
        change = row["median_s"] / middle if good(row) else float("nan")
        if row["provider"] in OURS:
            what = f"{row['provider']}: {case_of(row)}"
            verdict = _verdict(row, before)
            lines.append([what, show_seconds(middle), cell(row), f"{change:.3f}", verdict])
        elif good(row):
            peers.append(change)
    verdicts = [line[-1] for line in lines]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    drift = f"; the peers' rows took {statistics.median(peers):.3f} of the others'" if peers else ""
    parts = [f"This run: {origin(content)}", *(f"Other: {origin(other)}" for other in others)]
    parts.append(table("row of ours | others | this run | ratio | spread", lines))
    return "\n\n".join([*parts, f"{len(lines)} rows of ours: {counts or 'none in both'}{drift}."])


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in ("what", *Case.__dataclass_fields__, "provider"))


def _verdict(row: Row, before: Sequence[Row]) -> str:
    if not good(row):
        return "lost"
    if row["p20_s"] > max(old["p80_s"] for old in before):
        return "slower"
    return "faster" if row["p80_s"] < min(old["p20_s"] for old in before) else "within"


def replaced(text: str, name: str, body: str) -> str:
    """`text` with `body` between the two marker comments of a generated part.

    Raises
    ------
    ValueError
        If the markers are not there once each, in order.
    """
    first = f"<!-- benchmarks: {name}, written by `make bench-tables`; do not edit -->"
    last = f"<!-- benchmarks: end of {name} -->"
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ValueError(f"expected the marker comments of {name!r} once each, in order")
    return f"{text.split(first)[0]}{first}\n{body}\n{last}{text.split(last)[1]}"


def written(folder: Path = results.FOLDER) -> dict[Path, str]:
    """Each README as it should be by the latest results in a folder."""
    bench = results.read(results.latest("quick", "full", folder=folder))
    details = {"goals": goals_table(bench), "everything": everything(bench)}
    for suite, part in (("growth", growth), ("gpu", gpu)):
        try:
            details[suite] = part(results.read(results.latest(suite, folder=folder)))
        except FileNotFoundError:
            details[suite] = f"Not measured yet: `make bench-{suite}`."
    files = {"README.md": {"summary": summary(bench)}, "benchmarks/README.md": details}
    texts = {}
    for name, parts in files.items():
        file = results.ROOT / name
        texts[file] = file.read_text("utf-8")
        for part, body in parts.items():
            texts[file] = replaced(texts[file], part, body)
    return texts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, help="the run that --against compares (the latest)")
    add("--check", action="store_true", help="change nothing, status 1 if a README is outdated")
    add("--against", nargs="+", type=Path, metavar="OTHER", help="other runs of the same suite")
    arguments = parser.parse_args(argv)
    if arguments.file and not arguments.against:
        parser.error("file: expected --against OTHER with it; the READMEs show the latest run")
    try:
        content = results.read(arguments.file or results.latest("quick", "full"))
        if arguments.against:
            print(against(content, [results.read(other) for other in arguments.against]))
            return 0
        outdated = {f: t for f, t in written().items() if f.read_text("utf-8") != t}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.check:
        print(*(f"{file}: does not match the latest results" for file in outdated), sep="\n")
        return 1 if outdated else 0
    for file, text in outdated.items():
        file.write_text(text, "utf-8")
    print(*outdated, *pictures.draw_latest(), sep="\n")
    print(f"\n{origin(content)}\n\n{goals_table(content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
