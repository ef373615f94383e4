"""Interchange: exact round trips, and the peers' own functions on our diagrams."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clouds import FAMILIES, cloud

from tsloss_fast.persistence import PersistenceDiagram, interchange, rips_persistence

SIZES = (1, 2, 3, 17, 40)
INF = float("inf")


def diagrams(family="gaussian", n=17, dtype=torch.float64, seed=0):
    return rips_persistence(cloud(family, n, 3, seed, dtype))


def batch(B=4, n=17, dtype=torch.float64):
    """Clouds with different numbers of loops."""
    names = list(FAMILIES)
    return torch.stack([cloud(names[k % len(names)], n, 3, k, dtype) for k in range(B)])


def assert_same_bars(ours, back):
    assert len(ours) == len(back)
    for a, b in zip(ours, back, strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(a.births.double(), b.births.double())
        assert torch.equal(a.deaths.double(), b.deaths.double())


def assert_no_edges(dgms):
    for dgm in dgms:
        assert (dgm.birth_edges == -1).all()
        assert (dgm.death_edges == -1).all()
        assert dgm.birth_edges.shape == dgm.death_edges.shape == (*dgm.mask.shape, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
class TestRoundTrips:
    def test_gudhi(self, family, n, dtype):
        dgms = diagrams(family, n, dtype)
        for essential in (True, False):
            back = interchange.from_gudhi(interchange.to_gudhi(dgms, essential))
            assert_same_bars(dgms, back)
        assert_no_edges(back)

    def test_arrays(self, family, n, dtype):
        dgms = diagrams(family, n, dtype)
        for essential in (True, False):
            arrays = interchange.to_arrays(dgms, essential)
            assert [array.shape[1] for array in arrays] == [2, 2]
            back = interchange.from_arrays(arrays)
            assert_same_bars(dgms, back)
            assert {dgm.births.dtype for dgm in back} == {dtype}
        assert_no_edges(back)

    def test_giotto(self, family, n, dtype):
        # One point has no H0 bar, which padding cannot be told from.
        dgms = rips_persistence(cloud(family, max(n, 2), 3, 0, dtype)[None])
        back = interchange.from_giotto(interchange.to_giotto(dgms))
        assert_same_bars(dgms, back)
        assert_no_edges(back)


def test_a_batch_goes_to_giotto_and_back():
    dgms = rips_persistence(batch())
    X = interchange.to_giotto(dgms)
    assert X.shape == (4, 16 + dgms[1].mask.shape[-1], 3)
    assert len(set(dgms[1].mask.sum(-1).tolist())) > 1
    assert_same_bars(dgms, interchange.from_giotto(X))


def test_gudhi_and_ripser_have_the_essential_class_last_in_h0():
    dgms = diagrams()
    assert interchange.to_gudhi(dgms)[16] == (0, (0.0, INF))
    assert len(interchange.to_gudhi(dgms)) == len(interchange.to_gudhi(dgms, False)) + 1
    h0, h1 = interchange.to_arrays(dgms, essential=True)
    assert h0[-1].tolist() == [0.0, INF]
    assert np.isfinite(h0[:-1]).all()
    assert np.isfinite(h1).all()


def test_giotto_padding_has_no_length_and_lies_at_the_smallest_birth():
    dgms = rips_persistence(batch())
    X = interchange.to_giotto(dgms)
    loops = X[..., 2] == 1
    padded = loops & (X[..., 0] == X[..., 1])
    assert padded.sum() == (~dgms[1].mask).sum() > 0
    assert set(X[padded][:, 0]) == {dgms[1].births[dgms[1].mask].min().item()}


def test_arrays_of_tensors_keep_their_graph():
    x = cloud("circle", 20, 2).requires_grad_()
    tensors = [dgm.unbatch()[0] for dgm in rips_persistence(x)]
    _, h1 = interchange.from_arrays(tensors)
    h1.lifetimes.sum().backward()
    expected = x.grad.clone()
    x.grad = None
    rips_persistence(x)[1].lifetimes.sum().backward()
    assert torch.equal(x.grad, expected)
    assert expected.abs().sum() > 0


def test_lists_and_integers_are_taken():
    h0, h1 = interchange.from_arrays([[[0, 1], [0, 3]], []])
    assert h0.deaths.tolist() == [1.0, 3.0]
    assert h0.deaths.dtype == torch.float64
    assert h1.mask.shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interchange.from_arrays([np.zeros((2, 3))]), "arrays[0]: expected bars [k, 2]"),
        (lambda: interchange.from_arrays([[[0, np.nan]]]), "H0: expected finite births and deaths"),
        (lambda: interchange.from_arrays([[[np.nan, 1]]]), "H0: expected finite births and deaths"),
        (lambda: interchange.from_arrays([[[2.0, 1.0]]]), "not before them, got (2.0, 1.0)"),
        (lambda: interchange.from_arrays([[[-np.inf, 1.0]]]), "H0: expected finite births"),
        (lambda: interchange.from_arrays([[[np.inf, np.inf]]]), "H0: expected finite births"),
        (
            lambda: interchange.from_gudhi([(2, (0.0, 1.0))]),
            "persistence: expected dimensions 0 to 1, got 2",
        ),
        (
            lambda: interchange.from_giotto(np.zeros((4, 3))),
            "X: expected triples [B, k, 3], B > 0, got [4, 3]",
        ),
        (
            lambda: interchange.from_giotto(np.full((1, 1, 3), 0.5)),
            "X: expected dimensions 0, 1, ..., got 0.5",
        ),
        (
            lambda: interchange.to_arrays(rips_persistence(batch())),
            "dgms: expected one cloud, got a batch [4, 16]",
        ),
        (lambda: interchange.from_torch_topological([]), "infos: expected dimensions 0, 1, ..."),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


WRITERS = ["to_gudhi", "to_arrays", "to_giotto", "to_torch_topological"]


@pytest.mark.parametrize("writer", WRITERS)
class TestWhatIsNoListOfDiagrams:
    def write(self, writer, dgms):
        if writer == "to_torch_topological":
            pytest.importorskip("torch_topological.nn")
        return getattr(interchange, writer)(dgms)

    def test_one_diagram_alone(self, writer):
        with pytest.raises(TypeError, match=r"dgms: expected a sequence .*put it into a list"):
            self.write(writer, diagrams()[1])

    def test_bars(self, writer):
        with pytest.raises(TypeError, match=r"dgms: expected PersistenceDiagram, got Tensor"):
            self.write(writer, [torch.zeros(3, 2)])

    def test_nothing(self, writer):
        if writer in ("to_gudhi", "to_arrays"):
            assert self.write(writer, []) == []
        else:
            with pytest.raises(ValueError, match="dgms: expected at least one diagram, got none"):
                self.write(writer, [])

    def test_dimensions_of_other_clouds(self, writer):
        one, several = diagrams(), rips_persistence(batch())
        with pytest.raises(ValueError, match=r"dgms: expected .*got .*\[4"):
            self.write(writer, (one[0], several[1]))


def test_bfloat16_which_numpy_lacks_becomes_float32():
    (dgm,) = interchange.from_arrays([torch.tensor([[0.0, 1.5]], dtype=torch.bfloat16)])
    (array,) = interchange.to_arrays([dgm], essential=True)
    assert array.dtype == np.float32
    assert array.tolist() == [[0.0, 1.5], [0.0, INF]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: interchange.from_arrays([np.array([[0, 1 + 1j]])]),
            "arrays[0]: expected real numbers, got complex128",
        ),
        (
            lambda: interchange.from_arrays([np.array([["a", "b"]])]),
            "arrays[0]: expected an array of numbers",
        ),
        (lambda: interchange.from_arrays([[[0, 1], [1]]]), "arrays[0]: expected an array of num"),
        (lambda: interchange.from_arrays([None]), "arrays[0]: expected an array of numbers"),
        (
            lambda: interchange.from_gudhi([[0.0, 1.0]]),
            "persistence: expected (dimension, (birth, death)), got [0.0, 1.0]",
        ),
        (
            lambda: interchange.from_gudhi([(1, 0.0, 1.0)]),
            "persistence: expected (dimension, (birth, death)), got (1, 0.0, 1.0)",
        ),
        (lambda: interchange.from_gudhi([], max_dim=-1), "max_dim: expected at least 0, got -1"),
    ],
)
def test_what_is_of_another_kind(call, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call()


class TestGudhi:
    """On diagrams, and against gudhi's own of the same points."""

    @pytest.fixture(autouse=True)
    def _gudhi(self):
        pytest.importorskip("gudhi")

    @staticmethod
    def theirs(x):
        import gudhi

        tree = gudhi.RipsComplex(points=x.tolist()).create_simplex_tree(max_dimension=2)
        return tree.persistence(homology_coeff_field=2)

    @pytest.mark.parametrize("family", ["gaussian", "circle", "grid"])
    def test_the_list_is_that_of_its_simplex_tree(self, family):
        x = cloud(family, 17, 3)
        # Its tree drops what has no length, as coincident points of the grid.
        bars = interchange.to_gudhi(rips_persistence(x))
        ours = sorted((dim, (birth, death)) for dim, (birth, death) in bars if birth < death)
        theirs = sorted(self.theirs(x))
        assert [dim for dim, _ in ours] == [dim for dim, _ in theirs]
        assert np.allclose([bar for _, bar in ours], [bar for _, bar in theirs], rtol=1e-12)

    def test_its_own_list_comes_in(self):
        x = cloud("circle", 17, 3)
        back = interchange.from_gudhi(self.theirs(x))
        for ours, theirs in zip(rips_persistence(x), back, strict=True):
            assert theirs.deaths.sort().values.tolist() == pytest.approx(
                ours.deaths.sort().values.tolist()
            )

    def test_bottleneck_distance(self):
        import gudhi

        h0, h1 = interchange.to_arrays(diagrams("circle", 40), essential=True)
        assert gudhi.bottleneck_distance(h0, h0) == pytest.approx(0, abs=1e-300)
        # The empty diagram is as far as half the longest bar.
        longest = (h1[:, 1] - h1[:, 0]).max()
        distance = gudhi.bottleneck_distance(h1, np.empty((0, 2)))
        assert distance == pytest.approx(longest / 2)

    def test_vectorisations(self):
        pytest.importorskip("sklearn", reason="gudhi.representations needs scikit-learn")
        from gudhi.representations import Landscape, PersistenceImage

        loops = [bars.numpy() for bars in rips_persistence(batch(n=40))[1].unbatch()]
        loops = [bars for bars in loops if len(bars)]
        assert len(loops) > 1
        for vectors in (
            PersistenceImage(resolution=[5, 5]).fit_transform(loops),
            Landscape(num_landscapes=2, resolution=10).fit_transform(loops),
        ):
            assert vectors.shape[0] == len(loops)
            assert np.isfinite(vectors).all()
            assert vectors.max() > 0

    def test_wasserstein_distance(self):
        pytest.importorskip("ot")
        from gudhi.wasserstein import wasserstein_distance

        h1 = interchange.to_arrays(diagrams("circle", 40))[1]
        shifted = h1 + 0.25
        distance = wasserstein_distance(h1, np.empty((0, 2)), order=1, internal_p=np.inf)
        assert distance == pytest.approx((h1[:, 1] - h1[:, 0]).sum() / 2)
        assert wasserstein_distance(h1, shifted, order=1, internal_p=np.inf) > 0

    def test_gradients_survive_the_wasserstein_distance(self):
        pytest.importorskip("ot")
        pytest.importorskip("eagerpy")
        from gudhi.wasserstein import wasserstein_distance

        target = rips_persistence(cloud("circle", 20, 3, seed=1))[1].unbatch()[0]

        def distance(x):
            (bars,) = rips_persistence(x)[1].unbatch()
            return wasserstein_distance(
                bars, target, order=2, enable_autodiff=True, keep_essential_parts=False
            )

        x = cloud("circle", 20, 3).requires_grad_()
        assert distance(x) > 0
        assert torch.autograd.gradcheck(distance, x, eps=1e-7, atol=1e-5)
        distance(x).backward()
        assert x.grad.abs().sum() > 0


