"""add_tsloss on PEFT models: tiny random ones, and the real SmolLM2."""

import argparse
import copy
import gc
import subprocess
import sys
import textwrap
import threading
import weakref

import accelerate
import peft
import pytest
import torch
import transformers
from tiny_lm import DIM, WORDS, tiny_model
from torch.torch_version import TorchVersion

import tsloss_fast as tsl
from tsloss_fast._engine import operators as ops
from tsloss_fast.prompt.peft import add_tsloss, virtual_tokens
from tsloss_fast.tuning import models

pytestmark = [
    pytest.mark.model,
    # PEFT asks transformers by an old name; not ours to change.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

N, LAYERS = 6, 2
CAUSAL = {"task_type": "CAUSAL_LM", "num_virtual_tokens": N}
CONFIGS = {
    "prompt": lambda: peft.PromptTuningConfig(**CAUSAL),
    "p-mlp": lambda: peft.PromptEncoderConfig(encoder_hidden_size=7, **CAUSAL),
    "p-lstm": lambda: peft.PromptEncoderConfig(
        encoder_hidden_size=7, encoder_reparameterization_type="LSTM", **CAUSAL
    ),
    "prefix": lambda: peft.PrefixTuningConfig(**CAUSAL),
    "prefix-projected": lambda: peft.PrefixTuningConfig(
        prefix_projection=True, encoder_hidden_size=7, **CAUSAL
    ),
}
every_kind = pytest.mark.parametrize("kind", CONFIGS)


@pytest.fixture(autouse=True)
def _one_thread():
    """The tiny model is too small for two; conftest puts the count back."""
    torch.set_num_threads(1)


def peft_model(kind="prompt", base=None, **changes):
    base = tiny_model() if base is None else base
    torch.manual_seed(1)
    config = CONFIGS[kind]()
    for name, value in changes.items():
        setattr(config, name, value)
    return peft.get_peft_model(base, config)


def batch(size=3, length=7, seed=5):
    """Sequences whose targets start at different places, so that their counts differ."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, len(WORDS), (size, length), generator=generator)
    labels = ids.clone()
    for row in range(size):
        labels[row, : 1 + (3 * row) % (length - 2)] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def gradients(model, loss):
    parameters = trained(model)
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, grads, strict=True))


class TestLoss:
    @pytest.mark.parametrize("mode", ["persistence", "surrogate"])
    @every_kind
    def test_is_the_models_own_and_tsloss(self, kind, mode):
        model, ts_loss, inputs = peft_model(kind), tsl.TSLoss(mode, scale="mean"), batch()
        ce = model(**inputs).loss
        ts, terms = ts_loss(virtual_tokens(model), return_terms=True)
        expected = gradients(model, ce + ts)
        assert ts > 1e-3
        handle = add_tsloss(model, ts_loss)
        out = model(**inputs)
        torch.testing.assert_close(out.loss, ce + ts)
        torch.testing.assert_close(handle.loss, ts.detach())
        assert handle.terms == terms
        assert not any(value.requires_grad for value in (handle.loss, *handle.terms.values()))
        assert handle.seconds > 0
        torch.testing.assert_close(gradients(model, out.loss), expected)

    def test_counts_the_rows_of_that_very_pass(self):
        """With dropout in P-tuning's LSTM a second call of the encoder gives other rows."""
        model = peft_model("p-lstm", encoder_dropout=0.5, encoder_num_layers=2).train()
        seen = []
        model.base_model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        handle = add_tsloss(model, tsl.TSLoss())
        losses = set()
        for _ in range(3):
            model(**batch())
            losses.add(handle.loss.item())
            expected = tsl.TSLoss()(seen[-1][0, :N])
            torch.testing.assert_close(handle.loss, expected.detach())
        assert len(losses) == 3

    @pytest.mark.parametrize("kind", ["prompt", "prefix"])
    def test_tuple_outputs(self, kind):
        model, inputs = peft_model(kind), batch()
        plain = model(**inputs, return_dict=False)
        add_tsloss(model, tsl.TSLoss())
        outputs = model(**inputs, return_dict=False)
        assert isinstance(outputs, tuple)
        assert len(outputs) == len(plain)
        torch.testing.assert_close(outputs[0], plain[0] + tsl.TSLoss()(virtual_tokens(model)))
        assert torch.equal(outputs[1], plain[1])

    def test_positional_labels_count(self):
        model, inputs = peft_model(), batch()
        add_tsloss(model, tsl.TSLoss())
        ids, mask, labels = inputs.values()
        assert torch.equal(model(ids, mask, None, labels).loss, model(**inputs).loss)

    def test_question_answering_names_its_labels_otherwise(self):
        config = tiny_model().config
        base = transformers.LlamaForQuestionAnswering(config).eval()
        prompt = peft.PromptTuningConfig(task_type="QUESTION_ANS", num_virtual_tokens=N)
        model = peft.get_peft_model(base, prompt).eval()
        inputs = batch()
        del inputs["labels"]
        inputs["start_positions"] = inputs["end_positions"] = torch.tensor([0, 1, 2])
        ce = model(**inputs).loss
        add_tsloss(model, tsl.TSLoss(lambda_ts=5.0))
        ts = tsl.TSLoss(lambda_ts=5.0)(virtual_tokens(model))
        torch.testing.assert_close(model(**inputs).loss, ce + ts)

    def test_half_precision_model(self):
        model = peft_model(base=tiny_model().to(torch.bfloat16))
        plain = model(**batch()).loss
        handle = add_tsloss(model, tsl.TSLoss())
        out = model(**batch())
        out.loss.backward()
        assert out.loss > plain
        assert handle.loss.dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in trained(model).values())

    @pytest.mark.parametrize("kind", ["prompt", "prefix"])
    def test_is_scaled_as_the_cross_entropy_is(self, kind):
        """Where every token is a target, a prefix has one target a row less than a prompt has."""
        model, inputs = peft_model(kind), batch()
        inputs["labels"] = inputs["input_ids"]
        scaled = {**inputs, "num_items_in_batch": torch.tensor(50)}
        factor = model(**scaled).loss / model(**inputs).loss
        assert factor.item() == pytest.approx((18 if kind == "prefix" else 21) / 50)
        add_tsloss(model, tsl.TSLoss(lambda_ts=10.0))
        torch.testing.assert_close(model(**scaled).loss, factor * model(**inputs).loss)

    def test_ts_loss_may_change_between_steps(self):
        model, inputs = peft_model(), batch()
        plain = model(**inputs).loss
        handle = add_tsloss(model, tsl.TSLoss())
        once = model(**inputs).loss - plain
        handle.ts_loss.lambda_ts = 10.0
        torch.testing.assert_close(model(**inputs).loss - plain, 10 * once, rtol=1e-4, atol=1e-5)


