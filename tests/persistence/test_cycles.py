"""Representative cycles: what makes one, known loops, and cycles of other packages."""

import copy
import json
import math
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from clouds import cloud, clouds, matrix
from homology import Homology, is_cycle
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, edges, essential_edges, select

SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
GOLDEN = json.loads((Path(__file__).parent / "cycles_of_others.json").read_text())


def rows(cycle):
    return [tuple(edge) for edge in cycle.tolist()]


def require_representatives(D, h1, cycles, longest=math.inf):
    """The four properties, by linear algebra that shares no code with the package."""
    homology = Homology(D, longest)
    place = homology.place
    bars = edges(h1)
    births = [bar[:2] for bar in bars] + essential_edges(h1)
    deaths = [place[bar[2:]] for bar in bars] + [None] * len(essential_edges(h1))
    assert len(cycles) == len(births)
    for birth, cycle in zip(births, cycles, strict=True):
        assert cycle.dtype == torch.int64
        assert (cycle[:, 0] < cycle[:, 1]).all()
        assert is_cycle(rows(cycle))
        order = [place[edge] for edge in rows(cycle)]
        assert order == sorted(set(order))
        assert order[-1] == place[birth]
    assert homology.bounds_from([homology.chain(rows(cycle)) for cycle in cycles]) == deaths


@pytest.mark.parametrize("shorten", [True, False])
@given(x=clouds(max_n=30), place=st.none() | st.floats(0, 1))
def test_cycles_of_points_live_as_long_as_their_bars(tsl, shorten, x, place):
    D = tsl.pairwise_distances(x)
    longest = None if place is None else D.flatten().sort().values[int(place * (D.numel() - 1))]
    longest = None if longest is None else longest.item()
    (_, h1), cycles = tsl.representative_cycles(x, max_edge_length=longest, shorten=shorten)
    require_representatives(D, h1, cycles, math.inf if longest is None else longest)


@pytest.mark.parametrize("shorten", [True, False])
@given(
    kind=st.sampled_from(("ranks", "ties", "zeros")),
    n=st.integers(1, 25),
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    missing=st.sampled_from((0.0, 0.2, 0.6, 0.9)),
)
def test_cycles_of_matrices_live_as_long_as_their_bars(tsl, shorten, kind, n, seed, dtype, missing):
    """Many classes at once, in graphs that are not those of points, with edges that are missing."""
    D = matrix(kind, n, seed, dtype)
    gone = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < missing
    gone = gone.triu(1)
    D = D.masked_fill(gone | gone.mT, torch.inf)
    (_, h1), cycles = tsl.representative_cycles(D, metric="precomputed", shorten=shorten)
    require_representatives(D, h1, cycles)


@pytest.mark.parametrize("side", [5, 9, 11, 13, 16, 18, 20, 22])
def test_cycles_of_hundreds_of_classes_that_live_at_once(tsl, side):
    """Two sides, all across shorter than all within: (side - 1)^2 classes, one to seven words."""
    n = 2 * side
    across = matrix("ranks", n, side)
    within = torch.zeros(n, n, dtype=across.dtype)
    within[:side, :side] = within[side:, side:] = n * n
    D = (across + within).fill_diagonal_(0)
    (_, h1), cycles = tsl.representative_cycles(D, metric="precomputed")
    assert (h1.births < n * n).sum() == (side - 1) ** 2
    require_representatives(D, h1, cycles)


@given(x=clouds(max_n=40), longest=st.none() | st.floats(0, 4))
def test_the_diagrams_are_those_of_rips_persistence(tsl, x, longest):
    found, _ = tsl.representative_cycles(x, max_edge_length=longest)
    expected = tsl.rips_persistence(x, max_edge_length=longest)
    for dgm, theirs in zip(found, expected, strict=True):
        assert_same(dgm, theirs)


