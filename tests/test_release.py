"""What a release stands on: one version, and one list of Pythons."""

import importlib.util
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import tsloss_fast

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()


def test_the_version_stands_in_one_place():
    assert version("tsloss-fast") == tsloss_fast.__version__
    assert 'dynamic = ["version"]' in PROJECT
    assert not re.search(r'^version = "', PROJECT, re.MULTILINE)


def test_every_list_of_pythons_is_the_same():
    minors = re.findall(r"Python :: 3\.(\d+)", PROJECT)
    assert minors == [str(minor) for minor in range(10, 15)]
    assert f'requires-python = ">=3.{minors[0]}"' in PROJECT
    assert f"cp3{{{','.join(minors)}}}-" in PROJECT  # cibuildwheel's
    tests = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert re.findall(r"newest-3\.(\d+)", tests) == minors


@pytest.fixture
def wheels(monkeypatch):
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "release" / "wheels.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "wheels", module)  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_wheels_are_for_the_same_pythons(wheels):
    assert [f"{minor}" for minor in wheels.MINORS] == re.findall(r"Python :: 3\.(\d+)", PROJECT)


@pytest.mark.parametrize("name", ["linux-x86_64", "linux-aarch64", "macos-arm64"])
def test_a_wheel_is_compiled_and_named_for_its_target(wheels, name):
    target = wheels.TARGETS[name]
    env = wheels.environment(target, "312")
    assert all(f"-target {target.zig}" in env[key] for key in ("CC", "CXX", "LDCXXSHARED"))
    system, _, processor = name.partition("-")
    assert env["_PYTHON_HOST_PLATFORM"].endswith(processor)
    suffix = env["SETUPTOOLS_EXT_SUFFIX"]
    assert suffix.startswith(".cpython-312-")
    # What Python on macOS looks for names no processor.
    assert suffix.endswith("-darwin.so" if system == "macos" else f"-{processor}-linux-gnu.so")
    assert ("dynamic_lookup" in env["LDCXXSHARED"]) == (system == "macos")
