"""Training, validation and test examples: disjoint, the same for all arms, from files too."""

import json

import pytest

from experiments.tasks import make_task


def parts(task):
    return task.train, task.validation, task.test


def test_no_example_comes_twice():
    task = make_task("larger-number", 10, 20, 30, seed=3)
    assert list(map(len, parts(task))) == [10, 20, 30]
    questions = [example.question for part in parts(task) for example in part]
    assert len(set(questions)) == 60


def test_the_seed_decides_and_more_samples_leave_the_rest():
    few, many = (make_task("larger-number", samples, 5, 5, seed=3) for samples in (10, 64))
    assert (few.validation, few.test) == (many.validation, many.test)
    assert few.train == many.train[:10]
    assert make_task("larger-number", 10, 5, 5, seed=4).train != few.train


def test_a_file_scored_by_its_number(tmp_path):
    path = tmp_path / "sums.jsonl"
    records = [{"question": f"{i}?", "answer": f"half of {2 * i}\n#### {i}"} for i in range(80)]
    # A question that stands twice would be trained on and tested.
    path.write_text("".join(json.dumps(record) + "\n" for record in [*records, *records]))
    task = make_task(str(path), 10, 8, 100, seed=0)
    assert list(map(len, parts(task))) == [10, 6, 10]
    assert task.score("so\n#### 7.0", "x\n#### 7") == 1
    assert task.score("7", "x\n#### 7") == 0


def test_wrong_sizes(tmp_path):
    with pytest.raises(ValueError, match="samples: expected 1 to 64, got 65"):
        make_task("larger-number", 65, 5, 5, seed=0)
    path = tmp_path / "few.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(ValueError, match="task: expected at least 69 examples"):
        make_task(str(path), 10, 5, 5, seed=0)
