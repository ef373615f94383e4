"""Diagrams saved and loaded, in the batches of a DataLoader, and in trees of tensors."""

import io
import subprocess
import sys

import pytest
import torch
from clouds import cloud
from oracles import assert_same, select
from torch.utils import _pytree
from torch.utils.data import DataLoader, default_collate

import tsloss_fast as tsl
from tsloss_fast.persistence import collate_diagrams
from tsloss_fast.persistence.diagram import FIELDS

LINE = torch.arange(14.0, dtype=torch.float64).unsqueeze(-1) * torch.ones(2)


def saved_and_loaded(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file)


def assert_all_fields_equal(dgm, expected):
    for name in FIELDS:
        assert torch.equal(getattr(dgm, name), getattr(expected, name)), name


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_torch_load_with_its_defaults_loads_a_saved_diagram(batch, requires_grad):
    """Was refused: "Unsupported global: PersistenceDiagram was not an allowed global"."""
    x = torch.randn(*batch, 12, 2, requires_grad=requires_grad)
    dgms = tsl.rips_persistence(x)
    for dgm, expected in zip(saved_and_loaded(dgms), dgms, strict=True):
        assert_all_fields_equal(dgm, expected)


def test_a_saved_summary_loads_too():
    summary = tsl.topology_summary(LINE)
    assert saved_and_loaded(summary).as_dict() == summary.as_dict()


def test_another_process_loads_it(tmp_path):
    file = tmp_path / "dgms.pt"
    torch.save(tsl.rips_persistence(cloud("circle", 12, 2)), file)
    code = f"import torch, tsloss_fast; print(len(torch.load({str(file)!r})[1].births))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 0


def clouds_of_unequal_size():
    return [cloud("circle", n, 2, n) for n in (12, 20, 5)] + [LINE]


class TestCollate:
    def test_pads_to_the_longest(self):
        """Was refused: "batch must contain tensors, ..., found PersistenceDiagram"."""
        each = [tsl.rips_persistence(x) for x in clouds_of_unequal_size()]
        together = default_collate(each)
        assert together[0].mask.shape == (4, 19)
        for dim, dgm in enumerate(together):
            for k, single in enumerate(each):
                assert_same(select(dgm, k), single[dim])
            assert (dgm.birth_edges[~dgm.mask] == -1).all()
            assert (dgm.death_edges[~dgm.mask] == -1).all()
            assert (dgm.pairs[~dgm.mask] == 0).all()
        assert together[0].essential_mask.tolist() == [[True]] * 4

    def test_equals_the_diagrams_of_a_batch(self):
        x = torch.stack([cloud("circle", 14, 2, k) for k in range(3)] + [LINE])
        ours = default_collate([tsl.rips_persistence(each) for each in x])
        for dgm, expected in zip(ours, tsl.rips_persistence(x), strict=True):
            assert_all_fields_equal(dgm, expected)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_data_loader(self, workers):
        samples = [
            {"label": k, "dgms": tsl.rips_persistence(x)}
            for k, x in enumerate(clouds_of_unequal_size())
        ]
        first, second = DataLoader(samples, batch_size=2, num_workers=workers)
        assert first["label"].tolist() == [0, 1]
        assert_same(select(second["dgms"][1], 0), samples[2]["dgms"][1])

    def test_gradients_survive(self):
        x = [each.requires_grad_() for each in clouds_of_unequal_size()]
        h0 = collate_diagrams([tsl.rips_persistence(each, max_dim=0)[0] for each in x])
        for each, gradient in zip(x, torch.autograd.grad(h0.deaths.sum(), x), strict=True):
            (h0_alone,) = tsl.rips_persistence(each, max_dim=0)
            assert torch.equal(gradient, torch.autograd.grad(h0_alone.deaths.sum(), each)[0])

    def test_what_is_refused(self):
        (one,) = tsl.rips_persistence(LINE, max_dim=0)
        (two,) = tsl.rips_persistence(LINE.expand(2, 14, 2), max_dim=0)
        with pytest.raises(ValueError, match=r"^dgms: .*one shape, got \[\[\], \[2\]\]"):
            collate_diagrams([one, two])
        with pytest.raises(ValueError, match=r"^dgms: .*got \[\]"):
            collate_diagrams([])
        with pytest.raises(TypeError, match=r"^dgms: expected PersistenceDiagram, got Tensor"):
            collate_diagrams([LINE])


class TestTrees:
    def test_a_map_over_the_fields(self):
        dgms = tsl.rips_persistence(cloud("circle", 12, 2))
        doubled = _pytree.tree_map(lambda leaf: 2 * leaf, dgms)
        assert torch.equal(doubled[1].deaths, 2 * dgms[1].deaths)
        assert _pytree.tree_map(lambda leaf: None, dgms)[0].mask is None

    def test_vmap_returns_h0(self):
        x = torch.randn(3, 9, 2)
        (h0,) = torch.func.vmap(lambda x: tsl.rips_persistence(x, max_dim=0))(x)
        assert_all_fields_equal(h0, tsl.rips_persistence(x, max_dim=0)[0])
