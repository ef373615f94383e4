"""The forward pass that computes the prompt once gives what `PromptTunedLM` gives."""

import pytest
import torch
from tiny_architectures import tiny_architecture
from tiny_lm import DIM, WORDS, tiny_model, tiny_tokenizer

from experiments.shared_prefix import accuracy, answer
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.tuning.data import Encoded, Encoder, Example, collate
from tsloss_fast.tuning.evaluate import exact_match

pytestmark = pytest.mark.model

# Of several lengths, with four tokens in common; answers of one to three tokens.
EXAMPLES = [
    Encoded([3, 5, 12, 7, *prefix], target, "")
    for prefix, target in [
        ([8, 4], [15, 1]),
        ([9, 9, 4], [16, 17, 1]),
        ([10, 4], [1]),
        ([8, 9, 10, 4], [14, 1]),
    ]
]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma", "gemma2", "gemma3", "granite"])
@pytest.mark.parametrize("examples", [EXAMPLES, EXAMPLES[:1]], ids=["batch", "one"])
def test_loss_and_gradient(name, examples):
    # Windows of four tokens would hide the prompt.
    model = tiny_architecture(name, sliding_window=64).requires_grad_(False)
    prompt = SoftPrompt(5, DIM, std=0.5, generator=torch.Generator().manual_seed(0))
    batch = collate(examples, pad_id=0)
    expected = PromptTunedLM(model, prompt)(
        batch.input_ids, batch.attention_mask, batch.labels
    ).loss
    found = answer(model, prompt.weight, examples)
    # Both are sums of float32, in another order.
    torch.testing.assert_close(found.loss, expected, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(loss, prompt.weight)[0] for loss in (found.loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_right_is_what_greedy_decoding_gives():
    """Also of answers that the model does give, which are taken from its own decoding."""
    model, tokenizer = tiny_model().requires_grad_(False), tiny_tokenizer()
    lm = PromptTunedLM(model, SoftPrompt(3, DIM, std=1.0))
    encoder = Encoder(tokenizer, "plain")
    questions = [f"{word} is {digit}" for word in WORDS[5:9] for digit in range(5)]
    prefixes = [encoder.prefix(Example(question, "0")) for question in questions]
    said = [lm.generate(torch.tensor([ids]), max_new_tokens=1)[0, 0].item() for ids in prefixes]
    # Each second answer is what the model says, as long as it is a word.
    words = [WORDS[token] if i % 2 and token > 4 else "x" for i, token in enumerate(said)]
    examples = [encoder(Example(q, word)) for q, word in zip(questions, words, strict=True)]
    # Without the end, for the tiny model seldom stops after one word.
    cut = [Encoded(e.prefix, e.target[:1], e.answer) for e in examples]
    expected = [token == e.target[0] for token, e in zip(said, cut, strict=True)]
    assert answer(model, lm.soft_prompt.weight, cut).right.tolist() == expected
    assert 0 < sum(expected) < len(expected)
    found = accuracy(model, lm.soft_prompt.weight, examples, batch_size=3)
    assert found == exact_match(lm, tokenizer, examples)
