"""Prompts, adapters, runs and logs that anybody may have written: rows, or one line of reason."""

import functools
import io
import json
import pickle

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.untrusted.drawing import anything, attempt, damaged
from tsloss_fast.analysis.read import UnreadablePrompt, read_prompt
from tsloss_fast.prompt import SoftPrompt
from tsloss_fast.prompt.saved import SavedPromptError, read_rows
from tsloss_fast.prompt.topology_log import TopologyLog, TopologyLogError
from tsloss_fast.tuning import warm_start
from tsloss_fast.tuning.checkpoints import RunError, RunFolder
from tsloss_fast.tuning.config import ConfigError
from tsloss_fast.tuning.finished import FinishedRun

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

MARK = "/ran_code"


class Code:
    """Runs code where it is unpickled."""

    def __init__(self, folder):
        self.file = f"{folder}{MARK}"

    def __reduce__(self):
        return open, (self.file, "w")


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


PROMPT = saved(torch.arange(12.0).reshape(3, 4))


def read_every_way(file):
    """What reads a prompt's file gives rows or its own kind of error."""
    for read, error in ((read_rows, SavedPromptError), (read_prompt, UnreadablePrompt)):
        try:
            rows = read(file)
        except error:
            continue
        assert rows.ndim == 2
        assert rows.isfinite().all()


