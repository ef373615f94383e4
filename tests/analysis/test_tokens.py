"""The nearest tokens in an analysis: the table, the texts, the page's data, and what is refused."""

import csv
import json

import commands
import pytest
import torch
from tiny_lm import DIM, HARD, WORDS, hard_vocabulary, save_tiny, tiny_model, tiny_tokenizer

from tsloss_fast.analysis import page, tokens
from tsloss_fast.analysis.names import quoted
from tsloss_fast.analysis.run import analyze, model_hint
from tsloss_fast.analysis.tokens import token_text
from tsloss_fast.prompt.nearest import nearest_tokens

pytestmark = pytest.mark.model

SIZE = len(WORDS) + len(HARD) + 1


def write_run(folder, table, ids_by_epoch):
    """Prompts that are rows of the table."""
    folder.mkdir()
    for epoch, ids in ids_by_epoch.items():
        torch.save(table[ids].clone(), folder / f"soft_prompt_epoch_{epoch}.pt")
    return folder


@pytest.fixture
def hard(tmp_path):
    loaded = hard_vocabulary()
    table = loaded[0].get_input_embeddings().weight.detach()
    last = [*range(SIZE - 5, SIZE), 3]
    return write_run(tmp_path / "run", table, {0: [4, 5, 6], 1: last}), loaded


def read(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_a_line_for_each_row_and_token(hard):
    folder, loaded = hard
    last = [*range(SIZE - 5, SIZE), 3]
    result = analyze(folder, loaded=loaded, nearest=3, progress=False)
    lines = read(folder / "analysis" / "tokens.csv")
    assert len(lines) == (3 + 6) * 3 * 2
    assert folder / "analysis" / "tokens.csv" in result.files
    first = [line for line in lines if line["rank"] == "1" and line["metric"] == "euclidean"]
    assert [line["token_id"] for line in first] == [str(i) for i in [4, 5, 6, *last]]
    assert [float(line["distance"]) for line in first] == [0.0] * 9
    words = [WORDS[4], WORDS[5], WORDS[6], *HARD, None, WORDS[3]]
    assert [json.loads(line["token"] or "null") for line in first] == words
    assert all(line["token"].isprintable() for line in lines)
    prompt = torch.load(folder / "soft_prompt_epoch_1.pt", weights_only=True)
    right = nearest_tokens(prompt, loaded[0], 3).cosine
    mine = [line for line in lines if line["epoch"] == "1" and line["metric"] == "cosine"]
    assert [int(line["token_id"]) for line in mine] == right.ids.flatten().tolist()
    assert [float(line["distance"]) for line in mine] == pytest.approx(
        right.distances.flatten().tolist(), rel=1e-6
    )
    assert torch.equal(result.tokens.nearest[1].cosine.ids, right.ids)


def test_no_token_changes_what_the_page_is(hard):
    """A token that is a script stays a text inside of the data."""
    folder, loaded = hard
    analyze(folder, loaded=loaded, progress=False)
    text = (folder / "analysis" / "analysis.html").read_text(encoding="utf-8")
    plain = analyze(folder, folder / "plain", progress=False).files[-1].read_text(encoding="utf-8")
    assert text.count("<script") == plain.count("<script")
    assert text.count("</script") == plain.count("</script")
    assert "alert(1)" in text
    assert "\u202e" not in text


def test_groups_of_prompts_give_what_one_search_gives(monkeypatch, hard):
    folder, loaded = hard
    results = []
    for rows in (1, 4, 4096):
        monkeypatch.setattr(tokens, "ROWS_AT_ONCE", rows)
        analyze(folder, loaded=loaded, overwrite=True, progress=False)
        results.append((folder / "analysis" / "tokens.csv").read_bytes())
    assert len(set(results)) == 1


def test_a_large_run_shows_fewer_tokens_on_its_page(monkeypatch, hard):
    folder, loaded = hard
    monkeypatch.setattr(page, "MOST_TOKENS", 2 * 2 * (3 + 6))
    analyze(folder, loaded=loaded, nearest=4, progress=False)
    text = (folder / "analysis" / "analysis.html").read_text(encoding="utf-8")
    data = json.loads(text.split('type="application/json">')[1].split("</script>")[0])
    assert (data["tokens"]["kept"], data["tokens"]["all"]) == (2, 4)
    assert all(len(row) == 4 for row in data["tokens"]["cosine"][1])
    assert len(read(folder / "analysis" / "tokens.csv")) == 9 * 4 * 2


def run(capsys, *args):
    return commands.run(capsys, "analyze", *args, "--quiet")


def test_the_command_loads_the_model(capsys, tmp_path):
    model = save_tiny(tmp_path / "model")
    table = tiny_model().get_input_embeddings().weight.detach()
    folder = write_run(tmp_path / "run", table, {0: [3, 4]})
    status, out, _ = run(capsys, folder, "--model", model, "--nearest", 2)
    assert status == 0
    assert "tokens.csv" in out
    lines = read(folder / "analysis" / "tokens.csv")
    assert [line["token"] for line in lines if line["rank"] == "1"] == 2 * [
        '"Question:"', '"Answer:"'
    ]  # fmt: skip
    text = (folder / "analysis" / "analysis.html").read_text(encoding="utf-8")
    assert '"model":"model"' in text
    assert str(tmp_path) not in text
    # A second analysis without the model takes the table of the first away, and names the model.
    (folder / "config.json").write_text(json.dumps({"model": str(model)}))
    status, out, _ = run(capsys, folder, "--overwrite")
    assert status == 0
    assert f"the tokens that its rows are like: add --model {model}" in out
    assert not (folder / "analysis" / "tokens.csv").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model", "./none"], "model: no such folder: ./none"),
        (
            ["--model", "MODEL"],
            "model: expected one whose embedding has 5 columns, as soft_prompt_epoch_1.pt has, "
            "got 16: ",
        ),
        (["--model", "MODEL", "--nearest", "0"], "nearest: expected 1 to 24, the tokens of"),
        (["--nearest", "3"], "nearest: expected --model beside it, got none"),
    ],
)
def test_what_does_not_fit_is_said_and_changes_nothing(capsys, tmp_path, args, words):
    model = str(save_tiny(tmp_path / "model"))
    folder = write_run(tmp_path / "run", torch.randn(9, DIM), {0: [0, 1]})
    torch.save(torch.randn(3, 5), folder / "soft_prompt_epoch_1.pt")
    status, _, err = run(capsys, folder, *(model if arg == "MODEL" else arg for arg in args))
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert not (folder / "analysis").exists()