class Telling(torch.nn.Module):
    """Says when it is called; `start` and `result` are those of a module that hides its work."""

    def __init__(self, events):
        super().__init__()
        self.events = events

    def start(self, clouds):
        self.events.append("start")
        self.clouds = clouds
        return self

    def result(self, return_terms=False):
        self.events.append("result")
        return self.clouds.square().sum(), {"square": self.clouds.detach().square().sum()}

    def forward(self, clouds, return_terms=False):
        return self.start(clouds).result(return_terms)


class Called(Telling):
    """Of those without a start."""

    def forward(self, clouds, return_terms=False):
        self.events.append("call")
        return clouds.square().sum(), {}


def telling(kind, module=Telling):
    """A model that tells when its base model and its TSLoss run, and the list of what was told."""
    model, events = peft_model(kind), []
    model.base_model.register_forward_hook(lambda *_: events.append("model"))
    handle = add_tsloss(model, module(events))
    return model, handle, events


class TestStart:
    """TSLoss begins before the base model runs and is taken after it."""

    @every_kind
    def test_comes_before_the_base_model_and_the_result_after(self, kind):
        model, handle, events = telling(kind)
        plain = peft_model(kind)(**batch()).loss
        loss = model(**batch()).loss
        assert events == ["start", "model", "result"]
        torch.testing.assert_close(loss, plain + virtual_tokens(model).square().sum())
        assert set(handle.terms) == {"square"}

    def test_modules_without_start_are_called_after_the_base_model(self):
        model, _, events = telling("prompt", Called)
        plain = peft_model()(**batch()).loss
        loss = model(**batch()).loss
        assert events == ["model", "call"]
        torch.testing.assert_close(loss, plain + virtual_tokens(model).square().sum())

    def test_is_left_out_with_tsloss(self):
        model, _, events = telling("prompt")
        inputs = batch()
        with torch.no_grad():
            model(**inputs)
        with model.disable_adapter():
            model(**inputs)
        del inputs["labels"]
        model(**inputs)
        model.generate(input_ids=inputs["input_ids"], max_new_tokens=2, do_sample=False)
        virtual_tokens(model)
        assert not {"start", "result"} & set(events)
        with pytest.raises(ValueError, match="label_smoothing_factor"):
            model(**inputs, num_items_in_batch=3)
        assert not {"start", "result"} & set(events)

    @pytest.mark.parametrize("kind", ["prompt", "p-mlp", "prefix"])
    def test_what_is_computed_on_the_host_changes_nothing(self, kind, monkeypatch):
        """On CUDA start gives the distances away and result takes the edges back."""
        pytest.importorskip("triton")
        model, inputs = peft_model(kind), batch()
        handle = add_tsloss(model, tsl.TSLoss())
        fused = model(**inputs).loss
        expected, ts = gradients(model, fused), handle.loss
        monkeypatch.setattr(ops, "fuses_persistence_loss", lambda x: False)
        loss = model(**inputs).loss
        torch.testing.assert_close(loss, fused)
        torch.testing.assert_close(handle.loss, ts)
        torch.testing.assert_close(gradients(model, loss), expected, rtol=1e-4, atol=1e-5)

    def test_is_made_once_of_the_rows_of_that_pass(self):
        model, _, events = telling("prompt")

        def look(*_):
            virtual_tokens(model)

        model.base_model.register_forward_pre_hook(look)
        loss = model(**batch()).loss
        assert events == ["start", "model", "result"]
        torch.testing.assert_close(
            loss, peft_model()(**batch()).loss + virtual_tokens(model).square().sum()
        )

    @pytest.mark.parametrize("module", [Telling, Called])
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=lambda e: e.__name__)
    def test_a_pass_that_raised_leaves_nothing(self, error, module):
        model, handle, _ = telling("prompt", module)
        inputs = batch()
        expected, plain = model(**inputs).loss, peft_model()(**inputs).loss
        handle.ts_loss.clouds = None

        def fail(*_):
            raise error("in the middle")

        hook = model.base_model.register_forward_pre_hook(fail)
        kept = handle.loss
        with pytest.raises(error, match="in the middle"):
            model(**inputs)
        hook.remove()
        handle.ts_loss.clouds = None
        assert handle.loss is kept
        # A tensor of the pass that raised could not be copied.
        assert torch.equal(copy.deepcopy(model)(**inputs).loss, expected)
        with torch.no_grad():
            assert torch.equal(model(**inputs).loss, plain)
        assert torch.equal(model(**inputs).loss, expected)

    def test_a_pass_that_raised_keeps_no_memory(self):
        started = []

        class Pending:
            def __init__(self):
                started.append(weakref.ref(self))

            def result(self, return_terms=False):
                raise RuntimeError("in the middle")

        class Failing(Telling):
            def start(self, clouds):
                return Pending()

        model, _, _ = telling("prompt", Failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            model(**batch())
        model.base_model.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(**batch())
        gc.collect()
        assert [pending() for pending in started] == [None, None]

    def test_a_pass_that_raised_starts_nothing_later(self):
        model, _, events = telling("prompt")
        inputs = batch()
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            model(inputs["input_ids"], torch.ones(5, 7), labels=inputs["labels"])
        virtual_tokens(model)
        assert events == []

    @pytest.mark.parametrize("where", ["start", "result"])
    def test_a_tsloss_that_raised_leaves_nothing(self, where):
        class Failing(Telling):
            fails = False

            def start(self, clouds):
                return self.check("start") or super().start(clouds)

            def result(self, return_terms=False):
                return self.check("result") or super().result(return_terms)

            def check(self, place):
                if self.fails and place == where:
                    raise ValueError("prompt: expected finite values")

        model, handle, _ = telling("prompt", Failing)
        expected = model(**batch()).loss
        handle.ts_loss.fails = True
        with pytest.raises(ValueError, match="prompt: expected finite values"):
            model(**batch())
        handle.ts_loss.fails, handle.ts_loss.clouds = False, None
        assert torch.equal(copy.deepcopy(model)(**batch()).loss, expected)
        assert torch.equal(model(**batch()).loss, expected)

    @pytest.mark.parametrize("kind", ["prompt", "p-mlp"])
    def test_a_model_checkpointed_as_a_whole(self, kind):
        """The whole pass runs again for the backward pass, encoder and TSLoss with it."""
        from torch.utils.checkpoint import checkpoint

        model, inputs = peft_model(kind), batch()
        add_tsloss(model, tsl.TSLoss())
        loss = model(**inputs).loss
        expected = gradients(model, loss)
        saved = checkpoint(model, use_reentrant=False, **inputs).loss
        assert torch.equal(saved, loss)
        torch.testing.assert_close(gradients(model, saved), expected)
        assert torch.equal(model(**inputs).loss, loss)

    def test_an_encoder_that_is_checkpointed(self):
        from torch.utils.checkpoint import checkpoint

        model, _, events = telling("p-mlp")
        loss = model(**batch()).loss
        expected = gradients(model, loss)
        encoder = model.prompt_encoder["default"]
        forward = encoder.forward
        encoder.forward = lambda *args: checkpoint(forward, *args, use_reentrant=False)
        del events[:]
        saved = model(**batch()).loss
        torch.testing.assert_close(gradients(model, saved), expected)
        assert events == ["start", "model", "result"]

    def test_replicas_in_threads(self):
        """As nn.DataParallel runs them: each pass has the rows and the labels of its own."""
        model, parts = peft_model(), (batch(size=2, seed=1), batch(size=4, seed=2))
        plain = [model(**part).loss for part in parts]
        both = threading.Barrier(2)
        add_tsloss(model, tsl.TSLoss())
        found = [None, None]

        def meet(*_):
            both.wait(20)

        # Both passes have started TSLoss when either goes on.
        model.base_model.register_forward_pre_hook(meet)

        def run(index):
            replica = model._replicate_for_data_parallel()
            # Each is scaled by the targets of its own part.
            items = (parts[index]["labels"] != -100).sum()
            found[index] = replica(**parts[index], num_items_in_batch=items).loss

        threads = [threading.Thread(target=run, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for loss, alone in zip(found, plain, strict=True):
            torch.testing.assert_close(loss, alone + tsl.TSLoss()(virtual_tokens(model)))


class TestLeftAlone:
    @pytest.fixture
    def model(self):
        model = peft_model()
        add_tsloss(model, tsl.TSLoss(lambda_ts=100.0))
        return model

    def test_without_labels(self, model):
        inputs = batch()
        del inputs["labels"]
        out = model(**inputs)
        assert out.loss is None
        assert torch.equal(out.logits, peft_model()(**inputs).logits)

    def test_without_gradients(self, model):
        with torch.no_grad():
            assert torch.equal(model(**batch()).loss, peft_model()(**batch()).loss)

    def test_while_the_adapter_is_disabled(self, model):
        with model.disable_adapter():
            disabled = model(**batch()).loss
        assert torch.equal(disabled, tiny_model()(**batch()).loss)

    def test_while_another_adapter_is_active(self, model):
        model.add_adapter("other", CONFIGS["prompt"]())
        model.set_adapter("other")
        plain = model(**batch()).loss
        other = add_tsloss(model, tsl.TSLoss(lambda_ts=2.0), adapter="other")
        ts = tsl.TSLoss(lambda_ts=2.0)(virtual_tokens(model, "other"))
        torch.testing.assert_close(model(**batch()).loss, plain + ts)
        other.remove()
        assert torch.equal(model(**batch()).loss, plain)

    def test_when_the_adapter_was_deleted(self, model):
        model.add_adapter("other", CONFIGS["prompt"]())
        model.set_adapter("other")
        plain = model(**batch()).loss
        try:
            model.delete_adapter("default")
        except TypeError:
            pytest.skip(f"PEFT {peft.__version__} cannot delete adapters with virtual tokens")
        assert torch.equal(model(**batch()).loss, plain)

    def test_generate(self, model):
        ids = batch()["input_ids"]
        expected = peft_model().generate(input_ids=ids, max_new_tokens=4, do_sample=False)
        assert torch.equal(
            model.generate(input_ids=ids, max_new_tokens=4, do_sample=False), expected
        )


class TestHandle:
    def test_removed_for_good(self):
        model, inputs = peft_model(), batch()
        plain = model(**inputs).loss
        with add_tsloss(model, tsl.TSLoss()) as handle:
            assert model(**inputs).loss > plain
        assert torch.equal(model(**inputs).loss, plain)
        handle.remove()
        assert torch.equal(model(**inputs).loss, plain)
        add_tsloss(model, tsl.TSLoss())
        assert model(**inputs).loss > plain

    def test_an_adapter_has_it_once(self):
        model = peft_model()
        add_tsloss(model, tsl.TSLoss())
        with pytest.raises(ValueError, match="adapter: 'default' has TSLoss already"):
            add_tsloss(model, tsl.TSLoss())

    def test_a_copy_of_the_model_has_its_own(self):
        model, inputs = peft_model(), batch()
        add_tsloss(model, tsl.TSLoss())
        loss = model(**inputs).loss
        copied = copy.deepcopy(model)
        assert torch.equal(copied(**inputs).loss, loss)
        with torch.no_grad():
            copied.prompt_encoder["default"].embedding.weight.mul_(2)
        assert torch.equal(model(**inputs).loss, loss)
        with pytest.raises(ValueError, match="TSLoss already"):
            add_tsloss(copied, tsl.TSLoss())


class TestCheckpoints:
    @every_kind
    def test_know_nothing_of_it(self, kind, tmp_path):
        model, inputs = peft_model(kind), batch()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        modules = [name for name, _ in model.named_modules()]
        model.save_pretrained(tmp_path / "without")
        add_tsloss(model, tsl.TSLoss())
        model(**inputs).loss.backward()
        assert [name for name, _ in model.named_modules()] == modules
        torch.testing.assert_close(dict(model.state_dict()), before)
        model.save_pretrained(tmp_path / "with")
        name = "adapter_model.safetensors"
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()

    @pytest.mark.parametrize("kind", ["prompt", "prefix"])
    def test_loaded_into_a_model_in_training_go_on(self, kind, tmp_path):
        model, inputs = peft_model(kind), batch()
        with torch.no_grad():
            model.prompt_encoder["default"].embedding.weight.mul_(1.5)
        add_tsloss(model, tsl.TSLoss())
        model.save_pretrained(tmp_path)
        fresh = peft_model(kind)
        add_tsloss(fresh, tsl.TSLoss())
        assert not torch.equal(fresh(**inputs).loss, model(**inputs).loss)
        fresh.load_adapter(tmp_path, "default", is_trainable=True)
        assert torch.equal(fresh(**inputs).loss, model(**inputs).loss)
        fresh(**inputs).loss.backward()
        assert fresh.prompt_encoder["default"].embedding.weight.grad.abs().max() > 0

    @every_kind
    def test_loaded_for_inference_are_read_but_not_trained(self, kind, tmp_path):
        model = peft_model(kind)
        model.save_pretrained(tmp_path)
        loaded = peft.PeftModel.from_pretrained(tiny_model(), tmp_path)
        torch.testing.assert_close(virtual_tokens(loaded), virtual_tokens(model.eval()))
        with pytest.raises(ValueError, match="is for inference alone"):
            add_tsloss(loaded, tsl.TSLoss())


def tiny_t5():
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=DIM, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


class TestVirtualTokens:
    @pytest.mark.parametrize("kind", ["prompt", "p-mlp", "p-lstm"])
    def test_are_the_rows_in_front_of_the_input(self, kind):
        model = peft_model(kind)
        assert virtual_tokens(model).shape == (N, DIM)
        torch.testing.assert_close(virtual_tokens(model), model.get_prompt(batch_size=1)[0])

    @pytest.mark.parametrize("kind", ["prefix", "prefix-projected"])
    def test_of_a_prefix_are_each_layers_key_and_value(self, kind):
        model = peft_model(kind)
        clouds, cache = virtual_tokens(model), model.get_prompt(batch_size=1)
        assert len(clouds) == len(cache.layers) == LAYERS
        for cloud, layer in zip(clouds, cache.layers, strict=True):
            parts = [x[0].transpose(0, 1).flatten(1) for x in (layer.keys, layer.values)]
            torch.testing.assert_close(cloud, torch.cat(parts, dim=1))

    @pytest.mark.parametrize("kind", ["prompt", "p-mlp"])
    def test_of_an_encoder_decoder_are_those_that_it_uses(self, kind):
        """PEFT has rows for the decoder, too, but gives the encoder its own alone."""
        model = peft_model(kind, tiny_t5(), task_type="SEQ_2_SEQ_LM").eval()
        cloud = virtual_tokens(model)
        assert cloud.shape == (N, DIM)
        prompts = model.get_prompt(batch_size=1)
        assert prompts.shape == (1, 2 * N, DIM)
        torch.testing.assert_close(cloud, prompts[0, :N])
        inputs = batch()
        ce = model(**inputs).loss
        add_tsloss(model, tsl.TSLoss())
        torch.testing.assert_close(model(**inputs).loss, ce + tsl.TSLoss()(cloud))

    def test_of_an_encoder_decoder_the_other_rows_get_no_gradient(self):
        model = peft_model("prompt", tiny_t5(), task_type="SEQ_2_SEQ_LM").eval()
        add_tsloss(model, tsl.TSLoss(lambda_ts=10.0))
        (gradient,) = gradients(model, model(**batch()).loss).values()
        assert gradient[:N].abs().max() > 1e-3
        assert gradient[N:].abs().max() == 0

    @pytest.mark.filterwarnings("ignore:You are trying to modify a model with PEFT for a second")
    def test_of_a_prompt_over_lora(self):
        lora = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
        model = peft_model(base=peft.get_peft_model(tiny_model(), lora))
        ce = model(**batch()).loss
        add_tsloss(model, tsl.TSLoss())
        torch.testing.assert_close(model(**batch()).loss, ce + tsl.TSLoss()(virtual_tokens(model)))


def multitask_model(base=None, task_type="CAUSAL_LM"):
    base = tiny_model() if base is None else base
    torch.manual_seed(1)
    config = peft.MultitaskPromptTuningConfig(
        task_type=task_type, num_virtual_tokens=N, num_tasks=3, num_ranks=2
    )
    model = peft.get_peft_model(base, config)
    with torch.no_grad():
        # PEFT starts them so small that all tasks' rows are nearly 0.
        model.prompt_encoder["default"].prefix_task_cols.normal_()
        model.prompt_encoder["default"].prefix_task_rows.normal_()
    return model


def cpt_model():
    torch.manual_seed(1)
    # Each of CPT's types: an input's template, the input, a label's template, and the label.
    config = peft.CPTConfig(
        task_type="CAUSAL_LM",
        cpt_token_ids=[3, 5, 6, 4, 7, 8],
        cpt_mask=[1] * N,
        cpt_tokens_type_mask=[1, 2, 2, 3, 4, 4],
        opt_projection_epsilon=5.0,
        opt_projection_format_epsilon=5.0,
    )
    model = peft.get_peft_model(tiny_model(), config)
    with torch.no_grad():
        model.prompt_encoder["default"].delta_embedding.weight[:4].normal_(std=0.1)
    return model


def cartridge_model(frozen=1):
    torch.manual_seed(1)
    config = peft.CartridgeConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=N, num_frozen_tokens=frozen
    )
    return peft.get_peft_model(tiny_model(), config)


OTHER_KINDS = {"multitask": multitask_model, "cpt": cpt_model, "cartridge": cartridge_model}
every_other_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=pytest.mark.skipif(
                kind == "cartridge" and not hasattr(peft, "CartridgeConfig"),
                reason=f"PEFT {peft.__version__} has no cartridges",
            ),
        )
        for kind in OTHER_KINDS
    ],
)


