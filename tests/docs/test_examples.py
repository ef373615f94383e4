"""The examples that need no language model run as they stand, in fewer steps."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_graph_closes_its_ring_sooner():
    pytest.importorskip("scipy")
    told = run("graph.py", "--steps", "60")
    before, after = map(float, re.findall(r"the ring waits for .* of ([\d.]+) minutes", told))
    assert 0 < after < 0.9 * before
    joined = re.findall(r"joined by roads of at most ([\d.]+) minutes", told)
    assert float(joined[1]) <= float(joined[0]) <= before


def test_the_rips_layer_writes_its_picture(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    told = run("rips_layer.py", "--out", str(tmp_path / "layer.gif"), "--steps", "60")
    first, last = map(float, re.search(r"longest H1 bar: ([\d.]+) -> ([\d.]+)", told).groups())
    assert last > first
    assert (tmp_path / "layer.gif").read_bytes().startswith(b"GIF89a")
