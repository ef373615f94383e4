"""Data as people have it: formats, layouts, names of columns."""

import importlib.util
import json

import pytest

from tsloss_fast.tuning.data import Columns, DataError, Example, ExampleFile

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed"
)
ROWS = [{"question": "1 or 2", "answer": "2"}, {"question": "3\nor 4, é", "answer": '"4"'}]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(path, *records):
    return write(path, "\n".join(map(json.dumps, records)))


def read(path, **options):
    return [(e.question, e.answer) for e in ExampleFile(path, **options)]


SYSTEM = {"role": "system", "content": "s"}
USER = {"role": "user", "content": "q"}
ASSISTANT = {"role": "assistant", "content": "a"}
PAIRS = [(row["question"], row["answer"]) for row in ROWS]


class TestLayouts:
    @pytest.mark.parametrize(
        ("record", "question"),
        [
            ({"question": "q", "answer": "a", "input": "not asked for"}, "q"),
            ({"prompt": "q", "completion": "a"}, "q"),
            ({"instruction": "q", "output": "a"}, "q"),
            ({"instruction": "q", "input": "", "output": "a"}, "q"),
            ({"instruction": "q", "input": None, "output": "a"}, "q"),
            ({"instruction": "q", "input": "i", "output": "a"}, "q\n\ni"),
            ({"instruction": "q", "input": 0, "output": "a"}, "q\n\n0"),
            ({"question": 7, "answer": "a"}, "7"),
        ],
    )
    def test_pairs(self, tmp_path, record, question):
        file = jsonl(tmp_path / "a.jsonl", record)
        assert list(ExampleFile(file)) == [Example(question, "a", f"{file}:1")]

    def test_messages_keep_what_comes_before_the_question(self, tmp_path):
        turns = [SYSTEM, USER, ASSISTANT, USER, ASSISTANT]
        file = jsonl(tmp_path / "a.jsonl", {"messages": turns}, {"messages": turns[1:3]})
        first, second = ExampleFile(file)
        context = (("system", "s"), ("user", "q"), ("assistant", "a"))
        assert first == Example("q", "a", f"{file}:1", context)
        assert second == Example("q", "a", f"{file}:2")

    def test_prompt_and_completion_as_messages(self, tmp_path):
        record = {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]}
        (example,) = ExampleFile(jsonl(tmp_path / "a.jsonl", record))
        assert (example.context, example.question, example.answer) == ((("system", "s"),), "q", "a")

    def test_content_in_parts(self, tmp_path):
        parts = {"role": "user", "content": [{"type": "text", "text": "q"}, {"text": "r"}]}
        file = jsonl(tmp_path / "a.jsonl", {"messages": [parts, ASSISTANT]})
        assert read(file) == [("qr", "a")]

    def test_names_of_columns(self, tmp_path):
        file = jsonl(tmp_path / "a.jsonl", {"text": "q", "label": "a", "chat": [USER] * 2})
        assert read(file, columns=Columns("text", "label")) == [("q", "a")]
        file = jsonl(tmp_path / "a.jsonl", {"chat": [USER, ASSISTANT], "question": 1})
        assert read(file, columns=Columns(messages="chat")) == [("q", "a")]

    @pytest.mark.parametrize(
        ("record", "words"),
        [
            (
                {"text": "q", "label": "a"},
                "expected the columns question and answer, prompt and completion, instruction and "
                "output, or messages, got 'text', 'label'; --question-column and --answer-column",
            ),
            ({"prompt": "q"}, "missing key 'completion'"),
            ({"prompt": "q", "completion": [ASSISTANT]}, "completion: expected a string, got list"),
            ({"messages": "q"}, "messages: expected a list of messages, got str"),
            ({"messages": []}, "expected a user's and the assistant's at the end, got none"),
            (
                {"messages": [ASSISTANT, USER]},
                "expected a user's and the assistant's at the end, got assistant, user",
            ),
            ({"messages": [USER, {"role": "assistant"}]}, "messages[1]: missing key 'content'"),
            ({"messages": [USER, "a"]}, "messages[1]: expected an object, got str"),
            (
                {"messages": [{"role": "user", "content": [{"image": "x"}]}, ASSISTANT]},
                "messages[0]: content: expected a string, got NoneType",
            ),
        ],
    )
    def test_what_does_not_fit_says_so(self, tmp_path, record, words):
        file = jsonl(tmp_path / "a.jsonl", record)
        with pytest.raises(DataError) as caught:
            read(file)
        assert str(caught.value).startswith(f"{file}:1: ")
        assert words in str(caught.value)