class TestOtherVirtualTokens:
    """Multitask prompt tuning, CPT and cartridges."""

    def inputs(self, kind):
        return batch() | ({"task_ids": torch.tensor([0, 2, 0])} if kind == "multitask" else {})

    @every_other_kind
    def test_loss_is_the_models_own_and_tsloss(self, kind):
        model, inputs = OTHER_KINDS[kind](), self.inputs(kind)
        ts_loss = tsl.TSLoss(lambda_ts=5.0)
        ce, ts = model(**inputs).loss, ts_loss(virtual_tokens(model))
        assert ts > 1e-2
        expected = gradients(model, ce + ts)
        handle = add_tsloss(model, ts_loss)
        loss = model(**inputs).loss
        torch.testing.assert_close(loss, ce + ts)
        torch.testing.assert_close(handle.loss, ts.detach())
        torch.testing.assert_close(gradients(model, loss), expected, rtol=1e-4, atol=1e-5)

    @every_other_kind
    def test_dropped_and_attached(self, kind, tmp_path):
        class WithTasks(OwnLoss):
            def compute_loss(self, model, inputs, *args, **kwargs):
                if kind == "multitask":
                    inputs["task_ids"] = torch.tensor([0, 2, 0, 1] * 2)[: len(inputs["labels"])]
                return super().compute_loss(model, inputs, *args, **kwargs)

        def running(ts_loss, attach=True):
            model = OTHER_KINDS[kind]()
            found = trainer(model, tmp_path, kind=WithTasks, lr=1e-3)
            if ts_loss is not None:
                handle = add_tsloss(model, ts_loss)
                if attach:
                    handle.attach(found)
            return found

        ts_loss = tsl.TSLoss(lambda_ts=5.0)
        with pytest.raises(RuntimeError, match="ts_loss: expected in the loss"):
            running(ts_loss, attach=False).train()
        model = OTHER_KINDS[kind]()
        expected = gradients(model, ts_loss(virtual_tokens(model)))
        without, with_ts = step_of(running(None), 1e-3), step_of(running(ts_loss), 1e-3)
        got = {name: with_ts[name] - without[name] for name in expected}
        scale = max(grad.abs().max().item() for grad in expected.values())
        assert scale > 1e-2
        torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2 * scale)

    @every_other_kind
    def test_loaded_for_inference_they_are_the_same(self, kind, tmp_path):
        model = OTHER_KINDS[kind]()
        model.save_pretrained(tmp_path)
        loaded = peft.PeftModel.from_pretrained(tiny_model(), tmp_path)
        torch.testing.assert_close(virtual_tokens(loaded), virtual_tokens(model))

    @every_other_kind
    def test_the_monitor_records_them(self, kind, tmp_path):
        model = OTHER_KINDS[kind]()
        record = tsl.TopologyMonitor(tmp_path / "topology.jsonl")(0, model)
        assert record["shape"] == list(virtual_tokens(model).shape)

    def test_of_tasks_are_the_rows_in_front_of_each_tasks_input(self):
        model = multitask_model()
        clouds = virtual_tokens(model)
        assert clouds.shape == (3, N, DIM)
        rows = model.get_prompt(batch_size=3, task_ids=torch.tensor([2, 0, 1]))
        torch.testing.assert_close(rows, clouds[[2, 0, 1]])

    def test_of_tasks_of_an_encoder_decoder_are_two_clouds_each(self):
        model = multitask_model(tiny_t5(), "SEQ_2_SEQ_LM")
        clouds = virtual_tokens(model)
        assert clouds.shape == (6, N, DIM)
        rows = model.get_prompt(batch_size=3, task_ids=torch.tensor([0, 1, 2]))
        torch.testing.assert_close(rows.reshape(6, N, DIM), clouds)

    def test_of_cpt_are_the_rows_in_front_of_the_input(self):
        model = cpt_model()
        clouds = virtual_tokens(model)
        assert clouds.shape == (N, DIM)
        torch.testing.assert_close(clouds, model.get_prompt(batch_size=1)[0])
        table = model.get_input_embeddings().weight
        assert torch.equal(clouds[4:], table[[7, 8]])  # labels are kept

    @pytest.mark.skipif(not hasattr(peft, "CartridgeConfig"), reason="this PEFT has no cartridges")
    @pytest.mark.parametrize("frozen", [0, 2])
    def test_of_a_cartridge_are_each_layers_key_and_value(self, frozen):
        model = cartridge_model(frozen)
        clouds, cache = virtual_tokens(model), model.get_prompt(batch_size=1)
        assert len(clouds) == len(cache.layers) == LAYERS
        for cloud, layer in zip(clouds, cache.layers, strict=True):
            parts = [x[0].transpose(0, 1).flatten(1) for x in (layer.keys, layer.values)]
            torch.testing.assert_close(cloud, torch.cat(parts, dim=1))

    @pytest.mark.skipif(not hasattr(peft, "CartridgeConfig"), reason="this PEFT has no cartridges")
    def test_a_cartridge_is_scaled_as_its_cross_entropy_is(self):
        model, inputs = cartridge_model(), batch()
        inputs["labels"] = inputs["input_ids"]
        scaled = {**inputs, "num_items_in_batch": torch.tensor(50)}
        factor = model(**scaled).loss / model(**inputs).loss
        assert factor.item() == pytest.approx(18 / 50)
        add_tsloss(model, tsl.TSLoss(lambda_ts=10.0))
        torch.testing.assert_close(model(**scaled).loss, factor * model(**inputs).loss)

    def test_of_cpt_counts_beside_its_loss_whatever_trainer_counts(self):
        """CPT's loss is a mean over the pass, so a share of the step would make TSLoss small."""
        model, inputs = cpt_model(), batch()
        ts_loss = tsl.TSLoss(lambda_ts=5.0)
        counted = {**inputs, "num_items_in_batch": torch.tensor(50)}
        ce = model(**inputs).loss
        torch.testing.assert_close(model(**counted).loss, ce)
        add_tsloss(model, ts_loss)
        torch.testing.assert_close(model(**counted).loss, ce + ts_loss(virtual_tokens(model)))

    def test_prompts_inside_of_attention_get_a_word(self):
        config = peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=4, adapter_layers=1)
        model = peft.get_peft_model(tiny_model(), config)
        with pytest.raises(
            ValueError, match="ADAPTION_PROMPT and has its prompts inside of the at"
        ):
            add_tsloss(model, tsl.TSLoss())
        assert [n for n, _ in model.named_parameters() if n.endswith("adaption_prompt")]


