"""Features against accuracy: SciPy's numbers, and the ceiling that the paper's table reaches."""

import pytest

from tsloss_fast.analysis.statistics import associations


def test_a_perfect_split_gives_the_ceiling_of_the_paper():
    accuracy = [0] * 73 + [1] * 73
    table = associations(list(range(146)), {"constant": [1] * 146}, accuracy)
    constant, epoch = table.rows
    assert (table.low, table.high) == (73, 73)
    assert epoch.spearman == pytest.approx(3**0.5 / 2, abs=1e-4)
    assert epoch.spearman_p == pytest.approx(3.4e-45, rel=0.05)
    assert epoch.u == 0
    assert epoch.u_p == pytest.approx(1.9e-25, rel=0.05)
    assert (constant.spearman, constant.u, constant.u_p) == (None, 2664.5, 1.0)


def test_accuracy_that_never_changes():
    (row, _) = associations([0, 1, 2], {"a": [1, 2, 3]}, [0.5] * 3).rows
    assert (row.spearman, row.u) == (None, None)
    assert row.with_time == pytest.approx(1)
