"""An autoencoder whose latent space keeps the topology of its data, beside a plain one.

Both squeeze the digits that scikit-learn ships, 8 x 8 pixels, into the plane. One of them, once it
reconstructs them, also minimises RTD between each batch and its latent points, as the RTD
autoencoders of arXiv 2302.00136 do. A picture shows both latent spaces of digits that were not
trained on, and a table what is left in them of the data: who is near whom, how far all are apart,
and RTD.

Run as ``python examples/rtd_autoencoder.py``; needs ``pip install -e '.[examples]'``. About
10 s of a core.
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.model_selection import train_test_split
from torch import nn
from tqdm import trange

import tsloss_fast as tsl

HIDDEN = 128
# The share of the epochs that pass before RTD counts.
START = 0.4


class Autoencoder(nn.Module):
    """Points [n, 64] to points of the plane [n, 2], and back."""

    def __init__(self, pixels):
        super().__init__()
        self.encoder = layers(pixels, 2)
        self.decoder = layers(2, pixels)

    def forward(self, x):
        z = self.encoder(x)
        return z, self.decoder(z)


def layers(inputs, outputs):
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, outputs),
    )


def train(x, rtd_weight, epochs, batch_size, seed):
    """An autoencoder of x [N, 64]; with `rtd_weight` 0 a plain one."""
    torch.manual_seed(seed)
    model = Autoencoder(x.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rtd_loss = tsl.losses.RTDLoss()
    name = "RTD" if rtd_weight else "plain"
    for epoch in trange(epochs, desc=f"{name} autoencoder", unit="epoch"):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - batch_size + 1, batch_size):
            batch = x[order[start : start + batch_size]]
            z, reconstructed = model(batch)
            loss = (reconstructed - batch).square().mean()
            if rtd_weight and epoch >= START * epochs:
                _, _, rtd = rtd_loss(tsl.pairwise_distances(batch), tsl.pairwise_distances(z))
                loss = loss + rtd_weight * rtd
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def measures(model, x):
    """The latent points of x, and what is left of the data in them, by name."""
    z, reconstructed = model(x)
    D, E = (tsl.pairwise_distances(points) for points in (x, z))
    i, j = torch.triu_indices(len(x), len(x), 1)
    one, other = torch.randint(len(i), (2, 100_000), generator=torch.Generator().manual_seed(0))
    same_order = (D[i, j][one] < D[i, j][other]) == (E[i, j][one] < E[i, j][other])
    return z, {
        "trustworthiness": trustworthiness(x.numpy(), z.numpy(), n_neighbors=10),
        "correlation of distances": torch.corrcoef(torch.stack((D[i, j], E[i, j])))[0, 1].item(),
        "distances in order": same_order.float().mean().item(),
        "RTD": tsl.losses.rtd(x, z).item(),
        "reconstruction error": (reconstructed - x).square().mean().item(),
    }


def picture(results, labels, file):
    """The latent spaces side by side, a colour and a numeral for each digit."""
    figure = Figure(figsize=(9.6, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, (z, found)) in zip(
        figure.subplots(1, len(results)), results.items(), strict=True
    ):
        points = axis.scatter(*z.T.tolist(), c=labels, cmap="tab10", s=8, vmin=-0.5, vmax=9.5)
        for digit in range(10):
            middle = z[labels == digit].median(0).values.tolist()
            axis.annotate(str(digit), middle, weight="bold", ha="center", va="center").set_bbox(
                {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1}
            )
        axis.set(title=f"{name}: trustworthiness {found['trustworthiness']:.3f}", aspect="equal")
        axis.set(xlabel="latent coordinate 1", ylabel="latent coordinate 2", adjustable="datalim")
    figure.colorbar(points, ax=figure.axes, ticks=range(10), label="digit", shrink=0.9)
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=Path("rtd_autoencoder.png"), help="the picture to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--epochs", type=int, default=100, help="passes over the data (100)")
    parser.add_argument("--batch-size", type=int, default=128, help="points of a batch (128)")
    parser.add_argument(
        "--rtd-weight", type=float, default=0.003, help="of RTD in the loss (0.003)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of both autoencoders (0)")
    args = parser.parse_args()
    if args.out.exists() and not args.overwrite:
        parser.error(f"--out: {args.out} exists; choose another or say --overwrite")
    if not args.out.parent.is_dir():
        parser.error(f"--out: expected a folder that exists, got {args.out.parent}")

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels / 16).float()  # [1797, 64], from 0 to 1
    x, held_out, _, labels = train_test_split(
        x, torch.from_numpy(labels), test_size=0.25, random_state=0
    )
    results = {}
    for name, weight in (("plain", 0.0), ("RTD", args.rtd_weight)):
        model = train(x, weight, args.epochs, args.batch_size, args.seed)
        results[name] = measures(model, held_out)
    for measure in results["plain"][1]:
        values = "  ".join(f"{name} {found[measure]:.3f}" for name, (_, found) in results.items())
        print(f"{measure:25s} {values}")
    picture(results, labels, args.out)
    print(f"wrote {args.out}: open it; --seed 1 draws another")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
