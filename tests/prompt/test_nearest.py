"""nearest_tokens: against all distances, exact at the vocabulary's rows, scaled as models do."""

import pytest
import torch
from tiny_architectures import NAMES, tiny_architecture
from tiny_lm import DIM, WORDS, tiny_model

import tsloss_fast as tsl
from tsloss_fast.prompt import nearest
from tsloss_fast.prompt.embedding import embedded


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def by_all_distances(rows, table, k):
    """Ids and distances from the whole matrices, in float64, by torch.cdist and the definition."""
    rows, table = rows.double(), table.double()
    D = torch.cdist(rows, table, compute_mode="donot_use_mm_for_euclid_dist")  # [n, V]
    cosine = 1 - torch.nn.functional.cosine_similarity(rows[:, None], table[None], dim=-1)
    return [matrix.topk(k, largest=False) for matrix in (D, cosine)]


@pytest.mark.parametrize("part", [1, 7, 60, 2**22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equals_the_search_through_all_distances(monkeypatch, part, dtype):
    """In whatever parts the vocabulary is read."""
    monkeypatch.setattr(nearest, "PART_NUMBERS", part)
    table = torch.randn(53, 6, generator=seeded(1)).to(dtype)
    rows = torch.randn(9, 6, generator=seeded(2), dtype=torch.float64)
    found = tsl.nearest_tokens(rows, table, k=4)
    for mine, right in zip(
        (found.euclidean, found.cosine), by_all_distances(rows, table.float(), 4), strict=True
    ):
        assert torch.equal(mine.ids, right.indices)
        torch.testing.assert_close(mine.distances, right.values, rtol=1e-12, atol=1e-12)


def test_by_hand():
    table = torch.tensor([[0.0, 2.0], [6.0, 0.0], [0.0, 0.0]])
    found = tsl.nearest_tokens(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), table, k=3)
    assert found.euclidean.ids.tolist() == [[2, 0, 1], [2, 0, 1]]
    assert found.euclidean.distances.tolist() == [[1.0, 5**0.5, 5.0], [0.0, 2.0, 6.0]]
    # At a right angle, and of a row of zeros, the cosine is 0.
    assert found.cosine.ids.tolist() == [[1, 0, 2], [0, 1, 2]]
    assert found.cosine.distances.tolist() == [[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]


def test_a_row_of_the_vocabulary_is_at_distance_zero_of_itself():
    """From |a|^2 + |b|^2 - 2ab it would be 1e-7 of the row's length, or NaN."""
    table = 1e4 * torch.randn(500, 64, generator=seeded())
    found = tsl.nearest_tokens(table[[7, 400]], table, k=2)
    assert found.euclidean.ids[:, 0].tolist() == found.cosine.ids[:, 0].tolist() == [7, 400]
    assert found.euclidean.distances[:, 0].tolist() == [0.0, 0.0]
    assert found.cosine.distances[:, 0].tolist() == [0.0, 0.0]


def test_batches_keep_their_shape():
    table = torch.randn(20, 5, generator=seeded())
    rows = torch.randn(2, 3, 4, 5, generator=seeded(1))
    found = tsl.nearest_tokens(rows, table, k=20)
    assert found.euclidean.ids.shape == found.cosine.distances.shape == (2, 3, 4, 20)
    one = tsl.nearest_tokens(rows[1, 2], table, k=20)
    assert torch.equal(found.euclidean.ids[1, 2], one.euclidean.ids)
    assert torch.equal(found.cosine.distances[1, 2], one.cosine.distances)


@pytest.mark.model
@pytest.mark.parametrize("name", [*NAMES, "falcon_h1"])
def test_a_text_start_is_nearest_to_its_own_tokens(name):
    """Also where the model multiplies its table: the prompt's rows stand beside the products."""
    model = tiny_architecture(name)
    ids = [4, 7, 3, 11]
    prompt = tsl.SoftPrompt(4, DIM, init="text", embedding=model, token_ids=ids)
    found = tsl.nearest_tokens(prompt, model, k=3)
    assert found.euclidean.ids[:, 0].tolist() == ids
    assert found.euclidean.distances[:, 0].tolist() == [0.0] * 4
    table = embedded(model, torch.arange(len(WORDS))).detach().float()
    right, _ = by_all_distances(prompt.weight.detach(), table, 3)
    torch.testing.assert_close(found.euclidean.distances, right.values, rtol=1e-12, atol=1e-12)


@pytest.mark.model
def test_takes_what_holds_a_prompt():
    model = tiny_model()
    lm = tsl.PromptTunedLM(model, tsl.SoftPrompt(3, DIM, generator=seeded()))
    rows = lm.soft_prompt.weight
    for prompt in (rows, lm.soft_prompt, lm):
        ids = tsl.nearest_tokens(prompt, model).euclidean.ids
        assert torch.equal(ids, tsl.nearest_tokens(rows.detach(), model).euclidean.ids)
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft_model = peft.get_peft_model(tiny_model(), config)
    assert tsl.nearest_tokens(peft_model, model).euclidean.ids.shape == (4, 5)


class Counted(torch.nn.Embedding):
    """Remembers how many rows were asked for at once."""

    most = 0

    def forward(self, ids):
        self.most = max(self.most, ids.numel())
        return super().forward(ids)


def test_the_vocabulary_is_never_held_whole(monkeypatch):
    monkeypatch.setattr(nearest, "PART_NUMBERS", 256)
    module = Counted(1000, 8)
    products = []
    real = nearest._Least.offer

    def offer(self, place, ids, values):
        products.append(values.numel())
        real(self, place, ids, values)

    monkeypatch.setattr(nearest._Least, "offer", offer)
    tsl.nearest_tokens(torch.randn(70, 8), module, k=3)
    assert module.most * 8 <= 256
    assert max(products) <= 256


@pytest.mark.parametrize(
    ("prompt", "embedding", "k", "error", "words"),
    [
        ([1.0], torch.ones(4, 2), 1, TypeError, "prompt: expected a tensor, SoftPrompt"),
        (torch.ones(2), torch.ones(4, 2), 1, ValueError, "prompt: expected points"),
        (torch.ones(3, 2).long(), torch.ones(4, 2), 1, TypeError, "prompt: expected float16"),
        (torch.tensor([[1.0, torch.nan]]), torch.ones(4, 2), 1, ValueError, r"prompt\[0, 1\]"),
        (
            torch.ones(3, 5),
            torch.ones(4, 2),
            1,
            ValueError,
            r"embedding: expected shape \[V, 5\], got \(4, 2\)",
        ),
        (torch.ones(3, 2), "gpt2", 1, TypeError, "embedding: expected a tensor"),
        (torch.ones(3, 2), torch.ones(4, 2), 5, ValueError, "k: expected at most 4, got 5"),
        (torch.ones(3, 2), torch.ones(4, 2), 0, ValueError, "k: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments(prompt, embedding, k, error, words):
    with pytest.raises(error, match=words):
        tsl.nearest_tokens(prompt, embedding, k)