def test_an_encoder_decoder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=DIM, d_kv=8, d_ff=24, num_layers=1, num_heads=2
    )
    model = transformers.T5ForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    table = model.get_input_embeddings().weight.detach()
    folder = write_run(tmp_path / "run", table, {0: [7, 9]})
    result = analyze(folder, model=str(tmp_path / "model"), progress=False)
    assert result.tokens.nearest[0].euclidean.ids[:, 0].tolist() == [7, 9]


def test_scaled_embeddings_are_taken_as_the_model_multiplies_them(tmp_path):
    from tiny_architectures import tiny_architecture

    model = tiny_architecture("gemma3")
    rows = model.get_input_embeddings()(torch.tensor([8, 2])).detach()
    folder = write_run(tmp_path / "run", rows, {0: [0, 1]})
    found = analyze(folder, loaded=(model, tiny_tokenizer()), progress=False).tokens.nearest[0]
    assert found.euclidean.ids[:, 0].tolist() == [8, 2]
    assert found.euclidean.distances[:, 0].tolist() == [0.0, 0.0]


class OneToken:
    """A tokenizer of any kind: a token as its vocabulary has it, and what that decodes to."""

    def __init__(self, raw, text):
        self.raw, self.text = raw, text

    def convert_ids_to_tokens(self, token):
        return self.raw

    def decode(self, ids, clean_up_tokenization_spaces):
        assert not clean_up_tokenization_spaces
        return self.text


@pytest.mark.parametrize(
    ("raw", "decoded", "text"),
    [
        ("Ġa", " a", " a"),
        ("▁a", "a", " a"),
        ("▁", "", "▁"),
        ("Ċ", "\n", "\n"),
        ("âĤ", "\ufffd", "âĤ"),
        (b"\xff", "\ufffd", "\ufffd"),
        ("<pad>", "<pad>", "<pad>"),
        (None, "", None),
    ],
)
def test_the_text_of_a_token(raw, decoded, text):
    assert token_text(OneToken(raw, decoded), 7) == text


@pytest.mark.parametrize("text", [" a", "\n\t", '"\\', "\u200b\u202e", "数", "\U000e0001", "=1"])
def test_a_quoted_text_is_printable_and_can_be_read_back(text):
    assert quoted(text).isprintable()
    assert json.loads(quoted(text)) == text


def test_the_hint_names_the_model_of_a_run_or_an_adapter(tmp_path):
    file = tmp_path / "soft_prompt_epoch_0.pt"
    assert model_hint(file) is None
    (tmp_path / "config.json").write_text("[1]")
    assert model_hint(file) is None
    (tmp_path / "config.json").write_text('{"model": "some/model"}')
    assert model_hint(file) == "some/model"
    adapter = tmp_path / "adapter_config.json"
    adapter.write_text('{"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "base\\u001b"}')
    assert model_hint(file) == r"base\x1b"
    adapter.write_text('{"peft_type": "PREFIX_TUNING", "base_model_name_or_path": "base"}')
    assert model_hint(file) is None
