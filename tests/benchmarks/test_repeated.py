"""Two runs side by side: which are compared, and what is said of their figures."""

import copy
import json

import pytest

from benchmarks import repeated
from tests.benchmarks.test_tables import content, time_row


def save(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(content(**changes)))
    return path


def test_the_first_run_is_the_last_one_of_the_same_suite_machine_and_commit(tmp_path):
    other = content()["machine"] | {"isa": "avx512"}
    first = save(tmp_path, "b.json", date="2026-01-02T01:00:00Z")
    save(tmp_path, "a.json", date="2026-01-02T00:00:00Z")
    save(tmp_path, "c.json", date="2026-01-02T02:00:00Z", complete=False)
    save(tmp_path, "d.json", date="2026-01-02T02:00:00Z", commit="def")
    save(tmp_path, "e.json", date="2026-01-02T02:00:00Z", suite="full")
    save(tmp_path, "f.json", date="2026-01-02T02:00:00Z", machine=other)
    latest = save(tmp_path, "g.json", date="2026-01-02T03:00:00Z")
    assert repeated.first_run(latest, tmp_path) == first
    assert "2026-01-02T01:00:00Z" in repeated.latest_table(tmp_path)


def test_a_run_alone_was_not_repeated(tmp_path):
    latest = save(tmp_path, "a.json")
    assert repeated.first_run(latest, tmp_path) is None
    assert repeated.latest_table(tmp_path) == repeated.NOT_YET


def row(median_s, n=20, **changes):
    return time_row("h1", "gaussian", n, "tsloss_fast engine", median_s, **changes)


@pytest.mark.parametrize(
    ("second", "meet", "apart"),
    [(1.0, True, 0.0), (1.2, True, 0.2), (0.5, False, 1.0), (1.5, False, 0.5)],
)
def test_ranges_meet_or_not(second, meet, apart):
    """Each range is a tenth of its median to either side."""
    pair = row(1.0), row(second)
    assert repeated.overlap(*pair) is meet
    assert repeated.overlap(*reversed(pair)) is meet
    assert repeated.change(*pair) == pytest.approx(apart)


def test_figures_of_one_run_alone_are_not_compared():
    first, second = content(), content()
    first["rows"] = [row(1.0), row(2.0, n=50), row(3.0, n=100, status="disagrees")]
    second["rows"] = [row(1.1), row(3.0, n=100), row(4.0, n=300)]
    assert repeated.in_both(first, second) == [(first["rows"][0], second["rows"][0])]


def test_the_table_says_how_many_figures_agree():
    first, second = content(), copy.deepcopy(content())
    for changed in second["rows"]:
        if changed.get("provider") == "tsloss_fast" and changed["what"] == "time":
            for key in ("median_s", "p20_s", "p80_s"):
                changed[key] *= 2
    lines = repeated.repeated_table(first, second).splitlines()
    ours = next(line for line in lines if line.startswith("| tsloss_fast |"))
    # Of 24 figures of ours, the 18 of the public functions have doubled.
    assert ours == "| tsloss_fast | 24 | 25% | 100% | 100% |"
    goal = next(line for line in lines if "H1, gaussian, n = 50 " in line)
    assert goal.endswith("| - | - | not measured: not in this run |")
    goal = next(line for line in lines if line.startswith("| TSLoss, forward + backward, gaussian"))
    assert goal.count("x |") == 2


@pytest.mark.parametrize("count", [1, 3])
def test_one_file_is_an_error(count, tmp_path, capsys):
    files = [str(save(tmp_path, f"{k}.json")) for k in range(count)]
    with pytest.raises(SystemExit) as error:
        repeated.main(files)
    assert error.value.code == 2
    assert f"files: expected two or none, got {count}" in capsys.readouterr().err


def test_command_prints_two_files(tmp_path, capsys):
    files = [str(save(tmp_path, name)) for name in ("a.json", "b.json")]
    assert repeated.main(files) == 0
    assert "| tsloss_fast | 24 | 100% | 0% | 0% |" in capsys.readouterr().out
