"""What a step of a loss asks the device to do, counted without one: kernels and operations."""

from collections import Counter

import pytest
import torch
from clouds import cloud
from devices import DEVICE
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tsloss_fast import TSLoss
from tsloss_fast._engine import operators as ops

pytest.importorskip("triton", reason="the kernels need Triton")

pytestmark = pytest.mark.usefixtures("kernels_run")

# Of torch's operations, those that launch nothing.
FREE = {"empty", "empty_strided", "view", "_unsafe_view", "reshape", "expand", "detach", "alias"}
FREE |= {"unsqueeze", "select", "slice", "as_strided", "new_empty", "unbind", "squeeze"}


class Operations(TorchDispatchMode):
    """Counts the operations of torch that would launch a kernel."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name not in FREE:
            self.counts[name] += 1
        return function(*arguments, **(options or {}))


@pytest.fixture
def step(monkeypatch):
    """A step of a loss on a cloud: its kernels and operations, without those of H1 on the host."""
    from tsloss_fast._engine.kernels import edge_lengths, persistence_terms
    from tsloss_fast._engine.kernels.distances import direct
    from tsloss_fast._engine.kernels.scatter import differences, edges
    from tsloss_fast._engine.kernels.surrogate import launch as surrogate
    from tsloss_fast._engine.kernels.surrogate import tiled
    from tsloss_fast.losses import persistence_loss

    if DEVICE != "cpu":
        pytest.skip("counted on CPU tensors, on which the host's part can be told apart")
    launched = Counter()
    for module in (direct, edge_lengths, persistence_terms, differences, edges, surrogate, tiled):

        def counted(kernel, *arguments, launch=module.launch, **options):
            launched[kernel.fn.__name__.strip("_").removesuffix("_kernel")] += 1
            with _disable_current_modes():
                launch(kernel, *arguments, **options)

        monkeypatch.setattr(module, "launch", counted)
    start = persistence_loss.start_critical_edges

    def on_host(*arguments):
        with _disable_current_modes():
            return start(*arguments)

    monkeypatch.setattr(persistence_loss, "start_critical_edges", on_host)
    for op, kernel in ops._CUDA_KERNELS.items():
        monkeypatch.setitem(op._backend_fns, "cpu", kernel)
    monkeypatch.setattr(ops, "fuses_persistence_loss", lambda x: False)
    # A gradient on a device is not looked at, and one on the CPU is where no device is named.
    monkeypatch.setattr(ops, "is_plain_gradient", lambda grad, device=None: device is not None)
    is_plain = ops.is_plain
    monkeypatch.setattr(ops, "is_plain", lambda x, on="cpu": on == "cuda" and is_plain(x))

    def run(loss):
        x = cloud("gaussian", 12, 300, 0, torch.float32).requires_grad_()
        launched.clear()
        with Operations() as operations:
            loss(x).backward()
        # The host joins the edges of its bars.
        operations.counts.pop("cat", None)
        return dict(launched), dict(operations.counts)

    return run


DISTANCES = {"share": 1, "join": 1}
EXACT = DISTANCES | {"edge_lengths": 1, "persistence_terms": 1, "scatter": 1}


def test_a_step_of_the_exact_loss(step):
    assert step(TSLoss()) == (EXACT, {"ones_like": 1})
    launched, operations = step(TSLoss(scale="mean"))
    assert launched == EXACT
    assert sum(operations.values()) <= 7


def test_a_step_of_the_surrogate(step):
    launched, operations = step(TSLoss("surrogate"))
    assert launched == DISTANCES | {"surrogate": 1, "scatter_differences": 1}
    assert operations == {"ones_like": 1, "mul": 1}