class TestRipserAndPersim:
    def test_arrays_are_those_of_ripser(self):
        ripser = pytest.importorskip("ripser").ripser
        x = cloud("circle", 17, 3)
        theirs = ripser(x.numpy(), maxdim=1)["dgms"]
        ours = interchange.to_arrays(rips_persistence(x), essential=True)
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            # Ripser computes in float32.
            assert np.allclose(np.sort(a, axis=0), np.sort(b, axis=0), rtol=1e-6)
        back = interchange.from_arrays(theirs)
        assert [dgm.mask.shape for dgm in back] == [dgm.mask.shape for dgm in rips_persistence(x)]

    def test_distances_and_images_of_persim(self):
        persim = pytest.importorskip("persim")
        (_, a), (_, b) = (interchange.to_arrays(diagrams("circle", 30, seed=k)) for k in (0, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert persim.bottleneck(a, a) == pytest.approx(0, abs=1e-12)
            assert persim.bottleneck(a, b) > 0
            assert persim.wasserstein(a, b) > 0
            image = persim.PersistenceImager(pixel_size=0.1).fit_transform([a, b])
            landscape = persim.PersLandscapeExact([np.empty((0, 2)), a], hom_deg=1)
        assert np.isfinite(image[0]).all()
        assert image[0].max() > 0
        assert landscape.p_norm(1) > 0

    def test_persim_and_gudhi_agree_on_the_bottleneck_distance(self):
        persim = pytest.importorskip("persim")
        gudhi = pytest.importorskip("gudhi")
        (_, a), (_, b) = (interchange.to_arrays(diagrams("circle", 30, seed=k)) for k in (0, 1))
        assert persim.bottleneck(a, b) == pytest.approx(gudhi.bottleneck_distance(a, b))


class TestGiotto:
    @pytest.fixture(autouse=True)
    def _giotto(self):
        pytest.importorskip("gtda")

    def test_bars_are_those_of_its_transformer(self):
        from gtda.homology import VietorisRipsPersistence

        x = batch(n=17)[:3]
        theirs = interchange.from_giotto(VietorisRipsPersistence().fit_transform(x.numpy()))
        for dgm, other in zip(rips_persistence(x), theirs, strict=True):
            for bars, their_bars in zip(dgm.unbatch(), other.unbatch(), strict=True):
                long, their_long = (b[b[:, 1] - b[:, 0] > 1e-6] for b in (bars, their_bars))
                assert len(long) == len(their_long)
                assert torch.allclose(long.sort(0).values, their_long.sort(0).values, rtol=1e-6)

    @pytest.mark.parametrize("metric", ["bottleneck", "wasserstein", "landscape", "betti"])
    def test_distances(self, metric):
        from gtda.diagrams import PairwiseDistance

        X = interchange.to_giotto(rips_persistence(batch()))
        distances = PairwiseDistance(metric).fit_transform(X)
        assert distances.shape == (4, 4)
        assert np.isfinite(distances).all()
        assert distances[0, 1] > 0
        assert np.allclose(np.diag(distances), 0)

    def test_vectorisations(self):
        from gtda.diagrams import (
            BettiCurve,
            HeatKernel,
            PersistenceEntropy,
            PersistenceImage,
            PersistenceLandscape,
        )

        X = interchange.to_giotto(rips_persistence(batch()))
        transformers = (
            PersistenceEntropy(),
            BettiCurve(),
            PersistenceLandscape(),
            PersistenceImage(),
            HeatKernel(),
        )
        for transformer in transformers:
            vectors = transformer.fit_transform(X)
            assert len(vectors) == 4
            assert np.isfinite(vectors).all()
            assert vectors.max() > 0


class TestTorchTopological:
    @pytest.fixture(autouse=True)
    def _torch_topological(self):
        pytest.importorskip("torch_topological.nn")

    @pytest.mark.parametrize("n", [2, 3, 17])
    @pytest.mark.parametrize("shape", ["one", "batch"])
    def test_round_trip_with_edges(self, n, shape):
        x = batch(n=n) if shape == "batch" else cloud("circle", n, 3)
        dgms = rips_persistence(x)
        back = interchange.from_torch_topological(interchange.to_torch_topological(dgms))
        assert_same_bars(dgms, back)
        for a, b in zip(dgms, back, strict=True):
            assert torch.equal(a.birth_edges, b.birth_edges)
            assert torch.equal(a.death_edges, b.death_edges)

    def test_its_own_diagrams_come_in_with_edges(self):
        from torch_topological.nn import VietorisRipsComplex

        x = cloud("circle", 17, 3, dtype=torch.float32)
        back = interchange.from_torch_topological(VietorisRipsComplex(dim=1)(x))
        for ours, theirs in zip(rips_persistence(x), back, strict=True):
            for edges in ("birth_edges", "death_edges"):
                pairs = [sorted(getattr(dgm, edges).tolist()) for dgm in (ours, theirs)]
                # Which vertex an H0 class is born with is a convention.
                assert pairs[0] == pairs[1] or (ours.births == 0).all()
            assert torch.allclose(ours.deaths.sort().values, theirs.deaths.sort().values)

    def test_gradients_survive_the_way_in(self):
        x = cloud("circle", 17, 3).requires_grad_()
        dgms = rips_persistence(x)
        back = interchange.from_torch_topological(interchange.to_torch_topological(dgms))
        for ours, theirs in zip(dgms, back, strict=True):
            gradients = [
                torch.autograd.grad(dgm.lifetimes.sum(), x, retain_graph=True)[0]
                for dgm in (ours, theirs)
            ]
            assert gradients[0].abs().sum() > 0
            assert torch.equal(*gradients)

    def test_pairings_of_other_complexes_give_no_edges(self):
        from torch_topological.nn import AlphaComplex

        back = interchange.from_torch_topological(AlphaComplex()(cloud("circle", 17, 2)))
        assert (back[1].death_edges == -1).all()
        assert back[1].mask.any()

    def test_its_distance_and_gradient_are_those_of_its_own_diagrams(self):
        from torch_topological.nn import VietorisRipsComplex, WassersteinDistance

        other = cloud("circle", 20, 3, seed=1)
        results = []
        for infos in (
            lambda x: interchange.to_torch_topological(rips_persistence(x)),
            VietorisRipsComplex(dim=1),
        ):
            x = cloud("circle", 20, 3).requires_grad_()
            distance = WassersteinDistance(q=2)(infos(x), infos(other))
            distance.backward()
            results.append((distance, x.grad))
        (ours, our_gradient), (theirs, their_gradient) = results
        assert ours > 0
        assert torch.allclose(ours, theirs)
        assert our_gradient.abs().sum() > 0
        assert torch.allclose(our_gradient, their_gradient)

    def test_gradients_survive_its_statistics(self):
        from torch_topological.nn import SummaryStatisticLoss

        x = cloud("circle", 20, 3).requires_grad_()
        infos = interchange.to_torch_topological(rips_persistence(x))
        SummaryStatisticLoss("total_persistence", p=1)(infos).backward()
        expected = x.grad.clone()
        x.grad = None
        sum(dgm.lifetimes.sum() for dgm in rips_persistence(x)).backward()
        assert torch.allclose(x.grad, expected)

    def test_a_dense_tensor_of_a_batch(self):
        from torch_topological.nn.data import make_tensor

        dgms = rips_persistence(batch())
        dense = make_tensor(interchange.to_torch_topological(dgms))
        assert len(dense) == 4
        counts = [(cloud[:, 2] == 1).sum().item() for cloud in dense]
        assert counts == dgms[1].mask.sum(-1).tolist()


def test_classes_that_never_die_are_the_last_rows():
    """A square without its diagonals, and a point apart."""
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [9.0, 9.0]])
    dgms = rips_persistence(x, max_edge_length=1.0)
    h0, h1 = interchange.to_arrays(dgms, essential=True)
    assert h0.tolist() == [[0, 1]] * 3 + [[0, np.inf]] * 2
    assert h1.tolist() == [[1, np.inf]]
    assert [len(bars) for bars in interchange.to_arrays(dgms)] == [3, 0]
    assert interchange.to_gudhi(dgms)[-1] == (1, (1.0, float("inf")))


