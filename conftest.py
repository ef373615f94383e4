"""What must be settled before any module of the package or the tests is imported."""

import os
import signal
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

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
    parser.addoption(
        "--executed",
        metavar="FILE",
        type=Path,
        help="write which kernels were launched, and on how many points, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A job in the background of a shell starts with Ctrl-C ignored, which tests send themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.pluginmanager.hasplugin("xdist"):
        from xdist.workermanage import NodeManager

        # By default it kills a process 10 seconds behind its tests, and with it what gcov counted,
        # which is written at the very end: `make coverage` on a busy machine.
        NodeManager.EXIT_TIMEOUT = 600
    compiled = config.getoption("--gpu") or config.getoption("--ptx")
    # Triton reads this when a kernel is defined, so it comes before any import of one.
    os.environ["TRITON_INTERPRET"] = "0" if compiled else "1"
    # Where tests/helpers/devices.py puts tensors.
    os.environ["KERNELS_ON"] = "cuda" if config.getoption("--gpu") else "cpu"
    # The examples of the kernels' docstrings are run in the interpreter, too.
    if compiled or not _HAS_TRITON:
        collect_ignore_glob.append("tsloss_fast/_engine/kernels/*")
    elif _triton_is_before((3, 7)):
        _let_loops_run_with_numpy_2_4()
    if config.getoption("--gpu"):
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("--gpu: expected a CUDA device that torch can use, got none")
    if config.getoption("--ptx"):
        from tests.ptx import plugin

        config.pluginmanager.register(plugin)
    if file := config.getoption("--executed"):
        from tests.executed.recording import Recorder, watch

        way = "device" if config.getoption("--gpu") else "ptx" if compiled else "interpreter"
        recorder = Recorder(file, way)
        config.pluginmanager.register(recorder)
        watch(recorder.note)


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


_HAS_TRITON = find_spec("triton") is not None


def _triton_is_before(wanted: tuple[int, int]) -> bool:
    """Whether an older Triton is installed; one under another name is a new one."""
    try:
        return tuple(int(part) for part in version("triton").split(".")[:2]) < wanted
    except PackageNotFoundError:
        return False


def _let_loops_run_with_numpy_2_4() -> None:
    """Mend the interpreter of Triton before 3.7, whose loops end at an error with this NumPy.

    It takes `int` of a scalar of the kernel, which it keeps as an array of one axis and one entry.
    NumPy takes arrays without an axis alone since 2.4.
    """
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: object) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


# No examples are in these, which cannot be imported without Triton.
collect_ignore_glob = ["tests/helpers/compile_kernels.py"]
collect_ignore_glob += [
    f"tests/ptx/{name}.py" for name in ("counts", "driver", "kernel_calls", "mutations", "plugin")
]


@pytest.fixture(scope="session")
def kernels_run() -> None:
    """Skip a test where the kernels can run neither on a GPU nor in Triton's interpreter."""
    if not _HAS_TRITON:
        pytest.skip("the kernels need Triton, which is not installed (it exists for Linux only)")


@pytest.fixture(scope="session")
def cuda(pytestconfig: pytest.Config) -> None:
    """Skip a test that only a CUDA device can run."""
    if not pytestconfig.getoption("--gpu"):
        pytest.skip("needs a CUDA device: make test-gpu")
