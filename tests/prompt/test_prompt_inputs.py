"""What PromptTunedLM is given beside tokens, and the form of what it gives back."""

import pickle

import pytest
import torch
from tiny_architectures import tiny_architecture
from tiny_lm import DIM, WORDS, tiny_model
from torch.utils import _pytree as pytree

from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

N = 5
IDS = torch.tensor([[5, 9, 7, 12, 6, 3], [8, 11, 6, 4, 2, 2]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
LEFT = torch.tensor([[5, 9, 7, 12, 6, 3], [2, 2, 8, 11, 6, 4]])


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def prompted(model=None, ts_loss=None, **options):
    generator = torch.Generator().manual_seed(0)
    prompt = SoftPrompt(N, DIM, std=0.5, generator=generator)
    return PromptTunedLM(tiny_model() if model is None else model, prompt, ts_loss, **options)


def headless():
    return tiny_model().model


class TestColumns:
    @pytest.mark.parametrize("kind", ["llama", "gpt2"])
    def test_position_ids_count_on_from_the_prompt(self, kind):
        lm = prompted(tiny_architecture(kind))
        positions = torch.arange(6).expand(2, -1)
        torch.testing.assert_close(lm(IDS, position_ids=positions).logits, lm(IDS).logits)
        torch.testing.assert_close(lm(IDS, position_ids=positions[:1]).logits, lm(IDS).logits)
        other = lm(IDS, position_ids=2 * positions).logits
        assert not torch.allclose(other[:, N:], lm(IDS).logits[:, N:], atol=1e-3)
        torch.testing.assert_close(other[:, :N], lm(IDS).logits[:, :N])

    def test_position_ids_move_with_padding(self):
        lm = prompted()
        positions = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]])
        mask = MASK.flip(1)
        columns = torch.cat((torch.ones(2, N), mask), dim=1).bool()
        got = lm(LEFT, mask, position_ids=positions).logits[columns]
        torch.testing.assert_close(got, lm(LEFT, mask).logits[columns])

    def test_token_type_ids_are_those_of_the_text(self):
        model = tiny_architecture("gpt2")
        lm, types = prompted(model), torch.tensor([[3, 3, 4, 4, 4, 4]]).expand(2, -1)
        rows = lm.soft_prompt.weight.expand(2, -1, -1)
        embeds = torch.cat((rows, model.get_input_embeddings()(IDS)), dim=1)
        whole = torch.cat((torch.zeros(2, N, dtype=torch.int64), types), dim=1)
        expected = model(inputs_embeds=embeds, token_type_ids=whole).logits
        torch.testing.assert_close(lm(IDS, token_type_ids=types).logits, expected)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (
                {"position_ids": torch.arange(11).expand(2, -1)},
                r"position_ids: expected the shape of input_ids \(2, 6\), got \(2, 11\)",
            ),
            (
                {"token_type_ids": torch.zeros_like(IDS)},
                "token_type_ids: expected none, for LlamaForCausalLM takes none, got some",
            ),
            (
                {"inputs_embeds": torch.zeros(2, 6, DIM)},
                "inputs_embeds: expected input_ids alone, got inputs_embeds as well",
            ),
        ],
    )
    def test_wrong_columns(self, given, words):
        with pytest.raises(ValueError, match=words):
            prompted()(IDS, **given)

    @pytest.mark.parametrize("keep", [1, 3, torch.tensor([0, 6, 10])])
    @pytest.mark.parametrize(("ids", "mask"), [(IDS, MASK), (LEFT, MASK.flip(1)), (IDS, None)])
    def test_logits_to_keep_counts_in_the_order_of_the_input(self, ids, mask, keep):
        lm = prompted()
        whole = lm(ids, mask).logits
        expected = whole[:, keep] if isinstance(keep, torch.Tensor) else whole[:, -keep:]
        kept = lm(ids, mask, logits_to_keep=keep).logits
        torch.testing.assert_close(kept, expected)

    def test_attentions_come_in_the_order_of_the_input(self):
        lm = prompted(tiny_model(attn_implementation="eager"))
        mask = MASK.flip(1)
        got = lm(LEFT, mask, output_attentions=True).attentions
        alone = lm(LEFT[1:, 2:], output_attentions=True).attentions
        columns = torch.cat((torch.ones(N), mask[1])).bool()
        for layer, expected in zip(got, alone, strict=True):
            torch.testing.assert_close(layer[1][:, columns][:, :, columns], expected[0])


class TestCaches:
    @torch.no_grad()
    def test_cache_that_is_empty_gets_the_prompt(self):
        from transformers import DynamicCache

        lm = prompted()
        cache = DynamicCache()
        out = lm(IDS, past_key_values=cache, use_cache=True)
        assert cache.get_seq_length() == N + IDS.shape[1]
        torch.testing.assert_close(out.logits, lm(IDS).logits)

    @torch.no_grad()
    def test_several_tokens_at_once_and_no_mask(self):
        lm = prompted()
        cache = lm(IDS[:1, :2], use_cache=True).past_key_values
        rest = lm(IDS[:1, 2:], past_key_values=cache, use_cache=True).logits
        torch.testing.assert_close(rest, lm(IDS[:1]).logits[:, N + 2 :])

    @torch.no_grad()
    def test_wrong_arguments(self):
        lm = prompted()
        cache = lm(IDS, use_cache=True).past_key_values
        with pytest.raises(ValueError, match="attention_mask: expected the mask of all text"):
            lm(IDS[:, :1], MASK[:, :1], past_key_values=cache)
        with pytest.raises(ValueError, match="labels: expected none beside a cache"):
            lm(IDS[:, :1], labels=IDS[:, :1], past_key_values=cache)