class TestCsv:
    TEXT = '\ufeffquestion,answer,id\r\n1 or 2,2,7\r\n"3\nor 4, é","""4""",8\r\n\r\n5 or 6,6,9\r\n'

    def test_quotes_newlines_and_a_byte_order_mark(self, tmp_path):
        file = write(tmp_path / "a.csv", self.TEXT)
        assert read(file) == [*PAIRS, ("5 or 6", "6")]
        assert [e.source for e in ExampleFile(file)] == [f"{file}:{n}" for n in (2, 3, 6)]

    def test_tabs(self, tmp_path):
        file = write(tmp_path / "a.tsv", "prompt\tcompletion\na, b\tc\n")
        assert read(file) == [("a, b", "c")]

    def test_a_field_longer_than_csvs_own_limit(self, tmp_path):
        text = "x" * 200_000
        assert read(write(tmp_path / "a.csv", f"question,answer\n{text},1\n")) == [(text, "1")]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("question,answer\nq\n", ":2: expected 2 columns, got 1"),
            ("question,answer\nq,a,b\n", ":2: expected 2 columns, got 3"),
            ("question,question\nq,a\n", ":1: expected names of columns once each, got 'question'"),
            ("question,answer\nq,\n", ":2: answer: expected text, got an empty string"),
            ("a,b\nq,a\n", ":2: expected the columns question and answer"),
            ("question,answer\n", ": expected at least one line, got none"),
            ('question,answer\nq,"a\n', "not CSV: unexpected end of data"),
            (b"question,answer\nq,\xff\n", "not UTF-8: invalid start byte"),
        ],
    )
    def test_what_does_not_fit_says_so(self, tmp_path, text, words):
        with pytest.raises(DataError) as caught:
            read(write(tmp_path / "a.csv", text))
        assert str(caught.value).startswith(str(tmp_path / "a.csv"))
        assert words in str(caught.value)


class TestJsonFile:
    def test_one_list(self, tmp_path):
        file = write(tmp_path / "a.json", json.dumps(ROWS, indent=1))
        assert read(file) == PAIRS
        assert [e.source for e in ExampleFile(file)] == [f"{file}[0]", f"{file}[1]"]

    def test_lines(self, tmp_path):
        assert read(jsonl(tmp_path / "a.json", *ROWS)) == PAIRS


@needs_pyarrow
class TestArrow:
    def table(self, rows=ROWS):
        import pyarrow as pa

        return pa.Table.from_pylist(rows)

    def test_parquet_and_the_number_of_a_row(self, tmp_path):
        import pyarrow.parquet as pq

        pq.write_table(self.table(), tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet") == PAIRS
        pq.write_table(self.table([*ROWS, {"question": "q"}]), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"a\.parquet: row 2: answer: expected a string, got N"):
            read(tmp_path / "a.parquet")

    def test_parquet_of_conversations(self, tmp_path):
        import pyarrow.parquet as pq

        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        pq.write_table(self.table([{"messages": turns}]), tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet") == [("q", "a")]

    def test_not_parquet(self, tmp_path):
        with pytest.raises(DataError, match=r"a\.parquet: not Parquet: "):
            read(write(tmp_path / "a.parquet", "question,answer\n"))

    def save_to_disk(self, folder, rows):
        """As `datasets` does: a stream of Arrow, in two files, and a state that names them."""
        import pyarrow as pa

        folder.mkdir(parents=True)
        names = []
        for i, row in enumerate(rows):
            names.append(f"data-{i:05}-of-{len(rows):05}.arrow")
            table = self.table([row])
            with pa.ipc.new_stream(str(folder / names[-1]), table.schema) as stream:
                stream.write_table(table)
        state = {"_data_files": [{"filename": name} for name in names], "_indices_files": None}
        (folder / "state.json").write_text(json.dumps(state))

    def test_a_saved_dataset(self, tmp_path):
        self.save_to_disk(tmp_path / "set", ROWS)
        assert read(tmp_path / "set") == PAIRS

    def test_a_saved_dataset_of_several_splits(self, tmp_path):
        self.save_to_disk(tmp_path / "set" / "train", ROWS[:1])
        self.save_to_disk(tmp_path / "set" / "test", ROWS[1:])
        (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        assert read(tmp_path / "set") == PAIRS[:1]
        assert read(tmp_path / "set", split="test") == PAIRS[1:]
        with pytest.raises(DataError, match=r"split: expected one of train, test in .*, got 'dev'"):
            read(tmp_path / "set", split="dev")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(DataError, match=r"or a folder that datasets' save_to_disk wrote, got a"):
        read(tmp_path)


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "pyarrow" else find_spec(n)
    )
    with pytest.raises(DataError, match=r"a\.parquet: needs pyarrow.*run: pip install pyarrow"):
        read(write(tmp_path / "a.parquet", "x"))
