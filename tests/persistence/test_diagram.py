"""PersistenceDiagram: what it derives from its fields."""

import copy
import dataclasses
import pickle
import threading

import pytest
import torch
from clouds import matrix

from tsloss_fast import rips_persistence
from tsloss_fast.persistence.diagram import PersistenceDiagram


def diagram(births, deaths, mask):
    births, deaths, mask = torch.tensor(births), torch.tensor(deaths), torch.tensor(mask)
    edges = torch.where(mask.unsqueeze(-1), torch.tensor([0, 1]), torch.tensor([-1, -1]))
    return PersistenceDiagram(births, deaths, edges, edges, mask)


@pytest.fixture
def batch():
    return diagram(
        births=[[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]],
        deaths=[[1.5, 5.0], [4.0, 0.0], [0.0, 0.0]],
        mask=[[True, True], [True, False], [False, False]],
    )


def test_lifetimes(batch):
    assert batch.lifetimes.tolist() == [[0.5, 3.0], [1.0, 0.0], [0.0, 0.0]]


def test_pairs(batch):
    assert batch.pairs.shape == (3, 2, 2)
    assert batch.pairs[0].tolist() == [[1.0, 1.5], [2.0, 5.0]]
    assert batch.pairs[1].tolist() == [[3.0, 4.0], [0.0, 0.0]]


def test_unbatch_drops_the_padding(batch):
    clouds = batch.unbatch()
    assert [cloud.tolist() for cloud in clouds] == [[[1.0, 1.5], [2.0, 5.0]], [[3.0, 4.0]], []]
    assert clouds[2].shape == (0, 2)


def test_unbatch_of_one_cloud_is_a_list_of_one():
    (cloud,) = diagram([1.0, 0.0], [2.0, 0.0], [True, False]).unbatch()
    assert cloud.tolist() == [[1.0, 2.0]]


def test_unbatch_flattens_in_row_major_order():
    deaths = torch.arange(6.0).reshape(2, 3, 1)
    dgm = diagram((0 * deaths).tolist(), deaths.tolist(), torch.ones(2, 3, 1).bool().tolist())
    assert [cloud[0, 1].item() for cloud in dgm.unbatch()] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4), (0, 0), (2, 0, 3)], ids=str)
def test_unbatch_without_bars(shape):
    edges = torch.zeros(*shape, 2, dtype=torch.int64)
    dgm = PersistenceDiagram(
        torch.zeros(shape), torch.zeros(shape), edges, edges, torch.zeros(shape).bool()
    )
    clouds = dgm.unbatch()
    assert len(clouds) == torch.Size(shape[:-1]).numel()
    assert all(cloud.shape == (0, 2) for cloud in clouds)


def test_unbatch_is_differentiable(impl):
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], requires_grad=True)
    ((pair,),) = impl.rips_persistence(x)[1].unbatch()
    (gradient,) = torch.autograd.grad(pair[1], x)
    assert gradient[:, 0].nonzero().flatten().tolist() == [0, 2]


def test_fields_cannot_be_set(batch):
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.births = batch.deaths


FIELDS = [field.name for field in dataclasses.fields(PersistenceDiagram)]


def engine_diagrams():
    """H0 and H1 as the engine gives them; no field is a tensor before somebody looks at it."""
    D = torch.stack([matrix("ranks", 12, seed) for seed in range(3)])
    return rips_persistence(D, metric="precomputed")


def assert_equal(found, expected):
    for name in FIELDS:
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


