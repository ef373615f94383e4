"""Measure: python -m benchmarks.run quick | full, or a choice of cases.

Every provider runs in a process of its own and is asked in turn. It is timed only after its result
was found to agree with gudhi's (see `benchmarks.agreement`). Who is not installed, fails, disagrees
or exceeds its time or memory gets a row that says so. The results go to a new file.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import agreement, cases, plans, results
from benchmarks.cases import Case
from benchmarks.providers import NAMES, OURS, provider_class
from benchmarks.worker import (
    START_LIMIT_S,
    ProviderFailed,
    ProviderStopped,
    TimeExceeded,
    Worker,
)
from tsloss_fast._timing import repeats_for, show_seconds, spread

TRUTH = "benchmarks.truth:Truth"
STEP = "benchmarks.step:TuningStep"
STEP_LIMIT_S = 400.0
# What stands in where gudhi does not finish: an independent engine, and for it our own.
STAND_IN, STAND_IN_FOR_IT = "redzed-tda", "tsloss_fast engine"
MOST_SAMPLES, FEWEST_SAMPLES = 15, 3
SMALL_N = 5
# How many times longer a sample on several threads is: a kernel may keep them on one processor and
# move them apart only after many milliseconds.
SPREADING = 100


class Unavailable(RuntimeError):
    """A provider that cannot be used on this machine."""


class Pool:
    """The providers' processes, started when first asked for and again after they stopped."""

    def __init__(self, memory_gib: float) -> None:
        self._memory_gib = memory_gib
        self._workers: dict[tuple[str, int], Worker] = {}
        self._warm: set[tuple[str, int, str]] = set()
        self.versions: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def ask(self, name: str, threads: int, operation: str, *arguments: Any, limit_s: float) -> Any:
        """What the provider answers, see `Worker.ask`."""
        key = (name, threads)
        if key not in self._workers:
            self._workers[key] = self.fresh(name, threads)
        try:
            return self._workers[key].ask(operation, *arguments, limit_s=limit_s)
        except ProviderStopped:
            del self._workers[key]
            self._warm = {entry for entry in self._warm if entry[:2] != key}
            raise

    def prepare(
        self,
        name: str,
        threads: int,
        phase: str,
        array: np.ndarray,
        small: np.ndarray,
        limit_s: float,
    ) -> dict[str, Any]:
        """The provider's result and the seconds of the first call, after a small one."""
        # One that compiles for each shape gains nothing from a small one.
        compiles = provider_class(name).first_call_limit_s > 0
        if not compiles and (name, threads, phase) not in self._warm:
            self.ask(name, threads, "warm_up", phase, small, limit_s=START_LIMIT_S)
            self._warm.add((name, threads, phase))
        return self.ask(name, threads, "prepare", phase, array, limit_s=limit_s)

    def fresh(self, name: str, threads: int) -> Worker:
        """A process of its own for the provider.

        Raises
        ------
        Unavailable
            With the reason.
        """
        if name in self.reasons:
            raise Unavailable(self.reasons[name])
        worker = Worker(NAMES.get(name, name), threads, self._memory_gib)
        answer = worker.ask("start", limit_s=START_LIMIT_S)
        self.versions[name] = answer["version"]
        if answer["reason"]:
            worker.stop()
            self.reasons[name] = answer["reason"]
            raise Unavailable(answer["reason"])
        return worker

    def stop(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()


@dataclass
class Side:
    """One provider in one case: its row, and how it is sampled."""

    name: str
    row: dict[str, Any]
    # One result an input; none where the provider failed.
    results: list[Any] = field(default_factory=list)
    call_s: float = 0.0
    repeats: int = 1
    samples: int = 0


class Bench:
    """Measures the cases of a suite with the chosen providers."""

    def __init__(self, suite: plans.Suite, names: Sequence[str], memory_gib: float) -> None:
        self.suite = suite
        self.names = names
        self.pool = Pool(memory_gib)
        self._truths: dict[tuple, Any] = {}
        # The smallest size at which a provider exceeded its time or memory.
        self._gave_up: dict[tuple, tuple[int, str]] = {}

    def measure(self, case: Case) -> list[dict[str, Any]]:
        """The rows of one case, one a provider that supports its phase."""
        only, limit_s = self.suite.providers(case)
        names = [n for n in self.names if case.phase in provider_class(n).phases()]
        names = [n for n in names if only is None or n in only]
        base = {"what": "time", **case.as_dict()}
        if reason := cases.why_unavailable(case.family):
            return [base | {"provider": n, "status": "no data", "reason": reason} for n in names]
        arrays = _inputs(case)
        truths, why_not = self._truths_of(case, arrays)
        sides = [self._prepare(name, case, arrays, base, limit_s) for name in names]
        self._check(case, arrays, sides, truths, why_not)
        self._sample([side for side in sides if side.row["status"] == "ok"], case, limit_s)
        return [side.row for side in sides]

    def _truths_of(self, case: Case, arrays: Sequence[np.ndarray]) -> tuple[list[Any], str | None]:
        """gudhi's results, or none and why; the same for a loss with backward."""
        phase = case.phase.removesuffix("_backward")
        key = (phase, case.family, case.n, case.d, case.batch)
        if key not in self._truths:
            if len(self._truths) > 8:
                self._truths.pop(next(iter(self._truths)))
            limit_s = self.suite.truth_limit_s
            try:
                self._truths[key] = (
                    [
                        self.pool.ask(TRUTH, 1, "prepare", phase, array, limit_s=limit_s)["result"]
                        for array in arrays
                    ],
                    None,
                )
            except (ProviderFailed, ProviderStopped, Unavailable) as error:
                self._truths[key] = [], f"gudhi: {error}"
        return self._truths[key]

    def _prepare(
        self,
        name: str,
        case: Case,
        arrays: Sequence[np.ndarray],
        base: dict[str, Any],
        limit_s: float,
    ) -> Side:
        row = base | {"provider": name, "status": "ok", "reason": None}
        row["edges"] = provider_class(name).edges
        side = Side(name, row)
        size = case.n * case.batch
        key = (name, case.phase, case.family, case.threads)
        if key in self._gave_up and size > self._gave_up[key][0]:
            row |= {"status": "not tried", "reason": self._gave_up[key][1]}
            return side
        first_limit_s = max(limit_s, provider_class(name).first_call_limit_s)
        try:
            small = _input(replace(case, n=SMALL_N))
            answer = self.pool.prepare(
                name, case.threads, case.phase, arrays[0], small, limit_s=first_limit_s
            )
            side.results, side.call_s = [answer["result"]], answer["seconds"]
            row["first_call_s"] = side.call_s
            if not is_timed_once(name, side.call_s, limit_s):
                others = (case.phase, arrays[1:])
                wait_s = first_limit_s * len(arrays)
                side.results += self.pool.ask(
                    name, case.threads, "prepare_others", *others, limit_s=wait_s
                )
        except Unavailable as error:
            row |= {"status": "unavailable", "reason": str(error)}
        except ProviderFailed as error:
            row |= {"status": "failed", "reason": str(error)}
        except ProviderStopped as error:
            status = "exceeded its time" if isinstance(error, TimeExceeded) else "crashed"
            row |= {"status": status, "reason": str(error)}
        else:
            row["inputs"] = len(side.results)
            return side
        side.results = []
        if row["status"] != "unavailable":
            self._gave_up[key] = size, f"{row['status']} at {_size(case)}: {row['reason']}"
        return side

    def _check(
        self,
        case: Case,
        arrays: Sequence[np.ndarray],
        sides: list[Side],
        truths: list[Any],
        why_not: str | None,
    ) -> None:
        """Set the status of every side whose result is wrong, or that nothing could check."""
        results_of = {side.name: side.results for side in sides}
        for side in sides:
            if not side.results:
                continue
            expected, against = truths, "gudhi"
            if not truths:
                against = STAND_IN_FOR_IT if side.name == STAND_IN else STAND_IN
                expected = results_of.get(against, []) if case.phase in ("h0", "h1") else []
                side.row["why_not_gudhi"] = why_not
            if len(expected) < len(side.results):
                side.row |= {"status": "not checked", "reason": why_not}
                continue
            checked = agreement.what_is_checked(case.phase, side.row["edges"])
            side.row |= {"checked": checked, "against": against}
            for array, result, true in zip(arrays, side.results, expected, strict=False):
                why = agreement.disagreement(case.phase, result, true, side.row["edges"])
                if why and case.phase == "loss_backward":
                    why = self._disagreement_nearby(case, array, result, true)
                    side.row["checked_nearby"] = True
                if why:
                    side.row |= {"status": "disagrees", "reason": why}
                    break

    def _disagreement_nearby(
        self, case: Case, x: np.ndarray, result: Any, truth: Any
    ) -> str | None:
        """The same with the reference's gradients at points that rounding cannot tell from x."""
        gradients = [truth[1]]
        for moved in agreement.within_rounding(x, result[1], truth[1]):
            answer = self.pool.ask(
                TRUTH, 1, "prepare", "loss", moved, limit_s=self.suite.truth_limit_s
            )
            gradients.append(answer["result"][1])
        return agreement.gradient_disagreement(*result, truth[0], gradients)

    def _sample(self, sides: list[Side], case: Case, limit_s: float) -> None:
        """Time the sides in turn, the slower ones less often."""
        times: dict[str, list[float]] = {side.name: [] for side in sides}

        def ask(side: Side, repeats: int, warm_up: bool) -> float | None:
            wait_s = 10 + 2 * limit_s + 20 * side.call_s * (repeats + 1)
            try:
                return self.pool.ask(
                    side.name, case.threads, "sample", repeats, warm_up, limit_s=wait_s
                )
            except (ProviderFailed, ProviderStopped, Unavailable) as error:
                side.row |= {"status": "failed", "reason": f"on a later call: {error}"}
                side.samples = 0
                return None

        for side in sides:
            if is_timed_once(side.name, side.call_s, limit_s):
                times[side.name].append(side.call_s)
                continue
            probe_s = ask(side, 1, True)
            if probe_s is not None:
                side.call_s = probe_s
                spreads = SPREADING if case.threads > 1 else 1
                side.repeats = repeats_for(probe_s / spreads)
                # Each sample is preceded by a warm-up call.
                cost_s = probe_s * (side.repeats + 1)
                side.samples = samples_for(cost_s, self.suite.budget_s)
        rounds = max((side.samples for side in sides), default=0)
        for round_ in range(rounds):
            for side in sides:
                if takes_part(round_, rounds, side.samples):
                    seconds = ask(side, side.repeats, True)
                    times[side.name] += [] if seconds is None else [seconds]
        for side in sides:
            if side.row["status"] == "ok":
                side.row |= spread(times[side.name]).as_dict()
                side.row["calls_per_sample"] = side.repeats

    def memory(self, case: Case) -> list[dict[str, Any]]:
        """Peak memory of each provider's call in a fresh process."""
        if cases.why_unavailable(case.family):
            return []
        small = _input(replace(case, n=SMALL_N))
        array = _input(case)
        rows = []
        for name in self.names:
            if case.phase not in provider_class(name).phases():
                continue
            row = {"what": "memory", **case.as_dict(), "provider": name, "status": "ok"}
            rows.append(row)
            limit_s = max(4 * self.suite.limit_s, 2 * provider_class(name).first_call_limit_s)
            try:
                worker = self.pool.fresh(name, case.threads)
                try:
                    arguments = (case.phase, small, array)
                    row["peak_bytes"] = worker.ask("memory", *arguments, limit_s=limit_s)
                finally:
                    worker.stop()
            except Unavailable as error:
                row |= {"status": "unavailable", "reason": str(error)}
            except TimeExceeded as error:
                row |= {"status": "exceeded its time", "reason": str(error)}
            except (ProviderFailed, ProviderStopped) as error:
                row |= {"status": "failed", "reason": str(error)}
        return rows

    def tuning_step(self, rounds: int, threads: int) -> list[dict[str, Any]]:
        """Rows of the whole prompt-tuning step, see `benchmarks.step`."""
        base = {"what": "step", "threads": threads}
        try:
            answer = self.pool.ask(
                STEP, threads, "prepare", "tuning_step", np.array(rounds), limit_s=STEP_LIMIT_S
            )
        except (ProviderFailed, ProviderStopped, Unavailable) as error:
            return [base | {"provider": "all", "status": "unavailable", "reason": str(error)}]
        return [base | row for row in answer["result"]]


def samples_for(cost_s: float, budget_s: float) -> int:
    """How many samples of `cost_s` each are taken, so that they cost about `budget_s`."""
    return max(FEWEST_SAMPLES, min(MOST_SAMPLES, math.floor(budget_s / cost_s)))


def is_timed_once(name: str, call_s: float, limit_s: float) -> bool:
    """Whether one call, the first, is all that a provider as slow as that can be afforded."""
    return call_s > limit_s / 3 and provider_class(name).first_call_limit_s == 0


def takes_part(round_: int, rounds: int, samples: int) -> bool:
    """Whether a side with `samples` of `rounds` samples runs in this round: evenly spread."""
    return (round_ + 1) * samples // rounds > round_ * samples // rounds


def _input(case: Case, turn: int = 0) -> np.ndarray:
    arrays = cases.inputs(case.family, case.n, case.d, case.batch, turn)
    return arrays["D" if case.phase in cases.FROM_DISTANCES else "x"]


def _inputs(case: Case) -> list[np.ndarray]:
    """What the calls of a row take in turn."""
    return [_input(case, turn) for turn in range(cases.inputs_in_turn(case.n, case.batch))]


def _size(case: Case) -> str:
    return f"n = {case.n}" + (f", batch {case.batch}" if case.batch > 1 else "")


def show(row: dict[str, Any]) -> str:
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
    return line + ("" if row["against"] == "gudhi" else f"  checked against {row['against']}")


def run(
    bench: Bench,
    chosen: Sequence[Case],
    memory: Sequence[Case],
    step_rounds: int,
    threads: int,
    save: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """Measure everything, saving after each case."""
    rows: list[dict[str, Any]] = []

    def add(title: str, new: list[dict[str, Any]]) -> None:
        _say(title)
        for row in new:
            _say(show(row))
        rows.extend(new)
        save(rows)

    for index, case in enumerate(chosen, 1):
        add(f"[{index}/{len(chosen)}] {case}", bench.measure(case))
    for case in memory:
        add(f"[memory] {case}", bench.memory(case))
    if step_rounds:
        add("[step] SmolLM2, 20 tokens, batches of 4", bench.tuning_step(step_rounds, threads))
    return rows


def choose(suite: plans.Suite, arguments: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """Cases whose time and whose memory are measured, by the command line's selection."""

    def wanted(case: Case) -> bool:
        return all(
            not chosen or value in chosen
            for value, chosen in (
                (case.phase, arguments.phase),
                (case.family, arguments.family),
                (case.n, arguments.n),
            )
        )

    def threaded(case: Case) -> Case:
        return replace(case, threads=arguments.threads) if case.threads == 1 else case

    timed = [] if arguments.no_time else [threaded(c) for c in suite.cases if wanted(c)]
    weighed = [] if arguments.no_memory else [threaded(c) for c in suite.memory if wanted(c)]
    return timed, weighed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("suite", choices=sorted(plans.SUITES), help="quick: about ten minutes; full: hours")
    add("--phase", action="append", choices=(*cases.PHASES, "step"), help="only this one (again)")
    add("--family", action="append", choices=tuple(cases.FAMILIES), help="only this one (again)")
    add("--n", action="append", type=int, help="only this many points (again)")
    add("--provider", action="append", choices=tuple(NAMES), help="only this one (again)")
    add("--threads", type=int, default=1, help="threads of each provider")
    add("--limit", type=float, metavar="S", help="seconds that one call may take (the suite's)")
    add("--memory-limit", type=float, default=8.0, metavar="GIB", help="of a provider; 0: none")
    add("--no-time", action="store_true", help="leave the times out")
    add("--no-memory", action="store_true", help="leave peak memory out")
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
    timed, weighed = choose(suite, arguments)
    with_step = not arguments.phase or "step" in arguments.phase
    step_rounds = arguments.step_rounds if with_step else 0
    if not (timed or weighed or step_rounds):
        parser.error("expected a selection with at least one case of the suite, got none")
    narrowed = (
        arguments.phase, arguments.family, arguments.n, arguments.provider, arguments.limit,
        arguments.no_time, arguments.no_memory, arguments.step_rounds != 5, arguments.threads != 1,
    )  # fmt: skip
    names = arguments.provider or list(NAMES)

    machine = results.machine(arguments.threads)
    content = {
        "kind": "bench",
        "suite": "selection" if any(narrowed) else suite.name,
        "command": " ".join(
            ["python -m benchmarks.run", *(sys.argv[1:] if argv is None else argv)]
        ),
        "date": results.now(),
        "commit": results.commit(),
        "complete": False,
        "machine": machine,
        "load_at_start": results.load(),
        "limits": {"call_s": suite.limit_s, "memory_gib": arguments.memory_limit},
        "checks": agreement.WHAT_IS_CHECKED,
        "providers": {},
        "rows": [],
    }
    bench = Bench(suite, names, arguments.memory_limit)
    try:
        file = results.ResultFile(
            arguments.out,
            content["suite"],
            machine["processor"],
            content["commit"],
            content["date"],
        )
    except OSError as error:
        parser.error(f"--out: cannot write to {arguments.out}: {error.strerror or error}")

    def save(rows: list[dict[str, Any]], complete: bool = False) -> None:
        providers = {
            name: {
                "version": bench.pool.versions.get(name, "not asked"),
                "unavailable": bench.pool.reasons.get(name),
                "note": provider_class(name).note,
            }
            for name in names
        }
        content.update(rows=rows, providers=providers, complete=complete)
        content["load_at_end"] = results.load()
        file.write(content)

    _say(f"{machine['processor']}, {machine['cores']} cores, {machine['isa']}, ", end="")
    _say(f"{arguments.threads} thread(s); load {content['load_at_start']}")
    try:
        rows = run(bench, timed, weighed, step_rounds, arguments.threads, save)
        save(rows, complete=True)
    except KeyboardInterrupt:
        file.discard()
        _say("stopped; what was measured is kept" if file.path.exists() else "stopped")
        return 130
    finally:
        bench.pool.stop()
    _say(f"results: {os.path.relpath(file.path)}")
    lost = [row for row in rows if row["provider"] in OURS and row["status"] != "ok"]
    for row in lost:
        _say(f"our own row is not there: {row}")
    return 1 if lost else 0


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
