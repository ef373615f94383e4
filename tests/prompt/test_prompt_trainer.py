"""PromptTunedLM in transformers' Trainer and accelerate."""

import pytest
import torch
from tiny_lm import DIM, WORDS, tiny_model, tiny_tokenizer

from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

N, ROWS, LENGTH, WEIGHT = 5, 8, 9, 5.0


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def start():
    return 0.5 * torch.randn(N, DIM, generator=torch.Generator().manual_seed(1))


def prompted(model=None, ts_loss=None, **options):
    prompt = SoftPrompt(N, DIM, init=start())
    return PromptTunedLM(tiny_model() if model is None else model, prompt, ts_loss, **options)


def data(first_targets=range(ROWS)):
    """ROWS sequences, whose targets begin each at its own place."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, len(WORDS), (ROWS, LENGTH), generator=generator)
    labels = ids.clone()
    for row, first in enumerate(first_targets):
        labels[row, :first] = -100
    return [
        {"input_ids": row, "attention_mask": torch.ones_like(row), "labels": targets}
        for row, targets in zip(ids, labels, strict=True)
    ]


def trainer(lm, folder, accumulate=1, rows=None, **options):
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        str(folder),
        **{
            "max_steps": 1,
            "per_device_train_batch_size": ROWS // accumulate,
            "gradient_accumulation_steps": accumulate,
            "learning_rate": 1.0,
            "max_grad_norm": 0.0,
            "lr_scheduler_type": "constant",
            "use_cpu": True,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "seed": 0,
        }
        | options,
    )
    rows = data() if rows is None else rows
    # SGD's step is the gradient, in which a factor of TSLoss shows.
    optimizer = torch.optim.SGD([lm.soft_prompt.weight], lr=1.0)
    return Trainer(
        lm, arguments, train_dataset=rows, eval_dataset=rows, optimizers=(optimizer, None)
    )


def step_of(lm):
    return (lm.soft_prompt.weight.detach() - start()).norm().item()


def whole_batch():
    return {name: torch.stack([row[name] for row in data()]) for name in data()[0]}


class TestNumItemsInBatch:
    @pytest.mark.parametrize("accumulate", [1, 2, 4])
    def test_tsloss_counts_once_in_a_step(self, accumulate, tmp_path):
        expected = prompted(ts_loss=TSLoss(lambda_ts=WEIGHT))
        expected(**whole_batch()).loss.backward()
        lm = prompted(ts_loss=TSLoss(lambda_ts=WEIGHT))
        trainer(lm, tmp_path, accumulate).train()
        gradient = start() - lm.soft_prompt.weight.detach()
        torch.testing.assert_close(gradient, expected.soft_prompt.weight.grad)

    @pytest.mark.parametrize("accumulate", [1, 4])
    def test_tsloss_counts_once_where_the_model_takes_no_loss_kwargs(self, accumulate, tmp_path):
        """Trainer then divides the loss by the number of micro-batches, TSLoss included."""
        same = [3] * ROWS
        batch = {name: torch.stack([row[name] for row in data(same)]) for name in data()[0]}
        expected = prompted(ts_loss=TSLoss(lambda_ts=WEIGHT))
        expected(**batch).loss.backward()
        lm = prompted(without_loss_kwargs(), TSLoss(lambda_ts=WEIGHT))
        trainer(lm, tmp_path, accumulate, data(same)).train()
        gradient = start() - lm.soft_prompt.weight.detach()
        torch.testing.assert_close(gradient, expected.soft_prompt.weight.grad)

    def test_model_without_loss_kwargs_is_not_given_any(self):
        lm = prompted(without_loss_kwargs(), TSLoss())
        batch = whole_batch()
        plain = lm(**batch).loss
        assert torch.equal(lm(**batch, num_items_in_batch=3).loss, plain)

    @pytest.mark.parametrize("share", [1.0, 0.25, 0.0])
    def test_shares_of_the_targets(self, share):
        lm = prompted(ts_loss=TSLoss(lambda_ts=WEIGHT))
        batch = whole_batch()
        count = int((batch["labels"] != -100).sum())
        whole = lm(**batch)
        if share == 0:
            batch["labels"] = torch.full_like(batch["labels"], -100)
            out = lm(**batch, num_items_in_batch=torch.tensor(count))
        else:
            out = lm(**batch, num_items_in_batch=torch.tensor(round(count / share)))
        assert out.ts_loss.item() == pytest.approx(share * whole.ts_loss.item(), rel=1e-5)
        assert out.ce_loss.item() == pytest.approx(share * whole.ce_loss.item(), rel=1e-5)

    def test_balance_and_norms_are_those_of_the_whole_step(self):
        """Both norms without the share of a micro-batch, which is in cross-entropy and TSLoss."""
        batch = whole_batch()
        count = int((batch["labels"] != -100).sum())
        norms = []
        for items in (count, 4 * count):
            lm = prompted(ts_loss=TSLoss(), balance=0.5)
            lm(**batch, num_items_in_batch=torch.tensor(items)).loss.backward()
            norms.append(lm.grad_norms | {"average": lm.balance.average_ce})
        assert norms[0]["ts"] / norms[0]["ce"] == pytest.approx(0.5, rel=1e-4)
        for name, value in norms[0].items():
            assert norms[1][name].item() == pytest.approx(value.item(), rel=1e-4)

    def test_loss_outside_of_the_model_is_an_error(self, tmp_path):
        lm = prompted(ts_loss=TSLoss())
        with pytest.raises(ValueError, match="labels: expected them beside num_items_in_batch"):
            trainer(lm, tmp_path, label_smoothing_factor=0.1).train()


def without_loss_kwargs():
    from transformers import LlamaForCausalLM

    class Plain(LlamaForCausalLM):
        def forward(
            self, input_ids=None, attention_mask=None, inputs_embeds=None, labels=None,
            use_cache=None, return_dict=None,
        ):  # fmt: skip
            return super().forward(
                input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds,
                labels=labels, use_cache=use_cache, return_dict=return_dict,
            )  # fmt: skip

    model = tiny_model()
    plain = Plain(model.config).eval()
    plain.load_state_dict(model.state_dict())
    return plain


class TestEvaluation:
    def test_loss_is_the_cross_entropy_alone_as_of_a_peft_model(self, tmp_path):
        import peft

        from tsloss_fast.prompt.peft import add_tsloss

        same = data([3] * ROWS)
        lm = prompted(ts_loss=TSLoss(lambda_ts=1e3))
        of_module = trainer(lm, tmp_path, rows=same).evaluate()["eval_loss"]
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N)
        model = peft.get_peft_model(tiny_model(), config)
        with torch.no_grad():
            model.prompt_encoder["default"].embedding.weight.copy_(start())
        add_tsloss(model, TSLoss(lambda_ts=1e3))
        batch = {name: torch.stack([row[name] for row in same]) for name in same[0]}
        with torch.no_grad():
            of_peft = model.eval()(**batch).loss.item()
        assert of_module == pytest.approx(of_peft, rel=1e-5)

    def test_tokenizer_goes_with_it(self, tmp_path):
        lm = prompted(ts_loss=TSLoss())
        run = trainer(lm, tmp_path)
        run.processing_class = tiny_tokenizer()
        run.train()
        assert step_of(lm) > 0

    def test_predictions_are_the_logits(self, tmp_path):
        lm = prompted(ts_loss=TSLoss())
        predicted = trainer(lm, tmp_path).predict(data()).predictions
        assert predicted.shape == (ROWS, N + LENGTH, len(WORDS))


class TestCheckpoints:
    def test_tied_model_is_saved_and_resumed(self, tmp_path):
        def run(steps, **options):
            lm = prompted(tiny_model(tie_word_embeddings=True), TSLoss())
            assert lm.model.lm_head.weight is lm.model.get_input_embeddings().weight
            run = trainer(
                lm, tmp_path, max_steps=steps, save_strategy="steps", save_steps=1, **options
            )
            run.optimizer.param_groups[0]["lr"] = 0.1
            return lm, run

        lm, first = run(2)
        first.train()
        again, second = run(2)
        second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
        torch.testing.assert_close(again.soft_prompt.weight, lm.soft_prompt.weight)
        assert step_of(lm) > 0

    def test_state_of_a_tied_model_is_loaded_strictly(self):
        lm = prompted(tiny_model(tie_word_embeddings=True))
        state = lm.state_dict()
        assert "model.lm_head.weight" not in state
        other = prompted(tiny_model(1, tie_word_embeddings=True))
        other.load_state_dict(state)
        assert torch.equal(other.model.lm_head.weight, lm.model.lm_head.weight)


class TestGradientCheckpointing:
    def gradient(self, lm):
        ids = whole_batch()
        lm(**ids).loss.backward()
        return lm.soft_prompt.weight.grad

    def counted(self, lm):
        """How often each layer's attention runs, in order."""
        runs = []
        for number, layer in enumerate(lm.model.model.layers):
            layer.self_attn.register_forward_hook(lambda *_, n=number: runs.append(n))
        return runs

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_layers_are_run_again_in_the_backward_pass(self, reentrant):
        expected = self.gradient(prompted(ts_loss=TSLoss()))
        lm = prompted(ts_loss=TSLoss())
        lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        runs = self.counted(lm)
        assert torch.equal(self.gradient(lm), expected)
        assert runs == [0, 1, 1, 0]
        assert not any(module.training for module in lm.model.modules())

    def test_switched_on_at_the_model_and_off_again(self):
        model = tiny_model()
        model.gradient_checkpointing_enable()
        lm = prompted(model)
        runs = self.counted(lm)
        self.gradient(lm)
        assert runs == [0, 1, 1, 0]
        lm.gradient_checkpointing_disable()
        self.gradient(lm)
        assert runs == [0, 1, 1, 0, 0, 1]

    def test_dropout_of_a_layer_stays_off(self):
        """OPT's layers draw dropout themselves, by their own mode."""
        from tiny_architectures import tiny_architecture

        model = tiny_architecture("opt")
        model.gradient_checkpointing_enable()
        assert model.config.dropout > 0
        gradients = [self.gradient(prompted(model)) for _ in range(2)]
        model.gradient_checkpointing_disable()
        assert torch.equal(gradients[0], gradients[1])
        assert torch.equal(gradients[0], self.gradient(prompted(model)))

    def test_evaluation_does_not_checkpoint(self):
        lm = prompted()
        lm.gradient_checkpointing_enable()
        lm.eval()
        runs = self.counted(lm)
        self.gradient(lm)
        assert runs == [0, 1]

    @pytest.mark.parametrize("option", [True, False])
    def test_option_of_trainer(self, option, tmp_path):
        lm = prompted(ts_loss=TSLoss())
        runs = self.counted(lm)
        trainer(lm, tmp_path, gradient_checkpointing=option).train()
        assert runs == ([0, 1, 1, 0] if option else [0, 1])


class TestOutputs:
    @pytest.fixture(autouse=True)
    def _new_accelerator(self):
        """Accelerate keeps the precision of the first one in a process."""
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(True)
        yield
        AcceleratorState._reset_state(True)

    def test_parts_of_the_loss_survive_mixed_precision(self):
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        lm = accelerator.prepare_model(prompted(ts_loss=TSLoss(lambda_ts=WEIGHT)))
        out = lm(**whole_batch())
        expected = TSLoss(lambda_ts=WEIGHT)(start()).item()
        assert out.ts_loss.item() == pytest.approx(expected, rel=1e-5)
        assert set(out.ts_terms) == {"h0", "h1"}
        torch.testing.assert_close(out.loss, out.ce_loss + out.ts_loss)
