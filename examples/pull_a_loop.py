"""A loss through a loop: of two rings of points the left one is drawn shut.

Each step asks which points make the ring's loop, and takes the gradient of the loop's length, which
draws all of these points together. For comparison, the same steps by the gradient of the bar's
lifetime, which moves the ends of two edges: the bar ends sooner, for the ring is torn at one place.
Writes the picture before and after each.

Run as ``python examples/pull_a_loop.py``; needs ``pip install matplotlib tqdm``. About 5 s.
"""

import argparse
from pathlib import Path

import torch
from tqdm import trange

import tsloss_fast as tsl
from tsloss_fast.persistence.plots import plot_cycles, save_figure


def two_rings(n, seed):
    """Points [2 n, 2]: n around (-1.5, 0), then n around (1.5, 0)."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(2 * n, generator=generator)
    radius = 0.8 + 0.1 * torch.randn(2 * n, generator=generator)
    x = radius.unsqueeze(1) * torch.stack((angle.cos(), angle.sin()), dim=1)
    x[:n, 0] -= 1.5
    x[n:, 0] += 1.5
    return x


def left_loop(x):
    """The H1 diagram, and of the longest bar whose loop is on the left: its place and its cycle."""
    (_, h1), cycles = tsl.representative_cycles(x)
    for k in h1.lifetimes.argsort(descending=True).tolist():
        if (cycles[k] < len(x) // 2).all():
            return h1, k, cycles[k]
    return h1, None, None


def shut(x, by, steps, lr):
    """Follow the gradient of the left loop until it is gone; returns the points and the steps."""
    x = x.clone().requires_grad_()
    optimizer = torch.optim.SGD([x], lr=lr)
    for step in trange(steps, desc=by, unit="step"):
        h1, k, cycle = left_loop(x)
        if k is None or h1.lifetimes[k] < 0.05:
            return x.detach(), step
        loss = tsl.cycle_length(x, cycle) if by == "length of the loop" else h1.lifetimes[k]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return x.detach(), steps


def draw(x, stem):
    (_, h1), cycles = tsl.representative_cycles(x)
    save_figure(plot_cycles(x, h1, cycles, most=2), stem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=30, help="points of each ring (default: 30)")
    parser.add_argument("--steps", type=int, default=500, help="at most so many (default: 500)")
    parser.add_argument("--lr", type=float, default=0.01, help="step size of SGD (default: 0.01)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/pull_a_loop"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    x = two_rings(args.points, args.seed)
    draw(x, args.out / "before")
    for by in ("length of the loop", "lifetime"):
        moved, steps = shut(x, by, args.steps, args.lr)
        h1, k, _ = left_loop(moved)
        life = 0.0 if k is None else h1.lifetimes[k].item()
        points = int(((moved - x).norm(dim=1) > 0).sum())
        print(f"by the {by}: lifetime {life:.3f} after {steps} steps, {points} points moved")
        draw(moved, args.out / f"after_by_{by.replace(' ', '_')}")
    print(f"wrote {args.out}/before.png and, of both ways, after: open them side by side")


if __name__ == "__main__":
    main()
