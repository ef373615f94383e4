"""How a case is measured: every provider in a process of its own, checked, then timed in turn.

A provider is timed only after its result was found to agree with gudhi's (see
`benchmarks.agreement`). Who is not installed, fails, disagrees or exceeds its time or memory gets a
row that says so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks import agreement, cases, plans
from benchmarks.cases import Case
from benchmarks.providers import ENGINE, NAMES, PUBLIC, REDZED, provider_class
from benchmarks.providers.base import PAIRED
from benchmarks.rows import Row, select
from benchmarks.worker import (
    START_LIMIT_S,
    NoAnswer,
    ProviderFailed,
    ProviderStopped,
    Unavailable,
    Worker,
)
from tsloss_fast._timing import repeats_for, spread

TRUTH = "benchmarks.truth:Truth"
STEP = "benchmarks.step:TuningStep"
FROM_POINTS = "benchmarks.providers.ours:FromPoints"
STEP_LIMIT_S = 400.0
# What stands in where gudhi does not finish: an independent engine, and for it our own.
STAND_IN, STAND_IN_FOR_IT = REDZED, ENGINE
MOST_SAMPLES, FEWEST_SAMPLES = 15, 3
SMALL_N = 5
# How many times longer a sample on several threads is: a kernel may keep them on one processor and
# move them apart only after many milliseconds.
SPREADING = 100


class Pool:
    """The providers' processes, started when first asked for and again after they stopped."""

    def __init__(self, memory_gib: float) -> None:
        self._memory_gib = memory_gib
        self._workers: dict[tuple[str, int], Worker] = {}
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
            raise

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
    row: Row
    # One result an input; none where the provider failed.
    results: list[Any] = field(default_factory=list)
    call_s: float = 0.0
    repeats: int = 1
    samples: int = 0


