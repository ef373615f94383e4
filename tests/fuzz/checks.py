"""What a case is compared with, and how far off rounding allows a number to be.

Bars, classes that never die and cycles are equal or wrong. Values and gradients are held to bounds
that follow from their formulas; `longdouble` has the range and the digits for exact ones.
"""

from collections.abc import Iterator
from functools import cached_property

import gudhi
import numpy as np
import torch

import tsloss_fast as tsl
from tests.fuzz.cases import Case
from tests.fuzz.oracle import Reduction
from tsloss_fast import _C, reference

ISAS = ["plain", "avx2", "avx512"]
ISAS = ISAS[: ISAS.index(_C.best_isa()) + 1]
# Sizes up to which the plain reduction, and gudhi's, answer in milliseconds.
MOST_REDUCED = 20
MOST_FOR_GUDHI = 40
Bars = tuple[list[tuple[int, ...]], list[tuple[int, ...]]]


class Answers:
    """The bars that a matrix of distances has, by the slow ways."""

    def __init__(self, D: np.ndarray, longest: float | None) -> None:
        self.D = D
        # The engine compares in the dtype of the distances.
        with np.errstate(over="ignore"):
            self.longest = np.inf if longest is None else float(D.dtype.type(longest))

    @cached_property
    def reduction(self) -> Reduction:
        return Reduction(self.D, self.longest)

    @cached_property
    def bars(self) -> tuple[Bars, Bars]:
        """Bars and classes that never die of H0 and H1."""
        if len(self.D) > MOST_REDUCED:
            return bars_of_ranks(self.D, self.longest)
        r = self.reduction
        return (r.h0, r.essential_h0), (r.h1, r.essential_h1)


def bars_of_ranks(D: np.ndarray, longest: float) -> tuple[Bars, Bars]:
    """The same by ripser, on the ranks of the lengths, which name an edge each."""
    from ripser import ripser

    n = len(D)
    i, j = np.triu_indices(n, 1)
    there = (D[i, j] <= longest) & (D[i, j] < np.inf)
    i, j = i[there], j[there]
    order = np.argsort(D[i, j], kind="stable")
    i, j = i[order], j[order]
    ranks = np.full((n, n), len(i) + 1.0)
    np.fill_diagonal(ranks, 0)
    ranks[i, j] = ranks[j, i] = np.arange(1, len(i) + 1)
    # Its first dimension has deaths alone; which vertex dies is settled by the elder rule.
    _, h1 = ripser(ranks, maxdim=1, thresh=len(i), distance_matrix=True)["dgms"]
    bars, essential = [], []
    for birth, death in h1:
        born = (int(i[int(birth) - 1]), int(j[int(birth) - 1]))
        if np.isinf(death):
            essential.append((int(birth), born))
            continue
        died = (int(i[int(death) - 1]), int(j[int(death) - 1]))
        if D[died] > D[born]:
            bars.append(((int(death), int(birth)), (*born, *died)))
    h0 = _elder_rule(n, i.tolist(), j.tolist())
    return h0, ([bar for _, bar in sorted(bars)], [edge for _, edge in sorted(essential)])


def _elder_rule(n: int, firsts: list[int], seconds: list[int]) -> Bars:
    parent = list(range(n))

    def root(v: int) -> int:
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    bars = []
    for i, j in zip(firsts, seconds, strict=True):
        old, young = sorted((root(i), root(j)))
        if old != young:
            parent[young] = old
            bars.append((young, young, i, j))
    return bars, [(v, v) for v in range(n) if root(v) == v]


def differences(case: Case) -> Iterator[str]:
    """What the package says otherwise than its oracles, one line each."""
    if case.metric == "euclidean":
        yield from wrong_distances(case.data)
        D = _C.distances(case.data)
    else:
        D = case.data
    answers = Answers(D, case.max_edge_length)
    yield from wrong_bars(case, answers)
    if case.n <= MOST_FOR_GUDHI:
        yield from wrong_for_gudhi(answers)
    if case.n <= MOST_REDUCED:
        yield from wrong_cycles(answers, shorten=case.index % 2 == 0)
    yield from wrong_diagram_gradients(case, answers)
    yield from wrong_persistence_loss(case, answers)
    if case.metric == "euclidean" and case.index % 4 == 0 and case.n <= MOST_FOR_GUDHI:
        yield from wrong_surrogate(case)


