"""Launches of kernels that are compiled already, past Triton's own search for the compiled form."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from torch import Tensor
from triton import knobs
from triton.runtime import driver

# Products are fused into the sums that take them, which counts of instructions and bounds on errors
# rest on. Triton fuses by itself up to 3.9, and no longer from 3.10 on.
FUSING = {"enable_fp_fusion": True}

# The compiled form and its constants in the order of the parameters, by kernel, form and constants:
# as many entries as Triton compiles kernels.
_compiled: dict[Hashable, tuple[Any, tuple[Any, ...]]] = {}


def ceiling(a: int, b: int) -> int:
    """How many blocks of b hold a; `triton.cdiv` takes three microseconds for it."""
    return -(-a // b)


def form_of(given: Sequence[Tensor], *integers: int) -> tuple[Hashable, ...]:
    """What Triton compiles for in a launch's arguments, whatever else their values are.

    Of the tensors that the caller of a launcher gave: the device and dtype of the first, from which
    those of all others follow, and whether each begins at a multiple of 16 bytes. What the launcher
    itself allocated does. Of each integer: whether it is 1, divides by 16, needs 64 bits.
    """
    first = given[0]
    # Lists, for a tuple of a generator takes twice as long.
    aligned = [x.data_ptr() % 16 == 0 for x in given]
    kinds = [1 if k == 1 else (k % 16 == 0, k >= 2**31) for k in integers]
    return (first.device.index, first.dtype, *aligned, *kinds)


def launch(
    kernel: Any,
    form: Hashable,
    programs: int,
    arguments: tuple[Any, ...],
    constants: dict[str, Any],
    num_warps: int = 4,
    **compiler: Any,
) -> None:
    """Launch `kernel` on the current device, as ``kernel[(programs,)](*arguments, **constants)``.

    Triton looks at every argument of every launch to find the compiled form that fits it, which
    takes three times as long as the launch. Here the caller says which form it is.

    Parameters
    ----------
    kernel : triton.JITFunction, or what Triton's interpreter makes of it
    form : hashable
        Equal for two launches of a kernel only if they differ in nothing that Triton compiles for:
        `form_of` their tensors and integers. The values of floats and the constants need not enter.
    programs : int, > 0
    arguments : tuple
        In the order of the kernel's parameters.
    constants : dict
        The compile-time parameters, which are the kernel's last.
    num_warps : int
    **compiler
        Options of Triton's compiler, the same for all launches of a kernel; those not given are
        `FUSING`.
    """
    # The kernel's Python function, since hashing the kernel itself takes a microsecond.
    key = (kernel.fn, form, *constants.values())
    known = _compiled.get(key)
    if known is not None:
        _run(*known, programs, arguments)
        return
    options = {**constants, "num_warps": num_warps, **FUSING, **compiler}
    compiled = kernel[programs,](*arguments, **options)
    # The interpreter compiles nothing.
    if compiled is not None:
        names = kernel.arg_names[len(arguments) :]
        _compiled[key] = compiled, tuple(constants[name] for name in names)


def _run(
    compiled: Any, constants: tuple[Any, ...], programs: int, arguments: tuple[Any, ...]
) -> None:
    """Launch on the current stream, as ``compiled[programs, 1, 1](*arguments, *constants)``."""
    if _has_hooks():
        compiled[programs, 1, 1](*arguments, *constants)
        return
    active = driver.active
    stream = active.get_current_stream(active.get_current_device())
    compiled.run(
        programs, 1, 1, stream, compiled.function, compiled.packed_metadata, None, None, None,
        *arguments, *constants,
    )  # fmt: skip


def _has_hooks() -> bool:
    """Whether a profiler asked to be told of launches; only Triton's own launch tells it."""
    hooks = knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook
    return any(hook is not None and getattr(hook, "calls", True) for hook in hooks)
