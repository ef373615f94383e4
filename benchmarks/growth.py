"""How cost grows: time and memory of each path against n, by family, and the exponents.

    python -m benchmarks.growth      # a new file in benchmarks/results, about ten minutes

A path goes to the next size until a call exceeds the limit, or would by the growth so far.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, results
from benchmarks.providers.base import Call
from benchmarks.providers.ours import Engine, TslossFast
from benchmarks.rows import select
from benchmarks.worker import START_LIMIT_S, ProviderFailed, ProviderStopped, Worker
from tsloss_fast._timing import show_seconds, spread

SIZES = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
# Below it, what a call costs at all hides how it grows.
FIT_FROM = 100
DIM = 768
EVERY_STEP_S, NOW_AND_THEN_S = 10e-3, 1.0
PATHS = {
    "distances": "distances",
    "h0": "H0, from distances",
    "h1": "H0 + H1, from distances",
    "loss_backward": "TSLoss, from points",
    "surrogate_backward": "surrogate, from points",
}
# H0 alone is asked for at this size.
H0_LARGEST = 20_000


class FromPoints(Engine):
    """The engine's calls, their distances made here: at n = 20,000 they are better not sent."""

    def h0(self, x: np.ndarray) -> Call:
        return super().h0(self._distances(x))

    def h1(self, x: np.ndarray) -> Call:
        return super().h1(self._distances(x))

    def h0_agrees(self, x: np.ndarray) -> Call:
        """Whether H0's lengths are those of persist0-tda, another engine."""
        import persist0

        D = self._distances(x)
        i, j = persist0.h0_batched(D)[0].astype(np.int64).T
        (ours,) = super().h0(D).read(super().h0(D).run())
        return Call(lambda: np.array_equal(np.sort(D[0, i, j]), np.sort(ours[0][:, 1])), bool)

    def _distances(self, x: np.ndarray) -> np.ndarray:
        """The distances, kept for the next call on the same points."""
        from tsloss_fast import _C

        points, D = getattr(self, "_last", (None, None))
        if points is None or not np.array_equal(points, x):
            D = _C.distances(x, threads=self.threads)
            self._last = x, D
        return D

    def loss_backward(self, x: np.ndarray) -> Call:
        return TslossFast(self.threads).loss_backward(x)

    def surrogate_backward(self, x: np.ndarray) -> Call:
        return TslossFast(self.threads).surrogate_backward(x)


