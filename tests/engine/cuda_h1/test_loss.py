"""TSLoss with H1 by kernels alone: where it is taken, and loss and gradient without the number of
bars. The three kernels run in the interpreter of PTX, the others in Triton's."""

from __future__ import annotations

import pytest
import torch
from clouds import cloud
from graphs import run_instead_of_capturing

pytest.importorskip("triton", reason="the kernels need Triton")

from tests.engine.cuda_h1 import executed
from tsloss_fast import TSLoss
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.cuda_h1 import compiler, sizes
from tsloss_fast._engine.cuda_h1 import launch as h1

try:
    compiler.nvrtc_version()
except compiler.CompileError as error:
    pytest.skip(str(error), allow_module_level=True)

IS_PLAIN = ops.is_plain


@pytest.fixture
def on_device(monkeypatch, kernels_run):
    """CPU tensors are taken for a device's, and the kernels of H1 are interpreted."""
    for op, kernel in ops._CUDA_KERNELS.items():
        monkeypatch.setitem(op._backend_fns, "cpu", kernel)
    monkeypatch.setattr(ops, "fuses_persistence_loss", lambda x: False)
    monkeypatch.setattr(ops, "is_plain", lambda x, on="cpu": on == "cuda" and IS_PLAIN(x))
    monkeypatch.setattr(ops, "why_no_h1_on_device", lambda x: None)
    with executed.interpreted() as launches:
        yield launches
    assert executed.races(launches) == []


def points(B, n, d=3, dtype=torch.float32):
    return torch.stack([cloud("gaussian", n, d, seed, dtype) for seed in range(B)])


def loss_and_gradient(loss, x, **arguments):
    x = x.clone().requires_grad_()
    value, terms = loss(x, return_terms=True, **arguments)
    value.sum().backward()
    return value.detach(), terms, x.grad


