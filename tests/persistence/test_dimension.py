"""The persistent homology dimension: its formula by SciPy's trees, gradients."""

import math

import numpy as np
import pytest
import torch
from clouds import cloud

from tsloss_fast import pairwise_distances, persistent_homology_dimension
from tsloss_fast.persistence.dimension import _median

SMALL = {"min_points": 4, "max_points": 12, "point_jump": 3, "n_points": 3, "n_reruns": 2}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def twin(D, alpha, sizes, draws, fewer_draws, reruns, generator):
    """The formula on a matrix of distances: SciPy's trees, NumPy's median and line."""
    csgraph = pytest.importorskip("scipy.sparse.csgraph")
    N = len(D)
    sums = np.empty((len(sizes), reruns))
    for at, n in enumerate(sizes):
        count = fewer_draws if 2 * n >= N else draws
        for rerun in range(reruns):
            lengths = []
            for _ in range(count):
                chosen = torch.randperm(N, generator=generator)[:n].numpy()
                tree = csgraph.minimum_spanning_tree(D[np.ix_(chosen, chosen)])
                lengths.append((tree.data**alpha).sum())
            sums[at, rerun] = np.median(lengths)
    slopes = [np.polyfit(np.log(list(sizes)), np.log(each), 1)[0] for each in sums.T]
    return alpha / (1 - np.mean(slopes))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("draws", [(7, 3), (4, 2), (1, 1)], ids=str)
