"""PromptTunedLM around models that classify a whole sequence."""

import pytest
import torch
import transformers as tf
from tiny_architectures import NAMES, tiny_architecture
from tiny_lm import DIM, WORDS, tiny_model

from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

N, CLASSES = 5, 3
LONG, SHORT = [5, 9, 7, 12, 6, 3, 14, 8, 11], [8, 11, 6]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
BERT = {"hidden_size": DIM, "intermediate_size": 24, "num_hidden_layers": 2}
BERT |= {"num_attention_heads": 2, "initializer_range": 0.5}
ENCODERS = {
    "bert": (tf.BertForSequenceClassification, tf.BertConfig, BERT),
    "roberta": (
        tf.RobertaForSequenceClassification,
        tf.RobertaConfig,
        BERT | {"max_position_embeddings": 64},
    ),
    "distilbert": (
        tf.DistilBertForSequenceClassification,
        tf.DistilBertConfig,
        {"dim": DIM, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "initializer_range": 0.5},
    ),
}
# The decoders that transformers has with a head for sequences.
DECODERS = tuple(name for name in NAMES if name not in ("mamba", "granite"))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def classifier(name, **changes):
    changes = {"num_labels": CLASSES, "pad_token_id": 0} | changes
    torch.manual_seed(0)
    if name in ENCODERS:
        model, config, shape = ENCODERS[name]
        return model(config(vocab_size=len(WORDS), **(shape | changes))).eval()
    config = tiny_architecture(name).config
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(0)
    return tf.AutoModelForSequenceClassification.from_config(config).eval()


def prompted(name, ts_loss=None, changes=None, **options):
    model = classifier(name, **(changes or {}))
    prompt = SoftPrompt(N, DIM, std=0.5, generator=torch.Generator().manual_seed(1))
    return PromptTunedLM(model, prompt, ts_loss, **options)


def batch(side):
    pad = [9] * (len(LONG) - len(SHORT))
    row = pad + SHORT if side == "left" else SHORT + pad
    mask = [0] * len(pad) + [1] * len(SHORT)
    return torch.tensor([LONG, row]), torch.tensor(
        [[1] * len(LONG), mask if side == "left" else mask[::-1]]
    )