def shortest_simple_loop(D, birth, death):
    """The least number of edges of a single loop that represents a bar, by trying all of them."""
    homology = Homology(D)
    place, i, j = homology.place, *birth
    near = {v: [] for v in range(len(D))}
    for (a, b), k in place.items():
        if k < place[birth]:
            near[a].append(b)
            near[b].append(a)
    loops = []

    def walk(path):
        if path[-1] == j:
            loops.append(path)
            return
        for v in near[path[-1]]:
            if v not in path:
                walk([*path, v])

    walk([i])
    chains = [homology.chain([*pairwise(loop), (i, j)]) for loop in loops]
    ends = homology.bounds_from(chains)
    return min(
        (len(loop) for loop, end in zip(loops, ends, strict=True) if end == place[death]),
        default=None,
    )


def require_fewest_edges(tsl, D):
    (_, h1), cycles = tsl.representative_cycles(D, metric="precomputed")
    for (a, b, c, d), cycle in zip(edges(h1), cycles, strict=True):
        fewest = shortest_simple_loop(D, (a, b), (c, d))
        if fewest is None:
            assert len(tsl.loops_of(cycle)) > 1
        else:
            (loop,) = tsl.loops_of(cycle)
            assert len(loop) == fewest
    return cycles


@given(kind=st.sampled_from(("ranks", "ties")), n=st.integers(4, 9), seed=st.integers(0, 2**16))
def test_a_single_loop_of_the_fewest_edges_wherever_one_can(tsl, kind, n, seed):
    require_fewest_edges(tsl, matrix(kind, n, seed))


@pytest.mark.parametrize(
    ("kind", "n", "seed", "lengths"),
    [("ranks", 14, 6, [9]), ("ranks", 10, 123, [4, 5]), ("ties", 12, 97, [5, 4])],
    ids=["a longer loop does", "two loops", "two loops among ties"],
)
def test_the_way_of_fewest_edges_passes_a_vertex_twice(tsl, kind, n, seed, lengths):
    cycles = require_fewest_edges(tsl, matrix(kind, n, seed))
    assert lengths in [[len(loop) for loop in tsl.loops_of(cycle)] for cycle in cycles]


# Loops that are known


def angles_of(n, seed):
    """Equally many around a circle, each moved by up to a third of a step."""
    moved = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2 * torch.pi * (torch.arange(n) + (moved - 0.5) / 1.5) / n


def on_circle(angle):
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def turns(angle, loop):
    """How often a loop of vertices goes around, from the angles of all vertices."""
    steps = angle[loop.roll(-1)] - angle[loop]
    return round(((steps + torch.pi) % (2 * torch.pi) - torch.pi).sum().item() / (2 * torch.pi))


def longest(h1, cycles, count):
    """The cycles of the longest bars."""
    order = h1.lifetimes.argsort(descending=True)[:count]
    return [cycles[k] for k in order.tolist()]


@pytest.mark.parametrize("shorten", [True, False])
def test_a_circle_has_a_loop_around_it(tsl, shorten):
    angle = angles_of(40, 0)
    (_, h1), cycles = tsl.representative_cycles(on_circle(angle), shorten=shorten)
    (cycle,) = longest(h1, cycles, 1)
    (loop,) = tsl.loops_of(cycle)
    assert abs(turns(angle, loop)) == 1


