"""Write the figures of the latest results into the READMEs, with their pictures.

python -m benchmarks.report                          # writes, and prints the goals
python -m benchmarks.report --check                  # status 1 if a README does not match
python -m benchmarks.report --against OTHER.json     # each of our rows beside that of other runs
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pictures, results
from benchmarks.cases import PHASES, VECTORS, Case
from benchmarks.goals import judged, times
from benchmarks.providers import ENGINE, NAMES, OURS, PUBLIC, REFERENCE, SIMPLEX_TREE
from benchmarks.rows import Row, case_of, fastest_peer, good, ratio, select, timed
from tsloss_fast._timing import show_seconds

# The six rows of README.md.
SUMMARY = (
    Case("h1", "gaussian", 20),
    Case("h1", "gaussian", 100),
    Case("h1", "unit vectors", 100),
    Case("h1", "noisy circle", 300),
    Case("loss_backward", "gaussian", 20, 2048),
    Case("loss_backward", "gaussian", 100, 2048),
)
# What the users of each loss and feature have: a row of docs/performance.md each.
PRESENT = {
    "rtd_backward": "giotto-ph",
    "rtdlite_backward": "eager PyTorch",
    "signature_backward": "torch-topological",
    "mtopdiv": "ripser.py",
    "dimension": "NumPy",
    **dict.fromkeys(VECTORS, "gudhi representations"),
}
# Below it, what a call costs at all hides how it grows.
FIT_FROM = 100


def table(header: str, lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a header ``what | figure | ...``, columns of figures to the right."""
    figures = [sum(c[:1].isdigit() for c in column) for column in zip(*lines, strict=True)]
    rule = ["---:" if 2 * count > len(lines) else "---" for count in figures]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
        for cells in (header.split(" | "), rule, *lines)
        if lines
    )


def cell(row: Row | None) -> str:
    """Memory, a share of a step, or a median, marked if gudhi did not check it; or the status."""
    if not good(row):
        return "-" if row is None else row["status"]
    if row["what"] == "memory":
        return f"{row['peak_bytes'] / 2**20:.1f} MiB"
    if row["what"] == "step":
        alone, step = (show_seconds(row[part]["median_s"]) for part in ("loss", "step"))
        return f"{alone}, {row['share']:.2%} of {step}"
    return show_seconds(row["median_s"]) + (" †" if row.get("against", "gudhi") != "gudhi" else "")


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
    for case in SUMMARY:
        of_case = timed(content["rows"], case)
        ours, tree = of_case.get(PUBLIC), of_case.get(SIMPLEX_TREE)
        peers = [fastest_peer(of_case, edges=[edges]) for edges in (True, False)]
        beside = [_beside(peer, ours) for peer in peers] + [_beside(tree, ours, named=False)]
        what = f"{PHASES[case.phase]}, {case.family}, n = {case.n}"
        lines.append([what, cell(ours), cell(of_case.get(ENGINE)), *beside])
    header = "what | public call | engine | fastest peer for the same call"
    header += " | fastest peer without edges | gudhi SimplexTree"
    steps = [
        f"{row['provider']} {row['share']:.2%} ({row['mode']})"
        for row in select(content["rows"], what="step", status="ok")
        if "share" in row and row["provider"] in (PUBLIC, REFERENCE)
    ]
    step = "Of a prompt-tuning step of SmolLM2-135M (20 tokens, batch 4) TSLoss takes: "
    parts = [table(header, lines), origin(content)]
    return "\n\n".join([*parts, *([f"{step}{', '.join(steps)}."] if steps else [])])


def _beside(row: Row | None, ours: Row | None, named: bool = True) -> str:
    """A peer's figure, with its name and how many times as long as ours it takes."""
    text = cell(row) + (f" {row['provider']}" if row and named else "")
    return text + (f" ({times(ratio(row, ours)[0])})" if good(row) and good(ours) else "")


