"""What a provider is: one engine, called through its public functions, one method a phase."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any

import numpy as np

from benchmarks.cases import PHASES

# Births and deaths of H0 and of H1 of one cloud, each [k, 2].
Diagrams = dict[int, np.ndarray]


@dataclass(frozen=True)
class Call:
    """What is timed, and how its result is read for the check, which is not timed."""

    run: Callable[[], Any]
    read: Callable[[Any], Any]


class Provider:
    """One engine. A phase it supports is a method of that name (see `benchmarks.cases.PHASES`).

    A method takes what it computes on, points ``x`` [B, n, d] or distances ``D`` [B, n, n] in
    float32, brings it into the form the engine takes best (not timed), and returns a `Call`.
    Reading gives, for each phase: ``distances`` [B, n, n]; ``h0`` and ``h1`` a list of `Diagrams`;
    a loss its value; a loss with backward (value, gradient [B, n, d]).
    """

    name: str
    package: str  # the distribution whose version is stated
    modules: tuple[str, ...]  # what has to import
    edges = False  # whether its diagrams come with critical edges
    note = ""  # what a reader of its figures should know
    first_call_limit_s = 0.0  # a longer limit for the first call, for engines that compile

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def available(self) -> str | None:
        """None, or why the provider cannot be used here."""
        for module in self.modules:
            try:
                importlib.import_module(module)
            except ImportError as error:
                return f"{type(error).__name__}: {error}"
        return None

    def version(self) -> str:
        """Version of the package."""
        try:
            return package_version(self.package)
        except PackageNotFoundError:
            return "not installed"

    @classmethod
    def phases(cls) -> set[str]:
        """The phases it supports."""
        return {phase for phase in PHASES if hasattr(cls, phase)}


def diagrams_of_edges(
    D: np.ndarray, h0_deaths: np.ndarray, h1_edges: np.ndarray | None = None
) -> Diagrams:
    """Diagrams from critical edges: H0 deaths [k, 2], H1 births and deaths [k, 4], D [n, n]."""
    deaths = D[h0_deaths[:, 0], h0_deaths[:, 1]]
    diagrams = {0: np.stack([np.zeros_like(deaths), deaths], axis=1)}
    if h1_edges is not None:
        i, j, k, m = h1_edges.T
        diagrams[1] = np.stack([D[i, j], D[k, m]], axis=1)
    return diagrams


def each(function: Callable[[Any], Any], clouds: Sequence[Any]) -> Callable[[], list[Any]]:
    """A call for engines that take one cloud at a time."""
    return lambda: [function(cloud) for cloud in clouds]


def longest_edge(D: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The edge whose length a simplex has: D [n, n], vertices [k, s] -> edges [k, 2]."""
    size = vertices.shape[1]
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size)]
    edges = np.stack([vertices[:, pair] for pair in pairs], axis=1)  # [k, pairs, 2]
    best = D[edges[..., 0], edges[..., 1]].argmax(axis=1)
    return edges[np.arange(len(edges)), best]
