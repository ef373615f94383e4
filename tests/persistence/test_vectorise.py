"""Diagrams as vectors: gudhi's and persim's values, by hand, padding, gradients."""

import math

import numpy as np
import pytest
import torch
from clouds import cloud

import tsloss_fast as tsl
from tsloss_fast import vectorise
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.interchange import to_arrays

BATCH = [cloud("circle", 40, 2, seed) for seed in range(3)]
# What is a vector of one diagram; each with a range of its own, so that a batch is its diagrams.
RANGE = {"sample_range": (0.1, 2.0)}
RANGES = {"birth_range": (0.0, 1.0), "lifetime_range": (0.0, 2.0)}
VECTORS = {
    "image": lambda d, **o: vectorise.persistence_image(d, 0.3, **RANGES, **o),
    "integrals": lambda d, **o: vectorise.persistence_image(d, 0.3, integrate=True, **RANGES, **o),
    "landscape": lambda d, **o: vectorise.landscape(d, **RANGE, **o),
    "silhouette": lambda d, **o: vectorise.silhouette(d, **RANGE, **o),
    "square roots": lambda d, **o: vectorise.silhouette(d, 0.5, **RANGE, **o),
}
every_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
dims = pytest.mark.parametrize("dim", [0, 1])


def representations():
    return pytest.importorskip("gudhi.representations")


def diagram(*rows, essential=()):
    """A batch of diagrams of the given pairs, padded; each has the classes `essential`."""
    K = max(len(row) for row in rows)
    pairs = torch.tensor([[*row, *[(0.0, 0.0)] * (K - len(row))] for row in rows]).double()
    pairs = pairs.reshape(len(rows), K, 2)
    mask = torch.tensor([[k < len(row) for k in range(K)] for row in rows]).reshape(len(rows), K)
    edges = torch.full((len(rows), K, 2), -1)
    born = torch.tensor(essential).double().expand(len(rows), -1)
    return PersistenceDiagram(
        *pairs.unbind(-1),
        edges,
        edges,
        mask.bool(),
        born,
        torch.full((*born.shape, 2), -1),
        torch.ones_like(born).bool(),
    )


def batch_of(dim, dtype=torch.float64):
    return tsl.rips_persistence(torch.stack(BATCH).to(dtype))[dim]


def each_of(dim):
    """The arrays of the clouds of `batch_of`, as gudhi takes them."""
    return [to_arrays(tsl.rips_persistence(x))[dim] for x in BATCH]


# gudhi's values


@dims
@pytest.mark.parametrize("given", [None, (0.0, 1.5)], ids=str)
def test_images_are_those_of_gudhi(dim, given):
    ends = [math.nan, math.nan] if given is None else list(given)
    theirs = representations().PersistenceImage(
        bandwidth=0.2, weight=lambda at: at[1] ** 2, resolution=[7, 5], im_range=[*ends, *ends]
    )
    expected = theirs.fit_transform(each_of(dim))
    found = vectorise.persistence_image(
        batch_of(dim), 0.2, 2, (7, 5), birth_range=given, lifetime_range=given
    )
    assert found.shape == (3, 5, 7)
    np.testing.assert_allclose(found.flatten(-2), expected, rtol=1e-12, atol=1e-15)