@torch.no_grad()
@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_equals_the_hard_prompt(name):
    model, ids = classifier(name), [4, 7, 3]
    prompt = SoftPrompt(3, DIM, init="text", embedding=model, token_ids=ids)
    soft = PromptTunedLM(model, prompt)(torch.tensor([LONG])).logits
    assert soft.shape == (1, CLASSES)
    torch.testing.assert_close(soft, model(torch.tensor([ids + LONG])).logits, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_padding_changes_nothing(name, side):
    """A decoder looks at the last column, whatever stands in it; an encoder at the first."""
    lm = prompted(name)
    ids, mask = batch(side)
    out = lm(ids, mask, output_hidden_states=True)
    for row, text in enumerate((LONG, SHORT)):
        alone = lm(torch.tensor([text]), output_hidden_states=True)
        torch.testing.assert_close(out.logits[row], alone.logits[0], **CLOSE)
        columns = torch.cat((torch.ones(N), mask[row])).bool()
        torch.testing.assert_close(
            out.hidden_states[-1][row, columns], alone.hidden_states[-1][0], **CLOSE
        )


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
class TestLoss:
    def test_is_cross_entropy_and_tsloss(self, name):
        lm = prompted(name, TSLoss(lambda_ts=3.0))
        ids, mask = batch("right")
        labels = torch.tensor([2, 0])
        out = lm(ids, mask, labels)
        ce = torch.nn.functional.cross_entropy(out.logits, labels)
        torch.testing.assert_close(out.ce_loss, ce)
        torch.testing.assert_close(out.ts_loss, TSLoss(lambda_ts=3.0)(lm.soft_prompt.weight))
        torch.testing.assert_close(out.loss, out.ce_loss + out.ts_loss)
        with torch.no_grad():
            torch.testing.assert_close(lm(ids, mask, labels).loss, ce)

    def test_of_several_labels_and_of_a_number(self, name):
        ids, mask = batch("left")
        several = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
        lm = prompted(name, changes={"problem_type": "multi_label_classification"})
        out = lm(ids, mask, several)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(out.logits, several)
        torch.testing.assert_close(out.loss, expected)
        number = prompted(name, changes={"num_labels": 1})
        out = number(ids, mask, torch.tensor([0.5, -1.0]))
        assert out.logits.shape == (2, 1)
        error = out.logits[:, 0] - torch.tensor([0.5, -1.0])
        torch.testing.assert_close(out.loss, error.square().mean())

    def test_trains_prompt_and_head(self, name):
        lm = prompted(name, TSLoss())
        trained = {n for n, p in lm.named_parameters() if p.requires_grad}
        heads = {n for n in trained if n != "soft_prompt.weight"}
        assert heads
        assert all(n.startswith(("model.score", "model.classifier")) for n in heads)
        ids, mask = batch("right")
        optimizer = torch.optim.AdamW([p for p in lm.parameters() if p.requires_grad], lr=0.05)
        losses = []
        for _ in range(20):
            out = lm(ids, mask, torch.tensor([1, 2]))
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            losses.append(out.ce_loss.item())
        assert losses[-1] < 0.2 * losses[0]

    def test_leaves_the_head_if_asked(self, name):
        lm = prompted(name, train_head=False)
        assert [n for n, p in lm.named_parameters() if p.requires_grad] == ["soft_prompt.weight"]


def test_the_head_of_a_causal_model_stays_frozen():
    lm = PromptTunedLM(tiny_model(), SoftPrompt(N, DIM))
    assert [n for n, p in lm.named_parameters() if p.requires_grad] == ["soft_prompt.weight"]


def test_wrong_labels_and_generation():
    lm = prompted("llama")
    ids, mask = batch("right")
    with pytest.raises(
        ValueError, match=r"labels: expected one for each of 2 sequences, got \(3,\)"
    ):
        lm(ids, mask, torch.tensor([0, 1, 2]))
    with pytest.raises(TypeError, match="model: expected one that generates"):
        lm.generate(ids)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_trainer_counts_tsloss_once_in_a_step(accumulate, tmp_path):
    """Trainer divides a classifier's loss by the number of micro-batches, TSLoss included."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, len(WORDS), (8, 6), generator=generator)
    labels = torch.arange(8) % CLASSES
    expected = prompted("llama", TSLoss(lambda_ts=5.0))
    expected(ids, labels=labels).loss.backward()
    lm = prompted("llama", TSLoss(lambda_ts=5.0))
    before = lm.soft_prompt.weight.detach().clone()
    rows = [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]
    arguments = tf.TrainingArguments(
        str(tmp_path), max_steps=1, per_device_train_batch_size=8 // accumulate,
        gradient_accumulation_steps=accumulate, max_grad_norm=0.0,
        lr_scheduler_type="constant", use_cpu=True, report_to="none", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    optimizer = torch.optim.SGD([lm.soft_prompt.weight], lr=1.0)
    tf.Trainer(lm, arguments, train_dataset=rows, optimizers=(optimizer, None)).train()
    gradient = before - lm.soft_prompt.weight.detach()
    torch.testing.assert_close(gradient, expected.soft_prompt.weight.grad, rtol=1e-4, atol=1e-5)


class TestSaved:
    def trained(self, name):
        lm = prompted(name)
        with torch.no_grad():
            for parameter in lm.parameters():
                if parameter.requires_grad:
                    parameter.normal_()
        return lm

    @torch.no_grad()
    @pytest.mark.parametrize("name", ["llama", "bert"])
    def test_prompt_and_head_come_back(self, name, tmp_path):
        lm, ids = self.trained(name), torch.tensor([LONG])
        lm.save_pretrained(tmp_path)
        again = PromptTunedLM.from_pretrained(classifier(name), tmp_path)
        assert torch.equal(again(ids).logits, lm(ids).logits)
        with pytest.raises(ValueError, match="path: expected a model with the parameter "):
            PromptTunedLM.from_pretrained(tiny_model(), tmp_path)

    @torch.no_grad()
    @pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
    def test_peft_loads_it_and_the_other_way(self, name, tmp_path):
        peft = pytest.importorskip("peft")
        lm, ids = self.trained(name), torch.tensor([LONG])
        lm.save_pretrained(tmp_path / "ours")
        loaded = peft.PeftModel.from_pretrained(classifier(name), tmp_path / "ours").eval()
        torch.testing.assert_close(loaded(input_ids=ids).logits, lm(ids).logits)
        loaded.save_pretrained(tmp_path / "theirs")
        again = PromptTunedLM.from_pretrained(classifier(name), tmp_path / "theirs")
        torch.testing.assert_close(again(ids).logits, lm(ids).logits)
