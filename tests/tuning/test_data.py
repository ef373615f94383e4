"""JSONL reading, encoding and batching, and the generated task."""

import pytest
import torch
from tiny_lm import tiny_tokenizer

from tsloss_fast.tuning.data import (
    DataError,
    Encoded,
    Encoder,
    Example,
    collate,
    epoch_batches,
    fingerprint,
    read_jsonl,
    split,
)
from tsloss_fast.tuning.tasks import larger_number

GOOD = '{"question": "1 or 2", "answer": "2"}'


def write(tmp_path, content):
    file = tmp_path / "data.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


class TestReadJsonl:
    def test_reads_lines_and_says_where_they_stand(self, tmp_path):
        file = write(tmp_path, f'\ufeff{GOOD}\r\n\n{{"answer": "é", "question": "q", "id": 7}}')
        assert read_jsonl(file) == [
            Example("1 or 2", "2", f"{file}:1"),
            Example("q", "é", f"{file}:3"),
        ]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("{", "not JSON: Expecting property name"),
            ('{"question": "q", "answer": "a"} {}', "not JSON: Extra data"),
            ('["q", "a"]', "expected an object, got list"),
            ('{"question": "q"}', "missing key 'answer'"),
            ('{"answer": "a"}', "missing key 'question'"),
            ('{"question": "q", "answer": 4.5}', "answer: expected a string, got float"),
            ('{"question": "q", "answer": true}', "answer: expected a string, got bool"),
            ('{"question": null, "answer": "a"}', "question: expected a string, got NoneType"),
            ('{"question": " ", "answer": "a"}', "question: expected text, got an empty string"),
            ('{"question": "q", "answer": ""}', "answer: expected text, got an empty string"),
            ('{"question": "\\ud800", "answer": "a"}', "question: expected Unicode text"),
            (b'{"question": "\xff", "answer": "a"}', "not UTF-8: invalid start byte at byte 14"),
            ("[" * 100_000, "nested too deeply"),
        ],
    )
    def test_malformed_line_gives_file_number_and_reason(self, tmp_path, line, reason):
        line = line if isinstance(line, bytes) else line.encode()
        file = write(tmp_path, GOOD.encode() + b"\n\n" + line + b"\n" + GOOD.encode())
        with pytest.raises(DataError) as caught:
            read_jsonl(file)
        assert str(caught.value).startswith(f"{file}:3: ")
        assert reason in str(caught.value)

    def test_empty_missing_and_folder(self, tmp_path):
        with pytest.raises(DataError, match="expected at least one line, got none"):
            read_jsonl(write(tmp_path, "\n \n"))
        with pytest.raises(DataError, match=r"nowhere\.jsonl: No such file"):
            read_jsonl(tmp_path / "nowhere.jsonl")
        with pytest.raises(DataError, match="Is a directory"):
            read_jsonl(tmp_path)


class TestSplit:
    @pytest.mark.parametrize(("share", "held"), [(0.01, 1), (0.25, 5), (0.99, 19)])
    def test_is_a_partition_with_both_sides(self, share, held):
        examples = larger_number(20, seed=0)
        train, held_out = split(examples, share, seed=3)
        assert len(held_out) == held
        assert sorted([*train, *held_out], key=str) == sorted(examples, key=str)
        assert split(examples, share, seed=3) == (train, held_out)

    def test_seed_decides(self):
        examples = larger_number(20, seed=0)
        assert split(examples, 0.25, seed=3) != split(examples, 0.25, seed=4)

    def test_one_example_cannot_be_split(self):
        with pytest.raises(DataError, match="at least 2 examples"):
            split(larger_number(1, seed=0), 0.5, seed=0)


def test_fingerprint_sees_content_and_order_alone():
    a, b = Example("q", "a", "x:1"), Example("q", "b")
    assert fingerprint([a]) == fingerprint([Example("q", "a", "y:9")])
    assert len({fingerprint(examples) for examples in ([a], [b], [a, b], [b, a], [])}) == 5
    assert fingerprint([Example("q", "ab")]) != fingerprint([Example("qa", "b")])


