"""How cost grows: when a path stops, how its exponent is fitted, and that each path is measured."""

import pytest

from benchmarks import growth


@pytest.mark.parametrize("path", growth.PATHS)
def test_each_path_is_measured(path, monkeypatch):
    monkeypatch.setattr(growth, "SIZES", (5, 21))
    monkeypatch.setattr(growth, "DIM", 7)
    rows = growth.measure(path, "gaussian", limit_s=60.0, memory_gib=0.0)
    assert [(row["n"], row["status"]) for row in rows] == [(5, "ok"), (21, "ok")], rows
    assert all(row["seconds"] > 0 and row["peak_bytes"] >= 0 for row in rows)


def test_exponents():
    sizes = (20, 100, 200, 400)
    assert growth.exponent(sizes, [1.0, *(1e-6 * n**2.5 for n in sizes[1:])]) == pytest.approx(2.5)
    assert growth.exponent((20, 100, 200), (1, 2, 3)) is None


def test_growth_stops_before_the_limit():
    assert growth.goes_on([100], [1.0], 200, 0.5)
    assert growth.goes_on([100, 200], [0.1, 0.4], 400, 2.0)
    assert not growth.goes_on([100, 200], [0.1, 0.8], 400, 2.0)