class TestErrors:
    @pytest.mark.parametrize("function", [lambda m: add_tsloss(m, tsl.TSLoss()), virtual_tokens])
    def test_models_without_virtual_tokens(self, function):
        lora = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
        with pytest.raises(ValueError, match=r"expected one with virtual tokens.*which is LORA"):
            function(peft.get_peft_model(tiny_model(), lora))
        with pytest.raises(TypeError, match=r"expected a peft\.PeftModel, got LlamaForCausalLM"):
            function(tiny_model())
        with pytest.raises(TypeError, match="before anything wraps it"):
            function(torch.nn.DataParallel(peft_model()))

    def test_wrong_arguments(self):
        model = peft_model()
        with pytest.raises(ValueError, match=r"adapter: expected one of \['default'\], got 'a'"):
            add_tsloss(model, tsl.TSLoss(), adapter="a")
        with pytest.raises(TypeError, match=r"ts_loss: expected an nn\.Module, got function"):
            add_tsloss(model, lambda prompt: 0)
        with pytest.raises(ValueError, match="ts_loss: expected reduction='mean', got 'none'"):
            add_tsloss(model, tsl.TSLoss(reduction="none"))

    def test_an_adapter_that_is_no_name(self):
        with pytest.raises(TypeError, match=r"adapter: expected a str or None, got list"):
            add_tsloss(peft_model(), tsl.TSLoss(), adapter=["default"])

    def test_a_model_that_ignores_its_virtual_tokens(self):
        """Without a task type PEFT trains a prompt that no pass ever uses."""
        config = peft.PromptTuningConfig(num_virtual_tokens=N)
        model = peft.PeftModel(tiny_model(), config)
        add_tsloss(model, tsl.TSLoss())
        with pytest.raises(RuntimeError, match="expected a forward pass that uses the virtual tok"):
            model(**batch())

    def test_a_prompt_that_is_not_finite(self):
        model = peft_model()
        add_tsloss(model, tsl.TSLoss())
        with torch.no_grad():
            model.prompt_encoder["default"].embedding.weight[2, 3] = torch.nan
        with pytest.raises(ValueError, match="prompt"):
            model(**batch())

    def test_import_without_peft(self):
        code = """
            import sys
            sys.modules["peft"] = None
            import tsloss_fast.integrations
            try:
                import tsloss_fast.prompt.peft
            except ImportError as error:
                print(error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
        )
        assert "needs peft, which is not installed" in done.stdout, done.stderr
        assert "pip install 'tsloss-fast[peft]'" in done.stdout


class Rows(torch.utils.data.Dataset):
    """The examples of one batch, for Trainer."""

    def __init__(self, size=8):
        self.inputs = batch(size)

    def __len__(self):
        return len(self.inputs["labels"])

    def __getitem__(self, index):
        return {name: value[index] for name, value in self.inputs.items()}


def trainer(model, path, steps=1, lr=0.1, kind=transformers.Trainer, **changes):
    """SGD without anything that would change the gradient, so that a step shows it."""
    settings = {
        "per_device_train_batch_size": 8,
        "max_steps": steps,
        "learning_rate": lr,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "weight_decay": 0.0,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
    }
    callback_names = ("compute_loss_func", "eval_dataset", "callbacks")
    own = {name: changes.pop(name) for name in callback_names if name in changes}
    arguments = transformers.TrainingArguments(str(path), **(settings | changes))
    return kind(model, arguments, train_dataset=Rows(), **own)


def step_of(running, lr=0.1):
    """What one optimizer step of a trainer takes for the gradient."""
    before = {name: p.detach().clone() for name, p in trained(running.model).items()}
    running.train()
    return {name: (before[name] - p.detach()) / lr for name, p in trained(running.model).items()}


def moved(model, path, lr=0.1, **changes):
    return step_of(trainer(model, path, lr=lr, **changes), lr)


class TestTrainer:
    @pytest.mark.parametrize("micro", [1, 2, 8])
    @pytest.mark.parametrize("kind", ["prompt", "p-mlp", "prefix"])
    def test_accumulated_gradient_is_that_of_one_step(self, kind, micro, tmp_path):
        changes = {
            "per_device_train_batch_size": 8 // micro,
            "gradient_accumulation_steps": micro,
        }
        plain, model = peft_model(kind), peft_model(kind)
        ts_loss = tsl.TSLoss(lambda_ts=5.0)
        expected = gradients(model, ts_loss(virtual_tokens(model)))
        add_tsloss(model, ts_loss)
        without = moved(plain, tmp_path, **changes)
        with_ts = moved(model, tmp_path, **changes)
        scale = max(grad.abs().max().item() for grad in expected.values())
        assert scale > 1e-2
        got = {name: with_ts[name] - without[name] for name in expected}
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * scale)

    def test_a_loop_that_divides_needs_nothing_else(self):
        from accelerate import Accelerator

        inputs = batch(size=4)
        ts_loss = tsl.TSLoss(lambda_ts=5.0)
        model = peft_model()
        weight = model.prompt_encoder["default"].embedding.weight
        (expected,) = torch.autograd.grad(ts_loss(weight), weight)
        grads = []
        for add in (False, True):
            model.zero_grad()
            if add:
                add_tsloss(model, ts_loss)
            accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
            prepared = accelerator.prepare(model)
            for half in (slice(0, 2), slice(2, 4)):
                with accelerator.accumulate(prepared):
                    loss = prepared(**{name: x[half] for name, x in inputs.items()}).loss
                    accelerator.backward(loss)
            grads.append(weight.grad.clone())
        torch.testing.assert_close(grads[1] - grads[0], expected, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("kind", ["prompt", "prefix"])
    def test_resumed_from_a_checkpoint_goes_on_to_the_same_tokens(self, kind, tmp_path):
        changes = {"save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "lr": 0.02}
        model, resumed = peft_model(kind), peft_model(kind)
        for each in (model, resumed):
            add_tsloss(each, tsl.TSLoss(lambda_ts=5.0))
        start = virtual_tokens(model).detach()
        trainer(model, tmp_path, steps=4, **changes).train()
        checkpoint = str(tmp_path / "checkpoint-2")
        trainer(resumed, tmp_path, steps=4, **changes).train(resume_from_checkpoint=checkpoint)
        torch.testing.assert_close(virtual_tokens(resumed), virtual_tokens(model))
        assert (virtual_tokens(model) - start).abs().mean() > 0.01

    def test_eval_loss_is_the_cross_entropy(self, tmp_path):
        model = peft_model()
        with torch.no_grad():
            expected = model(**batch(8)).loss.item()
        add_tsloss(model, tsl.TSLoss(lambda_ts=100.0))
        metrics = trainer(model, tmp_path, eval_dataset=Rows()).evaluate()
        assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)

    def test_losses_outside_of_the_model_are_refused(self, tmp_path):
        model = peft_model()
        add_tsloss(model, tsl.TSLoss())
        with pytest.raises(ValueError, match="label_smoothing_factor"):
            trainer(model, tmp_path, label_smoothing_factor=0.1).train()
        with pytest.raises(ValueError, match="compute_loss_func"):
            trainer(model, tmp_path, compute_loss_func=lambda *args, **kwargs: None).train()

    def test_a_loss_of_ones_own_takes_virtual_tokens(self, tmp_path):
        model, other = peft_model(), peft_model()

        def own_loss(outputs, labels, num_items_in_batch):
            logits = outputs.logits[:, N:-1].flatten(0, 1)
            ce = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten())
            return ce + tsl.TSLoss()(virtual_tokens(model))

        add_tsloss(other, tsl.TSLoss())
        expected = moved(other, tmp_path)
        torch.testing.assert_close(
            moved(model, tmp_path, compute_loss_func=own_loss), expected, rtol=1e-3, atol=1e-4
        )

    def test_gradient_checkpointing_changes_nothing(self, tmp_path):
        ordinary, saving = peft_model(), peft_model()
        add_tsloss(ordinary, tsl.TSLoss())
        add_tsloss(saving, tsl.TSLoss())
        expected = moved(ordinary, tmp_path)
        calls = []
        saving.base_model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
        got = moved(saving, tmp_path, gradient_checkpointing=True)
        assert len(calls) == 2  # the layer ran again for the backward pass
        torch.testing.assert_close(got, expected)


def own_cross_entropy(outputs, labels, num_items_in_batch=None):
    """As a trainer that drops outputs.loss may have it: from the logits, summed over targets."""
    logits = outputs.logits[:, -labels.shape[1] : -1].flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
    return total / (
        (labels[:, 1:] != -100).sum() if num_items_in_batch is None else num_items_in_batch
    )


class OwnLoss(transformers.Trainer):
    """Builds its loss from the logits, although the model gets the labels."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = own_cross_entropy(outputs, inputs["labels"], num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class DividedByTrainer(OwnLoss):
    """Whose loss Trainer divides by the number of micro-batches."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs, return_outputs)


class TwoPasses(OwnLoss):
    """As trainers that compare two answers may have it."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        first, second = model(**inputs), model(**inputs)
        return own_cross_entropy(first, inputs["labels"], num_items_in_batch) + own_cross_entropy(
            second, inputs["labels"], num_items_in_batch
        )


