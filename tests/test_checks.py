"""The argument checks: what they take, what they return, and what they say."""

import numpy as np
import pytest
import torch

from tsloss_fast._checks import check_choice, check_number, check_whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)], ids=repr)
def test_whole_numbers_become_an_int(value):
    number = check_whole(value, "n", least=1, most=3)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (True, TypeError, "n: expected an int, got True"),
        (np.bool_(True), TypeError, "n: expected an int, got "),
        (2.0, TypeError, "n: expected an int, got 2.0"),
        (np.float32(2), TypeError, "n: expected an int, got "),
        ("2", TypeError, "n: expected an int, got '2'"),
        (None, TypeError, "n: expected an int, got None"),
        (0, ValueError, "n: expected at least 1, got 0"),
        (np.int64(-2), ValueError, "n: expected at least 1, got -2"),
        (4, ValueError, "n: expected at most 3, got 4"),
    ],
    ids=repr,
)
def test_what_is_no_such_whole_number(value, error, words):
    with pytest.raises(error) as caught:
        check_whole(value, "n", least=1, most=3)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5)], ids=repr)
def test_numbers_become_a_float(value):
    number = check_number(value, "p", least=0)
    assert (number, type(number)) == (0.5, float)
    assert check_number(np.int64(2), "p", least=0) == 2.0


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"least": 0}, (0, 9), (-1, float("inf")), ">= 0"),
        ({"least": 0, "open_below": True}, (1e-9,), (0, -1), "> 0"),
        ({"least": 0, "most": 1}, (0, 1), (1.5,), ">= 0 and <= 1"),
        ({"least": 0, "most": 1, "open_above": True}, (0, 0.5), (1, float("nan")), ">= 0 and < 1"),
    ],
    ids=str,
)
def test_bounds_of_a_number(bounds, inside, outside, words):
    assert [check_number(value, "p", **bounds) for value in inside] == list(inside)
    for value in outside:
        expected = f"p: expected a finite number {words}, got {value!r}"
        with pytest.raises(ValueError, match=f"^{expected}$"):
            check_number(value, "p", **bounds)


def test_a_choice_is_of_the_same_type():
    assert check_choice("mean", "scale", (None, "mean")) == "mean"
    with pytest.raises(ValueError, match="max_dim: expected one of 0, 1, got True"):
        check_choice(True, "max_dim", (0, 1))


def test_a_tuning_run_takes_numbers_of_numpy():
    pytest.importorskip("transformers")
    from tsloss_fast.tuning.config import TuneConfig

    config = TuneConfig(data="x", n_tokens=np.int64(5), lr=np.float32(0.5))
    assert (type(config.n_tokens), type(config.lr)) == (int, float)
    assert (config.n_tokens, config.lr) == (5, 0.5)
