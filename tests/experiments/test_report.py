"""The report: made from the JSON alone, of balanced seeds, with the numbers that the runs have."""

import json
from dataclasses import replace

import pytest
from tiny_runs import CELL

from experiments import pictures, plan, report, tables
from experiments.comparison import Comparison, pooled
from experiments.run import RESULTS
from experiments.spec import RunSpec

BLOCK = plan.Block(
    CELL,
    arms=("ce", "exact-b0.5", "l2-l1"),
    seeds=(0, 1, 2),
    rates=(0.01, 0.03),
    sweep_seeds=(1000,),
)


def record(spec, accuracy, fit):
    """What a run of four steps with two looks leaves."""
    look = dict.fromkeys(tables.FEATURES, 1.0) | {"h0_mean_lifetime": accuracy}
    return {
        **spec.as_dict(),
        "iterations_to_fit": fit,
        "test_accuracy": accuracy,
        "validation_accuracy": accuracy,
        "every": 1,
        "ce": [2.0, 1.0, 0.5, 0.25],
        "ce_norm": [4.0] * 4,
        "penalty_norm": [0.0 if spec.arm == "ce" else 2.0] * 4,
        "weight": [0.0 if spec.arm == "ce" else 0.5] * 4,
        "seconds": [1.0] * 4,
        "penalty_seconds": [0.1] * 4,
        "looks": [
            {"step": 0, "validation": 0.0, **look},
            {"step": 2, "validation": 0.1, **look, "entropy": 2.0},
            {"step": 4, "validation": accuracy, **look, "entropy": 3.0},
        ],
    }


def write(spec, out, accuracy=0.5, fit=2):
    spec.file(out).parent.mkdir(parents=True, exist_ok=True)
    spec.file(out).write_text(json.dumps(record(spec, accuracy, fit)))


@pytest.fixture
def out(tmp_path):
    """A sweep; seeds 0 and 1 whole, where exact persistence is better by 0.1 and 0.2; half of 2."""
    for spec in BLOCK.sweep():
        write(spec, tmp_path)
    for spec in BLOCK.comparison(tmp_path):
        if spec.seed < 2:
            better = 0.1 * (1 + spec.seed) if spec.arm == "exact-b0.5" else 0
            write(spec, tmp_path, 0.5 + better, None if spec.arm == "l2-l1" else 3)
        elif spec.arm == "ce":
            write(spec, tmp_path, 0.9)
    return tmp_path


def write_last_seed(out):
    for spec in BLOCK.comparison(out):
        if spec.seed == 2:
            write(spec, out)


