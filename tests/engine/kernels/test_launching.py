"""Launches of compiled kernels: what is found again, and what is compiled anew."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton")

from tsloss_fast._engine.kernels import launching as module
from tsloss_fast._engine.kernels.launching import form_of, launch


class Kernel:
    """A kernel of two arguments and two constants that notes its launches."""

    arg_names = ("x", "n", "FIRST", "SECOND")

    def __init__(self, interpreted=False):
        self.fn = object()
        self.interpreted, self.compiled, self.launched = interpreted, [], []

    def __getitem__(self, grid):
        def run(*arguments, num_warps, enable_fp_fusion, **constants):
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


def test_a_form_tells_apart_what_triton_compiles_for():
    x = torch.zeros(64)

    def form(*integers, points=x):
        return form_of((x, points), *integers)

    assert form(7, 32) == form(9, 48)
    assert form(7) != form(1)
    assert form(7) != form(16)
    assert form(2**31) != form(2**30)
    assert form(7, points=x[4:]) == form(7) != form(7, points=x[1:])
    assert form_of((x,), 7) != form_of((x.double(),), 7)


def launches():
    """Every launcher, on shapes, strides and alignments of all kinds."""
    from tsloss_fast._engine.kernels import edge_lengths, persistence_terms
    from tsloss_fast._engine.kernels.distances.launch import pairwise_distances
    from tsloss_fast._engine.kernels.h0.launch import h0_critical_edges
    from tsloss_fast._engine.kernels.scatter import differences, edges
    from tsloss_fast._engine.kernels.surrogate.launch import surrogate_terms

    for n in (2, 7, 16, 20, 48, 100, 128, 130, 260):
        D = torch.zeros(3, n, n)
        views = (D, D[1:], D[:, : n - 1, : n - 1]) if n > 2 else (D,)
        for view in views:
            h0_critical_edges(view)
            surrogate_terms(view, *[1.0] * 6, *[False] * 3)
            surrogate_terms(view.double(), *[1.0] * 6, True, False, False)
        for d in (1, 17, 64, 300, 2048):
            x = torch.zeros(2, n, d)
            for points in (x, x[1:], x[..., :1], x.bfloat16(), x.double()):
                total = torch.float64 if points.dtype == torch.float64 else torch.float32
                pairwise_distances(points)
                pairs = torch.zeros(len(points), n, 2, dtype=torch.int64)
                edge_lengths.edge_lengths(points, pairs)
                each = torch.zeros(len(points), n, dtype=total)
                grad, scales = torch.ones(4, dtype=total), torch.ones(2, dtype=torch.float64)
                for some in (grad[: len(points)], grad[1 : 1 + len(points)], each[:, 0]):
                    edges.scatter_edges(points, pairs, each, (some, scales[: len(points)]))
                edges.scatter_edges(points, pairs, each, (some, None))
                edges.scatter_edges(points, pairs, each)
                weights = torch.zeros(len(points), n, n, dtype=total)
                differences.scatter_differences(points, weights)
        for K in (0, 1, 8, 31):
            scales = torch.ones(4, dtype=torch.float64)
            for part in (scales[:3], scales[1:], None):
                lengths = torch.zeros(3, n - 1 + 2 * K)
                persistence_terms.persistence_terms(lengths, n, 1.0, 1.0, 2.0, part)


@pytest.mark.ptx
def test_as_many_forms_are_kept_as_triton_compiles(monkeypatch):
    """A form stands for one thing that Triton compiles, and no two forms for the same.

    Nothing is launched or compiled here: Triton's own search is asked what it would compile.
    """
    by_key, by_specialisation = {}, {}

    def noted(kernel, form, programs, arguments, constants, num_warps=4, **compiler):
        *_, search = kernel.device_caches[0]
        options = constants | module.FUSING | compiler
        _, found, _ = search(*arguments, **options, num_warps=num_warps, debug=False)
        kept, compiled = (kernel.fn, form, *constants.values()), (kernel.fn, str(found))
        by_key.setdefault(kept, set()).add(compiled)
        by_specialisation.setdefault(compiled, set()).add(kept)

    from tsloss_fast._engine.kernels import edge_lengths, persistence_terms
    from tsloss_fast._engine.kernels.distances import direct
    from tsloss_fast._engine.kernels.h0 import large, small
    from tsloss_fast._engine.kernels.h0 import launch as h0
    from tsloss_fast._engine.kernels.scatter import differences, edges
    from tsloss_fast._engine.kernels.surrogate import launch as surrogate
    from tsloss_fast._engine.kernels.surrogate import tiled

    monkeypatch.setattr(h0, "elder_bars", lambda *rounds: rounds)
    for launcher in (
        edge_lengths, persistence_terms, direct, large, small, differences, edges, surrogate, tiled,
    ):  # fmt: skip
        monkeypatch.setattr(launcher, "launch", noted)
    launches()
    assert {kernel for kernel, *_ in by_key} == {kernel for kernel, _ in by_specialisation}
    assert all(len(found) == 1 for found in by_key.values())
    assert all(len(found) == 1 for found in by_specialisation.values())


@pytest.mark.ptx
def test_every_launch_says_whether_products_are_fused(monkeypatch):
    """Triton's own choice was yes up to 3.9, and is no from 3.10 on.

    Nothing is launched or compiled here.
    """
    from triton.runtime.jit import JITFunction

    from tsloss_fast._engine.kernels.distances import product
    from tsloss_fast._engine.kernels.scatter import edges

    asked = set()

    def noted(kernel, *arguments, enable_fp_fusion=None, **options):
        asked.add((kernel.fn.__name__, enable_fp_fusion))

    monkeypatch.setattr(JITFunction, "run", noted)
    launches()
    product.fill_by_product(torch.zeros(1, 20, 3), torch.zeros(1, 20, 20))
    monkeypatch.setattr(edges, "MAX_UNSORTED", 0)
    x, pairs = torch.zeros(1, 20, 3), torch.zeros(1, 20, 2, dtype=torch.int64)
    edges.scatter_edges(x, pairs, torch.zeros(1, 20))
    sources = Path(module.__file__).parent.rglob("*.py")
    defined = re.findall(r"^def (_\w+_kernel)\(", "".join(p.read_text() for p in sources), re.M)
    assert asked == {(name, name != "_surrogate_kernel") for name in defined}
