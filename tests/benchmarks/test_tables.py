"""Results on disk, and the report that is made of them alone: tables, goals, pictures."""

import copy
import json
import os
import re
import statistics

import pytest

from benchmarks import goals, pictures, report
from benchmarks.results import ROOT, ResultFile, latest, read
from benchmarks.rows import select

PICTURES = re.compile(r"docs/benchmarks/(\w+)\.png")
SECONDS = ("median_s", "p20_s", "p80_s")

MEDIANS = {
    "tsloss_fast engine": 1e-4,
    "tsloss_fast": 3e-4,
    "tsloss_fast call alone": 3e-4,
    "gudhi SimplexTree": 4e-2,
}
MEDIANS |= {"redzed-tda": 4e-4, "reference": 5e-2, "eager PyTorch": 9e-4}
PHASES = {
    "h1": [
        "tsloss_fast engine",
        "tsloss_fast",
        "tsloss_fast call alone",
        "gudhi SimplexTree",
        "redzed-tda",
    ],
    "loss_backward": ["tsloss_fast", "reference"],
    "surrogate_backward": ["tsloss_fast", "eager PyTorch"],
}


def time_row(phase, family, n, provider, median_s, **changes):
    d = 768 if phase == "h1" else 2048
    case = {"phase": phase, "family": family, "n": n, "d": d, "batch": 1, "threads": 1}
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
    machine |= {"torch": "2"}
    base = {
        "kind": "bench", "suite": "quick", "command": "python -m benchmarks.run quick",
        "complete": True, "date": "2026-01-02T03:04:05Z",
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
    case = {"what": "growth", "phase": "h0", "family": "gaussian", "d": 768, "batch": 1}
    case |= {"threads": 1, "provider": "tsloss_fast", "status": "ok"}
    rows = [
        case | {"n": n, "peak_bytes": 100 * 2**20 * n} | dict.fromkeys(SECONDS, 1e-8 * n**2)
        for n in (20, 100, 200, 500, 1000)
    ]
    return content(suite="growth", rows=rows)


def test_the_readmes_match_the_latest_results():
    """What `make bench-tables` writes is what lies there: no figure is written by hand."""
    for file, text in report.written(report.latest_runs()).items():
        assert file.read_text("utf-8") == text, f"{file}: run make bench-tables"


def test_the_pictures_of_the_readmes_are_there():
    shown = {
        name for file, *_ in report.PARTS for name in PICTURES.findall((ROOT / file).read_text())
    }
    assert shown == {"h1_time", "speed_up", "growth"}
    for name in shown:
        assert (pictures.FOLDER / f"{name}.png").stat().st_size > 10_000


def test_names_are_never_taken_twice(tmp_path):
    arguments = ("quick", "AMD EPYC 7", "1a2b", "2026-01-02T03:04:05Z")
    files = [ResultFile(tmp_path, *arguments) for _ in range(3)]
    assert [file.path.name for file in files] == [
        "quick_amd-epyc-7_1a2b_2026-01-02.json",
        "quick_amd-epyc-7_1a2b_2026-01-02-2.json",
        "quick_amd-epyc-7_1a2b_2026-01-02-3.json",
    ]
    files[0].write({"suite": "first", "rows": []})
    files[1].write({"suite": "second", "rows": []})
    assert read(files[0].path) == {"suite": "first", "rows": []}
    files[0].discard()
    files[2].discard()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "quick_amd-epyc-7_1a2b_2026-01-02-2.json",
        "quick_amd-epyc-7_1a2b_2026-01-02.json",
    ]


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    file = ResultFile(tmp_path, "quick", "cpu", "1a2b", "2026-01-02T03:04:05Z")
    file.write({"suite": "first", "rows": []})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        file.write({"suite": "second", "rows": []})
    assert read(file.path) == {"suite": "first", "rows": []}
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]


