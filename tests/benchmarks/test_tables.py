"""Results on disk, and the tables, goals and pictures that are made of them alone."""

import json
import os

import pytest

from benchmarks import goals, growth, plot, results, tables
from benchmarks.results import ResultFile, latest, read

MEDIANS = {"tsloss_fast engine": 1e-4, "tsloss_fast": 3e-4, "gudhi SimplexTree": 4e-2}
MEDIANS |= {"redzed-tda": 4e-4, "reference": 5e-2, "eager PyTorch": 9e-4}
PHASES = {
    "h1": ["tsloss_fast engine", "tsloss_fast", "gudhi SimplexTree", "redzed-tda"],
    "loss_backward": ["tsloss_fast", "reference"],
    "surrogate_backward": ["tsloss_fast", "eager PyTorch"],
}


def time_row(phase, family, n, provider, median_s, **changes):
    case = {"phase": phase, "family": family, "n": n, "d": 2048, "batch": 1, "threads": 1}
    figures = {"median_s": median_s, "p20_s": 0.9 * median_s, "p80_s": 1.1 * median_s}
    row = {"what": "time", **case, "provider": provider, "status": "ok", "reason": None}
    return row | {"edges": True, "against": "gudhi", "samples": 15} | figures | changes


def content(**changes):
    rows = [
        time_row(phase, family, n, name, MEDIANS[name] * n / 100)
        for phase, names in PHASES.items()
        for family in ("gaussian", "unit vectors")
        for n in (20, 100, 300)
        for name in names
    ]
    late = {"status": "exceeded its time", "reason": "no answer in 5 s"}
    rows.append(time_row("h1", "gaussian", 300, "ripser.py", 1.0, **late))
    share = {"median_s": 1e-3, "p20_s": 1e-3, "p80_s": 1e-3, "samples": 3}
    step = {"what": "step", "threads": 1, "status": "ok", "reason": None, "mode": "persistence"}
    for name, part in (("tsloss_fast", 1e-3), ("reference", 2e-2)):
        rows.append(step | {"provider": name, "step": share, "loss": share, "share": part})
    machine = {"processor": "A CPU", "cores": 2, "isa": "avx2", "threads": 1, "python": "3.11.7"}
    base = {
        "kind": "bench", "suite": "quick", "complete": True, "date": "2026-01-02T03:04:05Z",
        "commit": "abc", "machine": machine, "load_at_start": None, "load_at_end": None,
        "limits": {"call_s": 5.0, "memory_gib": 8.0}, "checks": {"edges": "equal"},
        "providers": {"gudhi SimplexTree": {"version": "3", "unavailable": None, "note": ""}},
        "rows": rows,
    }  # fmt: skip
    return base | changes


def save(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(content(**changes)))
    return path


def growth_content():
    rows = [
        {"path": "h0", "family": "gaussian", "n": n, "status": "ok", "seconds": 1e-8 * n**2}
        | {"peak_bytes": 100 * n}
        for n in (20, 100, 200, 500, 1000)
    ]
    return content(kind="growth", rows=rows)


def test_the_readmes_match_the_latest_results():
    """What `make bench-tables` writes is what lies there: no figure is written by hand."""
    for file, parts in tables.parts().items():
        text = file.read_text("utf-8")
        for name, make in parts.items():
            assert tables.replaced(text, name, make()) == text, f"{file}: run make bench-tables"


def test_the_pictures_of_the_readmes_are_there():
    content = read(latest("bench", ("quick", "full")))
    for file in tables.pictures(content):
        assert (results.ROOT / file).stat().st_size > 10_000


def test_names_are_never_taken_twice(tmp_path):
    arguments = ("quick", "AMD EPYC 7", "1a2b", "2026-01-02T03:04:05Z")
    files = [ResultFile(tmp_path, *arguments) for _ in range(3)]
    assert [file.path.name for file in files] == [
        "quick_amd-epyc-7_1a2b_2026-01-02.json",
        "quick_amd-epyc-7_1a2b_2026-01-02-2.json",
        "quick_amd-epyc-7_1a2b_2026-01-02-3.json",
    ]
    files[0].write({"kind": "first"})
    files[1].write({"kind": "second"})
    assert read(files[0].path) == {"kind": "first"}
    files[0].discard()
    files[2].discard()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "quick_amd-epyc-7_1a2b_2026-01-02-2.json",
        "quick_amd-epyc-7_1a2b_2026-01-02.json",
    ]


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    file = ResultFile(tmp_path, "quick", "cpu", "1a2b", "2026-01-02T03:04:05Z")
    file.write({"kind": "first"})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        file.write({"kind": "second"})
    assert read(file.path) == {"kind": "first"}
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]


