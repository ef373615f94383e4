"""Kernels loaded and launched by the CUDA driver's C interface, on torch's context and stream."""

from __future__ import annotations

import ctypes
import functools

import torch

from tsloss_fast._engine.cuda_h1 import compiler

_SUCCESS = 0
_MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

KERNELS = ("order_edges", "examine_lunes", "find_classes")


class Kernel:
    """One kernel on one device, with so much dynamic shared memory at most."""

    def __init__(self, function: ctypes.c_void_p) -> None:
        self._function = function
        self._shared = 48 * 1024

    def launch(self, grid: int, threads: int, shared: int, arguments: list[int]) -> None:
        """Launch on the current stream; tensors are given by their addresses.

        Parameters
        ----------
        grid, threads : int
            Blocks, and threads of each.
        shared : int
            Bytes of dynamic shared memory of a block.
        arguments : list of int
            All 64 bits wide: a number of 32 bits is read from the lower half.
        """
        if shared > self._shared:
            _check(_cuda().cuFuncSetAttribute(self._function, _MAX_DYNAMIC_SHARED, shared))
            self._shared = shared
        values = (ctypes.c_uint64 * len(arguments))(*arguments)
        first = ctypes.addressof(values)
        pointers = (ctypes.c_void_p * len(arguments))(*range(first, first + 8 * len(values), 8))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _check(
            _cuda().cuLaunchKernel(
                self._function, grid, 1, 1, threads, 1, 1, shared, stream, pointers, None
            )
        )


@functools.cache
def load(macros: tuple[tuple[str, int], ...], device: int) -> dict[str, Kernel]:
    """The kernels of csrc/cuda for these macros on a device, by their names."""
    major, minor = torch.cuda.get_device_capability(device)
    cubin = compiler.machine_code(dict(macros), 10 * major + minor)
    module, kernels = ctypes.c_void_p(), {}
    with torch.cuda.device(device):
        # Makes torch's context the current one.
        torch.cuda.current_stream().cuda_stream  # noqa: B018
        _check(_cuda().cuModuleLoadData(ctypes.byref(module), cubin))
        for name in KERNELS:
            function = ctypes.c_void_p()
            _check(_cuda().cuModuleGetFunction(ctypes.byref(function), module, name.encode()))
            kernels[name] = Kernel(function)
    return kernels


@functools.cache
def _cuda() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(status: int) -> None:
    if status != _SUCCESS:
        text = ctypes.c_char_p()
        _cuda().cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f"CUDA: {text.value.decode() if text.value else status}")
