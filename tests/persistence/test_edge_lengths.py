"""edge_lengths: against the distances, in every metric, batched, padded, differentiated."""

import pytest
import torch
from clouds import cloud, matrix

import tsloss_fast as tsl
from tsloss_fast.persistence import distances

EDGES = torch.tensor([[0, 1], [3, 2], [5, 8], [0, 1], [4, 4], [-1, -1]])
METRICS = [*distances.METRICS, "precomputed"]


def points_or_matrix(metric, B=3, dtype=torch.float64):
    if metric == "precomputed":
        return torch.stack([matrix("ranks", 9, seed, dtype) for seed in range(B)])
    return torch.stack([cloud("gaussian", 9, 4, seed) for seed in range(B)]).to(dtype)


def by_hand(x, edges, metric):
    """Entries of the distances, edge by edge; x [n, d], edges [M, 2]."""
    D = x if metric == "precomputed" else tsl.pairwise_distances(x, metric)
    zero = D.new_zeros(())
    return torch.stack([zero if i == j else D[min(i, j), max(i, j)] for i, j in edges.tolist()])


@pytest.mark.parametrize("metric", METRICS)
def test_lengths_are_entries_of_the_distances(metric):
    x = points_or_matrix(metric).requires_grad_()
    lengths = tsl.edge_lengths(x, EDGES, metric)
    expected = torch.stack([by_hand(each, EDGES, metric) for each in x])
    torch.testing.assert_close(lengths, expected, rtol=1e-13, atol=1e-15)
    assert torch.equal(lengths[:, 4:], torch.zeros(3, 2, dtype=torch.float64))
    weights = torch.randn(3, len(EDGES), dtype=torch.float64)
    slopes = [torch.autograd.grad((weights * value).sum(), x)[0] for value in (lengths, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-11, atol=1e-13)
    if metric == "precomputed":
        assert torch.equal(slopes[0].tril(), torch.zeros_like(slopes[0]))


@pytest.mark.parametrize("metric", METRICS)
def test_leading_dimensions_broadcast(metric):
    x = points_or_matrix(metric, 2)
    edges = torch.stack([EDGES, EDGES.flip(0)])
    both = torch.stack([by_hand(x[b], edges[b], metric) for b in range(2)])
    torch.testing.assert_close(tsl.edge_lengths(x, edges, metric), both)
    one = torch.stack([by_hand(x[0], each, metric) for each in edges])
    torch.testing.assert_close(tsl.edge_lengths(x[0], edges, metric), one)
    assert tsl.edge_lengths(x[:, None], edges, metric).shape == (2, 2, len(EDGES))
    assert tsl.edge_lengths(x, EDGES[:0], metric).shape == (2, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_gradcheck_first_and_second(metric):
    x = points_or_matrix(metric, 2).requires_grad_()
    edges = EDGES[[0, 1, 2, 3, 5]]
    call = lambda x: tsl.edge_lengths(x, edges, metric)  # noqa: E731
    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradgradcheck(call, x)


def test_critical_edges_give_the_diagram_of_another_cloud():
    """Deaths of one cloud's tree on a second cloud: what a signature loss compares."""
    x, y = cloud("circle", 12, 3, 0), cloud("circle", 12, 3, 1)
    h0, h1 = tsl.rips_persistence(x)
    assert torch.equal(tsl.edge_lengths(x, h0.death_edges), h0.deaths)
    assert torch.equal(tsl.edge_lengths(x, h1.birth_edges), h1.births)
    torch.testing.assert_close(
        tsl.edge_lengths(y, h0.death_edges), by_hand(y, h0.death_edges, "euclidean")
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_dtypes(dtype):
    x = points_or_matrix("euclidean", dtype=dtype)
    lengths = tsl.edge_lengths(x, EDGES.int())
    assert lengths.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(lengths, tsl.edge_lengths(x.to(lengths.dtype), EDGES))


@pytest.mark.parametrize("metric", METRICS)
def test_compiled_and_mapped_over(metric):
    x = points_or_matrix(metric)
    call = lambda x: tsl.edge_lengths(x, EDGES, metric)  # noqa: E731
    expected = call(x)
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    torch.testing.assert_close(torch.func.vmap(call)(x), expected)


def test_where_nothing_looks_at_values_a_missing_vertex_gives_nan():
    x, edges = points_or_matrix("euclidean", 2), torch.tensor([[0, 1], [0, 9], [-1, 3], [-1, -1]])
    lengths = torch.func.vmap(lambda x: tsl.edge_lengths(x, edges))(x)
    assert lengths.isnan().tolist() == [[False, True, True, False]] * 2


@pytest.mark.parametrize(
    ("edges", "error", "words"),
    [
        ([[0, 1]], TypeError, r"edges: expected a torch.Tensor \[..., M, 2\], got list"),
        (EDGES.double(), TypeError, r"edges: expected int64 or int32, got float64 \[6, 2\]"),
        (EDGES[0], ValueError, r"edges: expected pairs of vertices \[..., M, 2\], got int64 \[2\]"),
        (EDGES[:, :1], ValueError, r"edges: expected pairs of vertices .*\[6, 1\]"),
        (EDGES.expand(2, 6, 2), ValueError, r"edges: expected leading dimensions .*\[3\], got"),
        (torch.tensor([[0, 1], [2, 9]]), ValueError, r"from 0 to 8, .*got edges\[1\] = \(2, 9\)"),
        (torch.tensor([[-1, 1]]), ValueError, r"edges: .*got edges\[0\] = \(-1, 1\)"),
        (torch.tensor([[-2, -2]]), ValueError, r"edges: .*got edges\[0\] = \(-2, -2\)"),
        (
            torch.stack([EDGES, EDGES, EDGES + 9]),
            ValueError,
            r"edges: .*got edges\[2, 0\] = \(9, 10\)",
        ),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_wrong_edges_are_named(metric, edges, error, words):
    with pytest.raises(error, match=words):
        tsl.edge_lengths(points_or_matrix(metric), edges, metric)


def test_wrong_points_are_named():
    with pytest.raises(ValueError, match="metric: expected one of"):
        tsl.edge_lengths(torch.zeros(3, 2), EDGES[:1], "l1")
    with pytest.raises(ValueError, match="x: expected a distance matrix"):
        tsl.edge_lengths(torch.zeros(3, 2), EDGES[:1], "precomputed")
    x = points_or_matrix("euclidean")
    x[1, 3, 2] = torch.nan
    with pytest.raises(ValueError, match=r"x: expected finite values, got x\[1, 3, 2\] = nan"):
        tsl.edge_lengths(x, EDGES)
    with pytest.raises(ValueError, match=r"x: expected non-zero rows .*x\[0\] = 0"):
        tsl.edge_lengths(torch.zeros(3, 2), EDGES[:1], "cosine")
