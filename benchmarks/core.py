"""The table of README.md: tsloss_fast against gudhi and against its own plain reference.

    python benchmarks/core.py            # prints the table, about two minutes
    python benchmarks/core.py --json F   # and keeps every number in F

One thread unless a row says otherwise. Both sides of a row run in turn in one process; figures are
medians. A row is printed only after both sides gave the same diagrams or the same loss.
"""

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import gudhi
import numpy as np
import torch

import tsloss_fast as tsl
from tsloss_fast import _C, reference

FAMILIES = {
    "Gaussian": lambda n, d, g: torch.randn(n, d, generator=g),
    "unit vectors": lambda n, d, g: torch.nn.functional.normalize(
        torch.randn(n, d, generator=g), dim=-1
    ),
    "noisy circle": lambda n, d, g: noisy_circle(n, d, g),
}


def noisy_circle(n, d, generator):
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    x = 0.02 * torch.randn(n, d, generator=generator)
    x[:, 0] += angle.cos()
    x[:, 1] += angle.sin()
    return x


def alternate(ours, theirs, runs, theirs_runs):
    """Median seconds of both, run in turn after a warm-up; the slower side may run less often."""
    sides = {"ours": (ours, [], runs), "theirs": (theirs, [], theirs_runs)}
    for call, _, _ in sides.values():
        call()
    for k in range(runs):
        for call, seconds, limit in sides.values():
            if k < limit:
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
    return tuple(statistics.median(seconds) for _, seconds, _ in sides.values())


def gudhi_generators(D):
    """H1 with critical edges the way gudhi's users get it."""
    tree = gudhi.RipsComplex(distance_matrix=D).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2)
    return tree.flag_persistence_generators()


def same_h1(D):
    ours = tsl.rips_persistence(torch.from_numpy(D), metric="precomputed")[1].unbatch()[0]
    vertices = gudhi_generators(D)[1]
    edges = vertices[0] if vertices else np.zeros((0, 4), dtype=int)
    theirs = np.stack([D[edges[:, 0], edges[:, 1]], D[edges[:, 2], edges[:, 3]]], axis=1)
    theirs = theirs[theirs[:, 1] > theirs[:, 0]]
    ours = ours.numpy()
    return np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def h1_rows(sizes, runs):
    for n in sizes:
        for family, make in FAMILIES.items():
            x = make(n, 768, torch.Generator().manual_seed(n))
            D = _C.distances(x.numpy()[None])
            if not same_h1(D[0]):
                raise SystemExit(f"{family}, n = {n}: the diagrams differ from gudhi's")
            few = max(2, runs // (1 + n // 20))
            seconds = alternate(lambda D=D: _C.h1(D), lambda D=D: gudhi_generators(D[0]), runs, few)
            yield f"H1 with critical edges, {family}, n = {n}", "gudhi SimplexTree", *seconds


def eager_surrogate(x, tau=1.0, alpha=10.0):
    """Eq. 1 to 6 without self pairs, as one would write them in eager PyTorch."""
    n = len(x)
    D = torch.cdist(x, x)
    left_out = torch.eye(n, dtype=torch.bool)
    s = -tau * torch.logsumexp((-D / tau).masked_fill(left_out, -torch.inf), dim=1)
    pairs = D[~left_out]
    delta = (torch.softmax(-alpha * pairs, 0) * pairs).sum()
    zeta = (torch.softmax(alpha * pairs, 0) * pairs).sum()
    h1 = (torch.relu(delta - pairs) ** 2 + torch.relu(pairs - zeta) ** 2).sum() / n**2
    return ((s - s.mean()) ** 2).sum() / n + h1


def loss_step(loss, prompt):
    def step():
        prompt.grad = None
        loss(prompt).backward()
        return prompt.grad

    return step


def loss_rows(sizes, runs):
    peers = (
        ("persistence", "reference.TSLoss (gudhi)", reference.TSLoss()),
        ("surrogate", "eager PyTorch (cdist)", eager_surrogate),
    )
    for mode, peer, theirs in peers:
        for n in sizes:
            generator = torch.Generator().manual_seed(n)
            prompt = (0.02 * torch.randn(n, 2048, generator=generator)).requires_grad_()
            ours = loss_step(tsl.TSLoss(mode=mode), prompt)
            other = loss_step(theirs, prompt)
            torch.testing.assert_close(ours(), other(), rtol=1e-2, atol=1e-6)
            seconds = alternate(ours, other, runs, max(2, runs // (n // 10)))
            yield f"TSLoss {mode}, forward + backward, n = {n}, d = 2048", peer, *seconds


def batch_row(runs):
    clouds = torch.randn(16, 100, 768, generator=torch.Generator().manual_seed(0))
    D = _C.distances(clouds.numpy())
    for one, two in zip(_C.h1(D, threads=1), _C.h1(D, threads=2), strict=True):
        if not np.array_equal(one, two):
            raise SystemExit("the diagrams depend on the number of threads")
    two, one = alternate(lambda: _C.h1(D, threads=2), lambda: _C.h1(D, threads=1), runs, runs)
    yield "H1, 16 Gaussian clouds, n = 100, on 2 threads", "1 thread", two, one


def human(seconds):
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="a new file for the numbers")
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.json and arguments.json.exists():
        parser.error(f"--json: {arguments.json} exists; results are never overwritten")

    torch.set_num_threads(1)
    machine = {
        "processor": _C.best_isa() + ", " + (processor() or platform.machine()),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "gudhi", "numpy", "tsloss-fast")},
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print("\n| what | tsloss_fast | against | time | ratio |\n| --- | ---: | --- | ---: | ---: |")
    rows = []
    for source in (
        h1_rows((20, 100, 300), arguments.runs),
        loss_rows((20, 100), arguments.runs),
        batch_row(arguments.runs),
    ):
        for what, peer, ours, theirs in source:
            rows.append({"what": what, "peer": peer, "ours_s": ours, "theirs_s": theirs})
            ratio = theirs / ours
            shown = f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
            print(f"| {what} | {human(ours)} | {peer} | {human(theirs)} | {shown} x |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
