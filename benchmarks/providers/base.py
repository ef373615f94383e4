"""What a provider is: one engine, called through its public functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import VECTORS, of_different_sizes

if TYPE_CHECKING:
    from benchmarks.providers.torch_losses import Loss

# Births and deaths of H0 and of H1 of one cloud, each [k, 2].
Diagrams = dict[int, np.ndarray]

LOSSES = ("loss", "loss_backward")
SURROGATES = ("surrogate", "surrogate_backward")
# Of points and their first two coordinates.
PAIRED = ("rtd_backward", "rtdlite_backward", "signature_backward")
# Numbers without a gradient.
SCORES = ("mtopdiv", "dimension")


@dataclass(frozen=True)
class Call:
    """What is timed, and how its result is read for the check, which is not timed."""

    run: Callable[[], Any]
    read: Callable[[Any], Any]


class Provider:
    """One engine. It names its ``phases`` and has the methods that they need.

    ``distances(x)`` and ``diagrams(D, max_dim)`` take points [B, n, d] or distances [B, n, n] in
    float32, bring them into the form that the engine takes best (not timed), and return a `Call`;
    ``loss(mode)`` returns a function of points, the mean over their batch.
    Reading gives distances [B, n, n], or a list of `Diagrams`. ``mtopdiv(maps)``, ``dimension(x)``
    and ``vectors(D, kind)`` take attention maps [B, n, n], points, and distances of whose H1
    diagrams, made before the clock starts, the vectors are; reading gives an array [B, ...].
    """

    package: str  # the distribution whose version is stated
    modules: tuple[str, ...]  # what has to import
    phases: tuple[str, ...]
    edges = False  # whether its diagrams come with critical edges
    note = ""  # what a reader of its figures should know
    first_call_limit_s = 0.0  # a longer limit for the first call, for engines that compile

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def call(self, phase: str, array: np.ndarray) -> Call:
        """The call of a phase. A loss reads as its value, with backward as (value, gradient)."""
        if phase == "distances":
            return self.distances(array)
        if phase in ("h0", "h1"):
            return self.diagrams(array, max_dim=int(phase[1]))
        if phase == "h1_sizes":
            return self.diagrams_of_each(of_different_sizes(array))
        if phase in SCORES:
            return getattr(self, phase)(array)
        if phase in VECTORS:
            return self.vectors(array, phase)
        from benchmarks.providers.torch_losses import loss_call

        mode, _, backward = phase.partition("_")
        mode = "persistence" if mode == "loss" else mode
        return loss_call(self.loss(mode), array, backward=bool(backward))

    @classmethod
    def takes(cls, phase: str) -> bool:
        """Whether it has a call of this phase; who has H1 can take one cloud after the other."""
        return phase in cls.phases or (phase == "h1_sizes" and "h1" in cls.phases)

    def diagrams_of_each(self, matrices: Sequence[np.ndarray]) -> Call:
        """H0 and H1 of matrices of different sizes, one after the other."""
        calls = [self.diagrams(D[None], max_dim=1) for D in matrices]
        return Call(
            lambda: [call.run() for call in calls],
            lambda results: [
                cloud
                for call, result in zip(calls, results, strict=True)
                for cloud in call.read(result)
            ],
        )

    def distances(self, x: np.ndarray) -> Call:
        raise NotImplementedError

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        raise NotImplementedError

    def loss(self, mode: str) -> Loss:
        raise NotImplementedError

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
            return version(self.package)
        except PackageNotFoundError:
            return "not installed"


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