class Bench:
    """Measures the cases of a suite with the chosen providers."""

    def __init__(self, suite: plans.Suite, names: Sequence[str]) -> None:
        self.suite = suite
        self.names = names
        self.pool = Pool(suite.memory_gib)
        self._truths: dict[tuple, Any] = {}
        # The smallest size at which a provider exceeded its time or memory.
        self._gave_up: dict[tuple, tuple[int, str]] = {}

    def measure(self, case: Case) -> list[Row]:
        """The rows of one case, one a provider that supports its phase."""
        only, limit_s = self.suite.providers(case)
        names = [n for n in self.names if provider_class(n).takes(case.phase)]
        names = [n for n in names if only is None or n in only]
        base = {"what": "time", **case.as_dict()}
        if reason := cases.why_unavailable(case.family):
            return [base | {"provider": n, "status": "no data", "reason": reason} for n in names]
        turns = range(cases.inputs_in_turn(case.n, case.batch))
        arrays = [_input(case, turn) for turn in turns]
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
            try:
                self._truths[key] = [self._truth(phase, array) for array in arrays], None
            except NoAnswer as error:
                self._truths[key] = [], f"gudhi: {error}"
        return self._truths[key]

    def _truth(self, phase: str, array: np.ndarray) -> Any:
        limit_s = self.suite.truth_limit_s
        return self.pool.ask(TRUTH, 1, "prepare", phase, array, limit_s=limit_s)["result"]

    def _prepare(
        self, name: str, case: Case, arrays: Sequence[np.ndarray], base: Row, limit_s: float
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
        ask = functools.partial(self.pool.ask, name, case.threads)
        try:
            # One that compiles for each shape gains nothing from a small one.
            if provider_class(name).first_call_limit_s == 0:
                small = _input(replace(case, n=SMALL_N))
                ask("warm_up", case.phase, small, limit_s=START_LIMIT_S)
            answer = ask("prepare", case.phase, arrays[0], limit_s=first_limit_s)
            side.results, side.call_s = [answer["result"]], answer["seconds"]
            row["first_call_s"] = side.call_s
            if not is_timed_once(name, side.call_s, limit_s):
                wait_s = first_limit_s * len(arrays)
                side.results += ask("prepare_others", case.phase, arrays[1:], limit_s=wait_s)
            row["inputs"] = len(side.results)
        except NoAnswer as error:
            row |= error.row()
            side.results = []
            if row["status"] != "unavailable":
                at = f"n = {case.n}" + (f", batch {case.batch}" if case.batch > 1 else "")
                self._gave_up[key] = size, f"{row['status']} at {at}: {row['reason']}"
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
                if why and case.phase in ("loss_backward", *PAIRED):
                    why = self._disagreement_nearby(case, array, result, true)
                    side.row["checked_nearby"] = True
                if why:
                    side.row |= {"status": "disagrees", "reason": why}
                    break

    def _disagreement_nearby(
        self, case: Case, x: np.ndarray, result: Any, truth: Any
    ) -> str | None:
        """The same with the reference's gradients at points that rounding cannot tell from x."""
        phase = case.phase.removesuffix("_backward")
        nearby = agreement.within_rounding(x, result[1], truth[1])
        gradients = [truth[1], *(self._truth(phase, moved)[1] for moved in nearby)]
        return agreement.gradient_disagreement(*result, truth[0], gradients)

    def _sample(self, sides: list[Side], case: Case, limit_s: float) -> None:
        """Time the sides in turn, the slower ones less often."""
        times: dict[str, list[float]] = {side.name: [] for side in sides}

        def ask(side: Side, repeats: int) -> list[float]:
            wait_s = 10 + 2 * limit_s + 20 * side.call_s * (repeats + 1)
            operation = (side.name, case.threads, "sample", repeats, True)
            try:
                return [self.pool.ask(*operation, limit_s=wait_s)]
            except NoAnswer as error:
                side.row |= {"status": "failed", "reason": f"on a later call: {error}"}
                side.samples = 0
                return []

        for side in sides:
            if is_timed_once(side.name, side.call_s, limit_s):
                times[side.name].append(side.call_s)
                continue
            if probe := ask(side, 1):
                side.call_s = probe[0]
                spreads = SPREADING if case.threads > 1 else 1
                side.repeats = repeats_for(side.call_s / spreads)
                # Each sample is preceded by a warm-up call.
                side.samples = samples_for(side.call_s * (side.repeats + 1), self.suite.budget_s)
        rounds = max((side.samples for side in sides), default=0)
        for round_ in range(rounds):
            for side in sides:
                if takes_part(round_, rounds, side.samples):
                    times[side.name] += ask(side, side.repeats)
        for side in sides:
            if side.row["status"] == "ok":
                side.row |= spread(times[side.name]).as_dict()
                side.row["calls_per_sample"] = side.repeats

    def memory(self, case: Case) -> list[Row]:
        """Peak memory of each provider's call in a fresh process."""
        if cases.why_unavailable(case.family):
            return []
        arrays = _input(replace(case, n=SMALL_N)), _input(case)
        rows = []
        for name in self.names:
            if not provider_class(name).takes(case.phase):
                continue
            row = {"what": "memory", **case.as_dict(), "provider": name, "status": "ok"}
            rows.append(row)
            limit_s = max(4 * self.suite.limit_s, 2 * provider_class(name).first_call_limit_s)
            try:
                worker = self.pool.fresh(name, case.threads)
                try:
                    row["peak_bytes"] = worker.ask("memory", case.phase, *arrays, limit_s=limit_s)
                finally:
                    worker.stop()
            except NoAnswer as error:
                row |= error.row()
        return rows

    def tuning_step(self, rounds: int, threads: int) -> list[Row]:
        """Rows of the whole prompt-tuning step, see `benchmarks.step`."""
        base = {"what": "step", "threads": threads}
        question = (STEP, threads, "prepare", "tuning_step", np.array(rounds))
        try:
            answer = self.pool.ask(*question, limit_s=STEP_LIMIT_S)
        except NoAnswer as error:
            return [base | {"provider": "all", **error.row()}]
        return [base | row for row in answer["result"]]

    def growth(self, case: Case, before: Sequence[Row]) -> list[Row]:
        """The row of our own call at one size, unless those before say that it takes too long."""
        name = PUBLIC if case.phase.endswith("backward") else ENGINE
        row = {"what": "growth", **case.as_dict(), "provider": name, "status": "ok"}
        path = select(before, phase=case.phase, family=case.family)
        if any(r["status"] != "ok" for r in path):
            return []
        if reason := cases.why_unavailable(case.family):
            return [row | {"status": "no data", "reason": reason}]
        if not goes_on(path, case.n, self.suite.limit_s):
            reason = f"by its growth over {self.suite.limit_s:g} s"
            return [row | {"status": "not tried", "reason": reason}]
        try:
            worker = self.pool.fresh(FROM_POINTS, case.threads)
            try:
                return [row | self._grown(worker, case)]
            finally:
                worker.stop()
        except NoAnswer as error:
            return [row | error.row()]

    def _grown(self, worker: Worker, case: Case) -> Row:
        x = cases.points(case.family, case.n, case.d)
        # Distances from which a path begins are not in its time, but have to be waited for.
        ask = functools.partial(worker.ask, limit_s=300 + 4 * self.suite.limit_s)
        found = {"peak_bytes": ask("memory", case.phase, x[:, :SMALL_N], x)}
        first_s = ask("prepare", case.phase, x)["seconds"]
        times = [first_s]
        if first_s < self.suite.limit_s / 5:
            times = [ask("sample", min(1000, repeats_for(first_s)), True) for _ in range(5)]
        if case.phase == "h0":
            try:
                agrees = ask("prepare", "h0_agrees", x)["result"]
            except ProviderFailed as error:  # persist0-tda could not be asked
                agrees = str(error)
            if not agrees:
                raise ProviderFailed("H0 differs from persist0-tda's")
            found["agrees_with_persist0"] = agrees
        return found | spread(times).as_dict()


def goes_on(path: Sequence[Row], n: int, limit_s: float) -> bool:
    """Whether a call at n keeps the limit, by the growth of the path's last two sizes."""
    if len(path) < 2:
        return True
    (n1, t1), (n2, t2) = ((row["n"], row["median_s"]) for row in path[-2:])
    slope = math.log(t2 / t1) / math.log(n2 / n1)
    return t2 * (n / n2) ** max(slope, 2.0) <= limit_s


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
    if case.phase in cases.FROM_ATTENTION:
        return cases.attention_maps(arrays["x"])
    return arrays["D" if case.phase in cases.FROM_DISTANCES else "x"]
