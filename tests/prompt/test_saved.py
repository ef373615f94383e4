"""Saved prompts: PEFT's adapters and plain tensors, there and back with equal rows and logits."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_architectures import NAMES, tiny_architecture
from tiny_lm import DIM, WORDS, tiny_model

from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.prompt.saved import SavedPromptError

peft = pytest.importorskip("peft")

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

N = 5
IDS = torch.tensor([[5, 9, 7, 12, 6], [8, 11, 3, 4, 14]])


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def prompt():
    return SoftPrompt(N, DIM, std=0.5)


def peft_model(config=None):
    config = config or peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N)
    return peft.get_peft_model(tiny_model(), config)


class TestSoftPrompt:
    def test_comes_back_bit_for_bit(self, prompt, tmp_path):
        prompt.save_pretrained(tmp_path / "new" / "folder")
        again = SoftPrompt.from_pretrained(tmp_path / "new" / "folder")
        assert torch.equal(again.weight, prompt.weight)
        assert again.weight.requires_grad

    def test_is_a_plain_safetensors_file(self, prompt, tmp_path):
        prompt.save_pretrained(tmp_path)
        file = tmp_path / "adapter_model.safetensors"
        assert torch.equal(load_file(file)["prompt_embeddings"], prompt.weight)
        assert torch.equal(SoftPrompt.from_pretrained(file).weight, prompt.weight)

    def test_of_files_by_others(self, prompt, tmp_path):
        rows = prompt.weight.detach()
        torch.save(rows, tmp_path / "a.pt")
        save_file({"anything": rows.half()}, tmp_path / "a.safetensors")
        assert torch.equal(SoftPrompt.from_pretrained(tmp_path / "a.pt").weight, rows)
        half = SoftPrompt.from_pretrained(tmp_path / "a.safetensors").weight
        assert torch.equal(half, rows.half().float())

    def test_replaces_what_was_saved_before(self, prompt, tmp_path):
        SoftPrompt(2, DIM).save_pretrained(tmp_path)
        prompt.save_pretrained(tmp_path, base_model="some/model")
        assert torch.equal(SoftPrompt.from_pretrained(tmp_path).weight, prompt.weight)
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "some/model"

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda folder: None, "path: expected an adapter in "),
            (
                lambda folder: peft_model(
                    peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N)
                ).save_pretrained(folder),
                "path: expected an adapter of prompt tuning or P-tuning in .*got PREFIX_TUNING",
            ),
            (
                lambda folder: peft_model(
                    peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
                ).save_pretrained(folder),
                "got LORA",
            ),
            (
                lambda folder: (folder / "adapter_config.json").write_text("{"),
                "path: cannot read .*: Expecting property name",
            ),
            (
                lambda folder: (folder / "adapter_config.json").write_text(
                    '{"peft_type": "PROMPT_TUNING", "num_transformer_submodules": 2}'
                ),
                "expected an adapter of a decoder in .*, got one of an encoder-decoder",
            ),
        ],
    )
    def test_of_something_else(self, tmp_path, make, words):
        make(tmp_path)
        with pytest.raises(SavedPromptError, match=words):
            SoftPrompt.from_pretrained(tmp_path)

    def test_of_a_damaged_file(self, prompt, tmp_path):
        prompt.save_pretrained(tmp_path)
        file = tmp_path / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-7])
        with pytest.raises(SavedPromptError, match="path: cannot read "):
            SoftPrompt.from_pretrained(tmp_path)
        with pytest.raises(SavedPromptError, match=r"path: cannot read .*nowhere"):
            SoftPrompt.from_pretrained(tmp_path / "nowhere")


class TestPeft:
    def test_loads_what_is_saved_here(self, prompt, tmp_path):
        PromptTunedLM(tiny_model(), prompt).save_pretrained(tmp_path)
        loaded = peft.PeftModel.from_pretrained(tiny_model(), tmp_path).eval()
        with torch.no_grad():
            ours = PromptTunedLM(tiny_model(), prompt)(IDS).logits
            assert torch.equal(loaded(input_ids=IDS).logits, ours)

    @pytest.mark.parametrize(
        "config",
        [
            peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N),
            peft.PromptEncoderConfig(
                task_type="CAUSAL_LM", num_virtual_tokens=N, encoder_hidden_size=7
            ),
        ],
        ids=["prompt tuning", "P-tuning"],
    )
    @pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
    def test_what_it_saved_is_loaded_here(self, tmp_path, config, safe):
        theirs = peft_model(config).eval()
        theirs.save_pretrained(tmp_path, safe_serialization=safe)
        if not safe and not (tmp_path / "adapter_model.bin").is_file():
            pytest.skip("this PEFT writes safetensors alone")
        lm = PromptTunedLM.from_pretrained(tiny_model(), tmp_path)
        with torch.no_grad():
            torch.testing.assert_close(lm(IDS).logits, theirs(input_ids=IDS).logits)

    @torch.no_grad()
    @pytest.mark.parametrize("name", NAMES)
    def test_has_equal_logits_in_each_architecture(self, name, tmp_path):
        """Models that scale their embeddings among them (Gemma 1 to 3, BioGPT, Granite)."""
        model = tiny_architecture(name)
        prompt = SoftPrompt(N, DIM, init="text", embedding=model, token_ids=[4, 7, 3])
        lm = PromptTunedLM(model, prompt)
        lm.save_pretrained(tmp_path)
        ours, hard = lm(IDS).logits, model(torch.tensor([[4, 7, 3, 4, 7, *IDS[0]]])).logits
        theirs = peft.PeftModel.from_pretrained(model, tmp_path).eval()(input_ids=IDS).logits
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(theirs[:1], hard, rtol=1e-4, atol=1e-5)


def test_from_pretrained_takes_the_options_of_the_class(prompt, tmp_path):
    from tsloss_fast import TSLoss

    PromptTunedLM(tiny_model(), prompt).save_pretrained(tmp_path)
    lm = PromptTunedLM.from_pretrained(tiny_model(), tmp_path, TSLoss(), balance=0.5)
    assert lm.balance.ratio == 0.5
    assert lm(IDS, labels=IDS).ts_loss.requires_grad
    assert len(WORDS) == lm.config.vocab_size


def test_a_prompt_for_another_model_is_named(tmp_path):
    SoftPrompt(N, DIM + 1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"soft_prompt: expected dim {DIM}, the width of the"):
        PromptTunedLM.from_pretrained(tiny_model(), tmp_path)
