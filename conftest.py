"""What must be settled before any module of the package or the tests is imported."""

import os
from importlib.metadata import PackageNotFoundError, version

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu",
        action="store_true",
        help="run the tests marked gpu, and no others, on the CUDA device",
    )
    parser.addoption(
        "--ptx",
        action="store_true",
        help="run the tests marked gpu or ptx, and no others, compiled, in tests/ptx",
    )


def pytest_configure(config: pytest.Config) -> None:
    compiled = config.getoption("--gpu") or config.getoption("--ptx")
    # Triton reads this when a kernel is defined, so it comes before any import of one.
    os.environ["TRITON_INTERPRET"] = "0" if compiled else "1"
    # Where tests/helpers/devices.py puts tensors.
    os.environ["KERNELS_ON"] = "cuda" if config.getoption("--gpu") else "cpu"
    # The examples of the kernels' docstrings are run in the interpreter, too.
    if compiled or _why_not_interpreted():
        collect_ignore_glob.append("tsloss_fast/_engine/kernels/*")
    if config.getoption("--gpu"):
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("--gpu: expected a CUDA device that torch can use, got none")
    if config.getoption("--ptx"):
        from tests.ptx import plugin

        config.pluginmanager.register(plugin)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ptx = config.getoption("--ptx")
    if config.getoption("--gpu") or ptx:
        markers = ("gpu", "ptx") if ptx else ("gpu",)
        chosen = [item for item in items if any(map(item.get_closest_marker, markers))]
    else:
        chosen = [item for item in items if not item.get_closest_marker("ptx")]
    kept = set(map(id, chosen))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = chosen


def _numbers(package: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version(package).split(".")[:2])


def _why_not_interpreted() -> str | None:
    """Why the kernels cannot run in Triton's interpreter here, or None."""
    try:
        triton = _numbers("triton")
    except PackageNotFoundError:
        return "the kernels need Triton, which is not installed (it exists for Linux only)"
    if triton < (3, 7) and _numbers("numpy") >= (2, 4):
        return "before 3.7, Triton's interpreter cannot run loops with NumPy 2.4"
    return None


# No examples are in these, which cannot be imported without Triton.
collect_ignore_glob = ["tests/helpers/compile_kernels.py"]
collect_ignore_glob += [
    f"tests/ptx/{name}.py" for name in ("driver", "kernel_calls", "mutations", "plugin")
]


@pytest.fixture(scope="session")
def kernels_run(pytestconfig: pytest.Config) -> None:
    """Skip a test where the kernels can run neither on a GPU nor in Triton's interpreter."""
    compiled = pytestconfig.getoption("--gpu") or pytestconfig.getoption("--ptx")
    if not compiled and (reason := _why_not_interpreted()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cuda(pytestconfig: pytest.Config) -> None:
    """Skip a test that only a CUDA device can run."""
    if not pytestconfig.getoption("--gpu"):
        pytest.skip("needs a CUDA device: make test-gpu")