def losses(content: dict[str, Any]) -> str:
    """docs/performance.md's part: each loss and feature beside what its users have."""
    sizes = [(batch, n) for batch in (1, 16) for n in (20, 100, 300)]
    lines = []
    for phase, name in PRESENT.items():
        cells = []
        for batch, n in sizes:
            of_case = timed(content["rows"], Case(phase, "noisy circle", n, 16, batch))
            ours, theirs = of_case.get(PUBLIC), of_case.get(name)
            beside = times(ratio(theirs, ours)[0]) if good(ours) and good(theirs) else cell(theirs)
            cells.append(cell(ours) + (f" ({beside})" if ours else ""))
        lines.append([PHASES[phase], name, *cells])
    titles = [f"n = {n}" if batch == 1 else f"{batch} of {n}" for batch, n in sizes]
    return f"{table(' | '.join(['what', 'beside', *titles]), lines)}\n\n{origin(content)}"


def goals(content: dict[str, Any]) -> str:
    """The goals and whether they are met."""
    return table("what | against | goal | measured | met", list(judged(content["rows"])))


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
    ]
    tables = {title: _by_case(select(rows, what="time", phase=p)) for p, title in PHASES.items()}
    tables["Peak memory of a call"] = _by_case(select(rows, what="memory"))
    tables["TSLoss in a prompt-tuning step"] = _by_case(select(rows, what="step"))
    tables["Who has no figure, and why"] = _failures(rows) or "No one."
    return "\n\n".join(parts + [f"### {title}\n\n{text}" for title, text in tables.items() if text])


def _by_case(rows: Sequence[Row]) -> str:
    """A row a case, a column a provider."""
    names = [name for name in NAMES if select(rows, provider=name)]
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["provider"] in names:
            by_case.setdefault(_case(row), {})[row["provider"]] = row
    lines = [[case, *(cell(of.get(name)) for name in names)] for case, of in by_case.items()]
    return table(" | ".join(["case", *names]), lines)


def _case(row: Row) -> str:
    if row["what"] == "step":
        return f"TSLoss {row.get('mode', 'in any mode')}, in a step"
    return str(case_of(row)) + (", memory" if row["what"] == "memory" else "")


def _failures(rows: Sequence[Row]) -> str:
    """One line for a provider that fails alike in many cases."""
    seen: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if not good(row):
            key = (row["provider"], row["status"], str(row.get("reason") or ""))
            seen.setdefault(key, []).append(_case(row))
    lines = [[*key, "; ".join(where)] for key, where in seen.items()]
    return table("provider | status | why | where", lines)


def exponent(path: Sequence[Row], key: str) -> float | None:
    """The slope of log(cost) against log(n) from `FIT_FROM` on; None below three sizes."""
    logs = np.log([(r["n"], r[key]) for r in path if r["n"] >= FIT_FROM and r[key] > 0])
    return float(np.polyfit(*logs.T, 1)[0]) if len(logs) >= 3 else None


def growth(content: dict[str, Any]) -> str:
    """The exponents and how far each path goes, a row a path, as ranges over the families."""
    lines = []
    for phase in dict.fromkeys(row["phase"] for row in select(content["rows"], status="ok")):
        rows = select(content["rows"], phase=phase, status="ok")
        paths = [select(rows, family=family) for family in {row["family"] for row in rows}]
        last = max(rows, key=lambda row: (row["n"], row["median_s"]))
        slopes = ([exponent(path, key) for path in paths] for key in ("median_s", "peak_bytes"))
        sizes = ([largest(path, bound_s) for path in paths] for bound_s in (10e-3, 1.0))
        ranges = [*(_range(of, ".2f") for of in slopes), *(_range(of, "d") for of in sizes)]
        most = f"{last['family']}, n = {last['n']}", cell(last), cell(last | {"what": "memory"})
        lines.append([PHASES[phase], *ranges, *most])
    header = "path | time ~ n^ | memory ~ n^ | n up to 10 ms a call | n up to 1 s a call"
    header += " | largest | its time | its memory"
    return f"{origin(content)}\n\n{table(header, lines)}"


def largest(path: Sequence[Row], bound_s: float) -> int:
    """The largest size that was measured to take at most so long; 0 if none."""
    return max((row["n"] for row in path if row["median_s"] <= bound_s), default=0)