def test_a_figure_eight_has_a_loop_around_each_half(tsl):
    angle = angles_of(30, 1)
    left, right = on_circle(angle) - torch.tensor([1.1, 0]), on_circle(angle) + torch.tensor([1, 0])
    x = torch.cat((left, right))
    (_, h1), cycles = tsl.representative_cycles(x)
    found = set()
    for cycle in longest(h1, cycles, 2):
        (loop,) = tsl.loops_of(cycle)
        (half,) = {int(v) // 30 for v in loop}
        found.add(half)
        assert abs(turns(angle, loop % 30)) == 1
    assert found == {0, 1}


@pytest.mark.parametrize("shorten", [True, False])
def test_a_torus_has_two_loops_that_go_different_ways(tsl, shorten):
    """The flat torus in four dimensions, by a grid of 9 x 13 moved points."""
    u, v = torch.cartesian_prod(angles_of(9, 2), angles_of(13, 3)).unbind(-1)
    x = torch.cat((on_circle(u), 1.4 * on_circle(v)), dim=-1)
    (_, h1), cycles = tsl.representative_cycles(x, shorten=shorten)
    ways = []
    for cycle in longest(h1, cycles, 2):
        loops = tsl.loops_of(cycle)
        assert not shorten or len(loops) == 1
        ways.append([sum(turns(angle, loop) for loop in loops) % 2 for angle in (u, v)])
    (a, b), (c, d) = ways
    assert (a * d + b * c) % 2 == 1
    assert h1.lifetimes.sort().values[-3] < 0.5 * h1.lifetimes.sort().values[-2]


@pytest.mark.parametrize("shorten", [True, False])
def test_the_projective_plane_has_a_loop_that_comes_back_reversed(tsl, shorten):
    """Points on a sphere, each with its opposite as one: a loop leads from a point to that."""
    x = torch.nn.functional.normalize(cloud("gaussian", 70, 3, 4), dim=-1)
    products = x @ x.T
    D = torch.acos(products.abs().clamp(max=1)).fill_diagonal_(0)
    (_, h1), cycles = tsl.representative_cycles(
        (D + D.T) / 2, metric="precomputed", shorten=shorten
    )
    (cycle,) = longest(h1, cycles, 1)
    assert products[cycle[:, 0], cycle[:, 1]].sign().prod() == -1
    assert not shorten or len(tsl.loops_of(cycle)) == 1


def prism():
    """Two squares above each other, in a graph where they become one loop before either is filled.

    That of sides 1.1 dies as the older one takes over; at that time nothing joins the two.
    """
    D = torch.full((8, 8), 2.0, dtype=torch.float64).fill_diagonal_(0)
    for k in range(4):
        after = (k + 1) % 4
        D[k, after] = 1.0
        D[4 + k, 4 + after] = 1.1
        D[k, 4 + k] = 1.5
        D[k, 4 + after] = 1.6
    return torch.minimum(D, D.T)


@pytest.mark.parametrize("shorten", [True, False])
def test_a_bar_that_ends_as_two_loops_become_one_has_both(tsl, shorten):
    D = prism()
    (_, h1), cycles = tsl.representative_cycles(D, metric="precomputed", shorten=shorten)
    require_representatives(D, h1, cycles)
    (which,) = (h1.births == 1.1).nonzero().flatten().tolist()
    assert h1.deaths[which] == 1.6
    loops = sorted(sorted(loop.tolist()) for loop in tsl.loops_of(cycles[which]))
    assert loops == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_short_loop_has_the_fewest_edges_and_then_the_least_length(tsl):
    """A hexagon with a point near the middle of one side, through which no loop need go."""
    x = on_circle(2 * torch.pi * torch.arange(6, dtype=torch.float64) / 6)
    x = torch.cat((x, (0.52 * x[:1] + 0.52 * x[1:2]), 1.02 * x[3:4]))
    (_, h1), cycles = tsl.representative_cycles(x)
    (cycle,) = longest(h1, cycles, 1)
    (loop,) = tsl.loops_of(cycle)
    assert sorted(loop.tolist()) == [0, 1, 2, 3, 4, 5]
    (raw,) = longest(h1, tsl.representative_cycles(x, shorten=False)[1], 1)
    assert len(raw) > len(cycle)


# Invariance, batches, kinds of input


@given(
    family=st.sampled_from(("gaussian", "unit", "circle")),
    n=st.integers(4, 30),
    d=st.integers(2, 8),
    seed=st.integers(0, 2**16),
)
def test_a_permutation_of_the_points_permutes_the_cycles(tsl, family, n, d, seed):
    x = cloud(family, n, d, seed)
    order = torch.randperm(n)
    (_, h1), cycles = tsl.representative_cycles(x)
    (_, moved_h1), moved = tsl.representative_cycles(x[order])
    assert torch.equal(h1.births, moved_h1.births)
    for cycle, other in zip(cycles, moved, strict=True):
        assert set(rows(order[other].sort(-1).values)) == set(rows(cycle))


def test_a_batch_is_its_clouds(tsl):
    x = torch.stack([cloud("circle", 20, 3, seed) for seed in range(6)]).reshape(2, 3, 20, 3)
    (h0, h1), cycles = tsl.representative_cycles(x)
    assert h0.births.shape[:2] == h1.births.shape[:2] == (2, 3)
    assert [len(cloud) for cloud in cycles] == h1.mask.sum(-1).flatten().tolist()
    for alone, together in zip(x.flatten(0, 1), cycles, strict=True):
        for cycle, other in zip(tsl.representative_cycles(alone)[1], together, strict=True):
            assert torch.equal(cycle, other)
    (_, _), none = tsl.representative_cycles(x[:0])
    assert none == []


def require_the_longest(most, found, expected):
    """Of the classes that never die and the longest bars the cycles among all, of others none."""
    (_, cycles), ((_, h1), all_cycles) = found, expected
    for dgm, theirs in zip(found[0], expected[0], strict=True):
        assert_same(dgm, theirs)
    order = h1.lifetimes.argsort(descending=True, stable=True).tolist()
    endless = range(len(order), len(all_cycles))
    chosen = {*[*endless, *order][:most]}
    for k, (cycle, theirs) in enumerate(zip(cycles, all_cycles, strict=True)):
        assert torch.equal(cycle, theirs) if k in chosen else cycle.shape == (0, 2)


@pytest.mark.parametrize("shorten", [True, False])
@given(
    kind=st.sampled_from(("ranks", "ties", "zeros")),
    n=st.integers(1, 25),
    seed=st.integers(0, 2**16),
    missing=st.sampled_from((0.0, 0.2, 0.6)),
    most=st.integers(0, 8),
)
def test_the_cycles_of_the_longest_classes_alone(tsl, shorten, kind, n, seed, missing, most):
    D = matrix(kind, n, seed)
    gone = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < missing
    gone = gone.triu(1)
    D = D.masked_fill(gone | gone.mT, torch.inf)
    options = {"metric": "precomputed", "shorten": shorten}
    found = tsl.representative_cycles(D, most=most, **options)
    require_the_longest(most, found, tsl.representative_cycles(D, **options))


@pytest.mark.parametrize("metric", ["cosine", "correlation", "chebyshev"])
def test_the_longest_are_those_by_the_metric(tsl, metric):
    x = torch.stack([cloud("gaussian", 30, 6, seed) for seed in range(3)])
    D = tsl.pairwise_distances(x, metric)
    found = tsl.representative_cycles(x, metric=metric, most=2)
    expected = tsl.representative_cycles(D, metric="precomputed")
    ragged = tsl.representative_cycles(list(x), metric=metric, most=2)
    for b in range(len(x)):
        for dgms, cycles in (found, ragged):
            of_cloud = [select(dgm, b) for dgm in dgms], cycles[b]
            theirs = [select(dgm, b) for dgm in expected[0]], expected[1][b]
            require_the_longest(2, of_cloud, theirs)


def test_the_cycles_of_a_cloud_are_a_sequence(tsl, tmp_path):
    x = torch.stack([cloud("gaussian", 40, 8, seed) for seed in range(2)])
    _, (cycles, others) = tsl.representative_cycles(x)
    made = list(cycles)
    assert len(cycles) == len(made) > 3
    for chosen in (slice(None), slice(1, -1, 2), slice(None, None, -1), slice(9, 9)):
        for cycle, expected in zip(cycles[chosen], made[chosen], strict=True):
            assert torch.equal(cycle, expected)
    for k in (0, -1, np.int64(1)):
        assert torch.equal(cycles[k], made[k])
    for k in (len(cycles), -len(cycles) - 1):
        with pytest.raises(IndexError):
            cycles[k]
    with pytest.raises(TypeError):
        cycles["first"]
    for same in (made, tuple(made), cycles):
        assert cycles == same
        assert same == cycles
    for other in (made[:-1], [*made[:-1], made[0]], others, [None] * len(made), None):
        assert cycles != other
    assert repr(cycles) == repr(made)
    torch.save(cycles, tmp_path / "cycles.pt")
    for copied in (copy.deepcopy(others), pickle.loads(pickle.dumps(others))):
        assert copied == others
    assert torch.load(tmp_path / "cycles.pt") == cycles


def test_clouds_of_different_sizes_and_vertices_with_births(tsl):
    """Each cloud's edges enter at their lengths, and not before their vertices."""
    x = [cloud("gaussian", n, 3, n) for n in (25, 4, 18)]
    births = [torch.rand(len(each), dtype=torch.float64) * 3 for each in x]
    _, plain = tsl.representative_cycles(x)
    (_, h1), cycles = tsl.representative_cycles(x, vertex_births=births)
    assert [len(each) for each in cycles] == h1.mask.sum(-1).tolist()
    for k, each in enumerate(x):
        D = tsl.pairwise_distances(each)
        alone = tsl.representative_cycles(each)[1]
        assert all(torch.equal(*both) for both in zip(plain[k], alone, strict=True))
        entered = torch.maximum(D, torch.maximum(births[k].unsqueeze(0), births[k].unsqueeze(1)))
        entered.fill_diagonal_(0)
        require_representatives(entered, select(h1, k), cycles[k])


def test_threads_and_instruction_sets_give_the_same_cycles(tsl):
    x = torch.stack([cloud("gaussian", 100, 6, seed) for seed in range(8)])
    _, expected = tsl.representative_cycles(x)
    assert sum(map(len, expected)) > 100
    D = tsl.pairwise_distances(x).numpy()
    for isa in ("plain", "auto"):
        for threads in (1, 4):
            _, found, starts, counts = tsl._engine.arrays._C.rips_cycles(
                D, True, None, threads, isa
            )
            assert counts == [len(each) for each in expected]
            assert np.diff(starts).tolist() == [len(cycle) for each in expected for cycle in each]
            assert found.tolist() == [row for each in expected for c in each for row in c.tolist()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_points_of_other_dtypes(tsl, dtype):
    x = cloud("circle", 24, 2, 0).to(dtype)
    (_, h1), cycles = tsl.representative_cycles(x)
    require_representatives(tsl.pairwise_distances(x.float()), h1, cycles)


@pytest.mark.parametrize("metric", ["cosine", "cityblock", lambda x: torch.cdist(x, x, p=1)])
def test_metrics(tsl, metric):
    x = cloud("gaussian", 25, 3, 5)
    (_, h1), cycles = tsl.representative_cycles(x, metric=metric)
    assert len(cycles) > 0
    require_representatives(tsl.pairwise_distances(x, metric), h1, cycles)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_a_sparse_matrix_has_cycles_of_classes_that_never_die(tsl):
    ends = torch.tensor([[0, 1, 2, 0, 4, 5, 4], [1, 2, 3, 3, 5, 6, 6]])
    lengths = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0])
    graph = torch.sparse_coo_tensor(ends, lengths, (8, 8))
    for x in (graph, graph.to_sparse_csr()):
        (_, h1), cycles = tsl.representative_cycles(x, metric="precomputed")
        assert h1.mask.shape == (0,)
        assert essential_edges(h1) == [(0, 3)]
        (cycle,) = cycles
        assert rows(cycle) == [(0, 1), (1, 2), (2, 3), (0, 3)]


