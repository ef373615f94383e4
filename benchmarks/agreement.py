"""Whether a provider's result is the right one: why not, or None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.cases import VECTORS
from benchmarks.providers.base import PAIRED, SCORES, Diagrams

# One rounding of a float32 and one more, for engines that give values and not edges.
VALUE_TOLERANCE = 2.0**-22
# Relative, of each single distance.
DISTANCE_TOLERANCE = 1e-4
# Relative, of the loss and of the gradient as a whole: both are float32 against float64.
LOSS_TOLERANCE = 1e-2
# Relative, of the gradient of a loss on two clouds: an edge as long as another but for rounding may
# be critical in its place, and one of the n - 1 edges of a tree is sqrt(2 / n) of the gradient.
PAIR_GRADIENT_TOLERANCE = 0.2
# Of a MTop-Div, which is at most 1, and relative of a dimension.
SCORE_TOLERANCES = {"mtopdiv": 1e-6, "dimension": 1e-4}
# Relative, of the largest entry of a batch of vectors.
VECTOR_TOLERANCE = 1e-4
# Relative to the norm of a cloud: a few roundings of a distance summed in float32.
ROUNDING = 1e-5

# The phases whose results are diagrams, of these dimensions.
DIMENSIONS = {"h0": (0,), "h1": (0, 1), "h1_sizes": (0, 1)}

WHAT_IS_CHECKED = {
    "edges": "lengths of the critical edges, equal to gudhi's values bit for bit",
    "values": f"values, within {VALUE_TOLERANCE:.1e} of gudhi's (two roundings of float32)",
    "distances": f"each distance, within {DISTANCE_TOLERANCE:g} of itself in float64",
    "loss": f"loss, and each cloud's gradient as a vector, within {LOSS_TOLERANCE:g} of those of "
    f"the reference (gudhi) in float64, there or {ROUNDING:g} of the cloud's norm away",
    "scores": "each MTop-Div, within {mtopdiv:g}, and each dimension, within {dimension:g} of "
    "itself, of the formula on gudhi's H0 in float64".format(**SCORE_TOLERANCES),
    "vectors": f"each entry, within {VECTOR_TOLERANCE:g} of the largest, of gudhi's in float64",
    "pairs": f"loss, within {LOSS_TOLERANCE:g}, and each cloud's gradient as a vector, within "
    f"{PAIR_GRADIENT_TOLERANCE:g} of those of the formula on gudhi's edges in float64",
}


def what_is_checked(phase: str, edges: bool) -> str:
    """The key of `WHAT_IS_CHECKED` for a phase."""
    if phase in DIMENSIONS:
        return "edges" if edges else "values"
    if phase in PAIRED:
        return "pairs"
    if phase in SCORES:
        return "scores"
    if phase in VECTORS:
        return "vectors"
    return "distances" if phase == "distances" else "loss"


def disagreement(phase: str, got: Any, truth: Any, edges: bool) -> str | None:
    """Why `got`, as a provider's call reads it, is not `truth`; None if it is.

    Diagrams are compared as multisets of bars of positive length, in every dimension of the phase.
    """
    if phase in DIMENSIONS:
        return _diagrams(got, truth, edges, DIMENSIONS[phase])
    if phase == "distances":
        return _distances(got, truth)
    if phase in (*SCORES, *VECTORS):
        return _numbers(phase, got, truth)
    if phase in ("loss", "surrogate"):
        return _loss(got, None, *truth)
    tolerance = PAIR_GRADIENT_TOLERANCE if phase in PAIRED else LOSS_TOLERANCE
    return _loss(*got, *truth, tolerance)


def _diagrams(
    got: Sequence[Diagrams], truth: Sequence[Diagrams], edges: bool, dims: Sequence[int]
) -> str | None:
    if len(got) != len(truth):
        return f"{len(got)} diagrams for {len(truth)} clouds"
    tolerance = 0.0 if edges else VALUE_TOLERANCE
    for index, (ours, theirs) in enumerate(zip(got, truth, strict=True)):
        for dim in dims:
            if dim not in ours:
                return f"cloud {index}: no H{dim}"
            why = _bars(_positive_bars(ours[dim]), _positive_bars(theirs[dim]), tolerance)
            if why:
                return f"cloud {index}, H{dim}: {why}"
    return None


def _positive_bars(pairs: np.ndarray) -> np.ndarray:
    """Finite bars of positive length [k, 2], ordered by death, then birth."""
    pairs = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    if np.isnan(pairs).any():
        # Kept, and unequal to anything.
        return pairs
    pairs = pairs[np.isfinite(pairs[:, 1]) & (pairs[:, 1] > pairs[:, 0])]
    return pairs[np.lexsort(pairs.T)]


def _bars(got: np.ndarray, truth: np.ndarray, tolerance: float) -> str | None:
    if len(got) != len(truth):
        return f"{len(got)} bars, gudhi has {len(truth)}"
    error = np.abs(got - truth)
    # Written so that NaN fails.
    bad = ~(error <= tolerance * np.abs(truth))
    if not bad.any():
        return None
    at = tuple(int(k) for k in np.argwhere(bad)[0])
    return f"{got[at]:.9g} where gudhi has {truth[at]:.9g}"


def _distances(got: np.ndarray, truth: np.ndarray) -> str | None:
    if got.shape != truth.shape:
        return f"shape {list(got.shape)}, expected {list(truth.shape)}"
    apart = ~np.eye(truth.shape[-1], dtype=bool)
    error = np.abs(got - truth)[:, apart] / truth[:, apart]
    worst = float(error.max()) if error.size else 0.0
    return None if worst <= DISTANCE_TOLERANCE else f"a distance is off by {worst:.1e} of itself"


def _numbers(phase: str, got: np.ndarray, truth: np.ndarray) -> str | None:
    if got.shape != truth.shape:
        return f"shape {list(got.shape)}, expected {list(truth.shape)}"
    error = np.abs(got - truth)
    if phase == "dimension":
        error = error / np.abs(truth)
    if phase in VECTORS:
        error = error / np.abs(truth).max()
    tolerance = SCORE_TOLERANCES.get(phase, VECTOR_TOLERANCE)
    # Written so that NaN fails.
    return None if (error <= tolerance).all() else f"a number is off by {error.max():.1e}"


def _loss(
    value: float,
    gradient: np.ndarray | None,
    true_value: float,
    true_gradient: np.ndarray,
    tolerance: float = LOSS_TOLERANCE,
) -> str | None:
    if gradient is not None:
        return gradient_disagreement(value, gradient, true_value, [true_gradient], tolerance)
    error = abs(value - true_value) / abs(true_value)
    # Written so that NaN fails.
    return None if error <= LOSS_TOLERANCE else f"loss {value:.6g}, expected {true_value:.6g}"


def gradient_disagreement(
    value: float,
    gradient: np.ndarray,
    true_value: float,
    true_gradients: Sequence[np.ndarray],
    tolerance: float = LOSS_TOLERANCE,
) -> str | None:
    """As `disagreement`; each cloud's gradient [B, n, d] may be that of any of the true ones."""
    if why := _loss(value, None, true_value, true_gradients[0]):
        return why
    norms = np.linalg.norm(true_gradients[0], axis=(1, 2))  # [B]
    errors = [np.linalg.norm(gradient - true, axis=(1, 2)) / norms for true in true_gradients]
    worst = float(np.min(errors, axis=0).max())
    return None if worst <= tolerance else f"a gradient is off by {worst:.1e} of its norm"


def within_rounding(
    x: np.ndarray, gradient: np.ndarray, true_gradient: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Clouds [B, n, d] moved by a few roundings of float32, to either side of a disputed order.

    Where two edges are equally long but for rounding, an engine that rounds otherwise pairs the
    other one, and both gradients are right: TSLoss is continuous there and has a kink. The
    difference of the gradients is the direction across the kink.
    """
    x = x.astype(np.float64)
    across = gradient - true_gradient
    length = np.linalg.norm(across, axis=(1, 2), keepdims=True)
    size = ROUNDING * np.linalg.norm(x, axis=(1, 2), keepdims=True)
    step = size * across / np.where(length == 0, 1, length)
    return x + step, x - step