def test_latest_is_the_newest_complete_one_of_its_suite(tmp_path):
    with pytest.raises(FileNotFoundError, match="no complete results of quick or full"):
        latest("quick", "full", folder=tmp_path)
    old = save(tmp_path, "z.json", date="2026-01-01T00:00:00Z")
    assert latest("quick", "full", folder=tmp_path) == old
    new = save(tmp_path, "a.json", date="2026-02-01T00:00:00Z", suite="full")
    save(tmp_path, "b.json", date="2026-03-01T00:00:00Z", complete=False)
    save(tmp_path, "c.json", date="2026-03-01T00:00:00Z", suite="selection")
    save(tmp_path, "d.json", date="2026-03-01T00:00:00Z", suite="growth")
    (tmp_path / "claimed.json").touch()
    assert latest("quick", "full", folder=tmp_path) == new


@pytest.mark.parametrize("text", ["", "[1]", "{}", "{"])
def test_what_is_no_result_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json: expected the JSON of a run"):
        read(path)


def test_only_what_stands_between_the_markers_is_replaced():
    first = "<!-- benchmarks: a, written by `make bench-tables`; do not edit -->"
    text = f"before\n{first}\nold\n<!-- benchmarks: end of a -->\nafter\n"
    assert report.replaced(text, "a", "new") == text.replace("old", "new")
    for broken in ("", text * 2, text.replace("<!-- benchmarks: end of a -->", "")):
        with pytest.raises(ValueError, match="marker comments of 'a'"):
            report.replaced(broken, "a", "new")


def test_the_summary_has_the_public_call_first_and_six_rows():
    values = time_row("h1", "gaussian", 100, "tda", 2e-4, edges=False)
    text = report.summary(content(rows=[*content()["rows"], values]))
    line = "| H0 + H1, gaussian, n = 100 | 300 µs | 100 µs | 400 µs redzed-tda (1.33x)"
    assert f"{line} | 200 µs tda (0.667x) | 40.0 ms (133x) |" in text
    # The reference is no peer.
    assert "| TSLoss, forward + backward, gaussian, n = 100 | 300 µs | - | - | - | - |" in text
    assert text.count("\n| ") == 1 + len(report.SUMMARY)
    assert "instruction set avx2" in text
    assert "tsloss_fast 0.10% (persistence), reference 2.00% (persistence)" in text


def test_losses_stand_beside_what_their_users_have():
    def loss_row(provider, median_s, **changes):
        case = {"d": 16, "batch": 16, **changes}
        return time_row("mtopdiv", "noisy circle", 100, provider, median_s, **case)

    rows = [loss_row("tsloss_fast", 1e-3), loss_row("ripser.py", 0.25)]
    text = report.losses(content(rows=rows))
    line = "| ripser.py | - | - | - | - | 1.00 ms (250x) | - |"
    assert line in text
    late = loss_row("ripser.py", 1.0, status="exceeded its time")
    assert "| 1.00 ms (exceeded its time) |" in report.losses(content(rows=[rows[0], late]))


def test_a_lost_row_of_ours_has_no_ratio_beside_it():
    rows = select(content()["rows"], n=100)
    for lost in select(rows, provider="tsloss_fast"):
        lost["status"] = "disagrees"
    text = report.summary(content(rows=rows))
    line = "| H0 + H1, gaussian, n = 100 | disagrees | 100 µs | 400 µs redzed-tda | - | 40.0 ms |"
    assert line in text


def test_failures_are_told():
    text = report.everything(content())
    case = "H0 + H1, gaussian, n = 300, d = 768"
    assert f"| ripser.py | exceeded its time | no answer in 5 s | {case} |" in text


def test_the_step_has_its_shares_and_says_who_failed():
    failed = {"what": "step", "provider": "all", "status": "failed", "reason": "no model"}
    text = report.everything(content(rows=[*content()["rows"], failed]))
    shares = "1.00 ms, 0.10% of 1.00 ms | 1.00 ms, 2.00% of 1.00 ms"
    assert f"| TSLoss persistence, in a step | {shares} |" in text
    assert "| all | failed | no model | TSLoss in any mode, in a step |" in text