PROVIDER = "benchmarks.growth:FromPoints"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The slope of log(cost) against log(n) from `FIT_FROM` on; None below three sizes."""
    pairs = [
        (math.log(n), math.log(c))
        for n, c in zip(sizes, costs, strict=True)
        if n >= FIT_FROM and c > 0
    ]
    if len(pairs) < 3:
        return None
    x, y = np.array(pairs).T
    return float(np.polyfit(x, y, 1)[0])


def goes_on(sizes: Sequence[int], seconds: Sequence[float], following: int, limit_s: float) -> bool:
    """Whether a call at the following size keeps the limit, by the growth of the last two."""
    if len(sizes) < 2:
        return True
    slope = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
    return seconds[-1] * (following / sizes[-1]) ** max(slope, 2.0) <= limit_s


def measure(path: str, family: str, limit_s: float, memory_gib: float) -> list[dict[str, Any]]:
    """Rows of one path and family, one a size, until the limit."""
    rows: list[dict[str, Any]] = []
    for n in SIZES:
        done = [row for row in rows if row["status"] == "ok"]
        sizes, seconds = [r["n"] for r in done], [r["seconds"] for r in done]
        if not goes_on(sizes, seconds, n, limit_s):
            rows.append(
                {"n": n, "status": "not tried", "reason": f"by its growth over {limit_s:g} s"}
            )
            break
        x = cases.points(family, n, cases.family_dim(family, DIM))
        row: dict[str, Any] = {"n": n, "status": "ok"}
        rows.append(row)
        try:
            row |= _measure_one(path, x, limit_s, memory_gib)
        except (ProviderFailed, ProviderStopped) as error:
            row |= {"status": "failed", "reason": str(error)}
            break
    return [{"path": path, "family": family} | row for row in rows]


def _measure_one(path: str, x: np.ndarray, limit_s: float, memory_gib: float) -> dict[str, Any]:
    worker = Worker(PROVIDER, 1, memory_gib)
    # Distances from which a path begins are not in its time, but have to be waited for.
    wait_s = 300 + 4 * limit_s
    try:
        worker.ask("start", limit_s=START_LIMIT_S)
        peak = worker.ask("memory", path, x[:, :5], x, limit_s=wait_s)
        first_s = worker.ask("prepare", path, x, limit_s=wait_s)["seconds"]
        repeats = max(1, min(1000, math.ceil(2e-3 / first_s)))
        times = [first_s]
        if first_s < limit_s / 5:
            times = [worker.ask("sample", repeats, True, limit_s=wait_s) for _ in range(5)]
        cost = spread(times)
        checked = None
        if path == "h0":
            try:
                answer = worker.ask("prepare", "h0_agrees", x, limit_s=wait_s)
                checked = answer["result"]
            except ProviderFailed as error:
                checked = str(error)
    finally:
        worker.stop()
    if checked is False:
        raise ProviderFailed("H0 differs from persist0-tda's")
    found = {"seconds": cost.median_s, **cost.as_dict(), "peak_bytes": peak}
    return found | ({"agrees_with_persist0": checked} if checked is not None else {})


def growth_table(content: dict[str, Any]) -> str:
    """The exponents and how far each path goes, as a Markdown table."""
    lines = [
        f"Measured {content['date'][:10]} at commit {content['commit']}, one thread, d = {DIM} "
        f"({cases.EMBEDDING_DIM} for embedding rows), {content['machine']['processor']} "
        f"({content['machine']['isa']}); no call longer than {content['limits']['call_s']:g} s.",
        "",
        "| path | family | time ~ n^ | memory ~ n^ | in every step: n up to | now and then: n up to"
        " | the largest measured | its time | its memory |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for path, family in dict.fromkeys((row["path"], row["family"]) for row in content["rows"]):
        rows = select(content["rows"], path=path, family=family, status="ok")
        if not rows:
            lines.append(f"| {PATHS[path]} | {family} |" + " - |" * 7)
            continue
        sizes = [row["n"] for row in rows]
        slopes = [exponent(sizes, [row[key] for row in rows]) for key in ("seconds", "peak_bytes")]
        far = [
            str(max((row["n"] for row in rows if row["seconds"] <= bound), default="none"))
            for bound in (EVERY_STEP_S, NOW_AND_THEN_S)
        ]
        last = rows[-1]
        cells = [
            PATHS[path],
            family,
            *("-" if slope is None else f"{slope:.2f}" for slope in slopes),
            *far,
            str(last["n"]),
            show_seconds(last["seconds"]),
            f"{last['peak_bytes'] / 2**20:.1f} MiB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Exponents are fitted to sizes from {FIT_FROM} on. In every step: at most "
        f"{EVERY_STEP_S * 1e3:g} ms; now and then: at most {NOW_AND_THEN_S:g} s; both are measured "
        "sizes, none is extrapolated. Memory is what a call takes beside its input, at its peak; "
        "none where it fits into memory that the process had and gave back.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write a new file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--path", action="append", choices=tuple(PATHS), help="only this one (again)")
    add("--family", action="append", choices=tuple(cases.FAMILIES), help="only this one (again)")
    add("--limit", type=float, default=6.0, metavar="S", help="seconds that a call may take")
    add("--memory-limit", type=float, default=12.0, metavar="GIB", help="of the process; 0: none")
    add("--out", type=Path, default=results.FOLDER, help="folder for the results")
    arguments = parser.parse_args(argv)
    machine = results.machine(threads=1)
    partial = bool(arguments.path or arguments.family)
    content = {
        "kind": "growth",
        "suite": "selection" if partial else "full",
        "date": results.now(),
        "commit": results.commit(),
        "complete": False,
        "machine": machine,
        "load_at_start": results.load(),
        "limits": {"call_s": arguments.limit, "memory_gib": arguments.memory_limit},
        "unavailable": {},
        "rows": [],
    }
    name = "selection_growth" if partial else "growth"
    file = results.ResultFile(
        arguments.out, name, machine["processor"], content["commit"], content["date"]
    )
    try:
        for path in arguments.path or PATHS:
            for family in arguments.family or cases.FAMILIES:
                if reason := cases.why_unavailable(family):
                    content["unavailable"][family] = reason
                    sys.stdout.write(f"{family}: left out, {reason}\n")
                    continue
                rows = measure(path, family, arguments.limit, arguments.memory_limit)
                content["rows"] += rows
                file.write(content)
                for row in rows:
                    shown = row.get("reason") or show_seconds(row["seconds"])
                    sys.stdout.write(f"{PATHS[path]}, {family}, n = {row['n']}: {shown}\n")
                    sys.stdout.flush()
        content["complete"] = True
        content["load_at_end"] = results.load()
        file.write(content)
    except KeyboardInterrupt:
        file.discard()
        return 130
    sys.stdout.write(f"results: {os.path.relpath(file.path)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
