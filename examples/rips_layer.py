"""A differentiable Rips layer: points move until a circle has opened out of noise, on the CPU.

Each step computes the exact persistence diagrams of the points and follows the gradient of the
longest H1 bar, which reaches the points through that bar's two critical edges. A penalty keeps the
points in a disc. The steps become an animation.

Run as ``python examples/rips_layer.py``; needs ``pip install matplotlib tqdm``. About 8 s.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image
from tqdm import trange

import tsloss_fast as tsl

RADIUS = 1.0

# Okabe and Ito's blue, vermilion and green: told apart by the colour-blind; markers and line
# styles differ as well.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"


class RipsLayer(torch.nn.Module):
    """Points [n, d] to the births and deaths of their H1 bars, and the edges that these are."""

    def forward(self, points):
        _, h1 = tsl.rips_persistence(points)
        return h1


def outside(points):
    """How far points lie outside the disc, squared and summed."""
    return (points.norm(dim=1) - RADIUS).clamp(min=0).square().sum()


def open_circle(points, steps, lr):
    """Optimise the points in place; yields (step, points, h1) before each step and at the end."""
    layer = RipsLayer()
    optimizer = torch.optim.Adam([points], lr=lr)
    for step in trange(steps, desc="steps", unit="step"):
        h1 = layer(points)
        yield step, points.detach().clone(), h1
        longest = h1.lifetimes.amax() if len(h1.lifetimes) else points.sum() * 0
        loss = -longest + 10 * outside(points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    yield steps, points.detach().clone(), layer(points)


class Picture:
    """Points and the longest bar's critical edges on the left, the diagram of H1 on the right."""

    def __init__(self, points):
        self.figure = Figure(figsize=(8.4, 4.7), dpi=80)
        self.canvas = FigureCanvasAgg(self.figure)
        left, right = self.figure.subplots(1, 2)
        self.figure.subplots_adjust(left=0.08, right=0.98, bottom=0.19, top=0.88, wspace=0.2)
        self.title = self.figure.suptitle("", y=0.975)

        limit = max(1.15 * RADIUS, 1.05 * points.abs().max().item())
        left.set(
            xlim=(-limit, limit),
            ylim=(-limit, limit),
            aspect="equal",
            title="points, and the edges of the longest bar",
        )
        left.set(xlabel="x (length)", ylabel="y (length)")
        edge = Circle((0, 0), RADIUS, fill=False, color="0.6", linestyle=":", label="disc")
        left.add_artist(edge)
        self.birth_edge = left.plot(
            [], [], "-", color=GREEN, linewidth=4, label="birth edge", zorder=2
        )[0]
        self.death_edge = left.plot(
            [],
            [],
            "--",
            color=VERMILION,
            linewidth=2,
            label="death edge",
            zorder=2,
        )[0]
        self.points = left.plot([], [], "o", color=BLUE, markersize=5, zorder=3)[0]

        most = 2 * RADIUS
        right.set(xlim=(0, most), ylim=(0, most), aspect="equal", title="persistence diagram of H1")
        right.set(xlabel="birth (length)", ylabel="death (length)")
        right.plot([0, most], [0, most], ":", color="0.5", label="birth = death")
        self.bars = right.plot(
            [], [], "o", color=BLUE, markerfacecolor="none", markersize=6, label="bars"
        )[0]
        self.longest = right.plot(
            [], [], "^", color="black", markerfacecolor=VERMILION, markersize=10, label="longest"
        )[0]
        for axis in (left, right):
            # Below the axes, where it covers no point.
            axis.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=9
            )

    def draw(self, step, points, h1):
        """The picture of one step, and the longest bar's lifetime."""
        self.points.set_data(*points.T.tolist())
        bars, life = h1.pairs.detach(), 0.0  # [K, 2]
        for line in (self.birth_edge, self.death_edge, self.bars, self.longest):
            line.set_data([], [])
        if len(bars):
            k = int(h1.lifetimes.argmax())
            life = h1.lifetimes[k].item()
            self.birth_edge.set_data(*points[h1.birth_edges[k]].T.tolist())
            self.death_edge.set_data(*points[h1.death_edges[k]].T.tolist())
            self.bars.set_data(*bars.T.tolist())
            self.longest.set_data(*bars[k, :, None].tolist())
        self.title.set_text(f"step {step}: the longest H1 bar lives for {life:.2f}")
        self.canvas.draw()
        frame = Image.frombuffer("RGBA", self.canvas.get_width_height(), self.canvas.buffer_rgba())
        # Few colours are in it, so a small palette loses nothing.
        return frame.convert("RGB").quantize(64), life


def save_gif(frames, file):
    """Ten frames a second, and the last one for two; whole or not at all."""
    partial = file.with_name(f".{file.stem}.{os.getpid()}.gif")
    milliseconds = [100] * (len(frames) - 1) + [2000]
    try:
        frames[0].save(
            partial, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
        )
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("rips_layer.gif"), help="the GIF to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--points", type=int, default=64, help="number of points (64)")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    args = parser.parse_args()
    if args.out.suffix.lower() != ".gif":
        parser.error(f"--out: expected a file name that ends in .gif, got {args.out}")
    if args.out.exists() and not args.overwrite:
        parser.error(f"--out: {args.out} exists; choose another or say --overwrite")
    if not args.out.parent.is_dir():
        parser.error(f"--out: expected a folder that exists, got {args.out.parent}")
    if args.points < 4 or args.steps < 1:
        parser.error(f"expected --points >= 4, --steps >= 1, got {args.points}, {args.steps}")

    torch.manual_seed(args.seed)
    points = torch.nn.Parameter(0.4 * torch.randn(args.points, 2))  # [n, 2]
    picture = Picture(points.detach())
    every = max(1, args.steps // 50)
    frames, lives = [], []
    for step, cloud, h1 in open_circle(points, args.steps, lr=0.02):
        if step % every == 0 or step == args.steps:
            frame, life = picture.draw(step, cloud, h1)
            frames.append(frame)
            lives.append(life)
    save_gif(frames, args.out)
    print(f"longest H1 bar: {lives[0]:.3f} -> {lives[-1]:.3f}")
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e3:.0f} kB): open it in a browser")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