class TestLossBuiltElsewhere:
    """Trainers that drop outputs.loss, where TSLoss was shown but never trained."""

    LAMBDA = 100.0

    def models(self, kind="prompt"):
        """Without TSLoss and with it, and the step that TSLoss has to add."""
        model = peft_model(kind)
        ts_loss = tsl.TSLoss(lambda_ts=self.LAMBDA)
        expected = gradients(model, ts_loss(virtual_tokens(model)))
        return peft_model(kind), model, add_tsloss(model, ts_loss), expected

    def check(self, kind, path, adapter="prompt", **changes):
        plain, model, handle, expected = self.models(adapter)
        without = step_of(trainer(plain, path, kind=kind, **changes))
        running = trainer(model, path, kind=kind, **changes)
        handle.attach(running)
        with_ts = step_of(running)
        got = {name: with_ts[name] - without[name] for name in expected}
        scale = max(grad.abs().max().item() for grad in expected.values())
        assert scale > 1
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * scale)

    def test_the_first_step_says_what_to_write(self, tmp_path):
        _, model, _, _ = self.models()
        before = virtual_tokens(model).detach().clone()
        with pytest.raises(
            RuntimeError, match=r"ts_loss: expected in the loss .*attach\(trainer\)"
        ):
            trainer(model, tmp_path, kind=OwnLoss).train()
        assert torch.equal(virtual_tokens(model), before)

    @pytest.mark.parametrize("given", [True, False], ids=["with labels", "without"])
    def test_so_does_a_loop_of_ones_own(self, given):
        _, model, _, _ = self.models()
        inputs = batch()
        labels = inputs["labels"] if given else inputs.pop("labels")
        loss = own_cross_entropy(model(**inputs), labels)
        with pytest.raises(RuntimeError, match="ts_loss: expected in the loss"):
            loss.backward()

    def test_a_second_pass_beside_outputs_loss_is_no_mistake(self):
        plain, model, _, expected = self.models()
        inputs = batch()

        def loss(model):
            labels = inputs["labels"]
            first, second = model(**inputs), model(input_ids=inputs["input_ids"])
            return first.loss + own_cross_entropy(second, labels)

        without, with_ts = gradients(plain, loss(plain)), gradients(model, loss(model))
        got = {name: with_ts[name] - without[name] for name in expected}
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)

    def test_frozen_virtual_tokens_have_none_to_train(self):
        """As under another adapter that alone is trained: nothing is dropped."""
        plain, model, _, _ = self.models()
        for each in (plain, model):
            each.prompt_encoder["default"].embedding.weight.requires_grad_(False)
            each.get_input_embeddings().weight.requires_grad_()
        ts = tsl.TSLoss(lambda_ts=self.LAMBDA)(virtual_tokens(model))
        torch.testing.assert_close(model(**batch()).loss, plain(**batch()).loss + ts)
        own_cross_entropy(model(**batch()), batch()["labels"]).backward()

    def test_one_virtual_token_has_no_tsloss_to_drop(self):
        model = peft_model(num_virtual_tokens=1)
        add_tsloss(model, tsl.TSLoss())
        model(**batch()).loss.backward()
        assert model.prompt_encoder["default"].embedding.weight.grad.abs().max() > 0

    @pytest.mark.parametrize("micro", [1, 2, 8])
    @pytest.mark.parametrize("kind", [transformers.Trainer, OwnLoss, DividedByTrainer, TwoPasses])
    def test_an_attached_trainer_takes_the_step_of_tsloss(self, kind, micro, tmp_path):
        self.check(
            kind,
            tmp_path,
            per_device_train_batch_size=8 // micro,
            gradient_accumulation_steps=micro,
        )

    @pytest.mark.parametrize("adapter", ["p-mlp", "prefix"])
    def test_for_other_virtual_tokens(self, adapter, tmp_path):
        self.check(OwnLoss, tmp_path, adapter)

    def test_in_the_last_step_of_an_epoch_with_fewer_micro_batches(self, tmp_path):
        self.check(OwnLoss, tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=5)

    @pytest.mark.parametrize(
        ("adapter", "change"),
        [
            # Trainer's label smoothing knows of no logits in front of the input's.
            ("prefix", {"label_smoothing_factor": 0.1}),
            ("prompt", {"compute_loss_func": own_cross_entropy}),
        ],
        ids=["label_smoothing_factor", "compute_loss_func"],
    )
    def test_losses_outside_of_the_model(self, adapter, change, tmp_path):
        self.check(transformers.Trainer, tmp_path, adapter, **change)

    def test_under_a_gradient_scaler(self, tmp_path):
        scales = []

        class Scaled(OwnLoss):
            def create_accelerator_and_postprocess(self):
                super().create_accelerator_and_postprocess()
                self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

            def training_step(self, *args, **kwargs):
                loss = super().training_step(*args, **kwargs)
                scales.append(self.accelerator.scaler.get_scale())
                return loss

        self.check(Scaled, tmp_path)
        assert scales == [1024.0, 1024.0]

    def test_the_loss_that_is_logged_is_that_of_outputs_loss(self, tmp_path):
        logged = []
        for attached in (False, True):
            _, model, handle, _ = self.models()
            running = trainer(
                model, tmp_path, steps=3, logging_strategy="steps", logging_steps=1,
                per_device_train_batch_size=4, gradient_accumulation_steps=2,
            )  # fmt: skip
            if attached:
                handle.attach(running)
            running.train()
            logged.append([entry["loss"] for entry in running.state.log_history[:3]])
        assert logged[1] == pytest.approx(logged[0], rel=1e-5)

    def test_log_history_and_tensorboard_have_tsloss(self, tmp_path):
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        _, model, handle, _ = self.models()
        running = trainer(
            model, tmp_path, steps=4, logging_strategy="steps", logging_steps=2,
            eval_dataset=Rows(), report_to="tensorboard",
        )  # fmt: skip
        assert handle.attach(running) is handle
        seen = []

        class Seen(transformers.TrainerCallback):
            def on_step_end(self, *args, **kwargs):
                seen.append({"loss": handle.loss, **handle.terms})

        running.add_callback(Seen())
        running.train()
        assert "ts_loss" not in running.evaluate()
        training = [entry for entry in running.state.log_history if "loss" in entry]
        assert [entry["step"] for entry in training] == [2, 4]
        for index, entry in enumerate(training):
            for name in ("loss", "h0", "h1"):
                mean = sum(values[name].item() for values in seen[2 * index : 2 * index + 2]) / 2
                assert entry[f"ts_{name}"] == pytest.approx(mean)
        (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
        events = reader.EventAccumulator(str(folder)).Reload()
        for name in ("ts_loss", "ts_h0", "ts_h1"):
            values = [event.value for event in events.Scalars(f"train/{name}")]
            assert values == pytest.approx([entry[name] for entry in training])

    def test_eval_loss_stays_the_cross_entropy(self, tmp_path):
        model, handle = self.models()[1:3]
        running = trainer(model, tmp_path, eval_dataset=Rows())
        with torch.no_grad():
            expected = model(**batch(8)).loss.item()
        handle.attach(running)
        assert running.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)

    def test_removed_leaves_the_trainer_as_it_was(self, tmp_path):
        model, handle = self.models()[1:3]
        first, second = trainer(model, tmp_path), trainer(model, tmp_path)
        parts = [part for each in (first, second) for part in (each, each.accelerator)]
        names = {"training_step", "log", "backward"}
        wrapped = []
        for running in (first, second):
            handle.attach(running)
            wrapped.append([bool(names & set(vars(part))) for part in parts])
        assert wrapped == [[True, True, False, False], [False, False, True, True]]
        handle.remove()
        assert not any(names & set(vars(part)) for part in parts)
        step_of(first)

    def test_a_step_that_raised_leaves_nothing(self, tmp_path):
        class Failing(OwnLoss):
            fails = True

            def compute_loss(self, *args, **kwargs):
                loss = super().compute_loss(*args, **kwargs)
                if self.fails:
                    raise RuntimeError("in the middle")
                return loss

        plain, model, handle, expected = self.models()
        without = step_of(trainer(plain, tmp_path, kind=OwnLoss))
        running = trainer(model, tmp_path, kind=Failing)
        handle.attach(running)
        with pytest.raises(RuntimeError, match="in the middle"):
            running.train()
        running.fails = False
        with_ts = step_of(running)
        got = {name: with_ts[name] - without[name] for name in expected}
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)

    def test_something_else_is_refused(self, tmp_path):
        plain, model, handle, _ = self.models()
        with pytest.raises(ValueError, match="trainer: expected one that trains the model"):
            handle.attach(trainer(plain, tmp_path))
        with pytest.raises(
            TypeError, match=r"trainer: expected a transformers\.Trainer.*, got Namesp"
        ):
            handle.attach(argparse.Namespace(model=model))
        with pytest.raises(
            TypeError, match=r"trainer: expected a transformers\.Trainer.*, got int"
        ):
            handle.attach(3)


