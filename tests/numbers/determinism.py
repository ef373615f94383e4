"""What repeats bit by bit, and what in all but the last digits."""

from collections.abc import Callable

import numpy as np
import torch

import tsloss_fast as tsl
from tsloss_fast import _C

ISAS = ["plain", "avx2", "avx512"]
SAME = "same bits"


def clouds(dtype: torch.dtype) -> list[torch.Tensor]:
    """Batches [5, n, d] with and without ties, on both sides of a word and of a register."""
    found = []
    for n, d in ((3, 1), (17, 5), (40, 33), (65, 3), (130, 16)):
        generator = torch.Generator().manual_seed(n)
        found.append(torch.randn(5, n, d, generator=generator, dtype=torch.float64).to(dtype))
        found.append(torch.randint(0, 3, (5, n, d), generator=generator).to(dtype))
    return found


Results = dict[str, list[np.ndarray]]


def results(x: torch.Tensor) -> Results:
    """Everything that is computed of a batch [5, n, d], a list of arrays under each name."""
    x = x.detach().clone().requires_grad_()
    h0, h1 = tsl.rips_persistence(x)
    (h0.deaths.sum() + h1.lifetimes.sum()).backward()
    grad, x.grad = x.grad, None
    found = {
        "distances": [tsl.pairwise_distances(x)],
        "edges of bars": [h0.death_edges, h1.birth_edges, h1.death_edges],
        "births and deaths": [h0.deaths, h1.births, h1.deaths],
        "gradient of diagrams": [grad],
    }
    for name, loss in (("TSLoss", tsl.TSLoss()), ("surrogate", tsl.TSLoss("surrogate"))):
        each = type(loss)(mode=loss.mode, reduction="none")(x)
        each.sum().backward()
        found[name], found[f"gradient of {name}"] = [each], [x.grad]
        x.grad = None
    return {name: [part.detach().numpy() for part in parts] for name, parts in found.items()}


def compare(one: Results, other: Results) -> dict[str, float]:
    """Of each result the largest difference over the largest number, 0 where all bits agree."""
    found = {}
    for name, parts in one.items():
        off = [0.0]
        for ours, theirs in zip(parts, other[name], strict=True):
            if ours.dtype.kind == "i":
                off.append(0.0 if np.array_equal(ours, theirs) else np.inf)
            elif ours.tobytes() != theirs.tobytes():
                size = max(np.abs(theirs).max(), np.finfo(theirs.dtype).tiny)
                off.append(float(np.abs(ours - theirs).max() / size))
        found[name] = max(off)
    return found


def repeated(x: torch.Tensor) -> dict[str, float]:
    return compare(results(x), results(x))


def with_threads(count: int) -> Callable[[torch.Tensor], dict[str, float]]:
    def compared(x: torch.Tensor) -> dict[str, float]:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = results(x)
            torch.set_num_threads(count)
            return compare(results(x), one)
        finally:
            torch.set_num_threads(before)

    return compared


def reordered(x: torch.Tensor) -> dict[str, float]:
    """The clouds of the batch in another order; the bars of a batch are padded to the same size."""
    order = [3, 0, 4, 2, 1]
    found = {name: [part[order] for part in parts] for name, parts in results(x).items()}
    return compare(results(x[order]), found)


def alone(x: torch.Tensor) -> dict[str, float]:
    """Each cloud by itself, less the padding that it has in the batch."""
    batch, found = results(x), {}
    for k in range(len(x)):
        one = results(x[k : k + 1])
        cut = {
            name: [part[k : k + 1, : own.shape[1]] if part.ndim > 1 else part[k : k + 1]
                   for part, own in zip(parts, one[name], strict=True)]
            for name, parts in batch.items()
        }  # fmt: skip
        found = {name: max(off, found.get(name, 0)) for name, off in compare(one, cut).items()}
    return found


def of_isa(isa: str, x: np.ndarray) -> Results:
    """The same by the compiled module on one instruction set, on the distances of the best."""
    D = _C.distances(x)
    h0, h1 = _C.rips(D, 1, isa=isa)
    edges = np.ascontiguousarray(h0.death_edges)
    weights = np.ones(edges.shape[:2], x.dtype)
    exact = _C.persistence_loss(x, 1.0, 1.0, 2.0, False, True, isa=isa)
    smooth = _C.surrogate_loss(x, 1, 1, 1, 10, 1, 1, False, False, False, True, isa=isa)
    return {
        "distances": [_C.distances(x, isa=isa)],
        "edges of bars": [h0.death_edges, h1.birth_edges, h1.death_edges],
        "births and deaths": [h0.deaths, h1.births, h1.deaths],
        "gradient of diagrams": [_C.scatter_edges(x, edges, weights, isa=isa)],
        "TSLoss": [exact[0]],
        "gradient of TSLoss": [exact[3]],
        "surrogate": [smooth[0]],
        "gradient of surrogate": [smooth[3]],
    }