@dims
@pytest.mark.parametrize("given", [None, (None, 1.5), (0.0, 1.5)], ids=str)
@pytest.mark.parametrize("count", [3, 200])
def test_landscapes_are_those_of_gudhi(dim, given, count):
    ends = [math.nan if end is None else end for end in given or (None, None)]
    theirs = representations().Landscape(num_landscapes=count, resolution=11, sample_range=ends)
    expected = theirs.fit_transform(each_of(dim))
    dgm = batch_of(dim)
    found = vectorise.landscape(dgm, count, 11, given, rotated=True)
    assert found.shape == (3, count, 11)
    np.testing.assert_allclose(found.flatten(-2), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(vectorise.sample_grid(dgm, 11, given), theirs.grid_, rtol=1e-13)
    plain = vectorise.landscape(dgm, count, 11, given)
    torch.testing.assert_close(plain * 2**0.5, found, rtol=1e-14, atol=0)


@dims
@pytest.mark.parametrize("power", [0, 1, 2.5])
def test_silhouettes_are_those_of_gudhi(dim, power):
    theirs = representations().Silhouette(
        weight=lambda pair: (pair[1] - pair[0]) ** power, resolution=30
    )
    expected = theirs.fit_transform(each_of(dim))
    found = vectorise.silhouette(batch_of(dim), power, 30, rotated=True)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@dims
def test_betti_curves_are_those_of_gudhi(dim):
    grid = np.linspace(0, 2, 50)
    theirs = representations().BettiCurve(predefined_grid=grid)
    arrays = [to_arrays(tsl.rips_persistence(x), essential=True)[dim] for x in BATCH]
    found = vectorise.betti_curve(batch_of(dim), grid=torch.from_numpy(grid))
    assert found.dtype == torch.int64
    assert np.array_equal(found, theirs.fit_transform(arrays))
    evenly = representations().BettiCurve(resolution=20).fit_transform(each_of(dim))
    in_h0 = 1 if dim == 0 else 0  # gudhi was not told of the class that never dies.
    assert np.array_equal(vectorise.betti_curve(batch_of(dim), 20), evenly + in_h0)


@dims
def test_sliced_wasserstein_is_that_of_gudhi(dim):
    theirs = representations().SlicedWassersteinDistance(num_directions=12)
    arrays, dgm = each_of(dim), batch_of(dim)
    other = tsl.rips_persistence(cloud("gaussian", 25, 2))[dim]
    expected = theirs.fit([other.pairs.numpy()]).transform(arrays)[:, 0]
    angles = (torch.arange(11, dtype=torch.float64) / 12 - 0.5) * math.pi
    found = vectorise.sliced_wasserstein_distance(dgm, other, angles=angles)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# persim's values


def test_integrated_images_are_those_of_persim():
    persim = pytest.importorskip("persim")
    ranges = {"birth_range": (0.0, 1.0), "pers_range": (0.0, 2.0)}
    theirs = persim.PersistenceImager(
        **ranges, pixel_size=0.25, weight_params={"n": 1.0}, kernel_params={"sigma": 0.09}
    )
    images = theirs.transform(each_of(1))
    found = vectorise.persistence_image(batch_of(1), 0.3, 1, (4, 8), **RANGES, integrate=True)
    np.testing.assert_allclose(found.mT, np.stack(images), rtol=1e-9, atol=1e-12)


def test_sliced_wasserstein_is_that_of_persim():
    persim = pytest.importorskip("persim")
    arrays, dgm = each_of(1), batch_of(1)
    rolled = tsl.rips_persistence(torch.stack([*BATCH[1:], BATCH[0]]))[1]
    found = vectorise.sliced_wasserstein_distance(dgm, rolled, 20)
    pairs = zip(arrays, [*arrays[1:], arrays[0]], strict=True)
    expected = [persim.sliced_wasserstein(a, b, M=20) for a, b in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # persim's angles are float32.


def test_landscapes_are_the_exact_ones_of_persim():
    exact = pytest.importorskip("persim.landscapes").PersLandscapeExact
    grid = torch.linspace(0, 2, 77, dtype=torch.float64)
    tops = vectorise.landscape(batch_of(1), 2, grid=grid)
    for found, array in zip(tops, each_of(1), strict=True):
        theirs = exact(dgms=[array], hom_deg=0)
        theirs.compute_landscape()
        expected = torch.zeros_like(found)
        # The corners of as many landscapes as are not 0.
        for k, corners in enumerate(theirs.critical_pairs[:2]):
            expected[k] = torch.from_numpy(np.interp(grid, *np.transpose(corners)))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# By hand


def test_betti_numbers_at_births_and_deaths():
    dgm = diagram([(0.0, 1.0), (0.0, 2.0), (1.0, 1.0)], essential=(0.0, 1.5))
    grid = torch.tensor([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0])
    assert vectorise.betti_curve(dgm, grid=grid).tolist() == [[0, 3, 3, 2, 3, 2]]


def test_equal_bars_give_equal_landscapes():
    dgm = diagram([(0.0, 2.0), (0.0, 2.0), (0.0, 2.0)])
    tops = vectorise.landscape(dgm, 4, grid=torch.tensor([1.0, 1.5]))
    assert tops.tolist() == [[[1.0, 0.5], [1.0, 0.5], [1.0, 0.5], [0.0, 0.0]]]


def test_sliced_wasserstein_by_hand():
    """On the lines of -90 and 0 degrees a bar is minus its death, and its birth."""
    a, b, nothing = diagram([(1.0, 2.0)]), diagram([(1.0, 2.5)]), diagram([])
    # {-2, -1.75} to {-2.5, -1.5}, and {1, 1.75} to {1, 1.5}.
    by_hand = (0.5 + 0.25 + 0.25) / 2
    assert vectorise.sliced_wasserstein_distance(a, b, 2).item() == pytest.approx(by_hand)
    # -2 to -1.5, and 1 to 1.5.
    assert vectorise.sliced_wasserstein_distance(a, nothing, 2).item() == pytest.approx(0.5)
    assert vectorise.sliced_wasserstein_distance(nothing, nothing, 2).item() == 0


# Padding, batches, dtypes


@every_vector
@dims
def test_a_batch_is_its_diagrams(vector, dim):
    together = vector(batch_of(dim))
    alone = torch.stack([vector(tsl.rips_persistence(x)[dim]) for x in BATCH])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)


@dims
def test_sliced_wasserstein_of_a_batch_is_that_of_its_diagrams(dim):
    others = [tsl.rips_persistence(cloud("gaussian", n, 2))[dim] for n in (5, 30)]
    for other in others:
        together = vectorise.sliced_wasserstein_distance(batch_of(dim), other)
        alone = [
            vectorise.sliced_wasserstein_distance(tsl.rips_persistence(x)[dim], other)
            for x in BATCH
        ]
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=1e-13)