# Distances


def wrong_distances(x: np.ndarray) -> Iterator[str]:
    """Distances of every instruction set against those of 64 bits of mantissa."""
    info, d = np.finfo(x.dtype), x.shape[1]
    wide = x.astype(np.longdouble)
    exact = np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(-1))
    # d squares of rounded differences, summed and rooted: less than (d / 2 + 3) units of rounding.
    bound = (d / 2 + 3) * info.eps * exact + info.smallest_subnormal
    by_isa = {isa: _C.distances(x, isa=isa) for isa in ISAS}
    for isa, D in by_isa.items():
        off = np.abs(D.astype(np.longdouble) - exact)
        if not (off <= bound).all():
            yield f"{isa} distances: off by {np.max(off)}"
        if not (np.array_equal(D, D.T) and (np.diag(D) == 0).all()):
            yield f"{isa} distances: not symmetric with a zero diagonal"
    if len(ISAS) == 3 and not np.array_equal(by_isa["avx2"], by_isa["avx512"]):
        yield "distances: avx2 and avx512 differ"


# Bars


def found_bars(diagram) -> Bars:
    """Bars and classes that never die of one diagram of the module, or of one of tensors."""
    if hasattr(diagram, "bars"):
        bars, edges = diagram.bars, diagram.essential_edges
    else:
        bars = torch.cat((diagram.birth_edges, diagram.death_edges), -1)
        edges = diagram.essential_edges
    bars, edges = bars[np.asarray(diagram.mask)], edges[np.asarray(diagram.essential_mask)]
    return [tuple(row) for row in bars.tolist()], [tuple(row) for row in edges.tolist()]


def wrong_bars(case: Case, answers: Answers) -> Iterator[str]:
    """The module on every instruction set, H0 alone, and the public call."""
    D, longest = answers.D, case.max_edge_length
    expected = answers.bars
    calls = {f"{isa} rips": _C.rips(D, 1, isa=isa, max_edge_length=longest) for isa in ISAS}
    calls["H0 alone"] = _C.rips(D, 0, max_edge_length=longest)
    calls["rips of two threads"] = _C.rips(D, 1, threads=2, max_edge_length=longest)
    calls["rips_persistence"] = tsl.rips_persistence(
        torch.from_numpy(case.data), metric=case.metric, max_edge_length=longest
    )
    for name, diagrams in calls.items():
        for dim, diagram in enumerate(diagrams):
            if found_bars(diagram) != expected[dim]:
                yield f"{name}: H{dim} is {found_bars(diagram)}, expected {expected[dim]}"
            yield from _wrong_lengths(f"{name}: H{dim}", diagram, D)


def _wrong_lengths(name: str, diagram, D: np.ndarray) -> Iterator[str]:
    """Births and deaths are the lengths of the edges."""
    for kind, edges, lengths, mask in (
        ("births", diagram.birth_edges, diagram.births, diagram.mask),
        ("deaths", diagram.death_edges, diagram.deaths, diagram.mask),
        (
            "essential births",
            diagram.essential_edges,
            diagram.essential_births,
            diagram.essential_mask,
        ),
    ):
        keep = np.asarray(mask)
        at = np.asarray(edges)[keep]
        if not np.array_equal(np.asarray(lengths)[keep], D[at[:, 0], at[:, 1]]):
            yield f"{name}: {kind} are not the lengths of their edges"


