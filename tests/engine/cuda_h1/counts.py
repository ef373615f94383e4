"""What H1 on the device costs, counted as the compiled kernels are executed.

    python -m tests.engine.cuda_h1.counts 20 50 100   # prints rows of the table of docs/h1-gpu.md

PTX instructions of all warps, in thousands, of one cloud of independent normal coordinates, of
which many make many classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))

from tests.engine.cuda_h1 import executed, twin
from tsloss_fast import _C, pairwise_distances
from tsloss_fast._engine.cuda_h1 import launch as h1


def main() -> int:
    """Print a line a size and dimension."""
    print("| n | d | bars | order_edges | examine_lunes | find_classes |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for n in map(int, sys.argv[1:]):
        for d in (3, 1024):
            x = torch.randn(1, n, d, generator=torch.Generator().manual_seed(n))
            D = pairwise_distances(x)
            h0 = torch.from_numpy(_C.rips(D.numpy(), max_dim=0)[0].bars.copy())
            with executed.interpreted(watch=False) as launches:
                found = h1.h1_bars(D, h0)
            bars = [tuple(bar) for bar in found.bars[0, : found.counts.item()].tolist()]
            assert bars == twin.engine_bars(D[0])
            counts = [f"{one.outcome.instructions / 1000:,.0f}" for one in launches]
            print(f"| {n} | {d} | {found.counts.item()} | {' | '.join(counts)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
