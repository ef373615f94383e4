"""The tables of the report."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import spearmanr

from benchmarks.report import table
from experiments import plan
from experiments.arms import Arm
from experiments.comparison import ALONE, Comparison, measured, pooled
from experiments.statistics import LEVEL, Paired

FEATURES = (
    "h0_count",
    "h1_count",
    "h0_mean_lifetime",
    "h0_max_lifetime",
    "h1_mean_lifetime",
    "h1_max_lifetime",
    "entropy",
)
# A measure, the form of its differences, and its words.
MEASURES = (
    ("test_accuracy", "+.3f", "test accuracy"),
    ("iterations", "+.1f", "iterations to fit"),
)
STARTS = {"vocab": "vocabulary rows", "normal": "N(0, 0.02²)", "token": "one repeated token"}


def block_words(block: plan.Block) -> str:
    """A block in words."""
    cell = block.cell
    words = (
        f"{Path(cell.model).stem}, {Path(cell.task).stem}, {cell.samples} samples, from "
        f"{STARTS[cell.start]}"
    )
    at_rate = "" if block.fixed_rate is None else f"every arm at rate {block.fixed_rate:g}"
    apart = ", ".join(filter(None, (block.what, at_rate)))
    return f"{words}; {apart}" if apart else words


def arms_table(comparison: Comparison) -> str:
    """Medians, spread and paired differences, a row an arm."""
    accuracy, fits = comparison.values("test_accuracy"), comparison.values("iterations")
    by_accuracy, by_fits = comparison.compared("test_accuracy"), comparison.compared("iterations")
    lines = []
    for arm, of in comparison.runs.items():
        never = sum(record["iterations_to_fit"] is None for record in of.values())
        lines.append(
            [
                Arm(arm).label,
                f"{comparison.rates[arm]:g}" if comparison.rates else "-",
                _spread(accuracy[arm], ".3f"),
                *_difference(by_accuracy.get(arm), "+.3f"),
                _spread(fits[arm], "g") + (f", {never} never" if never else ""),
                *_difference(by_fits.get(arm), "+.1f"),
            ]
        )
    header = "arm | rate | test accuracy | difference | p, Holm's | iterations to fit"
    return table(f"{header} | difference | p, Holm's", lines)


def _spread(values: Mapping[int, float], form: str) -> str:
    """Median, least and greatest."""
    found = list(values.values())
    return f"{median(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def _difference(paired: Paired | None, form: str) -> tuple[str, str]:
    if paired is None:
        return "", ""
    interval = f"{paired.mean:{form}} [{paired.low:{form}}, {paired.high:{form}}]"
    return interval, f"{paired.p:.2g}, {paired.p_holm:.2g}"


def verdict_table(comparisons: Sequence[Comparison], measure: str, form: str) -> str:
    """Of one measure, a row a block: the greatest mean differences, and which arms differ."""
    lines = []
    for comparison in comparisons:
        compared = comparison.compared(measure)
        ordered = sorted(compared, key=lambda arm: compared[arm].mean)
        known = [found.detectable for found in compared.values() if found.detectable is not None]
        lines.append(
            [
                block_words(comparison.block),
                str(len(comparison.seeds)),
                f"{median(comparison.values(measure)[ALONE].values()):{form.lstrip('+')}}",
                *(
                    f"{compared[arm].mean:{form}} {Arm(arm).label}"
                    for arm in (ordered[0], ordered[-1])
                ),
                _who_differs(compared, form),
                f"{median(known):{form.lstrip('+')}}" if known else "-",
            ]
        )
    header = "cell | seeds | cross-entropy alone | least mean difference | greatest"
    return table(f"{header} | arms that differ | would be seen from", lines)


def _who_differs(compared: Mapping[str, Paired], form: str) -> str:
    sure = [arm for arm, paired in compared.items() if paired.p_holm < 1 - LEVEL]
    return "; ".join(f"{Arm(arm).label} ({compared[arm].mean:{form}})" for arm in sure) or "none"


def pooled_table(cells: Sequence[Comparison]) -> str:
    """Mean differences over several cells, a row an arm."""
    found = [(pooled(cells, measure), form) for measure, form, _ in MEASURES]
    lines = [
        [Arm(arm).label, *(text for of, form in found for text in _difference(of.get(arm), form))]
        for arm in found[0][0]
    ]
    header = " | ".join(f"{words} | p, Holm's" for _, _, words in MEASURES)
    return table(f"arm | {header}", lines)


def sweep_table(comparison: Comparison) -> str:
    """Mean validation accuracy, test accuracy and iterations to fit, by arm and rate."""
    block = comparison.block
    lines = []
    for arm in block.arms:
        cells = []
        for rate in block.rates:
            found = [r for r in comparison.sweep if (r["arm"], r["rate"]) == (arm, rate)]
            means = [
                np.mean([measured(record, measure) for record in found]) if found else np.nan
                for measure in ("validation_accuracy", "test_accuracy", "iterations")
            ]
            cells.append("{:.3f}, {:.3f}, {:.1f}".format(*means) if found else "-")
        lines.append([Arm(arm).label, *cells])
    return table(" | ".join(["arm", *(f"rate {rate:g}" for rate in block.rates)]), lines)


def gradients_table(comparison: Comparison) -> str:
    """The penalty's weighted gradient over the cross-entropy's, and the penalty's time."""
    lines = []
    for arm, of in comparison.runs.items():
        if arm == ALONE:
            continue
        ratios = [
            np.array(r["weight"]) * np.array(r["penalty_norm"]) / np.array(r["ce_norm"])
            for r in of.values()
        ]
        shares = [
            np.median(np.array(r["penalty_seconds"]) / np.array(r["seconds"])) for r in of.values()
        ]
        picks = ([r[0] for r in ratios], [r[-1] for r in ratios], [np.median(r) for r in ratios])
        cells = [f"{median(pick):.2g}" for pick in picks]
        lines.append([Arm(arm).label, *cells, f"{median(shares):.2%}"])
    return table("arm | first step | last step | median step | of the step's time", lines)


def topology_table(comparison: Comparison) -> str:
    """Spearman's coefficient of each feature with accuracy, within runs and between their ends."""
    records = comparison.records()
    lines = []
    for feature in ("step", *FEATURES):
        inside = [
            _spearman([look[feature] for look in looks], [look["validation"] for look in looks])
            for looks in (record["looks"] for record in records)
        ]
        known = [rho for rho in inside if rho is not None]
        ends = [record["looks"][-1][feature] for record in records]
        between = _spearman(ends, [record["test_accuracy"] for record in records])
        within = f"{median(known):+.2f} ({len(known)} runs)" if known else "-"
        lines.append([feature, within, "-" if between is None else f"{between:+.2f}"])
    return table(f"feature | within a run, median | between {len(records)} runs", lines)


def _spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """None where one of them does not vary."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return float(spearmanr(a, b).statistic)


def progress_table(comparisons: Sequence[Comparison]) -> str:
    """What has been run of the plan, a row a block."""
    lines = []
    for comparison in comparisons:
        block = comparison.block
        sweep, runs = len(block.sweep()), len(block.arms) * len(block.seeds)
        made = "not run"
        if comparison.rates is not None:
            made = f"{comparison.made} of {runs} runs, {len(comparison.seeds)} seeds whole"
        swept = f"{len(comparison.sweep)} of {sweep} runs" if sweep else "none, one rate"
        lines.append([block_words(block), str(len(block.arms)), swept, made])
    return table("cell | arms | sweep | comparison", lines)