def reference_of(options, x, **arguments):
    """On the CPU's engine, in float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "fuses_persistence_loss", lambda x: True)
        patch.setattr(ops, "is_plain", IS_PLAIN)
        return loss_and_gradient(TSLoss(**options), x.double(), **arguments)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, torch.float32),
        ({}, torch.float64),
        ({"scale": "mean"}, torch.float32),
        ({"reduction": "none", "h1_power": 1.5}, torch.float64),
    ],
    ids=str,
)
def test_loss_and_gradient(on_device, options, dtype):
    x = points(2, 14, dtype=dtype)
    loss = TSLoss(**options, h1="device")
    value, terms, gradient = loss_and_gradient(loss, x)
    assert len(on_device) == 3
    assert not loss.h1_overflow.any()
    expected, terms_expected, gradient_expected = reference_of(options, x)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(value.double(), expected, **close)
    torch.testing.assert_close(terms["h1"].double(), terms_expected["h1"], **close)
    torch.testing.assert_close(gradient.double(), gradient_expected, **close)


def test_ties_of_float64_are_ties(on_device):
    x = cloud("grid", 16, 3, 5, torch.float64)
    value, _, gradient = loss_and_gradient(TSLoss(), x)
    expected, _, gradient_expected = reference_of({}, x)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, gradient_expected, rtol=1e-12, atol=1e-12)


def test_a_cloud_with_too_many_classes_is_nan_alone(on_device):
    """Of two simplices about one centre, all 225 edges between them come before those inside: the
    complete bipartite graph has 196 loops."""
    simplex = torch.eye(15) - 1 / 15
    x = torch.stack(
        (cloud("gaussian", 30, 30, 1, torch.float32), torch.block_diag(simplex, simplex))
    )
    loss = TSLoss(reduction="none")
    value, terms, gradient = loss_and_gradient(loss, x)
    assert loss.h1_overflow.tolist() == [False, True]
    assert value.isnan().tolist() == [False, True]
    assert terms["h1"].isnan().tolist() == [False, True]
    assert gradient[0].abs().sum() > 0
    assert not gradient[1].any()


def test_bad_points_give_no_number(on_device):
    x = points(2, 12)
    x[1, 3, 2] = torch.nan
    value, _, _ = loss_and_gradient(TSLoss(reduction="none"), x)
    assert value.isnan().tolist() == [False, True]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_clouds_without_a_loop(on_device, n):
    x = points(2, n)
    value, _, gradient = loss_and_gradient(TSLoss(), x)
    expected, _, gradient_expected = reference_of({}, x)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient.double(), gradient_expected, rtol=1e-4, atol=1e-6)


def test_the_whole_loss_has_a_graph(on_device, monkeypatch):
    run_instead_of_capturing(monkeypatch)
    prompt = torch.nn.Parameter(points(1, 12)[0])
    step = TSLoss().graphed(prompt)
    with torch.no_grad():
        prompt.copy_(cloud("circle", 12, 3, 4, torch.float32))
    value = step()
    expected, _, gradient_expected = reference_of({}, prompt.detach())
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(prompt.grad.double(), gradient_expected, rtol=1e-4, atol=1e-5)


def test_the_host_is_taken_where_it_is_asked_for(on_device):
    x = points(1, 12)[0]
    loss = TSLoss(h1="host")
    value = loss(x)
    assert on_device == []
    assert loss.h1_overflow is None
    torch.testing.assert_close(value.double(), reference_of({}, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "arguments", "reason"),
    [
        ({}, {"lengths": torch.tensor([9, 6])}, "the clouds differ in their numbers of points"),
        ({"max_edge_length": 1.5}, {}, "the kernels take Euclidean clouds without a longest edge"),
        ({"metric": "cityblock"}, {}, "the kernels take Euclidean clouds without a longest edge"),
    ],
    ids=["lengths", "longest edge", "metric"],
)
def test_what_is_no_batch_of_euclidean_clouds_goes_to_the_host(
    on_device, options, arguments, reason
):
    x, loss = points(2, 9), TSLoss(**options)
    loss._h1_overflow = torch.ones(2, dtype=torch.bool)
    value, _, gradient = loss_and_gradient(loss, x, **arguments)
    assert on_device == []
    assert loss.h1_overflow is None
    expected, _, gradient_expected = reference_of(options, x, **arguments)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), gradient_expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=f'expected "auto" or "host", got "device", but {reason}'):
        TSLoss(**options, h1="device")(x, **arguments)


def test_matrices_and_lists_of_clouds_go_to_the_host(on_device):
    clouds = [points(1, 9)[0], points(1, 6)[0]]
    D = torch.cdist(clouds[0], clouds[0])
    for options, prompt in (({}, clouds), ({"metric": "precomputed"}, D)):
        assert TSLoss(**options)(prompt).isfinite()
        with pytest.raises(ValueError, match=r'^h1: expected "auto" or "host", got "device", but'):
            TSLoss(**options, h1="device")(prompt)
    assert on_device == []


def test_transforms_go_to_the_host(on_device):
    x = points(3, 9)
    found = torch.func.vmap(TSLoss())(x)
    torch.testing.assert_close(
        found.double(), reference_of({"reduction": "none"}, x)[0], rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match=r'"device", but torch.func and torch.compile follow'):
        torch.func.vmap(TSLoss(h1="device"))(x)
    assert on_device == []


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.zeros(9, 3), "the prompt lies on cpu"),
        (torch.zeros(513, 3, device="meta"), "the prompt lies on meta"),
    ],
)
def test_the_reason_why_the_host_is_taken(x, reason):
    assert h1.why_not(x) == reason


def test_the_device_is_asked_for_in_vain(on_device, monkeypatch):
    monkeypatch.setattr(ops, "why_no_h1_on_device", lambda x: "it is a Tuesday")
    with pytest.raises(ValueError, match=r'h1: expected "auto" or "host".*but it is a Tuesday'):
        TSLoss(h1="device")(points(1, 9)[0])
    assert TSLoss()(points(1, 9)[0]).isfinite()
    assert on_device == []


@pytest.mark.parametrize(
    ("capability", "memory", "shape", "reason"),
    [
        ((9, 0), 2**40, (100, 3), None),
        ((9, 0), 2**40, (513, 3), "the kernels take at most 512 points, and these are 513"),
        ((7, 5), 2**40, (100, 3), "the kernels need compute capability 8.0"),
        ((9, 0), 2**24, (40, 100, 3), "40 clouds of 100 points need"),
        ((9, 0), 2**24, (3, 100, 3), None),
    ],
)
def test_what_a_device_takes(monkeypatch, capability, memory, shape, reason):
    class Device:
        shared_memory_per_block_optin, total_memory = executed.SHARED, memory

    class Points:
        device = torch.device("cuda", 0)

    h1._why_not.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(h1, "kernels_on", lambda device, form: {})
    Points.shape = torch.Size(shape)
    found = h1.why_not(Points)
    h1._why_not.cache_clear()
    assert found is None if reason is None else found.startswith(reason)


def test_kernels_that_do_not_load_are_the_reason(monkeypatch):
    def kernels_on(device, form):
        raise compiler.CompileError("NVRTC, which compiles the kernels of H1, is not found")

    monkeypatch.setattr(h1, "form_on", lambda device, n, room: None)
    monkeypatch.setattr(h1, "kernels_on", kernels_on)
    assert h1._why_not_loaded(torch.device("cuda", 0), 20).startswith("NVRTC, which compiles")


def test_sizes_are_those_of_the_source():
    """Numbers that csrc/cuda states too: a row of the relations of the dead ends with the last."""
    for generators in (32, 128, 736):
        last = 16 * (g := (generators - 1) // 32) * (g + 1) + 31 * (g + 1)
        assert sizes.dead_row_words(generators) == last + generators // 32