@pytest.mark.parametrize("kind", ["prompt", "p-mlp"])
def test_generation_without_a_cache_is_that_of_the_forward_pass(kind):
    """As the docs advise, for PEFT 0.21 with transformers 5.24 decodes otherwise with a cache."""
    model = peft_model(kind).eval()
    ids = batch()["input_ids"]
    decoded = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, min_new_tokens=5,
        do_sample=False, use_cache=False, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    for step, logits in enumerate(decoded.logits):
        so_far = decoded.sequences[:, : ids.shape[1] + step]
        forward = model(input_ids=so_far, attention_mask=torch.ones_like(so_far)).logits[:, -1]
        torch.testing.assert_close(logits, forward)


def test_accelerates_half_precision_loses_nothing(request):
    """Accelerate maps over the outputs, which keeps their items and no other attributes."""
    state = accelerate.state.AcceleratorState
    state._reset_state(reset_partial_state=True)
    request.addfinalizer(lambda: state._reset_state(reset_partial_state=True))
    ts_loss = tsl.TSLoss(lambda_ts=5.0)
    model, plain = peft_model(), peft_model()
    handle = add_tsloss(model, ts_loss)
    inputs = batch()
    losses = []
    for each in (plain, model):
        prepared = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare(each)
        losses.append(prepared(**inputs).loss)
    ts = ts_loss(virtual_tokens(model)).detach()
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1] - losses[0], ts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(handle.loss, ts)
    assert set(handle.terms) == {"h0", "h1"}
    mapped = torch.utils._pytree.tree_map(lambda x: x, model(**inputs))
    torch.testing.assert_close(mapped.loss.float(), losses[1])


