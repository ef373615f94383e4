"""A tuned prompt in use: read from its run, answering, and given to PEFT with equal logits."""

import json
import re

import pytest
import torch
from tiny_lm import DIM, save_tiny, tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.tuning.answering import Answering
from tsloss_fast.tuning.checkpoints import RunError
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import Encoder, Example
from tsloss_fast.tuning.export import export_peft
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.models import DEFAULT_MODEL
from tsloss_fast.tuning.run import tune

pytestmark = pytest.mark.model

QUESTIONS = ["1 or 2 is", "3", "4 and 5 or 6 is"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    data = write_jsonl(folder / "data.jsonl", [Example("1 or 2 is", "2"), Example("3", "3")])
    config = TuneConfig(
        data=str(data),
        model=str(save_tiny(folder / "model")),
        n_tokens=4,
        epochs=2,
        lr=0.1,
        warmup=0.0,
        init_std=0.5,
    )
    tune(config, folder / "out", progress=False)
    return FinishedRun.read(folder / "out")


class TestFinishedRun:
    def test_has_the_settings_and_the_newest_prompt(self, run):
        last = torch.load(run.folder.prompt_file(2), weights_only=True)
        assert torch.equal(run.prompt, last)
        assert (run.config.n_tokens, run.config.epochs) == (4, 2)

    def test_an_earlier_epoch(self, run):
        start = torch.load(run.folder.prompt_file(0), weights_only=True)
        assert torch.equal(FinishedRun.read(run.folder.path, epoch=0).prompt, start)
        assert not torch.equal(run.prompt, start)

    def test_what_is_not_there(self, run, tmp_path):
        with pytest.raises(RunError, match=r"epoch: .* has no soft_prompt_epoch_007\.pt"):
            FinishedRun.read(run.folder.path, epoch=7)
        with pytest.raises(RunError, match=f"run: {tmp_path} holds no run"):
            FinishedRun.read(tmp_path)


class TestAnswering:
    def test_answers_are_those_of_the_prompted_model_one_by_one(self, run):
        tokenizer = tiny_tokenizer()
        lm = PromptTunedLM(tiny_model(), SoftPrompt(4, DIM, run.prompt))
        encode = Encoder(tokenizer)
        expected = []
        for question in QUESTIONS:
            ids = torch.tensor([encode.prefix(Example(question, ""))])
            new = lm.generate(ids, max_new_tokens=5, do_sample=False)[0].tolist()
            new = new[: new.index(1)] if 1 in new else new
            expected.append(tokenizer.decode(new, skip_special_tokens=True).strip())
        answering = Answering(run)
        assert [answering([q], max_new_tokens=5)[0] for q in QUESTIONS] == expected
        assert len(set(expected)) > 1

    def test_a_batch_is_answered_in_the_order_of_its_questions(self, run):
        answering = Answering(run, loaded=(tiny_model(), tiny_tokenizer()))
        assert answering(QUESTIONS, max_new_tokens=5) == [
            answering([q], max_new_tokens=5)[0] for q in QUESTIONS
        ]


class TestPeft:
    def test_peft_loads_it_with_equal_logits(self, run, tmp_path):
        peft = pytest.importorskip("peft")
        export_peft(run, tmp_path / "adapter")
        adapted = peft.PeftModel.from_pretrained(tiny_model(), tmp_path / "adapter").eval()
        lm = PromptTunedLM(tiny_model(), SoftPrompt(4, DIM, run.prompt))
        ids = torch.tensor([[3, 15, 10, 16, 11, 4], [3, 12, 4, 0, 0, 0]])
        mask = (ids != 0).long()
        with torch.no_grad():
            theirs = adapted(input_ids=ids, attention_mask=mask).logits
            ours = lm(ids, mask).logits
        shown = torch.cat((torch.ones(2, 4), mask), 1).bool()
        assert torch.equal(theirs[shown], ours[shown])

    @pytest.mark.parametrize("template", ["auto", "plain"])
    def test_the_python_of_its_readme_gives_the_runs_answer(
        self, run, tmp_path, monkeypatch, template
    ):
        pytest.importorskip("peft")
        run = run.with_settings(template=template)
        folder = export_peft(run, tmp_path / "adapter")
        text = (folder / "README.md").read_text()
        (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        monkeypatch.chdir(folder)
        got = {}
        exec(code.replace("your question", QUESTIONS[0]), got)
        assert got["answer"].strip() == Answering(run)([QUESTIONS[0]])[0]
        assert got["answer"].strip()

    def test_the_readme_of_the_default_model_loads_its_file(self, run, tmp_path):
        folder = export_peft(run.with_settings(model=DEFAULT_MODEL), tmp_path / "adapter")
        text = (folder / "README.md").read_text()
        assert f'source = find_model("{DEFAULT_MODEL}")' in text
        assert "AutoModel" not in text

    def test_the_adapter_says_what_it_is_for(self, run, tmp_path):
        export_peft(run, tmp_path / "adapter")
        config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == run.config.model
        assert (config["peft_type"], config["num_virtual_tokens"]) == ("PROMPT_TUNING", 4)

    def test_an_adapter_that_is_there_is_not_replaced_unasked(self, run, tmp_path):
        export_peft(run, tmp_path / "adapter")
        before = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
        start = FinishedRun.read(run.folder.path, epoch=0)
        with pytest.raises(RunError, match=r"out: .* holds an adapter already; --overwrite"):
            export_peft(start, tmp_path / "adapter")
        assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == before
        export_peft(start, tmp_path / "adapter", overwrite=True)
        assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() != before
