"""Numbers that come from diagrams: with which options all providers compute them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Dimension: how many fits, and subsamples of each size, those of half of the points or more last.
RERUNS, DRAWS, FEWER_DRAWS = 3, 7, 3
# Of diagrams whose bars lie in this range.
RANGE, BANDWIDTH, RESOLUTION, LANDSCAPES, DIRECTIONS = (0.0, 2.0), 0.1, 100, 5, 50
PIXELS = (20, 20)


def n_prompt(n: int) -> int:
    """How many of n tokens are the prompt's."""
    return n // 2


def sizes_of(N: int) -> range:
    """The sizes of the subsamples of N points: four."""
    step = max(1, N // 4)
    return range(max(2, step), N + 1, step)


def dimensions(tree_length: Callable[[np.ndarray], float], clouds: np.ndarray) -> np.ndarray:
    """The persistent homology dimension [B] of clouds [B, N, d], one after the other.

    The subsamples are those that `persistent_homology_dimension` draws.
    """
    return np.array([_dimension(tree_length, x) for x in clouds])


def _dimension(tree_length: Callable[[np.ndarray], float], x: np.ndarray) -> float:
    import torch

    N, generator = len(x), torch.Generator().manual_seed(0)
    sums = []
    for n in sizes_of(N):
        count = FEWER_DRAWS if 2 * n >= N else DRAWS
        draws = [torch.randperm(N, generator=generator)[:n] for _ in range(RERUNS * count)]
        lengths = [tree_length(x[chosen.numpy()]) for chosen in draws]
        sums.append(np.median(np.reshape(lengths, (RERUNS, count)), 1))
    slopes = np.polyfit(np.log(sizes_of(N)), np.log(sums), 1)[0]
    return 1 / (1 - slopes.mean())


def half_of(D: np.ndarray) -> np.ndarray:
    """Distances [B, m, m] of the first half of the points, whose diagrams others come from."""
    m = (D.shape[-1] + 1) // 2
    return np.ascontiguousarray(D[:, :m, :m])
