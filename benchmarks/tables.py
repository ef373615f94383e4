"""Write the tables of README.md and benchmarks/README.md from the latest results.

python -m benchmarks.tables            # write them
python -m benchmarks.tables --check    # status 1 if a file does not match the results
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.cases import PHASES
from benchmarks.goals import ENGINE, PUBLIC, goals_table
from benchmarks.providers import NAMES
from benchmarks.repeated import latest_table
from benchmarks.rows import Row, cases_of, fastest_peer, good, ratio, select, timed
from tsloss_fast._timing import show_seconds

PICTURES = {
    "docs/benchmarks/h1_time.png": "Time of H0 + H1 against the number of points, a panel a family",
    "docs/benchmarks/speed_up.png": "How many times faster tsloss_fast is than each peer",
    "docs/benchmarks/step_share.png": "Share of a prompt-tuning step that TSLoss takes",
}


GROWTH_PICTURES = {
    "docs/benchmarks/growth_time.png": "Time of each path against the number of points",
    "docs/benchmarks/growth_memory.png": "Peak memory of each path against the number of points",
}


def pictures(content: dict[str, Any]) -> dict[str, str]:
    """The pictures that a run has rows for."""
    with_share = any("share" in row for row in content["rows"])
    return {f: text for f, text in PICTURES.items() if with_share or "step_share" not in f}


def begin(name: str) -> str:
    """The line above a generated part."""
    return f"<!-- benchmarks: {name}, written by `make bench-tables`; do not edit -->"


def end(name: str) -> str:
    """The line below it."""
    return f"<!-- benchmarks: end of {name} -->"


def replaced(text: str, name: str, body: str) -> str:
    """`text` with `body` between the two marker comments.

    Raises
    ------
    ValueError
        If the markers are not there once each, in order.
    """
    first, last = begin(name), end(name)
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ValueError(f"expected the marker comments of {name!r} once each, in order")
    before, rest = text.split(first)
    _, after = rest.split(last)
    return f"{before}{first}\n{body}\n{last}{after}"


def summary(content: dict[str, Any]) -> str:
    """README.md's part: the tables, the picture, and how it was measured."""
    picture = "docs/benchmarks/h1_time.png"
    parts = [_h1_table(content), _loss_table(content), _sentences(content)]
    parts.append(f"![{PICTURES[picture]}]({picture})")
    return "\n\n".join(parts)