def test_what_was_not_measured_has_no_table():
    text = report.everything(content(rows=[]))
    assert "### Who has no figure, and why\n\nNo one." in text
    assert text.count("###") == 1


def test_a_figure_that_gudhi_did_not_check_is_marked():
    rows = [time_row("h1", "gaussian", 20, "tsloss_fast engine", 1e-4, against="redzed-tda")]
    assert "| 100 µs † |" in report.summary(content(rows=rows))


def goal(rows, what, against):
    """The goal, what was measured, and whether it is met."""
    return next(
        rest for name, other, *rest in goals.judged(rows) if (name, other) == (what, against)
    )


def test_goals_are_judged():
    rows = content()["rows"]
    engine = "H0 + H1, gaussian, n = {}, d = 768, tsloss_fast engine"
    tree = goal(rows, engine.format(100), "gudhi SimplexTree")
    assert tree == [">= 150x", "400x (327x to 489x)", "yes"]
    assert goal(rows, engine.format(100), "redzed-tda")[2] == "no"
    circle = "H0 + H1, noisy circle, n = 100, d = 768, tsloss_fast engine"
    assert goal(rows, circle, "redzed-tda")[2] == "not measured: not in this run"
    # The public call alone may take 2.5 times as long as the engine, and takes 3 times.
    alone = "tsloss_fast call alone"
    assert goal(rows, engine.format(20), alone) == ["<= 2.5x", "3x (2.45x to 3.67x)", "no"]
    assert f"| {alone} | <= 2.5x | 3x (2.45x to 3.67x) | no |" in report.goals(content())
    peer = goal(rows, engine.format(20), "the fastest peer (redzed-tda)")
    assert peer == [">= 1x", "4x (3.27x to 4.89x)", "yes"]
    loss = "TSLoss, forward + backward, gaussian, n = 100, d = 2048, tsloss_fast"
    assert goal(rows, loss, "reference") == [">= 200x", "167x (136x to 204x)", "no"]


def test_two_threads_are_judged_by_one():
    engine = {"batch": 16, "family": "gaussian", "n": 100}
    rows = [
        time_row(
            "h1", median_s=2.0 / threads, threads=threads, provider="tsloss_fast engine", **engine
        )
        for threads in (1, 2)
    ]
    what = "H0 + H1, gaussian, n = 100, d = 768, 16 clouds, 2 threads, tsloss_fast engine"
    assert goal(rows, what, "itself on 1 thread") == [">= 1.7x", "2x (1.64x to 2.44x)", "yes"]


def test_a_goal_says_who_failed():
    late = time_row("h1", "gaussian", 300, "redzed-tda", 1.0, status="exceeded its time")
    rows = [time_row("h1", "gaussian", 300, "tsloss_fast engine", 1.0), late]
    what = "H0 + H1, gaussian, n = 300, d = 768, tsloss_fast engine"
    assert goal(rows, what, "redzed-tda")[2] == "not measured: redzed-tda: exceeded its time"


def row(median_s, n=20, **changes):
    return time_row("h1", "gaussian", n, "tsloss_fast engine", median_s, **changes)


@pytest.mark.parametrize(
    ("medians", "now", "verdict"),
    [
        ([1.0], 1.0, "within"),
        ([1.0], 1.2, "within"),
        ([1.0], 1.5, "slower"),
        ([1.0, 1.5], 1.5, "within"),
        ([1.0, 1.5], 0.5, "faster"),
    ],
)
def test_a_row_leaves_the_spread_of_other_runs_or_not(medians, now, verdict):
    """Each range is a tenth of its median to either side, and the spread is all of them."""
    others = [content(rows=[row(median)]) for median in medians]
    text = report.against(content(rows=[row(now)]), others)
    assert f"| {now / statistics.median(medians):.3f} | {verdict} |" in text
    assert f"1 rows of ours: 1 {verdict}." in text


