"""Errors of distances, deaths, losses and gradients against arithmetic of 50 digits."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import torch
from mpmath import mp, mpf

import tsloss_fast as tsl

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DIGITS = 50
TAU, ALPHA = mpf("0.5"), mpf(4)


def _near_duplicates(n, d, generator):
    """Each row near another, by one part in 30 to 30,000."""
    rows = torch.randn((n + 1) // 2, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
    sizes = 10.0 ** -torch.linspace(1.5, 4.5, n, dtype=torch.float64)
    return rows.repeat(2, 1)[:n] + sizes.unsqueeze(-1) * noise


def _gaussian(n, d, generator):
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


CLOUDS = {
    "Gaussian": _gaussian,
    "near duplicates": _near_duplicates,
    "offset 100": lambda *args: 100 + _gaussian(*args),
    "scale 1e-4": lambda *args: 1e-4 * _gaussian(*args),
    "scale 1e4": lambda *args: 1e4 * _gaussian(*args),
}


def drawn(dtype: torch.dtype, sizes: list[tuple[int, int]]) -> Iterator[torch.Tensor]:
    """Clouds of all kinds and sizes, rounded to a dtype."""
    for kind, make in CLOUDS.items():
        if dtype in (torch.float16, torch.bfloat16) and kind == "scale 1e-4":
            # Half the digits of float16 are gone there before anything is computed.
            continue
        for seed, (n, d) in enumerate(sizes):
            yield make(n, d, torch.Generator().manual_seed(seed)).to(dtype)


class Exact:
    """A cloud in 50 digits: lengths, and the losses as functions of the points."""

    def __init__(self, x: torch.Tensor) -> None:
        self.n, self.d = x.shape
        wide = x.detach().double().numpy()
        self.x = np.array([[mpf(v) for v in row] for row in wide.tolist()], dtype=object)

    @property
    def mean(self) -> mpf:
        """Of all n^2 distances."""
        return 2 * sum(self.length(*pair) for pair in combinations(range(self.n), 2)) / self.n**2

    def length(self, i: int, j: int, x: np.ndarray | None = None) -> mpf:
        x = self.x if x is None else x
        return mp.sqrt(sum((a - b) ** 2 for a, b in zip(x[i], x[j], strict=True)))

    def direction(self, i: int, j: int) -> np.ndarray:
        """d length / d x_i; 0 where the points coincide."""
        length = self.length(i, j)
        return (self.x[i] - self.x[j]) / (length if length else 1)

    def surrogate(self, x: np.ndarray, mean: mpf) -> mpf:
        """The paper's formulas on distances over a mean, pairs i = j left out."""
        n = self.n
        D = {(i, j): self.length(i, j, x) / mean for i, j in combinations(range(n), 2)}
        D |= {(j, i): length for (i, j), length in D.items()}
        s = [
            -TAU * mp.log(sum(mp.exp(-D[i, j] / TAU) for j in range(n) if j != i)) for i in range(n)
        ]
        h0 = sum((each - sum(s) / n) ** 2 for each in s) / n

        def extreme(sharpness: mpf) -> mpf:
            weights = {pair: mp.exp(sharpness * length) for pair, length in D.items()}
            return sum(weights[pair] * D[pair] for pair in D) / sum(weights.values())

        delta, zeta = extreme(-ALPHA), extreme(ALPHA)
        repel = sum(max(0, delta - length) ** 2 for length in D.values())
        attract = sum(max(0, length - zeta) ** 2 for length in D.values())
        return h0 + (repel + attract) / n**2

    def gradient(self, loss: Callable[[np.ndarray], mpf]) -> np.ndarray:
        """By central differences, whose error is 1e-30."""
        step, found = mpf(10) ** -20, np.zeros_like(self.x)
        for at in np.ndindex(self.x.shape):
            ahead, behind = self.x.copy(), self.x.copy()
            ahead[at] += step
            behind[at] -= step
            found[at] = (loss(ahead) - loss(behind)) / (2 * step)
        return found


def unit(x: torch.Tensor) -> float:
    """The rounding of the dtype that the cloud is computed in."""
    return torch.finfo(x.dtype if x.dtype == torch.float64 else torch.float32).eps


def numbers(x: torch.Tensor) -> np.ndarray:
    return np.array([mpf(v) for v in x.detach().double().flatten().tolist()], dtype=object)


def error_of_distances(x: torch.Tensor) -> float:
    """The largest relative error, in units of rounding over (d / 2 + 3)."""
    D, exact = tsl.pairwise_distances(x), Exact(x)
    off = [
        abs(mpf(D[i, j].item()) - length) / length
        for i, j in combinations(range(exact.n), 2)
        if (length := exact.length(i, j))
    ]
    return float(max(off)) / unit(x) / (exact.d / 2 + 3)


def error_of_deaths(x: torch.Tensor) -> float:
    """The same of births and deaths against the lengths of their edges."""
    exact, off = Exact(x), []
    for dgm in tsl.rips_persistence(x):
        for edges, lengths in ((dgm.birth_edges, dgm.births), (dgm.death_edges, dgm.deaths)):
            for (i, j), found in zip(edges.tolist(), lengths.tolist(), strict=True):
                if length := exact.length(i, j):
                    off.append(abs(mpf(found) - length) / length)
    return float(max(off)) / unit(x) / (exact.d / 2 + 3)


