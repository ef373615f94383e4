"""Data files that anybody may have written: examples, or one line that says what is wrong where."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.untrusted.drawing import anything, attempt, damaged
from tsloss_fast.analysis.accuracy import read_accuracy
from tsloss_fast.analysis.find import AnalysisError
from tsloss_fast.tuning.data import DataError, Example, ExampleFile

KEYS = ("question", "answer", "prompt", "completion", "messages", "role", "content", "user")
PAIRS = [{"question": f"{k} or 1 is", "answer": "yes"} for k in range(3)]
JSONL = "".join(json.dumps(pair) + "\n" for pair in PAIRS).encode()
CSV = b"question,answer\n" + b'"1, or 2 is",yes\r\n3 is,"no\nnot ""at all"""\n'

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, **options):
    """The examples of a file, or the reason why there are none."""
    found, reason = attempt(lambda: list(ExampleFile(path, **options)), DataError)
    if found is None:
        assert str(path) in reason or "split: " in reason
        return None
    assert all(isinstance(one, Example) and one.question.strip() for one in found)
    return found


def written(path, content):
    path.write_bytes(content)
    return path


def test_the_files_are_right_before_they_are_damaged(tmp_path):
    assert len(read(written(tmp_path / "a.jsonl", JSONL))) == 3
    assert len(read(written(tmp_path / "a.csv", CSV))) == 2


@same_folder
@given(content=damaged(JSONL) | st.binary(max_size=60))
@example(content=b'{"question": ' + b"[" * 100_000)
@example(content=b'{"question": ' + b"9" * 5000 + b', "answer": "a"}')
def test_json_lines(tmp_path, content):
    read(written(tmp_path / "a.jsonl", content))


@same_folder
@given(values=st.lists(anything(*KEYS), max_size=3))
def test_json_of_any_form(tmp_path, values):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    read(written(tmp_path / "a.jsonl", lines.encode()))
    read(written(tmp_path / "a.json", json.dumps(values).encode()))


@same_folder
@given(content=damaged(CSV) | st.binary(max_size=60), suffix=st.sampled_from(["csv", "tsv"]))
def test_csv(tmp_path, content, suffix):
    read(written(tmp_path / f"a.{suffix}", content))


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    file = tmp_path_factory.mktemp("good") / "a.parquet"
    pq.write_table(pa.Table.from_pylist(PAIRS), file)
    return file.read_bytes()


@same_folder
@given(data=st.data())
def test_parquet(tmp_path, parquet, data):
    read(written(tmp_path / "a.parquet", data.draw(damaged(parquet))))


def test_parquet_with_bytes_that_are_no_text(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    texts = pa.array([b"\xff\xfe", b"yes"], pa.binary()).cast(pa.large_binary()).view("large_utf8")
    pq.write_table(pa.table({"question": texts, "answer": texts}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: not UTF-8"):
        list(ExampleFile(tmp_path / "a.parquet"))


def saved_dataset(folder, state):
    """A folder as `save_to_disk` writes it, with a state of one's own."""
    pa = pytest.importorskip("pyarrow")
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(PAIRS)
    with pa.ipc.new_stream(str(folder / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(state)
    return folder


def test_a_data_set_names_no_file_outside_itself(tmp_path):
    inside = json.dumps({"_data_files": [{"filename": "data.arrow"}]})
    assert len(read(saved_dataset(tmp_path / "good", inside))) == 3
    for name in ("../good/data.arrow", str(tmp_path / "good" / "data.arrow"), "x/../data.arrow"):
        state = json.dumps({"_data_files": [{"filename": name}]})
        folder = saved_dataset(tmp_path / "bad", state)
        with pytest.raises(DataError, match="expected the name of a file in it"):
            list(ExampleFile(folder))


@same_folder
@given(state=anything("_data_files", "filename", "_indices_files", "data.arrow"))
@example(state={"_data_files": [{"filename": "nothing.arrow"}]})
@example(state={"_data_files": [{"filename": "a\0b"}]})
@example(state={"_data_files": [{}]})
def test_states_of_a_data_set(tmp_path, state):
    read(saved_dataset(tmp_path / "set", json.dumps(state)))


@same_folder
@given(splits=anything("splits", "train", "../"))
@example(splits={"splits": ["train"]})
@example(splits={"splits": ["../other"]})
def test_splits_of_a_data_set(tmp_path, splits):
    folder = saved_dataset(tmp_path / "set", "{}")
    (folder / "dataset_dict.json").write_text(json.dumps(splits))
    read(folder)
    read(folder, split="../other")


@same_folder
@given(content=damaged(b"epoch,accuracy\n0,0.5\n1,0.75\n") | st.binary(max_size=40))
@example(content=b'{"epoch": 1, "accuracy": ' + b"9" * 5000 + b"}")
@example(content=b"epoch,accuracy\n1,0.5,3\n")
def test_accuracies(tmp_path, content):
    file = written(tmp_path / "accuracy", content)
    found, reason = attempt(lambda: read_accuracy(file), AnalysisError)
    if found is None:
        assert reason.startswith("accuracy: ")
    else:
        assert all(isinstance(epoch, int) for epoch in found)


@same_folder
@given(values=st.lists(anything("epoch", "accuracy"), max_size=3))
def test_accuracies_of_any_form(tmp_path, values):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    test_accuracies.hypothesis.inner_test(tmp_path, lines.encode())