@every_vector
@pytest.mark.parametrize("n", [1, 2])
def test_no_bars_are_zeros(vector, n):
    h0, h1 = tsl.rips_persistence(cloud("gaussian", n, 2))
    assert torch.equal(vector(h1), torch.zeros_like(vector(h0)))
    assert vector(h0).isfinite().all()
    some = diagram([(0.2, 0.9)], [])
    assert vector(some)[1].count_nonzero() == 0
    assert torch.equal(vector(diagram([])), vector(some)[1:])


@pytest.mark.parametrize(
    "function", [vectorise.landscape, vectorise.silhouette, vectorise.persistence_image]
)
def test_no_bars_have_no_range_of_their_own(function):
    assert function(diagram([])).count_nonzero() == 0
    assert function(diagram([], [(0.5, 0.5)])).isfinite().all()
    assert vectorise.sample_grid(diagram([])).count_nonzero() == 0


@every_vector
def test_float32(vector):
    found = vector(batch_of(1, torch.float32))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), vector(batch_of(1)), rtol=1e-4, atol=1e-5)


def test_sliced_wasserstein_in_float32():
    found, expected = (
        vectorise.sliced_wasserstein_distance(batch_of(1, dtype), batch_of(0, dtype))
        for dtype in (torch.float32, torch.float64)
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


# Gradients


@every_vector
@dims
def test_gradcheck(vector, dim):
    x = torch.stack([cloud("circle", 12, 2, seed) for seed in range(2)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: vector(tsl.rips_persistence(x)[dim]), x)


@dims
def test_gradcheck_of_sliced_wasserstein(dim):
    x, y = (torch.stack([cloud("circle", 9, 2, s) for s in seeds]) for seeds in ((0, 1), (5, 6)))

    def distance(x, y):
        a, b = (tsl.rips_persistence(each)[dim] for each in (x, y))
        return vectorise.sliced_wasserstein_distance(a, b, 7)

    assert torch.autograd.gradcheck(distance, (x.requires_grad_(), y.requires_grad_()))


@every_vector
@pytest.mark.parametrize("family", ["duplicated", "grid", "identical"])
def test_ties_have_a_finite_gradient(vector, family):
    x = cloud(family, 12, 2).requires_grad_()
    for dgm in tsl.rips_persistence(x):
        found = vector(dgm)
        assert found.isfinite().all()
        (gradient,) = torch.autograd.grad(found.square().sum(), x, retain_graph=True)
        assert gradient.isfinite().all()
        distance = vectorise.sliced_wasserstein_distance(dgm, dgm)
        (gradient,) = torch.autograd.grad(distance, x, retain_graph=True)
        assert distance == 0
        assert gradient.count_nonzero() == 0


def test_weights_of_a_function():
    dgm = batch_of(1)
    for function in (vectorise.silhouette, vectorise.persistence_image):
        by_function = function(dgm, weight=lambda births, lifetimes: lifetimes**2)
        torch.testing.assert_close(by_function, function(dgm, weight=2), rtol=1e-12, atol=1e-14)
        assert torch.equal(
            function(dgm, weight=lambda b, d: b.new_ones(())), function(dgm, weight=0)
        )


def test_compiled_is_eager():
    dgm = batch_of(1)

    def vectors(births, deaths, mask):
        edges = torch.zeros((*mask.shape, 2), dtype=torch.int64)
        d = PersistenceDiagram(births, deaths, edges, edges, mask)
        return (
            vectorise.landscape(d, 2),
            vectorise.silhouette(d, **RANGE),
            vectorise.persistence_image(d, 0.3),
            vectorise.betti_curve(d),
            vectorise.sliced_wasserstein_distance(d, d, 3),
        )

    compiled = torch.compile(vectors, backend="eager", fullgraph=True)
    given = dgm.births, dgm.deaths, dgm.mask
    torch.testing.assert_close(compiled(*given), vectors(*given))


# Classes that never die


@every_vector
def test_classes_that_never_die_are_left_out_or_end_where_they_are_told(vector):
    dgm = diagram([(0.2, 0.9)], essential=(0.3, 1.7))
    assert torch.equal(vector(dgm), vector(diagram([(0.2, 0.9)])))
    ended = diagram([(0.2, 0.9), (0.3, 1.5), (1.7, 1.7)])
    torch.testing.assert_close(vector(dgm, essential_death=1.5), vector(ended))


def test_sliced_wasserstein_of_classes_that_never_die():
    a, b = diagram([(0.2, 0.9)], essential=(0.3,)), diagram([], essential=())
    left_out = vectorise.sliced_wasserstein_distance(diagram([(0.2, 0.9)]), b)
    assert torch.equal(vectorise.sliced_wasserstein_distance(a, b), left_out)
    ended = vectorise.sliced_wasserstein_distance(diagram([(0.2, 0.9), (0.3, 2.0)]), b)
    found = vectorise.sliced_wasserstein_distance(a, b, essential_death=2)
    torch.testing.assert_close(found, ended)


# Wrong arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: vectorise.landscape(d.pairs), "dgm: expected a PersistenceDiagram, got Tensor"),
        (lambda d: vectorise.sliced_wasserstein_distance(d, 3), "b: expected a PersistenceDiagram"),
        (lambda d: vectorise.landscape(d, 0), "num_landscapes: expected at least 1, got 0"),
        (lambda d: vectorise.landscape(d, resolution=0), "resolution: expected at least 1, got 0"),
        (lambda d: vectorise.persistence_image(d, 0), "bandwidth: expected a finite number > 0"),
        (lambda d: vectorise.persistence_image(d, resolution=20), r"resolution: expected \(int"),
        (lambda d: vectorise.persistence_image(d, birth_range=(0, 1, 2)), "birth_range: expected"),
        (lambda d: vectorise.silhouette(d, -1), "weight: expected a finite number >= 0"),
        (lambda d: vectorise.silhouette(d, lambda b, d: 1), "weight: expected a function to a Te"),
        (lambda d: vectorise.silhouette(d, sample_range=(0, math.inf)), "sample_range: expected"),
        (lambda d: vectorise.silhouette(d, grid=[1.0]), "grid: expected a Tensor"),
        (lambda d: vectorise.betti_curve(d, grid=d.births), "grid: expected shape"),
        (lambda d: vectorise.silhouette(d, essential_death=math.inf), "essential_death: expected"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(batch_of(1))