def test_rows_of_ours_that_are_lost_are_told_and_those_of_one_run_alone_are_not_compared():
    first = content(rows=[row(1.0), row(2.0, n=50), row(3.0, n=100, status="disagrees")])
    lost = row(1.0, status="disagrees")
    text = report.against(content(rows=[lost, row(3.0, n=100), row(4.0, n=300)]), [first])
    assert "| 1.00 s | disagrees | nan | lost |" in text
    assert "1 rows of ours: 1 lost." in text


def test_peers_show_how_far_the_machine_drifted():
    first, second = content(), copy.deepcopy(content())
    for changed in select(second["rows"], what="time"):
        changed["median_s"] *= 1.25
    assert "the peers' rows took 1.250 of the others'" in report.against(second, [first])


def test_commands(tmp_path, capsys):
    files = [str(save(tmp_path, f"{name}.json")) for name in "ab"]
    assert report.main([files[0], "--against", files[1]]) == 0
    assert "30 rows of ours: 30 within" in capsys.readouterr().out
    assert report.main(["--check"]) == 0
    for wrong, words in ((files[:1], "expected --against"), (["--against", "no.json"], "no.json")):
        with pytest.raises(SystemExit) as error:
            report.main(wrong)
        assert error.value.code == 2
        assert words in capsys.readouterr().err


def test_pictures_come_from_the_json_alone(tmp_path):
    pytest.importorskip("matplotlib")
    files = pictures.draw(json.loads(json.dumps(content())), tmp_path)
    assert [file.name for file in files] == ["h1_time.png", "speed_up.png"]
    files += pictures.draw(growth_content(), tmp_path)
    assert files[-1].name == "growth.png"
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")


def test_pictures_show_the_medians_and_the_legend_tells_the_lines_apart():
    pytest.importorskip("matplotlib")
    figure = pictures.h1_time(content())
    axis = figure.axes[0]
    assert axis.get_title() == "gaussian: seconds a call"
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    lines = {line.get_label(): line for line in axis.lines}
    assert lines["redzed-tda"].get_ydata() == pytest.approx([8e-5, 4e-4, 1.2e-3])
    # Each line that is there has its name once, and a colour and a marker of its own.
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(lines)
    assert set(lines) == {name for name in pictures.LINES if name in MEDIANS}
    looks = [(line.get_color(), line.get_marker()) for line in axis.lines]
    assert all(len(set(kind)) == len(looks) for kind in zip(*looks, strict=True))
    assert len(pictures.COLOURS) == len(pictures.MARKERS) == len(pictures.LINES)


def test_each_peer_has_a_mark_at_its_ratio():
    pytest.importorskip("matplotlib")
    (axis,) = pictures.speed_up(content()).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [
        "gudhi SimplexTree",
        "redzed-tda",
    ]
    marks = {line.get_label(): line for line in axis.lines}
    assert marks["gaussian"].get_xdata() == pytest.approx([4e-2 / 3e-4, 4 / 3])


def test_growth_table():
    text = report.growth(growth_content())
    assert "| H0 | 2.00 | 1.00 | 1000 | 1000 | gaussian, n = 1000 | 10.0 ms |" in text


def test_gpu_table():
    machine = {"device": "A GPU", "cuda": "13.0", "torch": "2", "triton": "3"}
    rows = [{"what": "H0", "goal_s": 40e-6} | dict.fromkeys(SECONDS, 3e-5)]
    text = report.gpu(content(suite="gpu", machine=machine, rows=rows))
    assert "A GPU, CUDA 13.0" in text
    assert "| H0 | 30.0 | 30.0 to 30.0 | goal 40 µs: met |" in text


def test_exponents():
    path = [{"n": n, "median_s": 1e-6 * n**2.5} for n in (100, 200, 400)]
    start = {"n": 20, "median_s": 1.0}  # too small to show how cost grows
    assert report.exponent([start, *path], "median_s") == pytest.approx(2.5)
    assert report.exponent([start, *path[:2]], "median_s") is None
