"""NVRTC and what it makes of the kernels of H1, where that is kept, and what the driver is told."""

import ctypes
import re
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from tsloss_fast._engine.cuda_h1 import compiler, driver, sizes


@pytest.fixture(scope="module")
def nvrtc():
    try:
        compiler.nvrtc_version()
    except compiler.CompileError as error:
        pytest.skip(str(error))


def macros_for(n):
    return sizes.form_for(n, sizes.room_for(n), 232448).macros


@pytest.mark.usefixtures("nvrtc")
def test_machine_code_is_compiled_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    macros = dict(macros_for(20))
    cubin = compiler.machine_code(macros, 90)
    assert cubin.startswith(b"\x7fELF")
    (kept,) = (tmp_path / "tsloss_fast").iterdir()
    assert re.fullmatch(r"h1-sm90-[0-9a-f]{32}\.cubin", kept.name)
    asked = []
    monkeypatch.setattr(compiler, "_compile", lambda options, kind: asked.append(kind) or b"other")
    assert compiler.machine_code(macros, 90) == cubin
    assert asked == []
    # Another form, architecture or source is another file.
    assert compiler.machine_code({**macros, "TSL_WARPS": 4}, 90) == b"other"
    assert compiler.machine_code(macros, 80) == b"other"
    root = tmp_path / "source"
    (root / "cuda").mkdir(parents=True)
    (root / "cuda" / "h1.cu").write_text("// changed")
    monkeypatch.setattr(compiler, "source_root", lambda: root)
    assert compiler.machine_code(macros, 90) == b"other"
    assert asked == 3 * ["CUBIN"]


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "tsloss_fast").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "nvrtc_version", lambda: (13, 0))
    monkeypatch.setattr(compiler, "_compile", lambda options, kind: b"code")
    assert compiler.machine_code({"TSL_WORDS": 1}, 90) == b"code"


@pytest.mark.usefixtures("nvrtc")
def test_what_does_not_compile_is_told_with_the_compilers_words():
    with pytest.raises(compiler.CompileError, match=r"(?s)with .*-DTSL_WORDS=nothing.*nothing"):
        compiler.ptx({"TSL_WORDS": "nothing", "TSL_WARPS": 8, "TSL_SHARED": 1}, 90)


def test_without_nvrtc_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compiler, "_library_names", lambda: iter(["libno-such-nvrtc.so"]))
    compiler._nvrtc.cache_clear()
    with pytest.raises(compiler.CompileError, match=r"pip install nvidia-cuda-nvrtc.*h1='host'"):
        compiler.nvrtc_version()
    compiler._nvrtc.cache_clear()


@pytest.mark.ptx
@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(("n", "registers", "spilled"), [(20, 63, 0), (256, 63, 0), (512, 80, 16)])
def test_registers_and_spills(n, registers, spilled, tmp_path):
    """The figures of docs/h1-gpu.md, for sm_90."""
    backend = pytest.importorskip("triton.backends.nvidia", reason="brings ptxas")
    source = tmp_path / "h1.ptx"
    source.write_text(compiler.ptx(dict(macros_for(n)), 90))
    ptxas = next(iter(backend.__path__)) + "/bin/ptxas"
    command = [ptxas, "-v", "-arch=sm_90", str(source), "-o", str(tmp_path / "h1.cubin")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    used = [int(number) for number in re.findall(r"Used (\d+) registers", told)]
    assert len(used) == len(driver.KERNELS)
    assert max(used) <= registers
    assert max(map(int, re.findall(r"(\d+) bytes spill", told))) <= spilled


class Cuda:
    """The driver's library: keeps what it is told to launch."""

    def __init__(self, status=0):
        self.status, self.told, self.shared = status, [], []

    def cuModuleLoadData(self, module, code):
        self.code = code
        return 0

    def cuModuleGetFunction(self, function, module, name):
        self.told.append(name)
        return 0

    def cuFuncSetAttribute(self, function, attribute, value):
        self.shared.append((attribute, value))
        return 0

    def cuLaunchKernel(self, function, *given):
        *sizes, shared, stream, pointers, _ = given
        values = [ctypes.c_uint64.from_address(pointer).value for pointer in pointers]
        self.told.append((sizes, shared, stream.value, values))
        return self.status

    def cuGetErrorString(self, status, text):
        ctypes.cast(text, ctypes.POINTER(ctypes.c_char_p))[0] = b"too many resources"
        return 0


@pytest.fixture
def on_stream_7(monkeypatch):
    stream = SimpleNamespace(cuda_stream=7)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)

    def use(cuda):
        monkeypatch.setattr(driver, "_cuda", lambda: cuda)
        return cuda

    return use


def test_a_launch_hands_on_its_arguments(on_stream_7):
    cuda = on_stream_7(Cuda())
    kernel = driver.Kernel(ctypes.c_void_p(1))
    kernel.launch(5, 256, 48 * 1024, [2**40 + 3, 20])
    kernel.launch(6, 64, 200_000, [1])
    kernel.launch(6, 64, 100_000, [1])
    assert cuda.told == [
        ([5, 1, 1, 256, 1, 1], 48 * 1024, 7, [2**40 + 3, 20]),
        ([6, 1, 1, 64, 1, 1], 200_000, 7, [1]),
        ([6, 1, 1, 64, 1, 1], 100_000, 7, [1]),
    ]
    # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, once it is more than any kernel may take.
    assert cuda.shared == [(8, 200_000)]


def test_a_launch_that_fails_says_why(on_stream_7):
    on_stream_7(Cuda(status=701))
    with pytest.raises(RuntimeError, match=r"^CUDA: too many resources$"):
        driver.Kernel(ctypes.c_void_p(1)).launch(1, 32, 0, [])


def test_kernels_are_loaded_for_the_device(on_stream_7, monkeypatch):
    cuda = on_stream_7(Cuda())
    asked = []
    monkeypatch.setattr(compiler, "machine_code", lambda *given: asked.append(given) or b"")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    driver.load.cache_clear()
    assert tuple(driver.load(macros_for(20), 0)) == driver.KERNELS
    assert asked == [(dict(macros_for(20)), 86)]
    assert cuda.told == [name.encode() for name in driver.KERNELS]
    driver.load.cache_clear()