class TestEncoder:
    def test_plain_format(self):
        tokenizer = tiny_tokenizer()
        encoded = Encoder(tokenizer, "auto")(Example(" 1 or 2 is ", " 2 "))
        assert tokenizer.decode(encoded.prefix) == "Question: 1 or 2 is Answer:"
        assert tokenizer.convert_ids_to_tokens(encoded.target) == ["2", "<eos>"]
        assert encoded.answer == "2"

    def test_chat_template(self):
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = (
            "{% for m in messages %}x {{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %} is{% endif %}"
        )
        encoded = Encoder(tokenizer, "auto")(Example("1 or 2", "2"))
        assert tokenizer.convert_ids_to_tokens(encoded.prefix) == ["x", "1", "or", "2", "is"]
        assert tokenizer.convert_ids_to_tokens(encoded.target) == ["2", "<eos>"]
        plain = Encoder(tokenizer, "plain")(Example("1 or 2", "2"))
        assert tokenizer.decode(plain.prefix) == "Question: 1 or 2 Answer:"

    def test_begin_token_is_kept_and_end_token_taken_off_the_prefix(self):
        from tokenizers.processors import TemplateProcessing

        tokenizer = tiny_tokenizer(bos_token="x")
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="x $A <eos>", special_tokens=[("x", 5), ("<eos>", 1)]
        )
        encoded = Encoder(tokenizer, "plain")(Example("1", "2"))
        assert tokenizer.convert_ids_to_tokens(encoded.prefix) == ["x", "Question:", "1", "Answer:"]
        assert tokenizer.convert_ids_to_tokens(encoded.target) == ["2", "<eos>"]

    def test_too_long_says_where(self):
        example = Example("1 or 2", "2", "some.jsonl:4")
        assert len(Encoder(tiny_tokenizer(), max_length=7)(example)) == 7
        with pytest.raises(DataError, match=r"^some\.jsonl:4: expected at most 6 tokens.*got 7$"):
            Encoder(tiny_tokenizer(), max_length=6)(example)

    def test_unusable_tokenizers(self):
        with pytest.raises(ValueError, match="template: expected 'plain'"):
            Encoder(tiny_tokenizer(), "chat")
        with pytest.raises(ValueError, match="end-of-sequence token, got none"):
            Encoder(tiny_tokenizer(eos_token=None))
        with pytest.raises(ValueError, match="template: expected one of"):
            Encoder(tiny_tokenizer(), "jinja")


class TestBatches:
    def test_labels_cover_the_answer_alone(self):
        batch = collate([Encoded([7, 8, 9], [5, 1], ""), Encoded([7], [6, 4, 1], "")], pad_id=0)
        assert batch.input_ids.tolist() == [[7, 8, 9, 5, 1], [7, 6, 4, 1, 0]]
        assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
        assert batch.labels.tolist() == [[-100, -100, -100, 5, 1], [-100, 6, 4, 1, -100]]

    def test_end_token_counts_although_it_pads_too(self):
        batch = collate([Encoded([7], [5, 1], ""), Encoded([7, 8], [5, 1], "")], pad_id=1)
        assert batch.labels[0].tolist() == [-100, 5, 1, -100]

    def test_an_epoch_has_each_example_once_in_an_order_of_its_own(self):
        examples = [Encoded([i], [1], "") for i in range(11)]

        def order(seed, epoch):
            batches = list(epoch_batches(examples, 4, 0, seed, epoch))
            assert [len(batch.input_ids) for batch in batches] == [4, 4, 3]
            return torch.cat([batch.input_ids[:, 0] for batch in batches]).tolist()

        assert sorted(order(0, 0)) == list(range(11))
        assert order(0, 0) == order(0, 0)
        assert order(0, 0) != order(0, 1)
        assert order(0, 0) != order(1, 0)


class TestLargerNumber:
    def test_answers_are_right_and_pairs_differ(self):
        examples = larger_number(4005, seed=2)
        pairs, first = set(), 0
        for example in examples:
            a, b = (
                int(w) for w in example.question.strip("?").replace(",", "").split() if w.isdigit()
            )
            assert int(example.answer) == max(a, b)
            assert 10 <= min(a, b) < max(a, b) <= 99
            pairs.add(frozenset((a, b)))
            first += a > b
        assert len(pairs) == len(examples)
        assert first == 2003

    def test_seed_decides_and_a_longer_list_begins_with_the_shorter(self):
        assert larger_number(9, seed=1) == larger_number(20, seed=1)[:9]
        assert larger_number(9, seed=1) != larger_number(9, seed=2)

    def test_no_more_than_there_are(self):
        with pytest.raises(ValueError, match="count: expected 0 to 4005, got 4006"):
            larger_number(4006, seed=0)
