"""Each kernel once on small clouds of sizes that fit no tile.

python -m benchmarks.kernels_once          # against the CPU engine: what fails here fails anywhere
python -m benchmarks.kernels_once --only-run   # without comparing, to be watched by a sanitizer
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

import tsloss_fast as tsl
from tsloss_fast import _C
from tsloss_fast._engine import cuda
from tsloss_fast._engine.host_h1 import critical_edges
from tsloss_fast._engine.kernels.distances import product
from tsloss_fast._engine.kernels.h0 import elder, large
from tsloss_fast._engine.kernels.scatter import edges as scatter

# What was computed, by the kernel and by the engine, and how far the two may be apart.
Result = tuple[str, Tensor, Tensor, float]


def cloud(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Points that are the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def engine_distances(x: Tensor) -> Tensor:
    return torch.from_numpy(_C.distances(x.double().numpy(), 1))


def distances() -> Iterator[Result]:
    launch = cuda.kernels().distances.pairwise_distances
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 1e-6)):
        x = cloud(2, 37, 50, dtype=dtype)
        yield f"distances, {dtype}", launch(x.cuda()), engine_distances(x), tolerance
    x = cloud(1, 33, 1000)
    yield "distances, coordinates shared out", launch(x.cuda()), engine_distances(x), 1e-6
    x = cloud(1, 150, 300)
    for name, points in (("", x), (", every tile anew", x[:, :1] + 1e-4 * x)):
        D = torch.empty(1, 150, 150, device="cuda")
        product.fill_by_product(points.cuda(), D)
        yield f"distances by products{name}", D, engine_distances(points), 1e-5


def h0() -> Iterator[Result]:
    launch = cuda.kernels().h0.h0_critical_edges
    for n in (2, 17, 33, 65, 129, 256, 300, 1100):
        D = torch.from_numpy(_C.distances(cloud(3, n, 5).numpy(), 1))
        bars = torch.from_numpy(_C.rips(D.numpy(), 0)[0].bars)
        yield f"H0, n = {n}", launch(D.cuda()), bars, 0.0
        if n == 17:
            found = elder.elder_bars(*large.boruvka_rounds(D.cuda()))
            yield f"H0 by the kernels of large clouds, n = {n}", found, bars, 0.0


def h1() -> Iterator[Result]:
    for n in (4, 20, 33, 65, 129, 200, 300):
        D = torch.from_numpy(_C.distances(cloud(3, n, 40).numpy(), 1))
        diagrams = _C.rips(D.numpy(), 1)
        expected = critical_edges(*(torch.from_numpy(diagram.bars) for diagram in diagrams))
        found, overflow = cuda.critical_edges_on_device(D.cuda())
        births, deaths = found[:, n - 1 :].chunk(2, dim=1)
        K = diagrams[1].bars.shape[1]
        found = torch.cat((found[:, : n - 1], births[:, :K], deaths[:, :K]), dim=1)
        yield f"H1 on the device, n = {n}", found, expected, 0.0
        yield f"H1 on the device, n = {n}: overflow", overflow, torch.zeros(3), 0.0


def gradients() -> Iterator[Result]:
    launch = cuda.kernels()
    x, weights = cloud(2, 40, 70), cloud(2, 90)
    edges = torch.randint(0, 40, (2, 90, 2), generator=torch.Generator().manual_seed(0))
    arrays = x.numpy(), edges.numpy()
    lengths = torch.from_numpy(_C.edge_lengths(*arrays, 1))
    yield "edge lengths", launch.edge_lengths.edge_lengths(x.cuda(), edges.cuda()), lengths, 1e-6
    expected = torch.from_numpy(_C.scatter_edges(*arrays, weights.numpy(), 1))
    on_device = x.cuda(), edges.cuda(), weights.cuda()
    yield "scatter", scatter.scatter_edges(*on_device), expected, 1e-6
    most, scatter.MAX_UNSORTED = scatter.MAX_UNSORTED, 0
    yield "scatter, sorted", scatter.scatter_edges(*on_device), expected, 1e-6
    scatter.MAX_UNSORTED = most
    weights = cloud(2, 40, 40)
    expected = torch.from_numpy(_C.scatter_differences(x.numpy(), weights.numpy(), 1))
    found = launch.scatter.scatter_differences(x.cuda(), weights.cuda())
    yield "scatter of differences", found, expected, 1e-5


def losses() -> Iterator[Result]:
    for mode in ("surrogate", "persistence"):
        for n in (9, 30, 50, 100, 150):
            for scale in (None, "mean"):
                x, loss = cloud(2, n, 30), tsl.TSLoss(mode, scale=scale)
                ours, theirs = x.cuda().requires_grad_(), x.double().requires_grad_()
                loss(ours).backward()
                loss(theirs).backward()
                yield f"gradient, {mode}, n = {n}, scale {scale}", ours.grad, theirs.grad, 1e-3


def main() -> int:
    """Run all, and say how far each is from the engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels_once", description=__doc__)
    parser.add_argument("--only-run", action="store_true")
    compare = not parser.parse_args().only_run
    wrong = []
    for group in (distances, h0, h1, gradients, losses):
        for name, found, expected, tolerance in group():
            if not compare:
                continue
            found, expected = found.detach().cpu().double(), expected.double()
            error = ((found - expected).norm() / expected.norm().clamp(min=1e-300)).item()
            right = found.shape == expected.shape and error <= tolerance
            print(f"{'ok   ' if right else 'WRONG'} {name}: {error:.1e}", flush=True)
            if not right:
                wrong.append(name)
    torch.cuda.synchronize()
    print(f"{len(wrong)} wrong: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