def test_diagrams_with_cycles_have_the_gradients_of_others(tsl):
    x = cloud("circle", 20, 2, 0).requires_grad_()
    (_, with_cycles), _ = tsl.representative_cycles(x)
    _, alone = tsl.rips_persistence(x)
    slopes = [torch.autograd.grad(h1.lifetimes.sum(), x)[0] for h1 in (with_cycles, alone)]
    assert torch.equal(*slopes)


@pytest.mark.parametrize("longest", [None, 1.0])
def test_through_the_operators_as_without(tsl, longest):
    """As CUDA tensors go: the distances are copied to the host, and all fields are tensors."""
    x = torch.stack([cloud("circle", 20, 3, seed) for seed in range(3)]).requires_grad_()
    expected, cycles = tsl.representative_cycles(x, max_edge_length=longest)
    eager = tsl._engine.eager
    for traced in (
        lambda finder: eager._traced_of_points(x, 1, eager._as_it_is, longest, finder),
        lambda finder: eager._traced_of_matrix(tsl.pairwise_distances(x), 1, longest, finder),
    ):
        finder = eager.CycleFinder(True)
        for (_, fields), dgm in zip(traced(finder), expected, strict=True):
            assert_same(type(dgm)(**fields), dgm)
        assert finder.counts == [len(cloud) for cloud in cycles]
        found = torch.cat([cycle for cloud in cycles for cycle in cloud])
        assert torch.equal(finder.edges, found)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_clouds_without_a_loop(tsl, n):
    (_, h1), cycles = tsl.representative_cycles(torch.randn(n, 2))
    assert cycles == []
    assert h1.mask.shape == (0,)