# PEFT's prefix compares versions at each call.
IN_FORWARD = pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.13", reason="torch 2.8 fails inside packaging.version"
)


@pytest.mark.parametrize("kind", ["prompt", pytest.param("prefix", marks=IN_FORWARD)])
def test_compiled_models(kind):
    model, inputs = peft_model(kind), batch()
    add_tsloss(model, tsl.TSLoss())
    loss = model(**inputs).loss
    expected = gradients(model, loss)
    compiled = torch.compile(model, backend="aot_eager")
    got = compiled(**inputs).loss
    torch.testing.assert_close(got, loss)
    torch.testing.assert_close(gradients(model, got), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def smollm2():
    source = models.find_model(models.DEFAULT_MODEL)
    return models.load_model(source), models.load_tokenizer(source)


@pytest.mark.parametrize("kind", ["prompt", "prefix", "p-mlp"])
def test_smollm2(kind, smollm2, tmp_path):
    base, tokenizer = smollm2
    torch.set_num_threads(2)
    config = CONFIGS[kind]()
    config.num_virtual_tokens = 20
    torch.manual_seed(0)
    model = peft.get_peft_model(base, config).train()
    inputs = tokenizer("Which is larger, 47 or 82? It is 82.", return_tensors="pt")
    inputs["labels"] = inputs["input_ids"]
    with torch.no_grad():
        ce = model(**inputs).loss
    with add_tsloss(model, tsl.TSLoss()) as handle:
        loss = model(**inputs).loss
    ts = tsl.TSLoss()(virtual_tokens(model))
    assert ts > 1e-3
    torch.testing.assert_close(loss, ce + ts)
    torch.testing.assert_close(handle.loss, ts.detach())
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in trained(model).values())
    layers, heads = base.config.num_hidden_layers, base.config.num_key_value_heads
    shapes = {"prefix": (layers, 20, 2 * heads * base.config.head_dim)}
    assert virtual_tokens(model).shape == shapes.get(kind, (20, base.config.hidden_size))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(virtual_tokens(loaded), virtual_tokens(model))
