"""tsloss_fast: its public functions, the engine's calls on arrays, and its reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.cases import VECTORS
from benchmarks.providers import values
from benchmarks.providers.base import (
    LOSSES,
    PAIRED,
    SCORES,
    SURROGATES,
    Call,
    Diagrams,
    Provider,
    diagrams_of_edges,
)

if TYPE_CHECKING:
    from tsloss_fast import _C

# What the peers' calls return; a field becomes a tensor when it is looked at.
_look_at = attrgetter("births", "deaths", "birth_edges", "death_edges", "mask")


def _diagrams(result: tuple) -> list[Diagrams]:
    """Diagrams of a batch from what `rips_persistence` returns."""
    bars = [dgm.unbatch() for dgm in result]
    return [
        {dim: pairs.numpy() for dim, pairs in enumerate(cloud)} for cloud in zip(*bars, strict=True)
    ]


class TslossFast(Provider):
    """The functions that users call: checks, tensors and gradients included."""

    package = "tsloss-fast"
    modules = ("tsloss_fast",)
    phases = ("distances", "h0", "h1", *LOSSES, *SURROGATES, *PAIRED, *SCORES, *VECTORS)
    edges = True

    def api(self) -> ModuleType:
        """The module that has the functions."""
        import tsloss_fast

        return tsloss_fast

    def distances(self, x: np.ndarray) -> Call:
        import torch

        api, points = self.api(), torch.from_numpy(x)
        return Call(lambda: api.pairwise_distances(points), lambda D: D.numpy())

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import torch

        api, matrix = self.api(), torch.from_numpy(D)

        def call() -> tuple:
            found = api.rips_persistence(matrix, max_dim, "precomputed")
            for dgm in found:
                _look_at(dgm)
            return found

        return Call(call, _diagrams)

    def diagrams_of_each(self, matrices: Sequence[np.ndarray]) -> Call:
        """One call for all of them."""
        import torch

        api, clouds = self.api(), [torch.from_numpy(D) for D in matrices]

        def call() -> tuple:
            found = api.rips_persistence(clouds, 1, "precomputed")
            for dgm in found:
                _look_at(dgm)
            return found

        return Call(call, _diagrams)

    def mtopdiv(self, maps: np.ndarray) -> Call:
        import torch

        score, attention = self.api().losses.mtop_div, torch.from_numpy(maps)
        prompt = values.n_prompt(maps.shape[-1])
        return Call(lambda: score(attention, prompt), lambda result: result.numpy())

    def dimension(self, x: np.ndarray) -> Call:
        import torch

        dimension, points = self.api().persistent_homology_dimension, torch.from_numpy(x)
        sizes = values.sizes_of(x.shape[1])
        options = {
            "n_reruns": values.RERUNS,
            "n_points": values.DRAWS,
            "n_points_min": values.FEWER_DRAWS,
            "min_points": sizes.start,
            "max_points": sizes.stop,
            "point_jump": sizes.step,
        }

        def call() -> torch.Tensor:
            return dimension(points, **options, generator=torch.Generator().manual_seed(0))

        return Call(call, lambda result: result.numpy())

    def vectors(self, D: np.ndarray, kind: str) -> Call:
        import torch

        api, of = self.api(), self.api().vectorise
        h1, other = (
            api.rips_persistence(torch.from_numpy(each), metric="precomputed")[1]
            for each in (D, values.half_of(D))
        )
        options = {"resolution": values.RESOLUTION, "sample_range": values.RANGE}
        rotated = options | {"rotated": True}
        angles = (torch.arange(values.DIRECTIONS - 1) / values.DIRECTIONS - 0.5) * torch.pi
        ranges = {"birth_range": values.RANGE, "lifetime_range": values.RANGE}
        run = {
            "image": lambda: of.persistence_image(
                h1, values.BANDWIDTH, 1.0, values.PIXELS, **ranges
            ).flatten(-2),
            "landscape": lambda: of.landscape(h1, values.LANDSCAPES, **rotated).flatten(-2),
            "silhouette": lambda: of.silhouette(h1, 1.0, **rotated),
            "betti": lambda: of.betti_curve(h1, **options),
            "sliced": lambda: of.sliced_wasserstein_distance(h1, other, angles=angles),
        }[kind]
        return Call(run, lambda result: result.numpy())

    def loss(self, mode: str):
        if f"{mode}_backward" not in PAIRED:
            return self.api().TSLoss(mode)
        from benchmarks.providers.pair_losses import projected

        losses = self.api().losses
        loss = {
            "rtd": partial(losses.rtd, scale=None),
            "rtdlite": partial(losses.rtd_lite, scale=None),
            "signature": losses.signature,
        }[mode]
        return lambda x: loss(x, projected(x)).mean()


class CloudByCloud(TslossFast):
    """The same functions, called once for each cloud."""

    phases = ("h1_sizes",)
    note = "one call for each cloud"

    def diagrams_of_each(self, matrices: Sequence[np.ndarray]) -> Call:
        return Provider.diagrams_of_each(self, matrices)


class BareCall(TslossFast):
    """`rips_persistence` alone, before any field of its diagrams is looked at."""

    phases = ("h0", "h1")
    note = "rips_persistence alone: no field of its diagrams looked at"

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import torch

        api, matrix = self.api(), torch.from_numpy(D)
        return Call(lambda: api.rips_persistence(matrix, max_dim, "precomputed"), _diagrams)


class WithCycles(TslossFast):
    """`representative_cycles`, beside `BareCall`: a short loop for each bar of H1."""

    phases = ("h1",)
    note = "representative_cycles: diagrams and a short loop a bar, no field looked at"

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        import torch

        api, matrix = self.api(), torch.from_numpy(D)
        return Call(
            lambda: api.representative_cycles(matrix, metric="precomputed"),
            lambda result: _diagrams(result[0]),
        )


class Reference(TslossFast):
    """The specification, and what TSLoss was before: gudhi, with lengths gathered in PyTorch."""

    package = "gudhi"
    modules = ("tsloss_fast", "gudhi")
    phases = ("distances", "h0", "h1", *LOSSES, *SURROGATES)
    note = "tsloss_fast.reference: eager PyTorch with gudhi's SimplexTree; gudhi's version is given"

    def api(self) -> ModuleType:
        from tsloss_fast import reference

        return reference


class Engine(Provider):
    """The compiled module on NumPy arrays: critical edges as integers, as the peers give them."""

    package = "tsloss-fast"
    modules = ("tsloss_fast",)
    phases = ("distances", "h0", "h1")
    edges = True
    note = "arrays in, critical edges out: what the other engines' calls do"

    def distances(self, x: np.ndarray) -> Call:
        from tsloss_fast import _C

        return Call(lambda: _C.distances(x, threads=self.threads), lambda D: D)

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from tsloss_fast import _C

        if max_dim == 0:
            return Call(
                lambda: _C.rips(D, 0, None, self.threads),
                lambda h0: [
                    diagrams_of_edges(m, b) for m, b in zip(D, h0[0].death_edges, strict=True)
                ],
            )

        return Call(lambda: _C.rips(D, 1, None, self.threads), lambda found: _of_engine(D, *found))


def _of_engine(D: np.ndarray, h0: _C.Diagram, h1: _C.Diagram) -> list[Diagrams]:
    """Diagrams of a batch from the engine's edges."""
    return [
        diagrams_of_edges(matrix, deaths, bars[mask])
        for matrix, deaths, bars, mask in zip(D, h0.death_edges, h1.bars, h1.mask, strict=True)
    ]