def test_classes_that_never_die_come_back():
    """Was an error: a second one in H0, or one in H1, as filtrations with a threshold have."""
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [9.0, 9.0]])
    dgms = rips_persistence(x, max_edge_length=1.0)
    arrays = interchange.to_arrays(dgms, essential=True)
    for back in (
        interchange.from_arrays(arrays),
        interchange.from_gudhi(interchange.to_gudhi(dgms)),
        interchange.from_torch_topological(
            [
                SimpleNamespace(pairing=[], diagram=torch.from_numpy(bars), dimension=dim)
                for dim, bars in enumerate(arrays)
            ]
        ),
    ):
        assert_same_bars([select_bars(dgm) for dgm in dgms], back)
        for ours, theirs in zip(back, dgms, strict=True):
            assert ours.essential_births.tolist() == theirs.essential_births.tolist()
            assert ours.essential_mask.all()
            assert (ours.essential_edges == -1).all()
        assert [len(bars) for bars in interchange.to_arrays(back, essential=True)] == [5, 1]


def select_bars(dgm):
    """The diagram without its padding."""
    mask = dgm.mask
    return PersistenceDiagram(
        dgm.births[mask], dgm.deaths[mask], dgm.birth_edges[mask], dgm.death_edges[mask], mask[mask]
    )


def test_a_diagram_that_comes_back_is_at_distance_0():
    """Was at infinity, as it had lost the class of H0 that never dies."""
    pytest.importorskip("ot")
    dgms = diagrams()
    back = interchange.from_arrays(interchange.to_arrays(dgms, essential=True))
    for ours, theirs in zip(back, dgms, strict=True):
        assert interchange.wasserstein_distance(ours, theirs) == 0