def test_latest_is_the_newest_complete_one_of_its_suite(tmp_path):
    with pytest.raises(FileNotFoundError, match="no complete results"):
        latest("bench", folder=tmp_path)
    old = save(tmp_path, "z.json", date="2026-01-01T00:00:00Z")
    assert latest("bench", ("quick", "full"), tmp_path) == old
    new = save(tmp_path, "a.json", date="2026-02-01T00:00:00Z", suite="full")
    save(tmp_path, "b.json", date="2026-03-01T00:00:00Z", complete=False)
    save(tmp_path, "c.json", date="2026-03-01T00:00:00Z", suite="selection")
    save(tmp_path, "d.json", date="2026-03-01T00:00:00Z", kind="growth")
    (tmp_path / "claimed.json").touch()
    assert latest("bench", ("quick", "full"), tmp_path) == new


@pytest.mark.parametrize("text", ["", "[1]", "{}", "{"])
def test_what_is_no_result_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json: expected the JSON of a run"):
        read(path)


def test_only_what_stands_between_the_markers_is_replaced():
    text = f"before\n{tables.begin('a')}\nold\n{tables.end('a')}\nafter\n"
    assert tables.replaced(text, "a", "new") == text.replace("old", "new")
    for broken in ("", text * 2, text.replace(tables.end("a"), "")):
        with pytest.raises(ValueError, match="marker comments of 'a'"):
            tables.replaced(broken, "a", "new")


def test_the_summary_has_the_figures_of_the_rows():
    text = tables.summary(content())
    line = "| gaussian | 100 | 100 µs | 300 µs | 400 µs (redzed-tda) | 4.0 x | 40.0 ms | 400 x |"
    assert line in text
    assert "| persistence, gaussian | 100 | 2048 | 300 µs | 50.0 ms | 167 x | - | - |" in text
    assert "TSLoss takes 0.10% (persistence), the reference 2.00%" in text


def test_failures_are_told():
    text = tables.everything(content())
    assert (
        "| ripser.py | exceeded its time | no answer in 5 s | H0 + H1, gaussian, n = 300 |" in text
    )


def test_a_figure_that_gudhi_did_not_check_is_marked():
    rows = [time_row("h1", "gaussian", 20, "tsloss_fast engine", 1e-4, against="redzed-tda")]
    assert "| 100 µs † |" in tables.summary(content(rows=rows))


def test_goals_are_judged():
    by_what = {(g.what, g.against): g for g in goals.goals(content()["rows"])}
    assert by_what["H1, gaussian, n = 100", "redzed-tda"].met() == "at least 3x"
    assert by_what["H1, gaussian, n = 100", "gudhi SimplexTree"].met() == "yes"
    assert by_what["H1, noisy circle, n = 100", "redzed-tda"].met() == (
        "not measured: not in this run"
    )
    what = "TSLoss, forward + backward, gaussian, d = 2048, n = 100"
    goal = by_what[what, "reference.TSLoss (gudhi)"]
    assert goal.measured == pytest.approx((500 / 3, 500 / 3 * 9 / 11, 500 / 3 * 11 / 9))
    assert goal.met() == "no"


def test_a_goal_says_who_failed():
    late = time_row("h1", "gaussian", 100, "redzed-tda", 1.0, status="exceeded its time")
    rows = [time_row("h1", "gaussian", 100, "tsloss_fast engine", 1.0), late]
    goal = next(g for g in goals.goals(rows) if g.what == "H1, gaussian, n = 100")
    assert goal.met() == "not measured: redzed-tda: exceeded its time"


def test_pictures_come_from_the_json_alone(tmp_path):
    pytest.importorskip("matplotlib")
    files = plot.draw(json.loads(json.dumps(content())), tmp_path)
    assert [file.name for file in files] == ["h1_time.png", "speed_up.png", "step_share.png"]
    files = plot.draw(growth_content(), tmp_path)
    assert [file.name for file in files] == ["growth_time.png", "growth_memory.png"]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="expected rows"):
        plot.draw(content(rows=[]), tmp_path)


def test_pictures_show_the_medians_and_cover_no_data():
    pytest.importorskip("matplotlib")
    figure = plot.time_against_n(content())
    axis = figure.axes[0]
    lines = {c.get_label(): c.lines[0].get_ydata().tolist() for c in axis.containers}
    assert lines["redzed-tda"] == pytest.approx([8e-5, 4e-4, 1.2e-3])
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert figure.get_supylabel() == "time of one call (s)"
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(a.get_tightbbox()) for a in figure.axes)
    assert len({(s["color"], s["marker"]) for s in map(plot.style, plot.NAMES)}) == len(plot.NAMES)
    assert len({plot.style(name)["marker"] for name in plot.NAMES}) == len(plot.NAMES)


def test_growth_table_and_h0_check():
    text = growth.growth_table(growth_content())
    assert "| H0, from distances | gaussian | 2.00 | 1.00 | 1000 | 1000 | 1000 | 10.0 ms |" in text