class TestLengths:
    def generated(self, lm, **options):
        return lm.generate(IDS[:1, :4], do_sample=False, **options).shape[1]

    def test_max_length_counts_the_text_as_without_a_prompt(self):
        lm = prompted(tiny_model(eos_token_id=None))
        plain = lm.model.generate(IDS[:1, :4], do_sample=False, max_length=13).shape[1] - 4
        assert plain == 9
        assert self.generated(lm, max_length=13) == plain

    def test_max_length_of_a_generation_config(self):
        from transformers import GenerationConfig

        lm = prompted(tiny_model(eos_token_id=None))
        assert self.generated(lm, generation_config=GenerationConfig(max_length=13)) == 9
        lm.model.generation_config.max_length = 13
        assert self.generated(lm) == 9

    def test_max_new_tokens_goes_first(self):
        lm = prompted(tiny_model(eos_token_id=None))
        assert self.generated(lm, max_new_tokens=3) == 3
        assert self.generated(lm, max_new_tokens=3, max_length=13) == 3

    def test_min_length_counts_the_text(self):
        lm = prompted()
        ends = torch.arange(3, len(WORDS)).tolist()
        new = lm.generate(
            IDS[:1, :4], do_sample=False, min_length=9, max_length=20, eos_token_id=ends
        )
        plain = lm.model.generate(
            IDS[:1, :4], do_sample=False, min_length=9, max_length=20, eos_token_id=ends
        )
        # Every word ends a text, so that one more token follows the shortest.
        assert new.shape[1] == plain.shape[1] - 4


class TestForms:
    def test_return_dict_false_gives_the_models_tuple(self):
        lm = prompted(ts_loss=TSLoss())
        out = lm(IDS, labels=IDS)
        loss, logits = lm(IDS, labels=IDS, return_dict=False)
        assert torch.equal(loss, out.loss)
        assert torch.equal(logits, out.logits)
        (logits,) = lm(LEFT, MASK.flip(1), return_dict=False)
        assert torch.equal(logits, lm(LEFT, MASK.flip(1)).logits)

    def test_headless_model_gives_hidden_states_in_order(self):
        lm = prompted(headless())
        mask = MASK.flip(1)
        got = lm(LEFT, mask).last_hidden_state
        columns = torch.cat((torch.ones(N), mask[1])).bool()
        torch.testing.assert_close(got[1, columns], lm(LEFT[1:, 2:]).last_hidden_state[0])

    def test_headless_model_has_no_loss_and_generates_nothing(self):
        lm = prompted(headless())
        with pytest.raises(ValueError, match="labels: expected a model that computes a loss"):
            lm(IDS, labels=IDS)
        with pytest.raises(TypeError, match="model: expected one that generates"):
            lm.generate(IDS)

    def test_parts_of_the_loss_survive_a_pytree_map_and_a_pickle(self):
        out = prompted(ts_loss=TSLoss())(IDS, labels=IDS)
        detached = pytree.tree_map(torch.Tensor.detach, out)
        again = pickle.loads(pickle.dumps(detached))
        for copy in (detached, again):
            assert type(copy) is type(out)
            assert copy.ts_loss.item() == out.ts_loss.item() == copy["ts_loss"].item()
            assert copy.ce_loss.item() == out.ce_loss.item()
            assert copy.ts_terms.keys() == out.ts_terms.keys() == {"h0", "h1"}
        assert isinstance(out, type(prompted()(IDS)))

    @torch.no_grad()
    def test_without_gradients_the_loss_is_the_cross_entropy(self):
        with_loss, without = prompted(ts_loss=TSLoss(lambda_ts=1e3)), prompted()
        out = with_loss(IDS, labels=IDS)
        assert torch.equal(out.loss, without(IDS, labels=IDS).loss)
        assert out.ts_loss.item() == 0
        assert out.ts_terms == {}


class TestCompile:
    """Compiled without code generation, which is what torch does after what is tested here."""

    @pytest.fixture(autouse=True)
    def _fresh(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    def steps(self, lm, call):
        """Losses, norms and prompt of three steps."""
        seen = []
        for _ in range(3):
            lm.zero_grad()
            out = call(IDS, labels=IDS)
            out.loss.backward()
            norms = {name: norm.item() for name, norm in lm.grad_norms.items()}
            seen.append({"loss": out.loss.item(), "ts": out.ts_loss.item()} | norms)
            with torch.no_grad():
                lm.soft_prompt.weight -= 0.1 * lm.soft_prompt.weight.grad
        return seen, lm.soft_prompt.weight.detach()

    def test_in_one_graph(self):
        lm, eager = prompted(ts_loss=TSLoss()), prompted(ts_loss=TSLoss())
        compiled = torch.compile(lm, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(self.steps(lm, compiled), self.steps(eager, eager))

    @pytest.mark.parametrize("options", [{"balance": 0.5}, {"log_grad_norms": True}])
    @pytest.mark.parametrize("what", ["module", "model"])
    def test_norms(self, what, options):
        lm, eager = prompted(ts_loss=TSLoss(), **options), prompted(ts_loss=TSLoss(), **options)
        if what == "model":
            lm.model.compile(backend="aot_eager")
        call = lm if what == "model" else torch.compile(lm, backend="aot_eager")
        seen, prompt = self.steps(lm, call)
        expected, expected_prompt = self.steps(eager, eager)
        assert "ce" in seen[0]
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(prompt, expected_prompt)