def widened(x: torch.Tensor) -> torch.Tensor:
    """The cloud in the dtype that it is computed in; a half gradient would be rounded to halves."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).requires_grad_()


def error_of_death_gradients(x: torch.Tensor) -> float:
    """The largest error of the gradient of one death, a unit vector, in the same units."""
    x, exact, off = widened(x), Exact(x), []
    for dgm in tsl.rips_persistence(x):
        for (i, j), death in zip(dgm.death_edges.tolist(), dgm.deaths, strict=True):
            (grad,) = torch.autograd.grad(death, x, retain_graph=True)
            off.append(max(abs(numbers(grad[i]) - exact.direction(i, j))))
    return float(max(off)) / unit(x) / (exact.d / 2 + 3)


def persistence_of(x: torch.Tensor) -> tuple[mpf, np.ndarray, mpf]:
    """TSLoss and its gradient in 50 digits on the edges of the diagrams, and the longest length."""
    exact = Exact(x)
    h0, h1 = (
        [*zip(d.birth_edges.tolist(), d.death_edges.tolist(), strict=True)]
        for d in tsl.rips_persistence(x)
    )
    deaths = [exact.length(*death) for _, death in h0]
    mean = sum(deaths) / len(deaths)
    loss = sum((death - mean) ** 2 for death in deaths) / len(deaths)
    grad = np.zeros_like(exact.x) + mpf(0)

    def add(edge: list[int], weight: mpf) -> None:
        i, j = edge
        step = weight * exact.direction(i, j)
        grad[i] += step
        grad[j] -= step

    for (_, edge), death in zip(h0, deaths, strict=True):
        add(edge, 2 * (death - mean) / len(deaths))
    for birth, death in h1:
        life = exact.length(*death) - exact.length(*birth)
        loss += life**2 / exact.n
        add(death, 2 * life / exact.n)
        add(birth, -2 * life / exact.n)
    longest = max([*deaths, *(exact.length(*death) for _, death in h1)])
    return loss, grad, longest


def error_of_loss(x: torch.Tensor) -> float:
    """The error of TSLoss over the square of the longest critical length, in the same units."""
    loss, _, longest = persistence_of(x)
    return (
        float(abs(mpf(tsl.TSLoss()(x).item()) - loss) / longest**2) / unit(x) / (x.shape[1] / 2 + 3)
    )


def error_of_loss_gradient(x: torch.Tensor) -> float:
    """The largest error of an entry of its gradient over that length, in the same units."""
    _, expected, longest = persistence_of(x)
    wide = widened(x)
    tsl.TSLoss()(wide).backward()
    off = max(abs(numbers(wide.grad) - expected.flatten()))
    return float(off / longest) / unit(x) / (x.shape[1] / 2 + 3)


def _surrogate(x: torch.Tensor) -> torch.Tensor:
    return tsl.TSLoss("surrogate", tau=float(TAU), alpha=float(ALPHA), scale="mean")(x)


def error_of_surrogate(x: torch.Tensor) -> float:
    """The relative error of the surrogate, in the same units."""
    exact = Exact(x)
    expected = exact.surrogate(exact.x, exact.mean)
    return float(abs(mpf(_surrogate(x).item()) / expected - 1)) / unit(x) / (x.shape[1] / 2 + 3)


def error_of_surrogate_gradient(x: torch.Tensor) -> float:
    """The error of its gradient over the gradient's norm, in the same units."""
    exact = Exact(x)
    mean = exact.mean
    expected = exact.gradient(lambda points: exact.surrogate(points, mean)).flatten()
    wide = widened(x)
    _surrogate(wide).backward()
    off = numbers(wide.grad) - expected
    relative = mp.sqrt(sum(off**2) / sum(expected**2))
    return float(relative) / unit(x) / (x.shape[1] / 2 + 3)


SIZES = [(8, 2), (9, 33), (6, 700)]
SMALL = [(5, 3), (6, 4)]

# What is measured, on which sizes, and the bound that it is held to, in units of (d / 2 + 3) eps.
QUANTITIES = {
    "distances, relative": (error_of_distances, SIZES, 1.0),
    "births and deaths, relative": (error_of_deaths, SIZES, 1.0),
    "gradient of a death (a unit vector)": (error_of_death_gradients, SIZES, 1.0),
    "TSLoss, over the longest length squared": (error_of_loss, SIZES, 1.0),
    "its gradient, over the longest length": (error_of_loss_gradient, SIZES, 1.0),
    "surrogate, relative": (error_of_surrogate, SMALL, 10.0),
    "its gradient, relative": (error_of_surrogate_gradient, SMALL, 10.0),
}


def measured(name: str, dtype: torch.dtype) -> float:
    """The largest error of a quantity over all clouds of a dtype."""
    error_of, sizes, _ = QUANTITIES[name]
    with mp.workdps(DIGITS):
        return max(error_of(x) for x in drawn(dtype, sizes))


def table() -> str:
    """A row a quantity, a column a dtype, and the bound."""
    names = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
    lines = [f"| error | {' | '.join(names)} | at most |", f"| --- |{' ---: |' * 5}"]
    for name, (_, _, bound) in QUANTITIES.items():
        cells = [f"{measured(name, dtype):.2g}" for dtype in DTYPES]
        lines.append(f"| {name} | {' | '.join(cells)} | {bound:g} |")
    return "\n".join(lines)
