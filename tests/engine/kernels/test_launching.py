"""Launches of compiled kernels: what is found again, and what is compiled anew."""

from types import SimpleNamespace

import pytest

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels import launching as module
from tsloss_fast._engine.kernels.launching import kinds, launch


class Kernel:
    """A kernel of two arguments and two constants that notes its launches."""

    arg_names = ("x", "n", "FIRST", "SECOND")

    def __init__(self, interpreted=False):
        self.fn = object()
        self.interpreted, self.compiled, self.launched = interpreted, [], []

    def __getitem__(self, grid):
        def run(*arguments, num_warps, **constants):
            self.compiled.append((grid, arguments, constants, num_warps))
            return None if self.interpreted else Compiled(self)

        return run


class Compiled:
    """What Triton compiled: `run` is its launcher, and an index its own way to call that."""

    function, packed_metadata = "function", "metadata"

    def __init__(self, kernel):
        self.kernel = kernel

    def run(self, *arguments):
        self.kernel.launched.append(arguments)

    def __getitem__(self, grid):
        return lambda *arguments: self.kernel.launched.append(("seen by hooks", grid, *arguments))


class Driver:
    """Device 3, and a stream of it."""

    @staticmethod
    def get_current_device():
        return 3

    @staticmethod
    def get_current_stream(device):
        return f"stream of {device}"


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch):
    monkeypatch.setattr(module, "_compiled", {})
    monkeypatch.setattr(module, "driver", SimpleNamespace(active=Driver))


def test_a_known_form_goes_to_its_compiled_kernel():
    kernel = Kernel()
    launch(kernel, "form", 3, ("x", 1), {"SECOND": 20, "FIRST": 10}, 2)
    assert kernel.compiled == [((3,), ("x", 1), {"SECOND": 20, "FIRST": 10}, 2)]
    assert kernel.launched == []
    launch(kernel, "form", 5, ("y", 1), {"SECOND": 20, "FIRST": 10}, 2)
    assert len(kernel.compiled) == 1
    # The constants come in the order of the parameters.
    metadata = ("function", "metadata", None, None, None)
    assert kernel.launched == [(5, 1, 1, "stream of 3", *metadata, "y", 1, 10, 20)]


def test_a_profiler_hears_of_every_launch(monkeypatch):
    kernel = Kernel()
    launch(kernel, "form", 3, ("x", 1), {"FIRST": 10, "SECOND": 20})
    runtime = SimpleNamespace(launch_enter_hook=None, launch_exit_hook=lambda *a: None)
    monkeypatch.setattr(module, "knobs", SimpleNamespace(runtime=runtime))
    launch(kernel, "form", 5, ("y", 1), {"FIRST": 10, "SECOND": 20})
    assert kernel.launched == [("seen by hooks", (5, 1, 1), "y", 1, 10, 20)]


@pytest.mark.parametrize(
    "again", [("other", {"FIRST": 1, "SECOND": 2}), ("form", {"FIRST": 1, "SECOND": 3})], ids=str
)
def test_another_form_or_constant_goes_through_triton(again):
    kernel = Kernel()
    for form, constants in (("form", {"FIRST": 1, "SECOND": 2}), again):
        launch(kernel, form, 1, ("x", 1), constants)
    assert len(kernel.compiled) == 2
    assert kernel.launched == []


def test_kernels_do_not_share_forms():
    kernels = Kernel(), Kernel()
    for kernel in kernels:
        launch(kernel, "form", 1, ("x", 1), {"FIRST": 1, "SECOND": 2})
    assert [len(kernel.compiled) for kernel in kernels] == [1, 1]


def test_the_interpreter_is_asked_every_time():
    kernel = Kernel(interpreted=True)
    for _ in range(2):
        launch(kernel, "form", 1, ("x", 1), {"FIRST": 1, "SECOND": 2})
    assert len(kernel.compiled) == 2


def test_kinds_tell_apart_what_triton_compiles_for():
    plain, divisible = (False, False), (True, False)
    assert kinds(1, 7, 9, 16, 32) == (1, plain, plain, divisible, divisible)
    assert kinds(2**31) != kinds(2**30)
