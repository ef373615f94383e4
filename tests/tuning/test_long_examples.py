"""Examples over the limit, left out with a count or cut on request; and the store of tokens."""

import json
import tracemalloc
from dataclasses import replace

import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast.tuning.checkpoints import RunError
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import (
    DataError,
    Encoded,
    Encoder,
    Example,
    TokenStore,
    TooLongError,
    encode_all,
)
from tsloss_fast.tuning.run import tune

SHORT, LONG = Example("1", "2", "d:1"), Example("1 or 2 or 3 or 4", "4 4 4 4", "d:2")


class TestEncoder:
    def test_truncating_cuts_the_target_and_its_end(self):
        tokenizer = tiny_tokenizer()
        whole = Encoder(tokenizer, max_length=100)(LONG)
        cut = Encoder(tokenizer, max_length=len(whole.prefix) + 2, truncate=True)(LONG)
        assert (cut.prefix, cut.target) == (whole.prefix, whole.target[:2])
        assert cut.answer == "4 4 4 4"

    def test_a_question_that_leaves_no_room_is_not_cut(self):
        length = len(Encoder(tiny_tokenizer())(LONG).prefix)
        with pytest.raises(TooLongError, match=rf"^d:2: expected at most {length} tokens"):
            Encoder(tiny_tokenizer(), max_length=length, truncate=True)(LONG)


class TestEncodeAll:
    def test_skips_with_a_count(self, caplog):
        encoder = Encoder(tiny_tokenizer(), max_length=6)
        store = encode_all([SHORT, LONG, SHORT, LONG], encoder, "data")
        assert list(store) == [encoder(SHORT)] * 2
        assert caplog.messages == [
            "data: 2 of 4 examples are too long and left out; the first is d:2: "
            "expected at most 6 tokens (--max-length), got 14"
        ]

    def test_none_that_fits_is_an_error(self):
        with pytest.raises(DataError, match=r"^d:2: expected at most 6 tokens"):
            encode_all([LONG], Encoder(tiny_tokenizer(), max_length=6), "data")

    def test_none_at_all_is_none(self):
        assert len(encode_all((), Encoder(tiny_tokenizer()), "data")) == 0


class TestTokenStore:
    EXAMPLES = (Encoded([1, 2], [3], "é"), Encoded([70_000], [5, 6, 7], ""), Encoded([8], [9], "x"))

    def test_gives_back_what_it_was_given(self):
        store = TokenStore(iter(self.EXAMPLES))
        assert list(store) == list(self.EXAMPLES)
        assert store[-1] == self.EXAMPLES[-1]
        assert store.longest == 4
        with pytest.raises(IndexError):
            store[3]

    def test_holds_little_of_the_tokens_in_memory(self):
        """20,000 examples of 200 tokens: 16 MB of int32, and as lists ten times that."""
        tracemalloc.start()
        store = TokenStore(Encoded([7] * 150, [8] * 50, "a" * 100) for _ in range(20_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(store) == 20_000
        assert peak < 2e6


@pytest.mark.model
class TestTune:
    @pytest.fixture
    def config(self, tmp_path):
        data = write_jsonl(tmp_path / "data.jsonl", [SHORT, LONG, SHORT, SHORT])
        return TuneConfig(
            data=str(data), n_tokens=4, epochs=1, batch_size=1, max_length=6, template="plain"
        )

    def steps(self, config, folder):
        torch.set_num_threads(1)
        loaded = (tiny_model(), tiny_tokenizer())
        result = tune(config, folder, loaded=loaded, progress=False)
        return [m["step"] for m in result.metrics if m["kind"] == "step"]

    def test_long_examples_are_skipped(self, config, tmp_path):
        assert self.steps(config, tmp_path / "run") == [1, 2, 3]

    def test_long_examples_are_truncated_on_request(self, config, tmp_path):
        config = replace(config, long_examples="truncate", max_length=10)
        assert self.steps(config, tmp_path / "run") == [1, 2, 3, 4]

    def test_a_resumed_run_keeps_its_limit_and_runs_of_before_had_todays_defaults(
        self, config, tmp_path
    ):
        self.steps(config, tmp_path / "run")
        file = tmp_path / "run" / "config.json"
        old = json.loads(file.read_text())
        del old["long_examples"]
        file.write_text(json.dumps(old))
        loaded = (tiny_model(), tiny_tokenizer())
        tune(config, tmp_path / "run", resume=True, loaded=loaded, progress=False)
        for name, value in (("long_examples", "truncate"), ("max_length", 7)):
            with pytest.raises(RunError, match=f"{name}: the run in the folder has"):
                tune(replace(config, **{name: value}), tmp_path / "run", resume=True, loaded=loaded)

    def test_columns_reach_the_data(self, config, tmp_path):
        file = tmp_path / "data.csv"
        file.write_text("text,label\n1 or 2,2\n3 or 4,4\n")
        config = replace(config, data=str(file), question_column="text", answer_column="label")
        assert self.steps(replace(config, max_length=10), tmp_path / "run") == [1, 2]
