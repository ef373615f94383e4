"""Where the tests run the kernels: on the CUDA device with --gpu, else on CPU tensors."""

import functools
import os

import torch

DEVICE = os.environ.get("KERNELS_ON", "cpu")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def moved(x, device=DEVICE):
    """A tensor of the same values and the same strides on the device; what else it is, unchanged.

    What belongs on neither device, such as a meta tensor, stays as it is, for the checks to refuse.
    """
    if not isinstance(x, torch.Tensor) or x.device.type == device:
        return x
    if x.device.type not in ("cpu", "cuda"):
        return x
    storage = torch.empty(0, dtype=x.dtype, device=x.device).set_(x.untyped_storage())
    return storage.to(device).as_strided(x.shape, x.stride(), x.storage_offset())


def on_device(launcher):
    """The launcher, called with CPU tensors and answering with them, wherever its kernel runs."""

    @functools.wraps(launcher)
    def call(*arguments, **options):
        arguments = [moved(argument) for argument in arguments]
        options = {name: moved(option) for name, option in options.items()}
        result = launcher(*arguments, **options)
        if isinstance(result, tuple):
            return tuple(moved(part, "cpu") for part in result)
        return moved(result, "cpu")

    return call