# Loops and lengths


def test_loops_share_no_vertex_within_and_no_edge_between(tsl):
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        bits = torch.randint(0, 2, (12, 12), generator=generator)
        # Sums of triangles are cycles.
        chosen = {}
        for a, b, c in (bits.triu(1).nonzero() % 12).repeat(1, 2)[:, :3].tolist():
            if len({a, b, c}) == 3:
                for edge in ((a, b), (b, c), (a, c)):
                    chosen[tuple(sorted(edge))] = chosen.get(tuple(sorted(edge)), 0) ^ 1
        a, b, c = torch.randint(0, 12, (3, 20), generator=generator).tolist()
        for triple in zip(a, b, c, strict=True):
            if len(set(triple)) == 3:
                for edge in (triple[:2], triple[1:], triple[::2]):
                    chosen[tuple(sorted(edge))] = chosen.get(tuple(sorted(edge)), 0) ^ 1
        cycle = torch.tensor([edge for edge, odd in chosen.items() if odd]).reshape(-1, 2)
        loops = [loop.tolist() for loop in tsl.loops_of(cycle)]
        sides = [
            tuple(sorted(edge))
            for loop in loops
            for edge in zip(loop, loop[1:] + loop[:1], strict=True)
        ]
        assert sorted(sides) == sorted(map(tuple, cycle.tolist()))
        assert all(len(set(loop)) == len(loop) for loop in loops)
        if loops:
            assert sorted(loops[0][:2]) == cycle[-1].tolist()


