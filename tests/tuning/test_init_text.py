"""The tokens that `--init text` starts from: those of the text as it stands."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tsloss_fast.tuning.run import text_token_ids

VOCAB = ["<unk>", "Ċ", "Ġ", "x", "Ġx", "7"]


@pytest.fixture
def byte_tokenizer():
    """Like SmolLM2's: a word after a space is a token, but a digit is one without its space."""
    table = {token: i for i, token in enumerate(VOCAB)}
    bpe = Tokenizer(models.BPE(table, [("Ġ", "x")], unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>")


def tokens(tokenizer, text):
    return [VOCAB[i] for i in text_token_ids(tokenizer, text)]


def test_newlines_are_kept(byte_tokenizer):
    assert tokens(byte_tokenizer, "x\nx\n") == ["x", "Ċ", "x", "Ċ"]


def test_no_stray_space_stands_before_the_first_word(byte_tokenizer):
    assert tokens(byte_tokenizer, "7 x") == ["7", "Ġx"]


def test_a_repeated_word_gives_identical_tokens(byte_tokenizer):
    assert tokens(byte_tokenizer, "x x x") == ["Ġx", "Ġx", "Ġx"]


def test_a_repeated_digit_gives_no_token_of_a_space(byte_tokenizer):
    assert tokens(byte_tokenizer, "7 7 7") == ["7", "7", "7"]
