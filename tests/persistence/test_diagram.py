"""PersistenceDiagram: what it derives from its fields."""

import dataclasses

import pytest
import torch

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