def wrong_for_gudhi(answers: Answers) -> Iterator[str]:
    """Births and deaths of the answers themselves against gudhi's, on the lengths as they are."""
    D = answers.D.astype(np.float64)
    longest = min(answers.longest, float(np.finfo(np.float64).max))
    rips = gudhi.RipsComplex(distance_matrix=D, max_edge_length=longest)
    tree = rips.create_simplex_tree(2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    for dim, (bars, essential) in enumerate(answers.bars):
        theirs = np.asarray(tree.persistence_intervals_in_dimension(dim)).reshape(-1, 2)
        theirs = sorted(map(tuple, theirs[theirs[:, 1] > theirs[:, 0]].tolist()))
        ours = [(D[bar[:2]], D[bar[2:]]) for bar in bars]
        ours = [bar for bar in ours if bar[1] > bar[0]] + [(D[e], np.inf) for e in essential]
        if sorted(ours) != theirs:
            yield f"gudhi: H{dim} is {theirs}, expected {sorted(ours)}"


def wrong_cycles(answers: Answers, shorten: bool) -> Iterator[str]:
    """Each cycle is born with its class, is even at each vertex, and is filled when that dies."""
    reduction = answers.reduction
    longest = None if np.isinf(answers.longest) else answers.longest
    (_, h1), cycles = tsl.representative_cycles(
        torch.from_numpy(answers.D), metric="precomputed", max_edge_length=longest, shorten=shorten
    )
    bars, essential = found_bars(h1)
    if (bars, essential) != answers.bars[1]:
        yield "representative_cycles: other bars than rips_persistence"
        return
    deaths = [reduction.place[bar[2:]] for bar in bars] + [None] * len(essential)
    births = [bar[:2] for bar in bars] + essential
    for birth, death, cycle in zip(births, deaths, cycles, strict=True):
        edges = [tuple(edge) for edge in cycle.tolist()]
        ends = [v for edge in edges for v in edge]
        if any(ends.count(v) % 2 for v in set(ends)) or len(set(edges)) < len(edges):
            yield f"cycle of {birth}: {edges} is none"
        elif max(edges, key=reduction.place.__getitem__) != birth:
            yield f"cycle of {birth}: {edges} is born with another edge"
        elif reduction.death_of(edges) != death:
            yield f"cycle of {birth}: {edges} dies with another edge"


# Gradients


class Lengths:
    """Exact lengths of edges of a case, and the sums of their gradients with a bound of the error.

    A gradient goes to the points [n, d], or to the entries [i, j], i < j, of a matrix.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.is_matrix = case.metric == "precomputed"
        self.x = case.data.astype(np.longdouble)
        self.info = np.finfo(case.data.dtype)
        # Units of rounding that a length of the engine may be off, as in `wrong_distances`.
        self.relative = 0 if self.is_matrix else (case.data.shape[1] / 2 + 3) * self.info.eps
        # A few roundings where the dtype has no digits left.
        self.least = 4 * self.info.smallest_subnormal
        self.gradient = np.zeros_like(self.x)
        self.bound = np.zeros_like(self.x)

    def of(self, edges: list[tuple[int, int]]) -> np.ndarray:
        if not edges:
            return np.zeros(0, np.longdouble)
        i, j = np.array(edges).T
        if self.is_matrix:
            return np.where(i == j, 0, self.x[i, j])
        return np.sqrt(((self.x[i] - self.x[j]) ** 2).sum(-1))

    def add(
        self,
        edges: list[tuple[int, int]],
        weights: np.ndarray,
        off: np.ndarray,
        nearest: float = 0,
    ) -> None:
        """Add weight * d length / d x for each edge; `off` bounds the error of each weight.

        Points that are no further apart than `nearest` count as coincident.
        """
        for (i, j), length, weight, error in zip(edges, self.of(edges), weights, off, strict=True):
            if i == j:
                continue
            if self.is_matrix:
                self.gradient[i, j] += weight
                self.bound[i, j] += error + 4 * self.info.eps * abs(weight) + self.least
            elif length > nearest:
                step = weight * (self.x[i] - self.x[j]) / length
                relative = self.relative + 8 * self.info.eps + self.info.smallest_subnormal / length
                wrong = np.abs(step) * relative + error + self.least
                self.gradient[i] += step
                self.gradient[j] -= step
                self.bound[i] += wrong
                self.bound[j] += wrong

    def compare(self, name: str, found: torch.Tensor, factor: np.longdouble = 1) -> Iterator[str]:
        """Whether a gradient found is `factor` times the sum, up to the bound."""
        expected, bound = self.gradient * factor, self.bound * abs(factor)
        # Sums of many edges round once an edge.
        bound = bound * 2 + self.case.n * self.info.eps * np.abs(expected) + self.least
        yield from self._compare(name, found, expected, bound)

    def _compare(self, name, found, expected, bound) -> Iterator[str]:
        got = found.detach().numpy().astype(np.longdouble)
        fits = np.abs(expected) + bound < self.info.max
        with np.errstate(invalid="ignore"):
            right = np.abs(got - expected) <= bound
            # What the dtype cannot hold is infinite, of the right sign.
            right |= ~fits & (np.isinf(got) & (np.sign(got) == np.sign(expected)))
        if not right.all():
            at = tuple(int(k) for k in np.argwhere(~right)[0])
            yield f"{name}: gradient{list(at)} is {got[at]}, expected {expected[at]} +- {bound[at]}"


def split(bars: list[tuple[int, ...]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return [bar[:2] for bar in bars], [bar[2:] for bar in bars]


def wrong_diagram_gradients(case: Case, answers: Answers) -> Iterator[str]:
    """A weighted sum of all births and deaths: its gradient is on the critical edges alone."""
    x = torch.from_numpy(case.data.copy()).requires_grad_()
    diagrams = tsl.rips_persistence(x, metric=case.metric, max_edge_length=case.max_edge_length)
    exact = Lengths(case)
    loss = x.new_zeros(())
    rng = np.random.default_rng(case.index)
    nearest = float(exact.info.tiny) * 2**16
    for diagram, (bars, essential) in zip(diagrams, answers.bars, strict=True):
        births, deaths = split(bars)
        for edges, lengths in (
            (births, diagram.births),
            (deaths, diagram.deaths),
            (essential, diagram.essential_births),
        ):
            # Without the padding where components stay apart; wrong_bars has looked at the rest.
            lengths = lengths[: len(edges)]
            weights = rng.integers(-3, 4, len(edges)).astype(float)
            loss = loss + (lengths * torch.from_numpy(weights).to(lengths)).sum()
            exact.add(edges, weights, np.zeros(len(edges)), nearest)
    if not loss.requires_grad:
        yield "rips_persistence: has no graph"
        return
    loss.backward()
    yield from exact.compare("rips_persistence", x.grad)


def wrong_persistence_loss(case: Case, answers: Answers) -> Iterator[str]:
    """TSLoss and its gradient by its formula, on the bars of the slow ways."""
    (h0, _), (h1, _) = answers.bars
    exact = Lengths(case)
    info, n = exact.info, case.n
    there = case.data[np.isfinite(case.data)]
    if exact.is_matrix and n and there.sum(dtype=np.longdouble) > info.max:
        # PyTorch's sums of such lengths are infinite.
        return
    if exact.is_matrix and case.scale:
        lengths = np.unique(there)
        if there.mean() == 0 or len(np.unique(lengths / there.mean())) < len(lengths):
            # Lengths that differ before they are divided by the mean and not after: other ties.
            return
    deaths = exact.of([bar[2:] for bar in h0])
    lives = exact.of([bar[2:] for bar in h1]) - exact.of([bar[:2] for bar in h1])
    scale = _inverse_mean(case, exact) if case.scale else np.longdouble(1)
    deaths, lives, p = deaths * scale, lives * scale, case.h1_power
    # Engine and formula scale by means that are off by as much as a length is, and PyTorch's sum.
    relative = 2 * exact.relative + (n * n + 8) * info.eps
    longest = max([np.longdouble(0), *deaths, *(scale * exact.of([bar[2:] for bar in h1]))])
    error = relative * longest + scale * info.smallest_subnormal

    above = deaths - deaths.mean() if len(deaths) else deaths
    expected_h0 = (above**2).mean() if len(deaths) else np.longdouble(0)
    expected_h1 = (lives**p).sum() / n
    bound_h0 = 4 * error * (longest + error) + info.smallest_subnormal
    bound_h1 = len(h1) / n * 2 * p * error * (longest + error) ** (p - 1) + info.smallest_subnormal

    x = torch.from_numpy(case.data.copy()).requires_grad_()
    loss_function = tsl.TSLoss(
        lambda_ts=0.5,
        beta_h1=3.0,
        h1_power=p,
        scale=case.scale,
        metric=case.metric,
        max_edge_length=case.max_edge_length,
    )
    try:
        loss, terms = loss_function(x, return_terms=True)
    except ValueError as error:
        fits = max(expected_h0, expected_h1) < info.max / 2
        if fits or "expected rows whose distances and loss" not in str(error):
            yield f"TSLoss: {error}, expected {expected_h0} and {expected_h1}"
        return
    yield from _wrong_value("TSLoss h0", terms["h0"], expected_h0, bound_h0, info)
    yield from _wrong_value("TSLoss h1", terms["h1"], expected_h1, bound_h1, info)
    expected = 0.5 * (expected_h0 + 3 * expected_h1)
    yield from _wrong_value("TSLoss", loss, expected, 0.5 * (bound_h0 + 3 * bound_h1), info)

    weights = 0.5 * 2 * above / max(1, len(h0))
    off = np.full(len(h0), 0.5 * 2 * 2 * error / max(1, len(h0)))
    exact.add([bar[2:] for bar in h0], weights, off + 4 * info.eps * np.abs(weights))
    weights = 1.5 * p / n * lives ** (p - 1)
    if p == 1:
        off = np.zeros(len(h1))
    else:
        off = np.full(len(h1), 1.5 * p * (p - 1) / n * 2 * error * (longest + error) ** (p - 2))
    for place, sign in ((slice(2, 4), 1), (slice(0, 2), -1)):
        exact.add([bar[place] for bar in h1], sign * weights, off)
    loss.backward()
    exact.bound += relative * np.abs(exact.gradient)
    yield from exact.compare("TSLoss", x.grad, scale)


def _inverse_mean(case: Case, exact: Lengths) -> np.longdouble:
    """1 / mean of all finite distances, those of a point from itself too; 1 where that is 0."""
    i, j = np.triu_indices(case.n, 1)
    lengths = exact.of(list(zip(i.tolist(), j.tolist(), strict=True)))
    keep = np.isfinite(lengths)
    count = case.n + 2 * keep.sum()
    total = 2 * lengths[keep].sum()
    if total == 0 or (not exact.is_matrix and count / total > exact.info.max):
        return np.longdouble(1)
    return count / total


def _wrong_value(name, found, expected, bound, info) -> Iterator[str]:
    got = np.longdouble(found.item())
    bound = bound + 8 * info.eps * abs(expected)
    if abs(got - expected) <= bound:
        return
    # What the dtype cannot hold is infinite.
    if abs(expected) + bound >= info.max and np.isinf(got) and got > 0:
        return
    yield f"{name}: {got}, expected {expected} +- {bound}"


def wrong_surrogate(case: Case) -> Iterator[str]:
    """The surrogate against the reference in float64, where that can hold the squares."""
    info = np.finfo(case.data.dtype)
    D = _C.distances(case.data.astype(np.float64))
    largest = D.max()
    if not (largest == 0 or case.n**2 / info.max < largest < 1e140):
        return
    # Squares of float64, and numbers of the engine that lose their digits or end at its largest.
    apart, least = D[D > 0], info.tiny * 2**16
    if (apart < max(1e-140, least)).any() or (apart / D.mean() < least).any():
        return
    x = torch.from_numpy(case.data.copy()).requires_grad_()
    wide = torch.from_numpy(case.data.astype(np.float64)).requires_grad_()
    options = {"mode": "surrogate", "tau": 0.3, "alpha": 4.0, "scale": "mean"}
    loss, expected = tsl.TSLoss(**options)(x), reference.TSLoss(**options)(wide)
    loss.backward()
    expected.backward()
    # In units of the mean distance all lengths are at most n^2, and their errors some units of it.
    error = (case.data.shape[1] + 64) * info.eps * case.n**2
    bound = 8 * error * case.n**2
    yield from _wrong_value("surrogate", loss, np.longdouble(expected.item()), bound, info)
    exact = Lengths(case)
    scale = 1 / max(_C.distances(case.data.astype(np.float64)).mean(), np.finfo(float).tiny)
    limits = np.full_like(exact.x, 8 * np.longdouble(bound) * scale) + exact.least
    grad = wide.grad.numpy().astype(np.longdouble)
    if largest > 0:
        yield from exact._compare("surrogate", x.grad, grad, limits)