def test_what_is_no_cycle_is_refused(tsl):
    with pytest.raises(TypeError, match=r"cycle: expected a torch.Tensor \[m, 2\], got list"):
        tsl.loops_of([[0, 1]])
    with pytest.raises(ValueError, match=r"cycle: expected edges \[m, 2\], .*got float32 \[3, 2\]"):
        tsl.loops_of(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"cycle: expected edges \[m, 2\], .*got int64 \[3\]"):
        tsl.loops_of(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"cycle: expected an even number .* got 1 at 0"):
        tsl.loops_of(torch.tensor([[0, 1], [1, 2]]))
    with pytest.raises(ValueError, match=r"cycle: .* got one twice: \(0, 1\)"):
        tsl.loops_of(torch.tensor([[0, 1], [1, 0]]))
    with pytest.raises(ValueError, match=r"cycle: .* got one from a vertex to itself: \(1, 1\)"):
        tsl.loops_of(torch.tensor([[1, 1]]))
    assert tsl.loops_of(torch.zeros(0, 2, dtype=torch.int64)) == []


def test_wrong_arguments(tsl):
    with pytest.raises(ValueError, match="max_dim: expected one of 1, got 0"):
        tsl.representative_cycles(SQUARE, 0)
    with pytest.raises(TypeError, match="shorten: expected True or False, got 1"):
        tsl.representative_cycles(SQUARE, shorten=1)
    with pytest.raises(ValueError, match=r"most: expected .* 0, got -1"):
        tsl.representative_cycles(SQUARE, most=-1)
    with pytest.raises(TypeError, match=r"most: expected an int, got 1\.5"):
        tsl.representative_cycles(SQUARE, most=1.5)
    with pytest.raises(ValueError, match=r"x: expected finite values, got x\[1, 0\] = nan"):
        tsl.representative_cycles(SQUARE.index_fill(0, torch.tensor(1), math.nan))
    with pytest.raises(ValueError, match=r"asymmetric: x\[0, 1\]"):
        tsl.representative_cycles(torch.rand(4, 4).fill_diagonal_(0), metric="precomputed")
    with pytest.raises(RuntimeError, match="representative_cycles: expected tensors with values"):
        torch.func.vmap(lambda x: tsl.representative_cycles(x)[0][0].births)(torch.randn(2, 5, 2))


