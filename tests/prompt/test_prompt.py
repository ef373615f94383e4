"""SoftPrompt and PromptTunedLM, on a tiny random Llama."""

import pytest
import torch
from tiny_lm import DIM, WORDS, tiny_model

from tsloss_fast.losses.tsloss import TSLoss
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.prompt.balance import GradientBalance
from tsloss_fast.tuning.objectives import LOSSES, make_objective

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def _one_thread():
    """The tiny model is too small for two; conftest puts the count back."""
    torch.set_num_threads(1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def text(batch=3, length=7):
    ids = torch.randint(3, len(WORDS), (batch, length), generator=seeded(5))
    return ids, torch.ones_like(ids)


def labels_of(ids, mask):
    return ids.masked_fill(mask == 0, -100)


def prompted(n=5, ts_loss=None, model=None, std=0.5, **kwargs):
    return PromptTunedLM(
        tiny_model() if model is None else model,
        SoftPrompt(n, DIM, std=std, generator=seeded()),
        ts_loss,
        **kwargs,
    )


class TestSoftPrompt:
    def test_normal_has_the_papers_spread_and_is_seeded(self):
        prompt = SoftPrompt(50, 300, generator=seeded())
        assert prompt.weight.shape == (50, 300)
        assert prompt.weight.dtype == torch.float32
        assert prompt.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert prompt.weight.mean().abs().item() < 5e-4
        again = SoftPrompt(50, 300, generator=seeded())
        assert torch.equal(prompt.weight, again.weight)
        assert not torch.equal(prompt.weight, SoftPrompt(50, 300, generator=seeded(1)).weight)

    def test_vocab_takes_different_rows_of_the_table(self):
        table = torch.randn(30, 4)
        rows = SoftPrompt(30, 4, init="vocab", embedding=table, generator=seeded()).weight
        assert not torch.equal(rows, table)
        assert torch.equal(rows.sort(dim=0).values, table.sort(dim=0).values)

    def test_vocab_of_a_half_precision_table_is_float32(self):
        table = torch.randn(9, 4, dtype=torch.bfloat16)
        assert SoftPrompt(3, 4, init="vocab", embedding=table).weight.dtype == torch.float32

    @pytest.mark.parametrize(
        ("n", "ids", "expected"),
        [
            pytest.param(5, [3, 1], [3, 1, 3, 1, 3], id="repeated"),
            pytest.param(2, [3, 1, 2], [3, 1], id="cut"),
            pytest.param(4, [2], [2, 2, 2, 2], id="one-token"),
        ],
    )
    def test_text_is_repeated_or_cut(self, n, ids, expected):
        table = torch.randn(4, 3)
        prompt = SoftPrompt(n, 3, init="text", embedding=table, token_ids=ids)
        assert torch.equal(prompt.weight, table[expected])

    def test_tensor_is_copied(self):
        start = torch.randn(3, 4)
        prompt = SoftPrompt(3, 4, init=start)
        kept = start.clone()
        start.zero_()
        assert torch.equal(prompt.weight, kept)

    def test_table_is_copied(self):
        table = torch.randn(3, 4)
        prompt = SoftPrompt(3, 4, init="text", embedding=table, token_ids=[0, 1, 2])
        with torch.no_grad():
            prompt.weight.zero_()
        assert table.abs().min() > 0

    @pytest.mark.parametrize(
        ("kwargs", "error", "words"),
        [
            ({"n_tokens": 0}, ValueError, "n_tokens: expected at least 1, got 0"),
            ({"n_tokens": 2.0}, TypeError, "n_tokens: expected an int, got 2.0"),
            ({"dim": -1}, ValueError, "dim: expected at least 1, got -1"),
            ({"init": "zeros"}, ValueError, "init: expected one of"),
            ({"std": float("nan")}, ValueError, "std: expected a finite number >= 0, got nan"),
            ({"init": "vocab"}, ValueError, "embedding: expected the model's embedding table"),
            (
                {"init": "vocab", "embedding": torch.zeros(9, 3)},
                ValueError,
                r"embedding: expected shape \[V, 4\], got \(9, 3\)",
            ),
            (
                {"init": "vocab", "embedding": torch.zeros(2, 4)},
                ValueError,
                "n_tokens: expected at most 2",
            ),
            (
                {"init": "text", "embedding": torch.zeros(9, 4)},
                ValueError,
                "token_ids: expected at least one",
            ),
            (
                {"init": "text", "embedding": torch.zeros(9, 4), "token_ids": [9]},
                ValueError,
                r"token_ids: expected values in \[0, 9\), got 9 to 9",
            ),
            ({"init": torch.zeros(3, 5)}, ValueError, r"init: expected shape \[3, 4\]"),
            ({"init": torch.zeros(3, 4).long()}, TypeError, "init: expected a floating-point"),
            ({"init": torch.full((3, 4), torch.nan)}, ValueError, "init: expected finite values"),
        ],
    )
    def test_wrong_arguments(self, kwargs, error, words):
        with pytest.raises(error, match=words):
            SoftPrompt(**({"n_tokens": 3, "dim": 4} | kwargs))


class TestForward:
    def test_equals_the_model_on_concatenated_embeddings(self):
        lm = prompted()
        ids, _ = text()
        out = lm(ids, labels=ids)
        rows = lm.soft_prompt.weight.expand(3, -1, -1)
        embeds = torch.cat((rows, lm.model.get_input_embeddings()(ids)), dim=1)
        plain = lm.model(inputs_embeds=embeds).logits
        torch.testing.assert_close(out.logits, plain)
        expected = torch.nn.functional.cross_entropy(
            plain[:, 5:-1].flatten(0, 1), ids[:, 1:].ravel()
        )
        # The first text token is predicted too, from the prompt's last row.
        first = torch.nn.functional.cross_entropy(plain[:, 4], ids[:, 0])
        torch.testing.assert_close(out.loss, (expected * 18 + first * 3) / 21)

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding_changes_neither_loss_nor_gradient(self, side):
        lm = prompted(ts_loss=TSLoss())
        ids, mask = text(batch=1, length=6)
        plain = lm(ids, mask, labels_of(ids, mask))
        plain.loss.backward()
        expected = lm.soft_prompt.weight.grad.clone()
        lm.zero_grad()
        junk, none = torch.full((1, 4), 9), torch.zeros(1, 4, dtype=torch.int64)
        parts = [(junk, none), (ids, mask)] if side == "left" else [(ids, mask), (junk, none)]
        ids, mask = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        padded = lm(ids, mask, labels_of(ids, mask))
        padded.loss.backward()
        torch.testing.assert_close(padded.loss, plain.loss)
        columns = torch.cat((torch.ones(5), mask[0])).bool()
        torch.testing.assert_close(padded.logits[:, columns], plain.logits)
        torch.testing.assert_close(lm.soft_prompt.weight.grad, expected)

    def test_promised_padding_is_held_to(self):
        lm = PromptTunedLM(tiny_model(), SoftPrompt(5, DIM), padding_side="right")
        ids, mask = text(batch=2, length=6)
        mask[1, 4:] = 0
        free = PromptTunedLM(lm.model, lm.soft_prompt)
        assert torch.equal(lm(ids, mask, ids).loss, free(ids, mask, ids).loss)
        with pytest.raises(ValueError, match="attention_mask: expected padding on the right"):
            lm(ids, mask.flip(1), ids)
        with pytest.raises(ValueError, match="padding_side: expected one of None, 'right'"):
            PromptTunedLM(tiny_model(), SoftPrompt(5, DIM), padding_side="left")

    @pytest.mark.parametrize("name", LOSSES)
    def test_loss_is_the_sum_of_its_parts(self, name):
        objective = make_objective(name, 2.0)
        lm = prompted(ts_loss=objective)
        ids, mask = text()
        out = lm(ids, mask, ids)
        torch.testing.assert_close(out.loss, out.ce_loss + out.ts_loss)
        expected = 0.0 if objective is None else objective(lm.soft_prompt.weight).item()
        assert out.ts_loss.item() == pytest.approx(expected)
        assert (expected > 0) == (name != "ce")
        assert set(out.ts_terms) == ({"h0", "h1"} if name in ("tsloss", "surrogate") else set())
        assert not any(term.requires_grad for term in out.ts_terms.values())

    def test_tsloss_starts_before_the_model_and_is_taken_after_it(self, monkeypatch):
        lm, events = prompted(ts_loss=TSLoss()), []
        lm.model.register_forward_hook(lambda *_: events.append("model"))

        def told(name, call):
            return lambda *args, **kwargs: events.append(name) or call(*args, **kwargs)

        def start(self, prompt, began=TSLoss.start):
            pending = began(self, prompt)
            pending.result = told("result", pending.result)
            return pending

        monkeypatch.setattr(TSLoss, "start", told("start", start))
        ids, mask = text()
        lm(ids, mask, ids)
        assert events == ["start", "model", "result"]

    def test_only_the_prompt_is_trained(self):
        lm = prompted(ts_loss=TSLoss()).train()
        ids, mask = text()
        lm(ids, mask, ids).loss.backward()
        assert [name for name, p in lm.named_parameters() if p.requires_grad] == [
            "soft_prompt.weight"
        ]
        assert all(p.grad is None for p in lm.model.parameters())
        assert lm.soft_prompt.weight.grad.abs().sum() > 0
        assert not lm.model.training

    def test_without_labels_there_is_no_loss(self):
        out = prompted(ts_loss=TSLoss())(*text())
        assert out.loss is None
        assert out.logits.shape == (3, 12, len(WORDS))

    def test_half_precision_model_keeps_a_float32_prompt(self):
        lm = prompted(ts_loss=TSLoss(), model=tiny_model().to(torch.bfloat16))
        ids, mask = text()
        out = lm(ids, mask, ids)
        out.loss.backward()
        assert out.logits.dtype == torch.bfloat16
        assert lm.soft_prompt.weight.grad.dtype == torch.float32
        exact = prompted(ts_loss=TSLoss())(ids, mask, ids)
        assert out.loss.item() == pytest.approx(exact.loss.item(), rel=0.05)

    @pytest.mark.parametrize("kind", ["gpt2", "opt", "bloom"])
    def test_padding_with_other_architectures(self, kind):
        import transformers as tf

        torch.manual_seed(0)
        common = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
        model = {
            "gpt2": lambda: tf.GPT2LMHeadModel(
                tf.GPT2Config(n_embd=DIM, n_layer=1, n_head=2, n_positions=40, **common)
            ),
            "opt": lambda: tf.OPTForCausalLM(
                tf.OPTConfig(
                    hidden_size=DIM,
                    ffn_dim=16,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    max_position_embeddings=40,
                    word_embed_proj_dim=DIM,
                    **common,
                )
            ),
            "bloom": lambda: tf.BloomForCausalLM(
                tf.BloomConfig(hidden_size=DIM, n_layer=1, n_head=2, **common)
            ),
        }[kind]()
        lm = prompted(model=model)
        ids, mask = text(batch=1)
        plain = lm(ids, mask, ids).loss
        padded_ids = torch.cat((ids, torch.zeros_like(ids)), dim=1)
        padded_mask = torch.cat((mask, torch.zeros_like(mask)), dim=1)
        padded = lm(padded_ids, padded_mask, labels_of(padded_ids, padded_mask)).loss
        torch.testing.assert_close(padded, plain)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_prompt_that_is_not_finite_is_an_error(self, bad):
        lm = prompted(ts_loss=TSLoss())
        with torch.no_grad():
            lm.soft_prompt.weight[2, 3] = bad
        ids, mask = text()
        with pytest.raises(ValueError, match="prompt"):
            lm(ids, mask, ids)

    def test_wrong_arguments(self):
        ids, mask = text()
        lm = prompted()
        with pytest.raises(ValueError, match=r"input_ids: expected shape \[B, T\], got \(7,\)"):
            lm(ids[0])
        with pytest.raises(ValueError, match=r"attention_mask: expected the shape of input_ids"):
            lm(ids, mask[:, 1:])
        with pytest.raises(ValueError, match=r"labels: expected the shape of input_ids"):
            lm(ids, mask, ids[:2])
        with pytest.raises(ValueError, match=f"soft_prompt: expected dim {DIM}.*got 4"):
            PromptTunedLM(tiny_model(), SoftPrompt(3, 4))
        with pytest.raises(TypeError, match="soft_prompt: expected a SoftPrompt, got Tensor"):
            PromptTunedLM(tiny_model(), torch.zeros(3, DIM))
        with pytest.raises(TypeError, match=r"ts_loss: expected an nn\.Module, got function"):
            PromptTunedLM(tiny_model(), SoftPrompt(3, DIM), lambda prompt: 0)
        with pytest.raises(TypeError, match="model: expected a transformers causal language model"):
            PromptTunedLM(torch.nn.Linear(2, 2), SoftPrompt(3, DIM))

    def test_encoder_decoder_is_refused(self):
        from transformers import T5Config, T5ForConditionalGeneration

        config = T5Config(vocab_size=9, d_model=DIM, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        with pytest.raises(ValueError, match="decoder-only"):
            PromptTunedLM(T5ForConditionalGeneration(config), SoftPrompt(3, DIM))


class TestGenerate:
    def greedy(self, lm, ids, count):
        """Greedy decoding of one text, each token by a whole forward pass."""
        start = ids.shape[1]
        for _ in range(count):
            ids = torch.cat((ids, lm(ids).logits[:, -1:].argmax(dim=-1)), dim=1)
        return ids[:, start:]

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_equals_forward_passes_and_returns_new_tokens_only(self, side):
        lm = prompted(model=tiny_model(eos_token_id=None))
        long, short = torch.tensor([[5, 9, 7, 12, 6]]), torch.tensor([[8, 11, 6]])
        pad = torch.zeros(1, 2, dtype=torch.int64)
        row = [pad, short] if side == "left" else [short, pad]
        ids = torch.cat((long, torch.cat(row, dim=1)))
        mask = torch.cat((torch.ones_like(long), (torch.cat(row, dim=1) != 0).long()))
        new = lm.generate(ids, mask, max_new_tokens=6, do_sample=False)
        expected = torch.cat((self.greedy(lm, long, 6), self.greedy(lm, short, 6)))
        assert len(set(expected.ravel().tolist())) > 2
        assert torch.equal(new, expected)

    def test_the_prompt_matters(self):
        ids, _ = text()
        model = tiny_model(eos_token_id=None)
        outputs = [
            PromptTunedLM(model, SoftPrompt(5, DIM, std=1.0, generator=seeded(seed))).generate(
                ids, max_new_tokens=6, do_sample=False
            )
            for seed in (0, 1)
        ]
        assert not torch.equal(*outputs)


class TestBalance:
    def step(self, lm, scale=1.0):
        ids, mask = text()
        lm.zero_grad()
        out = lm(ids, mask, ids)
        (scale * out.loss).backward()
        return out

    def split_norms(self, lm):
        """Both gradient norms, from backward passes of their own."""
        ids, mask = text()
        out = lm(ids, mask, ids)
        weight = lm.soft_prompt.weight
        ce = torch.autograd.grad(out.ce_loss, weight, retain_graph=True)[0].norm()
        return ce, torch.autograd.grad(out.ts_loss, weight)[0].norm()

    @pytest.mark.parametrize("ratio", [0.1, 1.0, 3.0])
    @pytest.mark.parametrize("mode", ["persistence", "surrogate"])
    def test_first_step_has_the_ratio(self, mode, ratio):
        ce, ts = self.split_norms(prompted(ts_loss=TSLoss(mode), balance=ratio))
        assert (ts / ce).item() == pytest.approx(ratio, rel=1e-4)

    @pytest.mark.parametrize("lambda_ts", [0.01, 100.0])
    def test_lambda_ts_cancels_out(self, lambda_ts):
        ce, ts = self.split_norms(prompted(ts_loss=TSLoss(lambda_ts=lambda_ts), balance=0.5))
        assert (ts / ce).item() == pytest.approx(0.5, rel=1e-4)

    def test_weight_carries_no_gradient(self):
        lm = prompted(ts_loss=TSLoss(), balance=0.5)
        out = self.step(lm)
        weight = lm.soft_prompt.weight
        gradient = weight.grad.clone()
        ce = torch.autograd.grad(lm(*text(), text()[0]).ce_loss, weight)[0]
        ts = TSLoss()(weight)
        factor = (out.ts_loss / ts).detach()
        expected = ce + factor * torch.autograd.grad(ts, weight)[0]
        torch.testing.assert_close(gradient, expected)

    @pytest.mark.parametrize("scale", [1.0, 1024.0])
    def test_norms_do_not_depend_on_the_scale_of_the_loss(self, scale):
        lm = prompted(ts_loss=TSLoss(), log_grad_norms=True)
        ce, ts = self.split_norms(lm)
        self.step(lm, scale)
        assert lm.grad_norms["ce"].item() == pytest.approx(ce.item(), rel=1e-4)
        assert lm.grad_norms["ts"].item() == pytest.approx(ts.item(), rel=1e-4)

    def test_moving_average(self):
        lm = prompted(ts_loss=TSLoss(), balance=1.0)
        self.step(lm)
        first = lm.balance.average_ce.item()
        with torch.no_grad():
            lm.soft_prompt.weight.mul_(0.2)
        self.step(lm)
        second = lm.grad_norms["ce"].item()
        assert second != pytest.approx(first, rel=0.05)
        assert lm.balance.average_ce.item() == pytest.approx(0.9 * first + 0.1 * second, rel=1e-4)

    def test_identical_rows_weigh_nothing_and_leave_the_average_alone(self):
        lm = prompted(ts_loss=TSLoss(), balance=1.0)
        with torch.no_grad():
            lm.soft_prompt.weight.copy_(lm.soft_prompt.weight[:1].clone().expand(5, -1))
        out = self.step(lm)
        assert out.ts_loss.item() == 0
        assert torch.isfinite(lm.soft_prompt.weight.grad).all()
        assert lm.balance.average_ts.item() == 0

    def test_norm_of_zero_is_left_out_of_the_average(self):
        balance = GradientBalance(ratio=2.0)
        for norm in (3.0, 0.0):
            balance.observe_ce(torch.tensor(norm))
            balance.observe_ts(torch.tensor(norm / 6))
        assert balance.weight(torch.tensor(0.0)).item() == pytest.approx(2.0 * 3.0 / 0.5)

    def test_weight_follows_a_gradient_that_has_just_grown(self):
        balance = GradientBalance(ratio=2.0)
        balance.observe_ce(torch.tensor(3.0))
        balance.observe_ts(torch.tensor(0.1))
        assert balance.weight(torch.tensor(5.0)).item() == pytest.approx(2.0 * 3.0 / 5.0)

    def test_evaluation_leaves_the_averages_alone(self):
        lm = prompted(ts_loss=TSLoss(), balance=1.0)
        self.step(lm)
        before = {k: v.clone() for k, v in lm.balance.state_dict().items()}
        with torch.no_grad():
            lm(*text(), text()[0])
        assert before == lm.balance.state_dict()

    @pytest.mark.parametrize(
        ("balance", "error", "words"),
        [
            (0.0, ValueError, "balance: expected a finite number > 0, got 0.0"),
            (float("nan"), ValueError, "balance: expected a finite number > 0, got nan"),
            ("1", TypeError, "balance: expected a number, got '1'"),
        ],
    )
    def test_wrong_ratio(self, balance, error, words):
        with pytest.raises(error, match=words):
            prompted(ts_loss=TSLoss(), balance=balance)

    def test_nothing_to_balance(self):
        with pytest.raises(ValueError, match="balance: expected None without ts_loss"):
            prompted(balance=1.0)
        with pytest.raises(ValueError, match=r"balance: expected ts_loss\.lambda_ts > 0"):
            prompted(ts_loss=TSLoss(lambda_ts=0.0), balance=1.0)


class TestIdenticalRows:
    @pytest.mark.parametrize("balance", [None, 0.5])
    @pytest.mark.parametrize("name", LOSSES)
    def test_training_moves_away_without_nan(self, name, balance):
        if name == "ce" and balance is not None:
            pytest.skip("nothing to balance")
        model = tiny_model()
        table = model.get_input_embeddings().weight
        prompt = SoftPrompt(6, DIM, init="text", embedding=table, token_ids=[5])
        assert torch.equal(prompt.weight, prompt.weight[:1].expand(6, -1))
        lm = PromptTunedLM(model, prompt, make_objective(name, 1.0), balance=balance)
        optimizer = torch.optim.AdamW([prompt.weight], lr=0.01)
        ids, mask = text()
        losses = []
        for _ in range(15):
            optimizer.zero_grad()
            out = lm(ids, mask, ids)
            out.loss.backward()
            assert torch.isfinite(prompt.weight.grad).all()
            optimizer.step()
            losses.append(out.ce_loss.item())
        assert torch.isfinite(prompt.weight).all()
        assert torch.pdist(prompt.weight.detach()).min() > 1e-4
        assert losses[-1] < losses[0]