class TestFieldsOfTheEngine:
    """A diagram whose fields are made when they are looked at is a dataclass as any other."""

    def test_no_field_is_made_before_it_is_looked_at(self):
        h1 = engine_diagrams()[1]
        assert not {*FIELDS} & {*vars(h1)}
        assert h1.lifetimes.shape == h1.mask.shape
        assert {*FIELDS} & {*vars(h1)} == {"births", "deaths", "mask"}

    def test_a_field_is_one_tensor_for_good(self):
        h1 = engine_diagrams()[1]
        for name in FIELDS:
            assert getattr(h1, name) is getattr(h1, name)

    @pytest.mark.parametrize(
        "remade",
        [
            lambda dgm: pickle.loads(pickle.dumps(dgm)),
            lambda dgm: pickle.loads(pickle.dumps(dgm, protocol=0)),
            copy.copy,
            copy.deepcopy,
            dataclasses.replace,
            lambda dgm: PersistenceDiagram(**dataclasses.asdict(dgm)),
            lambda dgm: PersistenceDiagram(*(getattr(dgm, name) for name in FIELDS)),
        ],
        ids=["pickle", "pickle-0", "copy", "deepcopy", "replace", "asdict", "constructor"],
    )
    @pytest.mark.parametrize("dim", [0, 1])
    def test_it_can_be_made_anew(self, remade, dim):
        found = remade(engine_diagrams()[dim])
        assert type(found) is PersistenceDiagram
        assert_equal(found, engine_diagrams()[dim])

    def test_replace_takes_a_field_and_keeps_the_others(self):
        h1 = engine_diagrams()[1]
        found = dataclasses.replace(h1, births=h1.births + 1)
        assert torch.equal(found.births, h1.births + 1)
        assert torch.equal(found.essential_mask, h1.essential_mask)
        assert found.death_edges is h1.death_edges

    def test_repr_shows_every_field(self):
        h0 = engine_diagrams()[0]
        expected = ", ".join(f"{name}={getattr(engine_diagrams()[0], name)!r}" for name in FIELDS)
        assert repr(h0) == f"PersistenceDiagram({expected})"

    def test_fields_cannot_be_set(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            engine_diagrams()[0].births = torch.zeros(1)

    @pytest.mark.parametrize("name", ["bars", "_arrays_", "birth", "__array__"])
    def test_other_names_are_no_attributes(self, name):
        with pytest.raises(AttributeError, match=f"'PersistenceDiagram' .* '{name}'"):
            getattr(engine_diagrams()[0], name)
        assert not hasattr(diagram([1.0], [2.0], [True]), name)

    def test_threads_that_look_at_once_get_one_tensor(self):
        for _ in range(20):
            h0, seen, ready = engine_diagrams()[0], [], threading.Barrier(4)

            def look(h0=h0, seen=seen, ready=ready):
                ready.wait()
                seen.append([getattr(h0, name) for name in FIELDS])

            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for fields in zip(*seen, strict=True):
                assert all(field is fields[0] for field in fields)

    def test_a_look_in_inference_mode_leaves_ordinary_tensors(self):
        h1 = engine_diagrams()[1]
        with torch.inference_mode():
            assert not h1.deaths.is_inference()
        weight = torch.ones((), dtype=h1.deaths.dtype, requires_grad=True)
        (weight * h1.deaths).sum().backward()
        assert torch.equal(weight.grad, h1.deaths.sum())

    def test_a_compiled_function_takes_it(self):
        def call(dgm):
            return (dgm.lifetimes * dgm.mask).sum(-1)

        compiled = torch.compile(call, backend="eager", fullgraph=True)
        for dgm in (*engine_diagrams(), *engine_diagrams()):
            assert torch.equal(compiled(dgm), call(dgm))


class TestEssentialClasses:
    def test_the_constructor_of_five_fields_has_none(self, batch):
        assert batch.essential_births.shape == (3, 0)
        assert batch.essential_edges.shape == (3, 0, 2)
        assert batch.essential_mask.shape == (3, 0)
        kinds = [getattr(batch, name).dtype for name in FIELDS[5:]]
        assert kinds == [torch.float32, torch.int64, torch.bool]

    def test_a_state_without_them_has_none(self, batch):
        """A pickle of a release before them."""
        old = object.__new__(PersistenceDiagram)
        old.__setstate__({name: getattr(batch, name) for name in FIELDS[:5]})
        assert_equal(old, batch)

    @pytest.mark.parametrize("shape", [(1, 2), (9, 3), (4, 9, 3), (2, 3, 9, 3)], ids=str)
    @pytest.mark.parametrize("grad", [False, True])
    def test_h0_has_the_class_of_vertex_0_and_h1_none(self, impl, shape, grad):
        h0, h1 = impl.rips_persistence(torch.randn(shape).requires_grad_(grad))
        lead = shape[:-2]
        assert torch.equal(h0.essential_births, torch.zeros(*lead, 1))
        assert torch.equal(h0.essential_edges, torch.zeros(*lead, 1, 2, dtype=torch.int64))
        assert torch.equal(h0.essential_mask, torch.ones(*lead, 1, dtype=torch.bool))
        assert h1.essential_births.shape == h1.essential_mask.shape == (*lead, 0)
        assert h1.essential_edges.shape == (*lead, 0, 2)

    def test_operators_give_them_too(self):
        x = torch.randn(3, 9, 2)

        def fields(x):
            h0 = rips_persistence(x)[0]
            return tuple(getattr(h0, name) for name in FIELDS)

        for found, expected in zip(torch.func.vmap(fields)(x), fields(x), strict=True):
            assert torch.equal(found, expected)
