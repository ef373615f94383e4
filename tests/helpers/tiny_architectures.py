"""A tiny random causal language model of each architecture that prompts are tried with."""

import torch
from tiny_lm import DIM, WORDS

COMMON = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
LLAMA = {
    "hidden_size": DIM,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    # Wide enough that logits differ clearly between inputs.
    "initializer_range": 0.5,
}
GEMMA = LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8}
# Narrower than the texts of the tests, so that what lies between prompt and text would show.
WINDOW = {"sliding_window": 4}
LAYERS = ["sliding_attention", "full_attention"]


def _configs():
    import transformers as tf

    return {
        "llama": (tf.LlamaForCausalLM, tf.LlamaConfig, LLAMA),
        "qwen2": (tf.Qwen2ForCausalLM, tf.Qwen2Config, LLAMA),
        "mistral": (tf.MistralForCausalLM, tf.MistralConfig, LLAMA | WINDOW | {"head_dim": 8}),
        "gemma": (tf.GemmaForCausalLM, tf.GemmaConfig, LLAMA | {"head_dim": 8}),
        "gemma2": (
            tf.Gemma2ForCausalLM, tf.Gemma2Config, GEMMA | WINDOW | {"layer_types": LAYERS},
        ),
        "gemma3": (
            tf.Gemma3ForCausalLM, tf.Gemma3TextConfig, GEMMA | WINDOW | {"layer_types": LAYERS},
        ),
        "gpt2": (
            tf.GPT2LMHeadModel, tf.GPT2Config,
            {"n_embd": DIM, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.5},
        ),
        "gpt_neo": (
            tf.GPTNeoForCausalLM, tf.GPTNeoConfig,
            {
                "hidden_size": DIM, "num_layers": 2, "num_heads": 2, "window_size": 4,
                "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64,
                "initializer_range": 0.5,
            },
        ),
        "gpt_neox": (
            tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig,
            {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"},
        ),
        "opt": (
            tf.OPTForCausalLM, tf.OPTConfig,
            {
                "hidden_size": DIM, "ffn_dim": 24, "num_hidden_layers": 2,
                "num_attention_heads": 2, "max_position_embeddings": 64,
                "word_embed_proj_dim": DIM, "init_std": 0.5,
            },
        ),
        "bloom": (
            tf.BloomForCausalLM, tf.BloomConfig,
            {"hidden_size": DIM, "n_layer": 2, "n_head": 2, "initializer_range": 0.5},
        ),
        "mpt": (
            tf.MptForCausalLM, tf.MptConfig,
            {
                "d_model": DIM, "n_layers": 2, "n_heads": 2, "max_seq_len": 64,
                "initializer_range": 0.5,
            },
        ),
        "falcon": (
            tf.FalconForCausalLM, tf.FalconConfig,
            {
                "hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2,
                "initializer_range": 0.5,
            },
        ),
        "biogpt": (
            tf.BioGptForCausalLM, tf.BioGptConfig,
            {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"},
        ),
        "mamba": (
            tf.MambaForCausalLM, tf.MambaConfig,
            {"hidden_size": DIM, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.5},
        ),
        "granite": (
            tf.GraniteForCausalLM, tf.GraniteConfig, LLAMA | {"embedding_multiplier": 5.0},
        ),
        "falcon_h1": (
            tf.FalconH1ForCausalLM, tf.FalconH1Config,
            LLAMA
            | {
                "head_dim": 8, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8,
                "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8,
                "embedding_multiplier": 5.0,
            },
        ),
    }  # fmt: skip


NAMES = (
    "llama", "qwen2", "mistral", "gemma", "gemma2", "gemma3", "gpt2", "gpt_neo", "gpt_neox", "opt",
    "bloom", "mpt", "falcon", "biogpt", "mamba", "granite",
)  # fmt: skip

# Their embeddings multiply the table's rows.
SCALED = ("gemma", "gemma2", "gemma3", "biogpt")


def tiny_architecture(name, **changes):
    model, config, shape = _configs()[name]
    torch.manual_seed(0)
    return model(config(**(COMMON | shape | changes))).eval()
