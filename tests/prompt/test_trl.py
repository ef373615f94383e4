"""add_tsloss with the trainers of TRL, which build their loss from log-probabilities."""

import peft
import pytest
import torch
import transformers
from tiny_lm import WORDS, tiny_model, tiny_tokenizer

import tsloss_fast as tsl
from tsloss_fast.prompt.peft import add_tsloss, virtual_tokens

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    # Of TRL and what it imports; not ours to change.
    pytest.mark.filterwarnings("ignore::FutureWarning:trl"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
trl = pytest.importorskip("trl", reason="trl is not installed; run: pip install trl")
datasets = pytest.importorskip("datasets", reason="datasets is not installed, which trl needs")

N, LAMBDA = 6, 100.0
ROWS = torch.randint(3, len(WORDS), (4, 7), generator=torch.Generator().manual_seed(5)).tolist()
SFT = [{"input_ids": row, "labels": [-100, *row[1:]]} for row in ROWS]
TEXTS = [" ".join(WORDS[index] for index in row) for row in ROWS]
# The space keeps the first word of an answer apart from the prompt's last.
DPO = [{"prompt": text, "chosen": " True and x", "rejected": " x or not False"} for text in TEXTS]
# One step of SGD at rate 1 over all rows, of any trainer.
SETTINGS = {
    "per_device_train_batch_size": 4,
    "max_steps": 1,
    "learning_rate": 1.0,
    "optim": "sgd",
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def peft_model():
    base = tiny_model()
    torch.manual_seed(1)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N)
    return peft.get_peft_model(base, config)


def trainer(kind, model, path, micro=1, **changes):
    settings = SETTINGS | {
        "per_device_train_batch_size": 4 // micro,
        "gradient_accumulation_steps": micro,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,
    }
    settings |= changes
    if kind == "sft":
        arguments = trl.SFTConfig(
            str(path), dataset_kwargs={"skip_prepare_dataset": True}, **settings
        )
        make, rows = trl.SFTTrainer, SFT
    else:
        arguments, make, rows = trl.DPOConfig(str(path), **settings), trl.DPOTrainer, DPO
    table = datasets.table.InMemoryTable.from_pylist(rows)
    data = datasets.Dataset(table, fingerprint=kind)
    return make(model, args=arguments, train_dataset=data, processing_class=tiny_tokenizer())


def step(kind, path, ts_loss=None, attach=True, **changes):
    """What one optimizer step of SGD at rate 1 takes, and the trainer."""
    model = peft_model()
    before = virtual_tokens(model).detach().clone()
    running = trainer(kind, model, path, **changes)
    if ts_loss is not None:
        handle = add_tsloss(model, ts_loss)
        if attach:
            handle.attach(running)
    running.train()
    return before - virtual_tokens(model).detach(), running


def of_outputs_loss(ts_loss=None):
    """The same for a loop that trains on outputs.loss."""
    model = peft_model()
    if ts_loss is not None:
        add_tsloss(model, ts_loss)
    rows = {name: torch.tensor([row[name] for row in SFT]) for name in SFT[0]}
    model(**rows).loss.backward()
    return model.prompt_encoder["default"].embedding.weight.grad


KINDS = pytest.mark.parametrize("kind", ["sft", "dpo"])


@KINDS
def test_without_attach_the_first_step_says_what_to_write(kind, tmp_path):
    with pytest.raises(RuntimeError, match=r"TRL's trainers.*attach\(trainer\)"):
        step(kind, tmp_path, tsl.TSLoss(lambda_ts=LAMBDA), attach=False)


@pytest.mark.parametrize("micro", [1, 2, 4])
@KINDS
def test_attached_it_takes_the_step_of_tsloss(kind, micro, tmp_path):
    ts_loss, weight = tsl.TSLoss(lambda_ts=LAMBDA), virtual_tokens(peft_model())
    (expected,) = torch.autograd.grad(ts_loss(weight), weight)
    assert expected.norm() > 1
    got = step(kind, tmp_path, ts_loss, micro=micro)[0] - step(kind, tmp_path, micro=micro)[0]
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_sft_takes_the_step_of_outputs_loss(tmp_path):
    for ts_loss in (None, tsl.TSLoss(lambda_ts=LAMBDA)):
        got, _ = step("sft", tmp_path, ts_loss)
        torch.testing.assert_close(got, of_outputs_loss(ts_loss), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attach", [False, True])
def test_trainer_takes_the_step_of_sft(attach, tmp_path):
    """And so that of a plain loop, which the test above holds SFTTrainer to."""
    ts_loss, model = tsl.TSLoss(lambda_ts=LAMBDA), peft_model()
    before = virtual_tokens(model).detach().clone()
    arguments = transformers.TrainingArguments(str(tmp_path), **SETTINGS)
    data = [{name: torch.tensor(row) for name, row in each.items()} for each in SFT]
    running = transformers.Trainer(model, arguments, train_dataset=data)
    handle = add_tsloss(model, ts_loss)
    if attach:
        handle.attach(running)
    running.train()
    expected, _ = step("sft", tmp_path, ts_loss)
    got = before - virtual_tokens(model).detach()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_gradient_clipping_sees_tsloss(tmp_path):
    ts_loss = tsl.TSLoss(lambda_ts=LAMBDA)
    whole, clipped = (step("sft", tmp_path, ts_loss, max_grad_norm=x)[0] for x in (0.0, 1.0))
    torch.testing.assert_close(clipped, whole / whole.norm(), rtol=1e-4, atol=1e-5)


@KINDS
def test_the_log_has_tsloss(kind, tmp_path):
    ts_loss = tsl.TSLoss(lambda_ts=LAMBDA)
    _, running = step(kind, tmp_path, ts_loss)
    _, plain = step(kind, tmp_path)
    entry, without = running.state.log_history[0], plain.state.log_history[0]
    ts, terms = ts_loss(virtual_tokens(peft_model()), return_terms=True)
    assert entry["ts_loss"] == pytest.approx(ts.item(), rel=1e-5)
    assert entry["ts_h0"] == pytest.approx(terms["h0"].item(), rel=1e-5)
    assert entry["loss"] == pytest.approx(without["loss"] + ts.item(), rel=1e-5)
