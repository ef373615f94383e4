"""A graph with missing edges: which roads a ring around a lake waits for, and which to speed up.

Junctions lie around a lake, and roads join neighbouring ones; most pairs have no road. A sparse
matrix of SciPy holds the minutes that each road takes. Its persistence says when the network hangs
together (the deaths of H0), and when roads around the lake close a ring that nothing fills (a class
of H1 that never dies). The birth of that ring is the time of one road, so its gradient says which
road to speed up; each step does that, at a price a minute.

Run as ``python examples/graph.py``: three seconds of a core. Needs ``pip install scipy``.
"""

import argparse

import scipy.sparse
import torch
from scipy.spatial import Delaunay

import tsloss_fast as tsl


def road_network(junctions, generator):
    """Roads of a lakeside as a sparse matrix: minutes at [i, j], i < j, where there is a road."""
    angle = torch.rand(junctions, generator=generator, dtype=torch.float64) * 2 * torch.pi
    radius = 1 + torch.rand(junctions, generator=generator, dtype=torch.float64)
    places = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)
    triangles = torch.from_numpy(Delaunay(places.numpy()).simplices).long()
    roads = torch.cat((triangles[:, :2], triangles[:, 1:], triangles[:, ::2]))
    i, j = roads.sort(1).values.unique(dim=0).T
    kilometres = (places[i] - places[j]).norm(dim=1)
    # No road crosses the lake: its middle comes no nearer than the shore.
    on_land = (places[i] + places[j]).norm(dim=1) / 2 > 0.9
    i, j, kilometres = i[on_land], j[on_land], kilometres[on_land]
    # Some roads are slow ones.
    pace = 1 + 2 * torch.rand(len(i), generator=generator, dtype=torch.float64)
    return scipy.sparse.coo_array(
        ((pace * kilometres).numpy(), (i.numpy(), j.numpy())), shape=(junctions, junctions)
    )


def speed_up(graph, steps, price):
    """Minutes of the roads after gradient steps on the ring's closing time, plus what they cost."""
    roads = torch.stack([torch.from_numpy(ends).long() for ends in graph.coords])  # [2, M]
    before = torch.from_numpy(graph.data)
    minutes = before.clone().requires_grad_()
    optimizer = torch.optim.SGD([minutes], lr=0.02)
    for _ in range(steps):
        matrix = torch.sparse_coo_tensor(roads, minutes, graph.shape, check_invariants=True)
        _, h1 = tsl.rips_persistence(matrix, metric="precomputed")
        loss = h1.essential_births.amax() + price * (before - minutes).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            # No road is made slower to save money.
            minutes.copy_(minutes.minimum(before))
    return minutes.detach()


def report(graph):
    """Print when the network hangs together, and when its widest ring closes, by which road."""
    h0, h1 = tsl.rips_persistence(graph, metric="precomputed")
    print(f"  all junctions are joined by roads of at most {h0.deaths.amax():.2f} minutes")
    k = int(h1.essential_births.argmax())
    i, j = h1.essential_edges[k].tolist()
    print(f"  the ring waits for the road {i}-{j} of {h1.essential_births[k]:.2f} minutes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--junctions", type=int, default=150, help="number of junctions (150)")
    parser.add_argument("--steps", type=int, default=300, help="gradient steps (300)")
    parser.add_argument("--price", type=float, default=0.02, help="of a minute (0.02)")
    parser.add_argument("--seed", type=int, default=0, help="of the network (0)")
    args = parser.parse_args()
    if args.junctions < 50 or args.steps < 1 or args.price < 0:
        parser.error("expected --junctions >= 50, --steps >= 1 and --price >= 0")

    graph = road_network(args.junctions, torch.Generator().manual_seed(args.seed))
    pairs = args.junctions * (args.junctions - 1) // 2
    print(f"{args.junctions} junctions, {graph.nnz} roads of {pairs} pairs")
    report(graph)
    minutes = speed_up(graph, args.steps, args.price)
    saved = torch.from_numpy(graph.data) - minutes
    roads = int((saved > 0).sum())
    print(f"after {args.steps} steps, {saved.sum():.2f} minutes faster on {roads} roads:")
    graph.data = minutes.numpy()
    report(graph)
    print("a graph of your own, and what else takes missing edges: docs/coming-from.md")


if __name__ == "__main__":
    main()
