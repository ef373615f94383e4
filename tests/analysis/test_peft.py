"""analyze on folders that peft itself saved, with its real models: tiny random ones."""

import csv

import peft
import pytest
import safetensors.torch
import torch
import transformers
from tiny_lm import DIM, WORDS, tiny_model

from tsloss_fast import cli
from tsloss_fast.analysis.find import find_checkpoints
from tsloss_fast.analysis.read import UnreadablePrompt, read_prompt
from tsloss_fast.analysis.run import analyze
from tsloss_fast.persistence.summaries import topology_summary
from tsloss_fast.prompt.peft import virtual_tokens

pytestmark = [
    pytest.mark.model,
    # PEFT asks transformers by an old name; not ours to change.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

N, LAYERS = 6, 2
CAUSAL = {"task_type": "CAUSAL_LM", "num_virtual_tokens": N}
P_TUNING = {"encoder_hidden_size": 7, **CAUSAL}
CONFIGS = {
    "prompt": lambda: peft.PromptTuningConfig(**CAUSAL),
    "p-mlp": lambda: peft.PromptEncoderConfig(**P_TUNING),
    "p-lstm": lambda: peft.PromptEncoderConfig(
        encoder_reparameterization_type="LSTM", encoder_num_layers=1, **P_TUNING
    ),
    "prefix": lambda: peft.PrefixTuningConfig(**CAUSAL),
    "prefix-projected": lambda: peft.PrefixTuningConfig(
        prefix_projection=True, encoder_hidden_size=7, **CAUSAL
    ),
}
ONE_CLOUD = [kind for kind in CONFIGS if not kind.startswith("prefix")]
CLOUD_A_LAYER = [kind for kind in CONFIGS if kind.startswith("prefix")]


def peft_model(kind):
    torch.manual_seed(1)
    return peft.get_peft_model(tiny_model(num_hidden_layers=LAYERS), CONFIGS[kind]())


def move(model, seed):
    """Change what would be trained, as a step of training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("kind", ONE_CLOUD)
def test_the_rows_are_those_that_stand_before_the_input(kind, safe, tmp_path):
    model = peft_model(kind)
    move(model, 3)
    model.save_pretrained(tmp_path, safe_serialization=safe)
    (found,), skipped = find_checkpoints(tmp_path)
    assert skipped == []
    rows = read_prompt(found.file)
    torch.testing.assert_close(rows, virtual_tokens(model).detach(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", CLOUD_A_LAYER)
def test_a_layer_of_a_prefix_is_that_of_virtual_tokens(kind, tmp_path):
    model = peft_model(kind)
    move(model, 3)
    model.save_pretrained(tmp_path)
    clouds = virtual_tokens(model).detach()
    assert len(clouds) == LAYERS
    (found,), _ = find_checkpoints(tmp_path)
    for layer, cloud in enumerate(clouds):
        torch.testing.assert_close(read_prompt(found.file, layer), cloud, rtol=0, atol=0)
    with pytest.raises(UnreadablePrompt, match="expected --layer from 0 to 1, got none"):
        read_prompt(found.file)


def test_the_layer_is_asked_for_and_named(tmp_path, capsys):
    for step in (1, 2):
        peft_model("prefix").save_pretrained(tmp_path / f"checkpoint-{step}")
    assert cli.main(["analyze", str(tmp_path), "--quiet"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    last = tmp_path / "checkpoint-2" / "adapter_model.safetensors"
    assert f"2 skipped, the last one, {last}: holds 2 clouds, one for each layer" in error
    assert "expected --layer from 0 to 1, got none" in error
    assert "in its folders" not in error
    result = analyze(tmp_path, layer=1, progress=False)
    assert f'"title":"{tmp_path.name}, layer 1"' in result.files[-1].read_text()


def test_of_an_encoder_decoder_the_encoder_s_prompt_is_read(tmp_path):
    config = transformers.T5Config(
        vocab_size=9, d_model=DIM, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    config = peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=N), config
    model = peft.get_peft_model(transformers.T5ForConditionalGeneration(config[1]), config[0])
    move(model, 3)
    model.save_pretrained(tmp_path)
    # PEFT saves rows for the decoder as well, which it uses nowhere.
    file = tmp_path / "adapter_model.safetensors"
    assert safetensors.torch.load_file(file)["prompt_embeddings"].shape == (2 * N, DIM)
    cloud = virtual_tokens(model).detach()
    assert cloud.shape == (N, DIM)
    torch.testing.assert_close(read_prompt(file), cloud, rtol=0, atol=0)


def test_an_adapter_of_another_kind_is_named(tmp_path):
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    peft.get_peft_model(tiny_model(), config).save_pretrained(tmp_path)
    with pytest.raises(UnreadablePrompt, match=r"expected prompt_embeddings, got .*lora"):
        read_prompt(tmp_path / "adapter_model.safetensors")


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(3, len(WORDS), (7,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


@pytest.mark.parametrize(("kind", "layer"), [("prompt", None), ("p-mlp", None), ("prefix", 1)])
def test_the_folder_of_a_trainer(kind, layer, tmp_path):
    """Checkpoints after steps 2 and 4, the final adapter beside them, and a page of both."""
    model, seen = peft_model(kind), {}

    class Watch(transformers.TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            seen[state.global_step] = virtual_tokens(model).detach().clone()

    args = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        save_steps=2,
        per_device_train_batch_size=2,
        learning_rate=0.1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = transformers.Trainer(model, args, train_dataset=Rows(), callbacks=[Watch()])
    trainer.train()
    trainer.save_model()
    result = analyze(tmp_path, layer=layer, progress=False)
    assert [(one.position, one.unit) for one in result.checkpoints] == [(2, "step"), (4, "step")]
    assert [one.reason for one in result.skipped] == ["gives no step, as the others do"]
    with (tmp_path / "analysis" / "features.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    clouds = {step: cloud if layer is None else cloud[layer] for step, cloud in seen.items()}
    assert not torch.equal(clouds[2], clouds[4])
    for row in rows:
        expected = topology_summary(clouds[int(row["step"])])
        assert float(row["h0_mean_lifetime"]) == pytest.approx(expected.h0_mean_lifetime.item())
        assert int(row["h1_count"]) == expected.h1_count
        assert row["file"] == f"checkpoint-{row['step']}/adapter_model.safetensors"


def test_several_adapters_lie_in_folders_of_their_own(tmp_path):
    """PEFT saves every adapter but the one named "default" a folder further down."""
    torch.manual_seed(1)
    model = peft.get_peft_model(tiny_model(), CONFIGS["prompt"](), adapter_name="french")
    model.save_pretrained(tmp_path)
    assert find_checkpoints(tmp_path) == ([], [])
    (found,), _ = find_checkpoints(tmp_path / "french")
    assert torch.equal(read_prompt(found.file), virtual_tokens(model).detach())