class EngineWithCycles(Engine):
    """The compiled module on NumPy arrays, a short loop for each bar of H1 among what it gives."""

    phases = ("h1",)
    note = "arrays in; critical edges and the edges of a short loop a bar out"

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        from tsloss_fast import _C

        return Call(
            lambda: _C.rips_cycles(D, True, None, self.threads),
            lambda result: _of_engine(D, *result[0]),
        )


class FromPoints(Engine):
    """The engine and the losses, all from points: at n = 20,000 distances are better not sent."""

    phases = ("distances", "h0", "h1", "loss_backward", "surrogate_backward")

    def call(self, phase: str, array: np.ndarray) -> Call:
        if phase == "h0_agrees":
            return Call(lambda: self.h0_agrees(array), bool)
        return super().call(phase, array)

    def diagrams(self, D: np.ndarray, max_dim: int) -> Call:
        return super().diagrams(self._distances_of(D), max_dim)

    def h0_agrees(self, x: np.ndarray) -> bool:
        """Whether H0's lengths are those of persist0-tda, another engine."""
        import persist0

        D = self._distances_of(x)
        i, j = persist0.h0_batched(D)[0].astype(np.int64).T
        call = super().diagrams(D, 0)
        (ours,) = call.read(call.run())
        return np.array_equal(np.sort(D[0, i, j]), np.sort(ours[0][:, 1]))

    def loss(self, mode: str):
        return TslossFast(self.threads).loss(mode)

    def _distances_of(self, x: np.ndarray) -> np.ndarray:
        """The distances, kept for the next call on the same points."""
        points, D = getattr(self, "_last", (None, None))
        if points is None or not np.array_equal(points, x):
            D = self.distances(x).run()
            self._last = x, D
        return D
