"""The features of many prompts at once are those of each alone."""

import pytest
import torch
from clouds import cloud

from tsloss_fast.analysis.features import topologies
from tsloss_fast.persistence import pairwise_distances, rips_persistence
from tsloss_fast.persistence.summaries import topology_summary


def test_shapes_and_dtypes_are_mixed_and_order_is_kept():
    sizes = [(5, 3), (8, 3), (5, 3), (1, 2), (5, 4), (8, 3)]
    prompts = [cloud("gaussian", n, d, k) for k, (n, d) in enumerate(sizes)]
    prompts[2] = prompts[2].float()
    done = []
    results = topologies(prompts, done.append)
    assert sum(done) == len(prompts)
    for x, result in zip(prompts, results, strict=True):
        assert (result.n, result.d) == tuple(x.shape)
        for ours, theirs in zip(result.diagrams, rips_persistence(x), strict=True):
            assert torch.equal(ours.pairs, theirs.pairs)
        for name, value in topology_summary(x).as_dict().items():
            assert result.features[name] == pytest.approx(value.item(), abs=1e-12)
        i, j = torch.triu_indices(result.n, result.n, 1)
        mean = pairwise_distances(x)[i, j].mean().item()
        assert result.features["mean_distance"] == pytest.approx(mean, nan_ok=True)
        assert result.features["loops_per_row"] * result.n == result.features["h1_count"]


def test_loops_per_row_is_not_rounded_to_float32():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [9.0, 9.0]])
    (result,) = topologies([x])
    assert result.features["loops_per_row"] == 1 / 5
