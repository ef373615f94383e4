"""A GGUF file that anybody may have written: a model, or one line of reason."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.untrusted.drawing import attempt, damaged
from tsloss_fast.tuning.models import ModelError, find_model, load_config, load_tokenizer

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    """A Llama of one layer with no more than a few tokens."""
    gguf = pytest.importorskip("gguf")
    file = tmp_path_factory.mktemp("good") / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<eos>", "a", "b", "ab"])
    writer.add_token_types([3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_tensor("token_embd.weight", np.ones((4, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.read_bytes()


def read(file):
    for load in (load_config, load_tokenizer):
        _, reason = attempt(lambda load=load: load(find_model(str(file))), ModelError)
        assert reason is None or re.fullmatch("model: cannot load .*: .+", reason)


def test_the_file_is_right_before_it_is_damaged(tmp_path, gguf_file):
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf_file)
    assert load_config(find_model(str(file))).hidden_size == 8
    assert load_tokenizer(find_model(str(file)))("ab")["input_ids"] == [3]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_damaged_models(tmp_path, gguf_file, data):
    file = tmp_path / "tiny.gguf"
    file.write_bytes(data.draw(damaged(gguf_file)))
    read(file)
