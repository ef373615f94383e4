"""Models and data sets by their names, downloaded by the real libraries from a hub on loopback."""

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from local_hub import local_hub
from tiny_lm import save_tiny

import tsloss_fast

pytestmark = pytest.mark.model

ROOT = Path(tsloss_fast.__file__).parents[1]
START = "import sys; from tsloss_fast_command import main; sys.exit(main())"
NAME = "someone/tiny"
ROWS = [("question", "answer"), ("1 or 2 is", "2"), ("3 or 4 is", "4"), ("5 or 6 is", "6")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What lies on the hub: a model and a data set of the same name."""
    root = tmp_path_factory.mktemp("hub")
    save_tiny(root / "models" / NAME)
    data = root / "datasets" / NAME
    data.mkdir(parents=True)
    with (data / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(ROWS)
    return root


@pytest.fixture
def command(tmp_path):
    """Run tsloss-fast against the hub at an address, with a cache that lasts for the test."""

    def run(address, *args):
        # Tests are run with HF_HUB_OFFLINE, which is what this one is not about.
        settings = {name: x for name, x in os.environ.items() if not name.startswith("HF_")}
        settings |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache")}
        return subprocess.run(
            [sys.executable, "-c", START, *map(str, args)],
            env=settings | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def tune(command, address, data, out, model=NAME):
    settings = ("--n-tokens", 4, "--epochs", 1, "--template", "plain", "--quiet")
    return command(address, "tune", "--data", data, "--model", model, "--out", out, *settings)


@pytest.fixture
def data(tmp_path):
    with (tmp_path / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows(ROWS)
    return tmp_path / "data.csv"


def test_a_model_is_downloaded_once_and_then_taken_from_the_cache(root, command, data, tmp_path):
    with local_hub(root) as (address, asked):
        done = tune(command, address, data, tmp_path / "run")
        assert (done.returncode, done.stderr) == (0, "")
        (weights,) = [x for x in asked if x.startswith("GET") and x.endswith("model.safetensors")]
        assert f"/{NAME}/resolve/" in weights
        answered = command(address, "generate", tmp_path / "run", "1 or 2 is")
        assert answered.returncode == 0, answered.stderr
        assert [x for x in asked if x.startswith("GET") and x.endswith("safetensors")] == [weights]
    # The hub is gone.
    again = command(address, "generate", tmp_path / "run", "1 or 2 is")
    assert (again.returncode, again.stdout) == (0, answered.stdout), again.stderr


def test_a_name_that_is_not_on_the_hub_is_one_line(root, command, data, tmp_path):
    with local_hub(root) as (address, _):
        done = tune(command, address, data, tmp_path / "run", model="someone/else")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "model: cannot load the tokenizer of someone/else: " in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
def test_a_data_set_by_its_name(root, command, tmp_path):
    with local_hub(root) as (address, asked):
        done = tune(command, address, NAME, tmp_path / "run")
        assert (done.returncode, done.stderr) == (0, "")
        assert any("/datasets/" in x and x.startswith("GET") for x in asked)
        wrong = tune(command, address, "no/where", tmp_path / "other")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "no/where: no such file, and no data set on the hub: " in wrong.stderr