def test_the_formula(alpha, draws):
    x = cloud("gaussian", 60, 5)
    D = pairwise_distances(x).numpy()
    expected = twin(D, alpha, range(10, 55, 8), *draws, 3, seeded())
    found = persistent_homology_dimension(
        x, alpha, "euclidean", 3, *draws, 10, 55, 8, generator=seeded()
    )
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_by_hand():
    """Points at distance 1 of each other: n of them have a tree of n - 1."""
    D = 1 - torch.eye(11, dtype=torch.float64)
    found = persistent_homology_dimension(
        D, metric="precomputed", min_points=5, max_points=12, point_jump=6
    )
    slope = math.log(10 / 4) / math.log(11 / 5)
    assert found.item() == pytest.approx(1 / (1 - slope), rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_cubes_have_their_dimension(d):
    """To what 600 points let it see: the boundary takes part."""
    flat = torch.rand(600, d, generator=seeded(), dtype=torch.float64)
    in_space = flat @ torch.linalg.qr(torch.randn(9, d, generator=seeded()).double())[0].T
    found = persistent_homology_dimension(in_space, generator=seeded())
    assert found.item() == pytest.approx(d, rel=0.15)


def test_a_generator_makes_it_repeat():
    x = cloud("gaussian", 60, 3)
    options = {"min_points": 10, "max_points": 50, "point_jump": 10}
    first, again, other = (
        persistent_homology_dimension(x, **options, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first != other
    torch.manual_seed(3)
    unseeded = persistent_homology_dimension(x, **options)
    torch.manual_seed(3)
    assert torch.equal(persistent_homology_dimension(x, **options), unseeded)


def test_a_batch_is_its_clouds():
    x = torch.stack([cloud("gaussian", 15, 3, seed) for seed in range(4)]).reshape(2, 2, 15, 3)
    found = persistent_homology_dimension(x, **SMALL, generator=seeded())
    assert found.shape == (2, 2)
    alone = [persistent_homology_dimension(c, **SMALL, generator=seeded()) for c in x.flatten(0, 1)]
    torch.testing.assert_close(found.flatten(), torch.stack(alone), rtol=1e-12, atol=0)


@pytest.mark.parametrize("metric", ["cosine", "cityblock", pairwise_distances])
def test_metrics_are_their_distances(metric):
    x = torch.stack([cloud("gaussian", 15, 3, seed) for seed in range(2)])
    D = pairwise_distances(x, metric)
    found = persistent_homology_dimension(x, metric=metric, **SMALL, generator=seeded())
    by_matrix = persistent_homology_dimension(D, metric="precomputed", **SMALL, generator=seeded())
    torch.testing.assert_close(found, by_matrix, rtol=1e-11, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    x = cloud("gaussian", 30, 3).to(dtype)
    found = persistent_homology_dimension(x, **SMALL, generator=seeded())
    assert found.dtype == torch.float32
    expected = persistent_homology_dimension(x.double(), **SMALL, generator=seeded())
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_compiled_is_eager():
    x = torch.stack([cloud("gaussian", 15, 3, seed) for seed in range(2)]).requires_grad_()
    compiled = torch.compile(persistent_homology_dimension, backend="aot_eager", fullgraph=True)
    found = []
    for call in (persistent_homology_dimension, compiled):
        torch.manual_seed(0)
        value = call(x, **SMALL)
        found.append((value.detach(), torch.autograd.grad(value.sum(), x)[0]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace:UserWarning")
def test_compiled_with_a_generator_is_eager():
    """Dynamo knows no generators; the graph ends there, and goes on behind it."""
    x = cloud("gaussian", 15, 3)
    compiled = torch.compile(persistent_homology_dimension, backend="aot_eager")
    found, expected = (
        call(x, **SMALL, generator=seeded()) for call in (compiled, persistent_homology_dimension)
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_gradcheck(alpha):
    x = cloud("gaussian", 15, 3).requires_grad_()

    def dimension(x):
        return persistent_homology_dimension(x, alpha, **SMALL, generator=seeded())

    assert torch.autograd.gradcheck(dimension, x)
    D = pairwise_distances(x.detach())
    # Both entries of a pair move, so that the matrix stays symmetric.
    i, j = torch.triu_indices(15, 15, 1)

    def of_entries(entries):
        upper = D.new_zeros(15, 15).index_put((i, j), entries)
        return persistent_homology_dimension(
            upper + upper.mT, alpha, "precomputed", **SMALL, generator=seeded()
        )

    assert torch.autograd.gradcheck(of_entries, D[i, j].clone().requires_grad_())


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_points_that_coincide_have_a_finite_gradient(alpha):
    x = cloud("duplicated", 30, 3).requires_grad_()
    sizes = {"min_points": 15, "max_points": 30, "point_jump": 5}
    found = persistent_homology_dimension(x, alpha, **sizes, generator=seeded())
    (gradient,) = torch.autograd.grad(found, x)
    assert found.isfinite()
    assert gradient.isfinite().all()


def test_one_point_many_times_has_no_dimension():
    assert persistent_homology_dimension(cloud("identical", 20, 3), **SMALL).isnan()


@pytest.mark.parametrize(
    ("N", "options", "message"),
    [
        (1, {}, "min_points: expected at least two sizes .* of 1 points"),
        (2, {}, "min_points: expected at least two sizes .* of 2 points"),
        (80, {}, "min_points: expected at least two sizes"),
        (80, {"max_points": 120}, "max_points: expected subsamples of at most all 80 points, got "),
        (80, {"max_points": 20}, "max_points: expected at least 50, got 20"),
        (99, {"alpha": 0}, "alpha: expected a finite number > 0"),
        (99, {"min_points": 1}, "min_points: expected at least 2, got 1"),
        (99, {"point_jump": 0}, "point_jump: expected at least 1, got 0"),
        (99, {"n_points": 0}, "n_points: expected at least 1, got 0"),
        (99, {"n_points_min": 0}, "n_points_min: expected at least 1, got 0"),
        (99, {"n_reruns": 0}, "n_reruns: expected at least 1, got 0"),
        (99, {"metric": "precomputed"}, "x: expected a distance matrix"),
    ],
)
def test_wrong_arguments(N, options, message):
    with pytest.raises(ValueError, match=message):
        persistent_homology_dimension(torch.zeros(N, 3), **options)


def test_errors_name_the_entry_of_the_cloud():
    x = torch.zeros(99, 3)
    x[97, 1] = torch.nan
    with pytest.raises(ValueError, match=r"x: expected finite values, got x\[97, 1\] = nan"):
        persistent_homology_dimension(x)
    D = pairwise_distances(cloud("gaussian", 99, 3))
    D[97, 3] += 1
    with pytest.raises(ValueError, match=r"x\[3, 97\]"):
        persistent_homology_dimension(D, metric="precomputed")


@pytest.mark.parametrize("count", range(1, 7))
def test_the_median_is_that_of_torch(count):
    values = torch.randn(3, count, generator=seeded(count))
    values[1, count // 2] = torch.nan
    expected = values.quantile(0.5, -1)
    torch.testing.assert_close(_median(values), expected, rtol=0, atol=0, equal_nan=True)
