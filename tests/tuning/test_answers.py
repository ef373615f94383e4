"""What counts as a right answer: extraction, numbers, and a function of one's own."""

import sys

import pytest

from tsloss_fast.tuning.answers import AnswerError, Score


class TestExtraction:
    @pytest.mark.parametrize(
        ("said", "score"),
        [
            ("3 + 4 = 7\n#### 7", 1),
            ("#### 8\n#### 7", 1),
            ("#### 7 ", 1),
            ("####7\nand more", 1),
            ("#### 70", 0),
            ("7", 0),
            ("", 0),
        ],
    )
    def test_the_mark_of_gsm8k(self, said, score):
        assert Score(extract="####")(said, "4 + 3 = 7\n#### 7") == score

    @pytest.mark.parametrize(
        ("said", "score"), [("the answer is 7.", 1), ("is 8, no: is 7", 1), ("seven", 0)]
    )
    def test_a_pattern_takes_its_last_match_and_its_first_group(self, said, score):
        assert Score(extract=r"is (\d+)")(said, "7") == score

    def test_a_pattern_without_a_group_takes_the_match(self):
        assert Score(extract=r"[A-D]")("I say B", "B") == 1

    def test_an_expected_answer_without_a_match_is_taken_whole(self):
        assert Score(extract="####")("so\n#### 7", "7") == 1

    def test_a_group_that_took_no_part_is_no_answer(self):
        assert Score(extract=r"a|(b)")("a", "b") == 0

    def test_not_a_pattern(self):
        with pytest.raises(AnswerError, match=r"^extract: expected '####' or a regular expression"):
            Score(extract="(")


class TestNumbers:
    @pytest.mark.parametrize(
        ("said", "expected", "score"),
        [
            ("7.0", "7", 1),
            ("$1,234.50", "1234.5", 1),
            ("7.", "7", 1),
            ("-3", "-3", 1),
            ("50%", "50", 1),
            ("1e3", "1000", 1),
            ("7", "8", 0),
            ("seven", "7", 0),
            ("nan", "nan", 1),
            ("0.1", "0.10000000000000001", 0),
            ("yes", "yes", 1),
        ],
    )
    def test_numbers_are_compared_as_numbers_and_other_answers_as_text(self, said, expected, score):
        assert Score(compare="number")(said, expected) == score

    def test_text_is_compared_exactly_unless_asked(self):
        assert Score()("7.0", "7") == 0
        assert Score()(" 7 ", "7") == 1


class TestMetric:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path, monkeypatch):
        (tmp_path / "mine_12c.py").write_text(
            "def half(said, expected):\n    return 0.5 if said == 'x' else said == expected\n"
            "def text(said, expected):\n    return 'good'\n"
            "number = 3\n"
        )
        monkeypatch.chdir(tmp_path)
        yield
        sys.modules.pop("mine_12c", None)

    def test_a_function_by_its_module_in_the_working_folder(self):
        before = list(sys.path)
        score = Score(metric="mine_12c:half")
        assert [score("x", "y"), score("y", "y"), score("z", "y")] == [0.5, 1.0, 0.0]
        assert sys.path == before

    def test_it_gets_what_was_extracted(self):
        assert Score(metric="mine_12c:half", extract="####")("a\n#### x", "y") == 0.5

    @pytest.mark.parametrize(
        ("metric", "words"),
        [
            ("half", "metric: expected module:function, got 'half'"),
            ("mine_12c:", "metric: expected module:function, got 'mine_12c:'"),
            ("no_such_module:f", "metric: cannot import 'no_such_module'"),
            ("mine_12c:none", "metric: expected a function 'none' in 'mine_12c', got none"),
            ("mine_12c:number", "metric: expected a function 'number' in 'mine_12c', got int"),
        ],
    )
    def test_a_metric_that_cannot_be_used(self, metric, words):
        with pytest.raises(AnswerError) as caught:
            Score(metric=metric)
        assert str(caught.value).startswith(words)

    def test_what_is_not_a_number_is_an_error(self):
        with pytest.raises(AnswerError, match="mine_12c:text: expected a number, got 'good'"):
            Score(metric="mine_12c:text")("a", "b")
