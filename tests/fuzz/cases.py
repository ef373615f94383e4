"""One case of the fuzzer: drawn from (seed, index), written to a file, read from it again."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fuzz.families import MATRICES, POINTS

# Sizes on both sides of what the engine changes at: words and registers of a row of bits, edges of
# one tier (64 points), ranked vertices (512), and memory that is kept (1024).
LIMITS = [63, 64, 65, 127, 128, 129]
LARGE_LIMITS = [255, 256, 257, 511, 512, 513]
LARGEST_LIMITS = [1023, 1024, 1025]
# Where lengths are in no metric's order, ripser takes minutes and a GiB for 511 points: matrices of
# more points than the first number have about as many edges as the second.
MOST_WHOLE = 257
MOST_EDGES = 8_000


@dataclass(frozen=True)
class Case:
    """A cloud [n, d], or a matrix [n, n] where `metric` is "precomputed", and the longest edge."""

    family: str
    metric: str
    data: np.ndarray
    max_edge_length: float | None
    h1_power: float
    scale: str | None
    seed: int
    index: int

    @property
    def n(self) -> int:
        return len(self.data)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, index {self.index}: {self.family}, {self.data.dtype}"
            f"{list(self.data.shape)}, max_edge_length={self.max_edge_length}"
        )

    def save(self, folder: Path) -> Path:
        """Write the case to a file that `load` reads, its numbers as they are."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"case_{self.seed}_{self.index}.npz"
        rest = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "data"}
        np.savez(file, data=self.data, rest=np.array(json.dumps(rest)))
        return file

    @classmethod
    def load(cls, file: Path) -> "Case":
        with np.load(file, allow_pickle=False) as content:
            return cls(data=content["data"], **json.loads(str(content["rest"])))


def draw(seed: int, index: int, largest: int = 1025) -> Case:
    """Case number `index` of a seed, of at most `largest` points."""
    rng = np.random.default_rng((seed, index))
    n = min(_size(rng), largest)
    dtype = np.dtype(rng.choice(["float32", "float64"]))
    info = np.finfo(dtype)
    is_matrix = rng.random() < 0.5
    families = MATRICES if is_matrix else POINTS
    family = str(rng.choice(list(families)))
    data = families[family](rng, n, info).astype(dtype)
    return Case(
        family=family,
        metric="precomputed" if is_matrix else "euclidean",
        data=data,
        max_edge_length=_few_enough(data, _threshold(rng, data)) if is_matrix else None,
        h1_power=float(rng.choice([1, 2, 3])),
        scale="mean" if rng.random() < 0.3 else None,
        seed=seed,
        index=index,
    )


def _size(rng: np.random.Generator) -> int:
    kind = rng.random()
    if kind < 0.9:
        return int(rng.integers(1, 11))
    if kind < 0.985:
        return int(rng.integers(11, 21))
    if kind < 0.9955:
        return int(rng.integers(21, 41))
    if kind < 0.9992:
        return int(rng.choice(LIMITS))
    return int(rng.choice(LARGE_LIMITS if kind < 0.99995 else LARGEST_LIMITS))


def _threshold(rng: np.random.Generator, D: np.ndarray) -> float | None:
    """None, or a longest edge: one that there is, its neighbours among the floats, or an end."""
    if rng.random() < 0.6 or len(D) < 2:
        return None
    i, j = np.sort(rng.choice(len(D), 2, replace=False))
    length = D[i, j]
    with np.errstate(over="ignore"):
        choices = [length, np.nextafter(length, D.dtype.type(np.inf)), D.dtype.type(0)]
    if length > 0:
        choices.append(np.nextafter(length, D.dtype.type(0)))
    return float(choices[rng.integers(len(choices))])


def _few_enough(D: np.ndarray, longest: float | None) -> float | None:
    """The longest edge, or a shorter one that leaves a large matrix few enough edges."""
    if len(D) <= MOST_WHOLE:
        return longest
    lengths = D[np.triu_indices(len(D), 1)]
    short = float(np.partition(lengths, MOST_EDGES)[MOST_EDGES])
    if not np.isfinite(short):
        return longest
    return short if longest is None else min(short, longest)
