"""A language model and tokenizer small enough to be made anew in each test."""

import json

import torch

WORDS = ["<pad>", "<eos>", "<unk>", "Question:", "Answer:", "x", "True", "False", "not", "and"]
WORDS += ["or", "is", "(", ")", *"0123456789"]
DIM = 16

# Tokens that a page or a table must only show: a script, letters that run from right to left, a
# mark that turns what follows, a formula.
HARD = ["</script><script>alert(1)</script>", "שלום", "a\u202eb", "=1+1"]


def tiny_model(seed=0, **changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(WORDS),
        "hidden_size": DIM,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        # Wide enough that logits differ clearly between inputs.
        "initializer_range": 0.5,
    }
    return LlamaForCausalLM(LlamaConfig(**(shape | changes))).eval()


def tiny_tokenizer(**changes):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"} | changes
    return PreTrainedTokenizerFast(tokenizer_object=words, **names)


def hard_vocabulary():
    """Model and tokenizer with the tokens `HARD`, and a last row that is no token's."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(HARD)
    return tiny_model(vocab_size=len(WORDS) + len(HARD) + 1), tokenizer


def save_tiny(path):
    """Save model and tokenizer as a folder that --model takes."""
    tiny_model().save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def write_jsonl(path, examples):
    lines = [json.dumps({"question": e.question, "answer": e.answer}) for e in examples]
    path.write_text("\n".join(lines) + "\n")
    return path