def _range(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    ends = [format(end(known), form) for end in (min, max)] if known else ["-"]
    return " to ".join(dict.fromkeys(ends))


def gpu(content: dict[str, Any]) -> str:
    """The rows of `benchmarks.gpu`, as it prints them."""
    from benchmarks.gpu import HEADER, cells

    machine = content["machine"]
    title = f"Measured {content['date'][:10]} at commit {content['commit']} by `make bench-gpu`"
    title += f": {machine['device']}, CUDA {machine['cuda']}, torch {machine['torch']}, "
    title += f"Triton {machine['triton']}."
    return f"{title}\n\n{table(HEADER, list(map(cells, content['rows'])))}"


def against(content: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Each of our rows over the same one of other runs, and whether it leaves their spread.

    The spread goes from the least p20 to the greatest p80 of the others. A row is slower if its
    p20 lies above it, faster if its p80 lies below it, and lost if it has no figure any more.
    """
    lines, peers = [], []
    for row in (row for row in content["rows"] if row["what"] in ("time", "growth")):
        same = {key: row[key] for key in ("what", *Case.__dataclass_fields__, "provider")}
        before = [old for other in others for old in select(other["rows"], **same, status="ok")]
        if not before:
            continue
        middle = statistics.median(old["median_s"] for old in before)
        change, verdict = math.nan, "lost"
        if good(row):
            change, verdict = row["median_s"] / middle, "within"
            if row["p20_s"] > max(old["p80_s"] for old in before):
                verdict = "slower"
            elif row["p80_s"] < min(old["p20_s"] for old in before):
                verdict = "faster"
        if row["provider"] in OURS:
            what = f"{row['provider']}: {case_of(row)}"
            lines.append([what, show_seconds(middle), cell(row), f"{change:.3f}", verdict])
        elif good(row):
            peers.append(change)
    counts = Counter(line[-1] for line in lines)
    said = ", ".join(f"{count} {word}" for word, count in counts.items()) or "none in both"
    drift = f"; the peers' rows took {statistics.median(peers):.3f} of the others'" if peers else ""
    parts = [f"This run: {origin(content)}", *(f"Other: {origin(other)}" for other in others)]
    parts.append(table("row of ours | others | this run | ratio | spread", lines))
    return "\n\n".join([*parts, f"{len(lines)} rows of ours: {said}{drift}."])


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


# The generated parts: their file, their name, the kind of run that they show, and their writer.
PARTS = (
    ("README.md", "summary", "bench", summary),
    ("docs/performance.md", "losses", "losses", losses),
    ("benchmarks/README.md", "goals", "bench", goals),
    ("benchmarks/README.md", "everything", "bench", everything),
    ("benchmarks/README.md", "growth", "growth", growth),
    ("benchmarks/README.md", "gpu", "gpu", gpu),
)


def written(runs: dict[str, dict[str, Any]]) -> dict[Path, str]:
    """Each README as it should be by the latest runs, see `latest_runs`."""
    texts: dict[Path, str] = {}
    for name, part, kind, write in PARTS:
        file = results.ROOT / name
        body = write(runs[kind]) if kind in runs else f"Not measured yet: `make bench-{kind}`."
        texts[file] = replaced(texts.get(file) or file.read_text("utf-8"), part, body)
    return texts


def latest_runs(folder: Path = results.FOLDER) -> dict[str, dict[str, Any]]:
    """The newest complete run of the bench, and of growth and a GPU where there is one."""
    runs = {"bench": results.read(results.latest("quick", "full", folder=folder))}
    suites = {"growth": ("growth",), "gpu": ("gpu",), "losses": ("losses", "quick", "full")}
    for kind, names in suites.items():
        with contextlib.suppress(FileNotFoundError):
            runs[kind] = results.read(results.latest(*names, folder=folder))
    return runs


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
        runs = latest_runs()
        if arguments.against:
            content = results.read(arguments.file) if arguments.file else runs["bench"]
            print(against(content, [results.read(other) for other in arguments.against]))
            return 0
        outdated = {f: t for f, t in written(runs).items() if f.read_text("utf-8") != t}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.check:
        print(*(f"{file}: does not match the latest results" for file in outdated), sep="\n")
        return 1 if outdated else 0
    for file, text in outdated.items():
        file.write_text(text, "utf-8")
    shown = [runs[kind] for kind in ("bench", "growth") if kind in runs]
    drawn = [file for content in shown for file in pictures.draw(content)]
    print(*outdated, *drawn, sep="\n")
    print(f"\n{origin(runs['bench'])}\n\n{goals(runs['bench'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