def _h1_table(content: dict[str, Any]) -> str:
    lines = [
        "| H0 + H1 with critical edges, from distances | n | engine | public call | fastest peer |"
        " | gudhi SimplexTree | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for family, n, _, batch, threads in cases_of(content["rows"], "h1"):
        if batch > 1 or threads > 1:
            continue
        case = timed(content["rows"], "h1", family, n)
        peer, tree = fastest_peer(case), case.get("gudhi SimplexTree")
        ours = case.get(ENGINE)
        shown = _cell(peer) + (f" ({peer['provider']})" if peer else "")
        cells = [family, str(n), _cell(ours), _cell(case.get(PUBLIC)), shown, _ratio(peer, ours)]
        lines.append(_line([*cells, _cell(tree), _ratio(tree, ours)]))
    return "\n".join(lines)


def _loss_table(content: dict[str, Any]) -> str:
    lines = [
        "| TSLoss, forward + backward, from points | n | d | tsloss_fast | reference | |"
        " fastest peer | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = {"loss_backward": "persistence", "surrogate_backward": "surrogate"}
    for phase, mode in names.items():
        for family, n, d, batch, threads in cases_of(content["rows"], phase):
            case = timed(content["rows"], phase, family, n, d=d, batch=batch, threads=threads)
            ours, reference = case.get(PUBLIC), case.get("reference")
            peer = fastest_peer({k: row for k, row in case.items() if k != "reference"})
            what = f"{mode}, {family}" + (f", {batch} clouds" if batch > 1 else "")
            shown = _cell(peer) + (f" ({peer['provider']})" if peer else "")
            cells = [what, str(n), str(d), _cell(ours), _cell(reference), _ratio(reference, ours)]
            lines.append(_line([*cells, shown, _ratio(peer, ours)]))
    return "\n".join(lines)


def _sentences(content: dict[str, Any]) -> str:
    machine, providers = content["machine"], content["providers"]
    versions = ", ".join(
        f"{name} {provider['version']}"
        for name, provider in providers.items()
        if provider["version"] not in ("not asked", "not installed") and name != PUBLIC
        if name not in (ENGINE, "reference", "torch.compile")
    )
    text = [
        f"Measured {content['date'][:10]} at commit {content['commit']} by `make bench`"
        f"{'-full' if content['suite'] == 'full' else ''}: {machine['processor']}, "
        f"{machine['cores']} cores ({machine['isa']}), {machine['threads']} thread, "
        f"Python {machine['python']}, {versions}.",
        "Each provider runs in a process of its own and is asked in turn; figures are medians. "
        '"Engine" is the compiled module on arrays, which is what the peers\' calls are; "public '
        'call" is `rips_persistence` on a tensor, its checks included. A figure stands here only '
        "if the same run has shown the result equal to gudhi's, or, marked †, to that of "
        "another engine where gudhi did not finish in time.",
        *_batch_sentence(content),
        *_step_sentence(content),
        "Every peer, phase and failure: [benchmarks/README.md](benchmarks/README.md).",
    ]
    return "\n".join(text)


def _batch_sentence(content: dict[str, Any]) -> list[str]:
    one, two = (
        timed(content["rows"], "h1", "gaussian", 100, batch=16, threads=t).get(ENGINE)
        for t in (1, 2)
    )
    if not (good(one) and good(two)):
        return []
    return [
        f"16 gaussian clouds of n = 100 take {_cell(one)} on one thread and {_cell(two)} on two "
        f"({_ratio(one, two)})."
    ]


def _step_sentence(content: dict[str, Any]) -> list[str]:
    steps = [row for row in select(content["rows"], what="step", status="ok") if "share" in row]
    ours = [row for row in steps if row["provider"] == PUBLIC]
    reference = [row for row in steps if row["provider"] == "reference"]
    if not (ours and reference):
        return []
    shares = " and ".join(f"{row['share']:.2%} ({row['mode']})" for row in ours)
    step = show_seconds(ours[0]["step"]["median_s"])
    return [
        f"Of a whole prompt-tuning step of SmolLM2-135M ({step}, 20 tokens, batch 4) TSLoss takes "
        f"{shares}, the reference {reference[0]['share']:.2%}."
    ]


def everything(content: dict[str, Any]) -> str:
    """benchmarks/README.md's part: every phase, every provider, every failure."""
    parts = [_machine(content)]
    for phase, title in PHASES.items():
        if cases_of(content["rows"], phase):
            parts += [f"### {title}", _phase_table(content, phase)]
    parts += ["### Peak memory of a call", _memory_table(content)]
    parts += ["### A whole prompt-tuning step", _step_table(content)]
    parts += ["### Who has no figure, and why", _failures(content)]
    for file, text in pictures(content).items():
        parts.append(f"![{text}](../{file})")
    return "\n\n".join(parts)


def _machine(content: dict[str, Any]) -> str:
    lines = [
        f"Suite `{content['suite']}`, {content['date']}, commit {content['commit']}; load of the "
        f"machine at the start {content['load_at_start']}, at the end {content['load_at_end']}.",
        "",
        "| | |",
        "| --- | --- |",
        *(_line([key.replace("_", " "), str(value)]) for key, value in content["machine"].items()),
        *(_line([f"one {key}", f"at most {value:g}"]) for key, value in _limits(content)),
        "",
        "| provider | version | |",
        "| --- | --- | --- |",
    ]
    for name, provider in content["providers"].items():
        note = provider["unavailable"] or provider["note"]
        lines.append(_line([name, provider["version"], note]))
    lines += ["", "What is checked before a row is timed:", ""]
    lines += [f"- {name}: {text}" for name, text in content["checks"].items()]
    return "\n".join(lines)


def _limits(content: dict[str, Any]) -> list[tuple[str, float]]:
    limits = content["limits"]
    return [("call, seconds", limits["call_s"]), ("provider, GiB", limits["memory_gib"])]


def _phase_table(content: dict[str, Any], phase: str) -> str:
    rows = select(content["rows"], what="time", phase=phase)
    names = [name for name in NAMES if any(row["provider"] == name for row in rows)]
    lines = [_line(["family", "n", "d", "clouds", "threads", *names])]
    lines.append(_line(["---", *["---:"] * (4 + len(names))]))
    for family, n, d, batch, threads in cases_of(rows, phase):
        case = timed(rows, phase, family, n, d=d, batch=batch, threads=threads)
        cells = [_cell(case.get(name), spread=True) for name in names]
        lines.append(_line([family, str(n), str(d), str(batch), str(threads), *cells]))
    return "\n".join(lines)


def _memory_table(content: dict[str, Any]) -> str:
    lines = ["| what | n | provider | MiB |", "| --- | ---: | --- | ---: |"]
    for row in select(content["rows"], what="memory"):
        shown = f"{row['peak_bytes'] / 2**20:.1f}" if row["status"] == "ok" else row["status"]
        what = f"{PHASES[row['phase']]}, {row['family']}"
        lines.append(_line([what, str(row["n"]), row["provider"], shown]))
    return "\n".join(lines)


def _step_table(content: dict[str, Any]) -> str:
    lines = ["| loss | step | TSLoss alone | share |", "| --- | ---: | ---: | ---: |"]
    for row in select(content["rows"], what="step"):
        name = row["provider"] + (f", {row['mode']}" if row.get("mode", "none") != "none" else "")
        if row["status"] != "ok":
            lines.append(_line([name, f"{row['status']}: {row['reason']}", "", ""]))
            continue
        step = show_seconds(row["step"]["median_s"])
        alone = show_seconds(row["loss"]["median_s"]) if "loss" in row else ""
        lines.append(_line([name, step, alone, f"{row['share']:.2%}" if "share" in row else ""]))
    return "\n".join(lines)


def _failures(content: dict[str, Any]) -> str:
    seen: dict[tuple[str, str, str], list[str]] = {}
    for row in content["rows"]:
        if row["status"] == "ok" or "phase" not in row:
            continue
        # One line for a provider that fails alike in many cases.
        key = (row["provider"], row["status"], str(row.get("reason") or ""))
        where = f"{PHASES[row['phase']]}, {row['family']}, n = {row['n']}"
        where += f", {row['batch']} clouds" if row["batch"] > 1 else ""
        seen.setdefault(key, []).append(where + (", memory" if row["what"] == "memory" else ""))
    if not seen:
        return "No one."
    lines = ["| provider | | why | where |", "| --- | --- | --- | --- |"]
    for (name, status, reason), where in seen.items():
        lines.append(_line([name, status, reason, "; ".join(where)]))
    return "\n".join(lines)


def _cell(row: Row | None, spread: bool = False) -> str:
    """The median, a mark if gudhi did not finish, the spread if asked; or the status."""
    if row is None:
        return "-"
    if row["status"] != "ok":
        return row["status"]
    mark = "" if row["against"] == "gudhi" else " †"
    text = show_seconds(row["median_s"]) + mark
    if not spread or row["samples"] == 1:
        return text
    return f"{text} ({show_seconds(row['p20_s'])} to {show_seconds(row['p80_s'])})"


def _ratio(theirs: Row | None, ours: Row | None) -> str:
    if not (good(theirs) and good(ours)):
        return "-"
    value = ratio(theirs, ours)[0]
    return f"{value:.0f} x" if value >= 10 else f"{value:.1f} x"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _growth(folder: Path) -> str:
    from benchmarks.growth import growth_table

    try:
        content = results.read(results.latest("growth", ("full",), folder))
    except FileNotFoundError:
        return "Not measured yet: `make bench-growth`."
    links = [f"![{text}](../{file})" for file, text in GROWTH_PICTURES.items()]
    return "\n\n".join([growth_table(content), *links])


def parts(folder: Path = results.FOLDER) -> dict[Path, dict[str, Callable[[], str]]]:
    """Each file's generated parts, from the latest results in a folder."""

    def bench() -> dict[str, Any]:
        return results.read(results.latest("bench", ("quick", "full"), folder))

    readme, details = results.ROOT / "README.md", results.ROOT / "benchmarks" / "README.md"
    return {
        readme: {"summary": lambda: summary(bench())},
        details: {
            "goals": lambda: goals_table(bench()),
            "repeated": lambda: latest_table(folder),
            "everything": lambda: everything(bench()),
            "growth": lambda: _growth(folder),
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, status 1 if outdated")
    arguments = parser.parse_args(argv)
    outdated = []
    for file, of_file in parts().items():
        text = written = file.read_text("utf-8")
        for name, make in of_file.items():
            try:
                written = replaced(written, name, make())
            except (OSError, ValueError) as error:
                parser.error(f"{file}: {error}")
        if written != text:
            outdated.append(file)
            if not arguments.check:
                file.write_text(written, "utf-8")
    for file in outdated:
        verb = "does not match the latest results" if arguments.check else "written"
        sys.stdout.write(f"{file}: {verb}\n")
    return 1 if outdated and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