def cells(table, arm):
    row = next(line for line in table.splitlines() if line.startswith(f"| {arm} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_seeds_that_an_arm_lacks_are_not_compared(out):
    found = Comparison(BLOCK, out)
    assert found.seeds == [0, 1]
    assert found.rates == {"ce": 0.01, "exact-b0.5": 0.01, "l2-l1": 0.01}
    assert found.values("test_accuracy")["ce"] == {0: 0.5, 1: 0.5}


def test_the_table_of_arms(out):
    table = tables.arms_table(Comparison(BLOCK, out))
    accuracy, difference, p = cells(table, "exact persistence, balance 0.5")[2:5]
    assert accuracy == "0.650 (0.600 to 0.700)"
    assert difference == "+0.150 [+0.100, +0.200]"
    assert p == "0.5, 1"
    fits, difference = cells(table, "L2, λ 1")[5:7]
    # A run that never fits counts with all its steps.
    assert (fits, difference) == ("4 (4 to 4), 2 never", "+1.0 [+1.0, +1.0]")
    assert cells(table, "cross-entropy alone")[3:5] == ["", ""]


def test_gradients_and_share_of_the_step(out):
    table = tables.gradients_table(Comparison(BLOCK, out))
    assert cells(table, "exact persistence, balance 0.5")[1:] == ["0.25", "0.25", "0.25", "10.00%"]


def test_correlations_within_and_between(out):
    table = tables.topology_table(Comparison(BLOCK, out))
    assert cells(table, "entropy")[1:] == ["+1.00 (6 runs)", "-"]
    assert cells(table, "h0_mean_lifetime")[1:] == ["-", "+1.00"]
    assert cells(table, "step")[1] == "+1.00 (6 runs)"


def test_the_sweep_and_the_progress(out):
    found = Comparison(BLOCK, out)
    assert cells(tables.sweep_table(found), "L2, λ 1")[1:] == ["0.500, 0.500, 2.0"] * 2
    assert "| 6 of 6 runs | 7 of 9 runs, 2 seeds whole" in tables.progress_table([found])


def test_a_plan_of_which_nothing_was_run(tmp_path):
    found = [Comparison(BLOCK, tmp_path)]
    assert report.parts(found)["main"] == report.parts(found)["pooled"] == report.NOTHING
    assert "0 of 6 runs" in report.parts(found)["progress"]


def test_the_verdict_names_who_differs(tmp_path):
    """Of eight seeds, all with one sign; corrected for two arms 2 * 2 / 2^8."""
    block = replace(BLOCK, seeds=range(8), fixed_rate=0.01)
    for spec in block.comparison(tmp_path):
        write(spec, tmp_path, 0.5 + (0.01 * (1 + spec.seed) if spec.arm == "exact-b0.5" else 0))
    found = Comparison(block, tmp_path)
    cell = tables.block_words(block)
    assert cells(tables.verdict_table([found], "test_accuracy", "+.3f"), cell)[1:6] == [
        "8", "0.500", "+0.000 L2, λ 1", "+0.045 exact persistence, balance 0.5",
        "exact persistence, balance 0.5 (+0.045)",
    ]  # fmt: skip
    assert cells(tables.verdict_table([found], "iterations", "+.1f"), cell)[5:] == ["none", "-"]


def test_cells_count_the_same_together_and_a_seed_is_one_difference(out, tmp_path):
    """Of two seeds +0.1 and +0.2 in one cell, of one of them +0.4 in another."""
    other = replace(BLOCK, cell=replace(CELL, start="normal"), fixed_rate=0.01, seeds=(1,))
    for spec in other.comparison(out):
        write(spec, out, 0.9 if spec.arm == "exact-b0.5" else 0.5)
    together = [Comparison(BLOCK, out), Comparison(other, out)]
    found = pooled(together, "test_accuracy")
    assert found["exact-b0.5"].mean == pytest.approx((0.15 + 0.4) / 2)
    # Two seeds, not three pairs.
    assert (found["exact-b0.5"].seeds, found["exact-b0.5"].p) == (2, 0.5)
    assert found["l2-l1"].mean == 0
    row = cells(tables.pooled_table(together), "exact persistence, balance 0.5")
    # Seed 0 drawn twice, and seed 1: its second cell has all the weight of that cell.
    assert row[1] == "+0.275 [+0.050, +0.500]"


def test_pictures_of_what_was_run(out, tmp_path):
    write_last_seed(out)
    found = Comparison(BLOCK, out)
    axes = pictures.differences(found).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "exact persistence, balance 0.5", "L2, λ 1",
    ]  # fmt: skip
    line = pictures.curves(found, ("ce", "l2-l1", "h0-l1")).axes[0].lines[0]
    assert line.get_ydata().tolist() == [2.0, 1.0, 0.5, 0.25]
    report.draw([found], tmp_path)
    images = {file.name for file in tmp_path.glob("*.png")}
    assert images == {report.IMAGE.format(name) for name in ("differences", "curves")}
    assert all(name in report.parts([found])["pictures"] for name in images)


def test_the_picture_of_several_cells(out, tmp_path):
    write_last_seed(out)
    other = replace(BLOCK, cell=replace(CELL, start="normal"))
    for spec in [*other.sweep(), *(other.comparison(out) or ())]:
        write(spec, out)
    for spec in other.comparison(out):
        write(spec, out, 0.7 if spec.arm == "l2-l1" else 0.5)
    found = [Comparison(BLOCK, out), Comparison(other, out)]
    axes = pictures.over_cells(found).axes[0]
    dots = next(line for line in axes.lines if line.get_ydata().tolist() == [1, 1])
    assert dots.get_xdata() == pytest.approx([0, 0.2])
    report.draw(found, tmp_path)
    assert (tmp_path / report.IMAGE.format("cells")).is_file()
    assert "2 cells, 6 seeds in all" in report.parts(found)["pooled"]


def test_a_part_is_put_between_its_marks():
    first, last = report.MARK.format("main"), report.MARK.format("end of main")
    text = f"a\n{first}\nold\n{last}\nb\n"
    assert report.written(text, "main", "new") == f"a\n{first}\nnew\n{last}\nb\n"
    with pytest.raises(ValueError, match="marker comments of 'main'"):
        report.written(f"{last}\n{first}", "main", "new")


def test_the_page_is_what_the_results_give():
    assert report.main(["--check"]) == 0


def test_every_run_has_a_file_of_its_name_below_10_kb():
    for file in RESULTS.glob("*/*.json"):
        found = json.loads(file.read_text())
        assert file.stem == f"{found['arm']}_lr{found['rate']:g}_seed{found['seed']}"
        assert file.stat().st_size < 10_000


def test_every_block_is_reported_under_words_of_its_own():
    blocks = [comparison.block for comparison in report.comparisons(RESULTS)]
    assert len({tables.block_words(block) for block in blocks}) == len(blocks)
    assert blocks[0] == plan.small()[0]


def test_files_that_joined_the_plan_are_found_by_what_was_run(out):
    assert report.file_tasks(out) == []
    spec = RunSpec(replace(CELL, task="folder/sums.jsonl"), "ce", 0.01, 0)
    write(spec, out)
    (out / "empty").mkdir()
    assert report.file_tasks(out) == ["sums"]