@same_folder
@given(content=damaged(PROMPT) | st.binary(max_size=60))
def test_damaged_tensors(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    read_every_way(tmp_path / "a.pt")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_way_to_a_prompt_runs_code(tmp_path, protocol):
    folder = tmp_path / "run"
    folder.mkdir()
    for file in ("a.pt", "trainer_state.pt", "soft_prompt_epoch_001.pt", "adapter_model.bin"):
        value = {"prompt": torch.ones(2, 2), "other": Code(tmp_path)}
        if protocol == 0:
            (folder / file).write_bytes(pickle.dumps(value, 0))
        else:
            torch.save(value, folder / file, pickle_protocol=protocol)
    read_every_way(folder / "a.pt")
    (folder / "config.json").write_text("{}")
    for read in (
        RunFolder(folder).load_state,
        lambda: warm_start.read_rows(folder),
        lambda: FinishedRun.read(folder),
        lambda: FinishedRun.read(folder, 1),
    ):
        with pytest.raises(
            (RunError, SavedPromptError), match=r"can run code|no file that torch\.save wrote"
        ):
            read()
    (folder / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    for read in (read_rows, SoftPrompt.from_pretrained, FinishedRun.read):
        with pytest.raises(SavedPromptError):
            read(folder)
    assert not (tmp_path / MARK[1:]).exists()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    SoftPrompt(3, 4).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_adapter(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read_adapter(folder):
    for read in (read_rows, SoftPrompt.from_pretrained, FinishedRun.read):
        try:
            found = read(folder)
        except (SavedPromptError, RunError, ConfigError):
            continue
        assert found is not None
    try:
        rows = read_prompt(folder / "adapter_model.safetensors")
    except UnreadablePrompt:
        return
    assert rows.isfinite().all()


@same_folder
@given(data=st.data())
def test_damaged_adapters(tmp_path, adapter, data):
    name = data.draw(st.sampled_from(sorted(adapter)))
    content = data.draw(damaged(adapter[name]))
    read_adapter(write_adapter(tmp_path / "adapter", adapter | {name: content}))


@same_folder
@given(
    config=anything("peft_type", "PROMPT_TUNING", "PREFIX_TUNING", "num_layers")
    | st.fixed_dictionaries(
        {"peft_type": st.sampled_from(["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"])},
        optional={
            "num_layers": anything(),
            "num_virtual_tokens": anything(),
            "base_model_name_or_path": anything(),
            "num_transformer_submodules": anything(),
        },
    )
)
def test_configurations_of_any_form(tmp_path, adapter, config):
    files = adapter | {"adapter_config.json": json.dumps(config).encode()}
    read_adapter(write_adapter(tmp_path / "adapter", files))


SETTINGS = {"data": "data.jsonl", "n_tokens": 3}
STATE = {"step": 1, "prompt": torch.ones(3, 4), "optimizer": {}, "rng": torch.get_rng_state()}


def read_run(folder):
    """What reads a run gives it, or an error of its own."""
    for read in (
        RunFolder(folder).load_config,
        RunFolder(folder).load_state,
        RunFolder(folder).read_metrics,
        lambda: RunFolder(folder).cut_metrics(1),
        lambda: warm_start.read_rows(folder),
    ):
        _, reason = attempt(read, RunError, SavedPromptError)
        assert reason is None or str(folder) in reason
    try:
        found = FinishedRun.read(folder)
    except (RunError, ConfigError, SavedPromptError):
        return
    assert found.prompt.ndim == 2
    assert found.prompt.isfinite().all()


def write_run(folder, **files):
    folder.mkdir(exist_ok=True)
    good = {
        "config.json": json.dumps(SETTINGS).encode(),
        "trainer_state.pt": saved(STATE),
        "metrics.jsonl": b'{"kind": "step", "step": 1}\n',
    }
    for name, content in (good | files).items():
        (folder / name).write_bytes(content)
    return folder


def test_the_run_is_right_before_it_is_damaged(tmp_path):
    assert torch.equal(FinishedRun.read(write_run(tmp_path / "run")).prompt, STATE["prompt"])


@same_folder
@given(data=st.data())
def test_damaged_runs(tmp_path, data):
    good = {"config.json": json.dumps(SETTINGS).encode(), "trainer_state.pt": saved(STATE)}
    good |= {"metrics.jsonl": b'{"kind": "step", "step": 1}\n{"kind": "epoch", "step": 1}\n'}
    name = data.draw(st.sampled_from(sorted(good)))
    read_run(write_run(tmp_path / "run", **{name: data.draw(damaged(good[name]))}))


@same_folder
@given(
    config=anything("data", "n_tokens", "model", "lr")
    | st.fixed_dictionaries(
        {"data": st.just("x")},
        optional={k: anything() for k in ("n_tokens", "lr", "model", "init")},
    )
)
@example(config=[])
@example(config={"data": "x", "n_tokens": 10**400})
def test_settings_of_any_form(tmp_path, config):
    read_run(write_run(tmp_path / "run", **{"config.json": json.dumps(config).encode()}))


@same_folder
@given(
    state=anything("prompt", "step")
    | st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(
                [torch.ones(3, 4), torch.ones(3), torch.full((3, 4), torch.nan),
                 torch.ones(3, 4).int(), torch.ones(3, 4).to_sparse(), "rows"]
            )
        },
        optional={"step": anything()},
    )
)  # fmt: skip
def test_states_of_any_form(tmp_path, state):
    read_run(write_run(tmp_path / "run", **{"trainer_state.pt": saved(state)}))


@same_folder
@given(records=st.lists(anything("step", "kind", "eval", "epoch"), max_size=3))
@example(records=[{"step": "1"}])
def test_metrics_of_any_form(tmp_path, records):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    read_run(write_run(tmp_path / "run", **{"metrics.jsonl": lines.encode()}))


@same_folder
@given(data=st.data())
@example(data=None)
def test_logs_of_the_monitor(tmp_path, data):
    file = tmp_path / "log.jsonl"
    file.unlink(missing_ok=True)
    log = TopologyLog(file, "euclidean")
    log.append({"kind": "topology", "step": 1})
    good = file.read_bytes()
    content = b'{"step": ' + b"9" * 5000 + b"}\n" if data is None else data.draw(damaged(good))
    file.write_bytes(content)
    for options in ({"resume": True}, {"overwrite": True}, {}):
        call = functools.partial(TopologyLog, file, "euclidean", **options)
        _, reason = attempt(call, TopologyLogError)
        assert reason is None or str(file) in reason