def test_the_length_of_a_cycle_by_hand_and_its_gradient(tsl):
    x = SQUARE.double().requires_grad_()
    _, (cycle,) = tsl.representative_cycles(x)
    assert tsl.cycle_length(x, cycle) == 4
    assert tsl.cycle_length(x, cycle, "chebyshev") == 4
    assert tsl.cycle_length(tsl.pairwise_distances(x), cycle, "precomputed") == 4
    assert tsl.cycle_length(torch.stack((x, 2 * x)), cycle).tolist() == [4, 8]
    moved = (x + torch.randn(4, 2)).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: tsl.cycle_length(y, cycle), moved)
    assert torch.autograd.gradgradcheck(lambda y: tsl.cycle_length(y, cycle), moved)


# Other packages


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_each_cycle_pairs_to_one_with_ripsers_cocycle_of_its_bar(tsl, name):
    x = torch.tensor(GOLDEN[name]["points"], dtype=torch.float64)
    (_, h1), cycles = tsl.representative_cycles(x)
    theirs = GOLDEN[name]["ripser"]
    # ripser.py has the lengths in float32.
    pairs = torch.tensor([bar[:2] for bar in theirs], dtype=torch.float64)
    which = torch.cdist(pairs, h1.pairs).argmin(-1)
    torch.testing.assert_close(h1.pairs[which], pairs, rtol=1e-6, atol=0)
    assert sorted(which.tolist()) == list(range(len(cycles)))
    for k, (_, _, cocycle) in zip(which.tolist(), theirs, strict=True):
        shared = set(rows(cycles[k])) & {tuple(sorted(edge)) for edge in cocycle}
        assert len(shared) % 2 == 1


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_each_cycle_is_oineus_chain_up_to_a_boundary_at_death(tsl, name):
    """The sum of the two has no part of the birth edge, and is filled when the bar ends."""
    x = torch.tensor(GOLDEN[name]["points"], dtype=torch.float64)
    (_, h1), cycles = tsl.representative_cycles(x)
    homology = Homology(tsl.pairwise_distances(x))
    ours = {bar: homology.chain(rows(c)) for bar, c in zip(edges(h1), cycles, strict=True)}
    theirs = {tuple(bar): homology.chain(chain) for bar, chain in GOLDEN[name]["oineus"]}
    assert ours.keys() == theirs.keys()
    order = list(ours)
    deaths = [homology.place[bar[2:]] for bar in order]
    assert homology.bounds_from([theirs[bar] for bar in order]) == deaths
    sums = [ours[bar] ^ theirs[bar] for bar in order]
    for bar, bits, end, death in zip(order, sums, homology.bounds_from(sums), deaths, strict=True):
        assert not bits >> homology.place[bar[:2]] & 1
        assert end is None or end <= death
        assert end is not None or bits == 0