def between_isas(one: str, other: str) -> Callable[[torch.Tensor], dict[str, float]] | None:
    """None where this processor lacks one of them."""
    if max(map(ISAS.index, (one, other))) > ISAS.index(_C.best_isa()):
        return None
    return lambda x: compare(of_isa(one, x.numpy()), of_isa(other, x.numpy()))


def permuted(x: torch.Tensor) -> dict[str, float]:
    """The rows in another order: the same bars under other names, where no lengths tie."""
    n = x.shape[1]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    before, after = results(x), results(x[:, order])
    expected = {
        name: [part[:, order] for part in parts]
        for name, parts in before.items()
        if name in ("distances", "gradient of TSLoss", "gradient of surrogate")
        or name == "gradient of diagrams"
    }
    expected["distances"] = [before["distances"][0][:, order][:, :, order]]
    for name in ("TSLoss", "surrogate"):
        expected[name] = before[name]
    if has_ties(x):
        # Of edges that tie another may be critical, and then the gradient is another one.
        for name in ("gradient of diagrams", "gradient of TSLoss"):
            del expected[name]
    else:
        names = order.numpy()
        for results_ in (before, after):
            h0, births, deaths = results_["edges of bars"]
            if results_ is after:
                h0, births, deaths = (np.where(e < 0, e, names[e]) for e in (h0, births, deaths))
            results_["edges of bars"] = [np.sort(e, -1) for e in (h0, births, deaths)]
        expected["edges of bars"] = before["edges of bars"]
    # Bars of equal death stand in the order of their edges, so values are compared sorted.
    for results_ in (before, after):
        h0, births, deaths = results_["births and deaths"]
        order_of = np.lexsort((births, deaths), axis=-1)
        pairs = [np.take_along_axis(part, order_of, -1) for part in (births, deaths)]
        results_["births and deaths"] = [np.sort(h0, -1), *pairs]
    expected["births and deaths"] = before["births and deaths"]
    return compare({name: after[name] for name in expected}, expected)


def has_ties(x: torch.Tensor) -> bool:
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1)
    lengths = tsl.pairwise_distances(x)[:, i, j].sort(-1).values
    return any(bool((row.diff() == 0).any()) for row in lengths)


WAYS = {
    "again": repeated,
    "2 threads for 1": with_threads(2),
    "4 threads for 1": with_threads(4),
    "other order of the batch": reordered,
    "a cloud alone": alone,
    "AVX-512 for AVX2": between_isas("avx512", "avx2"),
    "plain for the best": between_isas("plain", _C.best_isa()),
    "other order of the rows": permuted,
}
NAMES = [
    "distances", "edges of bars", "births and deaths", "gradient of diagrams",
    "TSLoss", "gradient of TSLoss", "surrogate", "gradient of surrogate",
]  # fmt: skip


def measured(way: str) -> dict[str, dict[str, float]] | None:
    """The largest difference of each result by dtype, in units of rounding; None if not asked."""
    compared = WAYS[way]
    if compared is None:
        return None
    found: dict[str, dict[str, float]] = {}
    for dtype in (torch.float32, torch.float64):
        for x in clouds(dtype):
            for name, off in compared(x).items():
                by_dtype = found.setdefault(name, {})
                key = str(dtype).removeprefix("torch.")
                by_dtype[key] = max(by_dtype.get(key, 0), off / torch.finfo(dtype).eps)
    return found


def table() -> str:
    """A row a way, a column a result."""
    lines = [f"| | {' | '.join(NAMES)} |", f"| --- |{' --- |' * len(NAMES)}"]
    for way in WAYS:
        found = measured(way)
        if found is None:
            continue
        cells = [_cell(found.get(name)) for name in NAMES]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(off: dict[str, float] | None) -> str:
    if off is None:
        return ""
    worst = max(off.values())
    return SAME if worst == 0 else f"to {worst:.2g} eps"
