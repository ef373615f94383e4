"""Where an answer ends, in the target and in decoding, and what the chat template says of it."""

import pytest
import torch
from tiny_lm import DIM, tiny_model, tiny_tokenizer

from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.tuning.data import DataError, Encoded, Encoder, Example
from tsloss_fast.tuning.evaluate import exact_match

# As Gemma's: the turn ends with a token of its own, and `eos_token` is another.
TURNS = (
    "{% for m in messages %}( {{ m.content }} ){{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}({% endif %}"
)


def turn_tokenizer(template=TURNS):
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [")"]})
    tokenizer.chat_template = template
    return tokenizer


def target_tokens(tokenizer, template="chat"):
    return tokenizer.convert_ids_to_tokens(
        Encoder(tokenizer, template)(Example("1 or 2", "2")).target
    )


def test_chat_targets_end_with_the_templates_end_of_turn():
    assert target_tokens(turn_tokenizer()) == ["2", ")"]


def test_plain_targets_end_with_the_end_of_sequence():
    assert target_tokens(turn_tokenizer(), template="plain") == ["2", "<eos>"]


def test_a_template_that_ends_turns_by_words_ends_the_target_with_both():
    template = "{% for m in messages %}x {{ m.content }} is\n{% endfor %}"
    assert target_tokens(turn_tokenizer(template)) == ["2", "is", "<eos>"]


def test_a_template_that_ends_no_turn_ends_the_target_with_the_end_of_sequence():
    template = "{% for m in messages %}x {{ m.content }}\n{% endfor %}"
    assert target_tokens(turn_tokenizer(template)) == ["2", "<eos>"]


def test_a_templates_exception_is_an_error_that_names_the_example():
    template = (
        "{% for m in messages %}{% if 'x' in m.content %}{{ raise_exception('no x here') }}"
        "{% endif %}{{ m.content }} ){% endfor %}"
    )
    encode = Encoder(turn_tokenizer(template), "chat")
    with pytest.raises(DataError, match=r"^some\.jsonl:3: the chat template fails: no x here$"):
        encode(Example("x", "1", "some.jsonl:3"))


def test_a_template_that_takes_no_conversation_is_refused_at_once():
    template = "{{ raise_exception('out of order') }}"
    with pytest.raises(ValueError, match=r"^template: the chat template fails: out of order$"):
        Encoder(turn_tokenizer(template), "chat")


@pytest.mark.model
class TestDecoding:
    def prompted(self, eos_token_id):
        model = tiny_model()
        model.generation_config.eos_token_id = eos_token_id
        return PromptTunedLM(model, SoftPrompt(4, DIM, std=0.5))

    def test_the_models_own_stop_tokens_end_an_answer(self):
        """The first token that the model says is made one of its stop tokens: nothing is left."""
        lm = self.prompted(1)
        prefix = [3, 12, 4]
        said = lm.generate(torch.tensor([prefix]), max_new_tokens=1, do_sample=False)
        lm = self.prompted([1, said.item()])
        assert exact_match(lm, tiny_tokenizer(), [Encoded(prefix, [7, 7, 7], "")]) == 1.0

    def test_the_end_of_the_targets_ends_an_answer(self):
        """Though neither the model nor the tokenizer names it."""
        lm = self.prompted(None)
        prefix = [3, 12, 4]
        said = lm.generate(torch.tensor([prefix]), max_new_tokens=1, do_sample=False).item()
        example = Encoded(prefix, [7, 7, said], "")
        assert exact_match(lm, tiny_tokenizer(), [example]) == 1.0
