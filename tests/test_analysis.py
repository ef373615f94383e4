"""analyze: what is read, what is skipped, the numbers, and the files written."""

import csv
import json
import os
import pickle

import pytest
import torch
from clouds import cloud

from tsloss_fast import cli
from tsloss_fast.analysis.accuracy import read_accuracy
from tsloss_fast.analysis.features import topologies
from tsloss_fast.analysis.find import AnalysisError, find_checkpoints
from tsloss_fast.analysis.read import UnreadablePrompt, read_prompt
from tsloss_fast.analysis.run import OUTPUTS, analyze
from tsloss_fast.analysis.statistics import associations
from tsloss_fast.persistence import pairwise_distances, rips_persistence
from tsloss_fast.summaries import topology_summary

ROWS = cloud("gaussian", 8, 5, dtype=torch.float32)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def save(value, file):
    torch.save(value, file)
    return file


def write_run(folder, epochs=5):
    """Equal rows first, then a growing cloud, in the authors' shape."""
    folder.mkdir(exist_ok=True)
    for epoch in range(epochs):
        save((epoch * ROWS)[None], folder / f"soft_prompt_epoch_{epoch}.pt")
    return folder


def run(capsys, *args):
    try:
        status = cli.main(["analyze", *(str(arg) for arg in args), "--quiet"])
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


class TestReading:
    @pytest.mark.parametrize(
        "dtype",
        [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn],
        ids=str,
    )
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda x: x,
            lambda x: x[None],
            lambda x: {"prompt": x, "epoch": 3},
            lambda x: {"state": {"weight": x}},
            lambda x: torch.nn.Parameter(x),
        ],
        ids=["rows", "batch-of-one", "dict", "nested", "parameter"],
    )
    def test_forms_and_dtypes(self, tmp_path, dtype, wrap):
        x = ROWS.to(dtype)
        rows = read_prompt(save(wrap(x), tmp_path / "p.pt"))
        assert rows.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.equal(rows, x.to(rows.dtype))
        assert not rows.requires_grad

    def test_code_in_a_pickle_is_not_run(self, tmp_path):
        for name, write in (
            ("zip.pt", lambda file: torch.save(Bomb(tmp_path / "boom"), file)),
            ("raw.pt", lambda file: file.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))),
        ):
            write(tmp_path / name)
            with pytest.raises(UnreadablePrompt):
                read_prompt(tmp_path / name)
        assert not (tmp_path / "boom").exists()

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (torch.zeros(2, 3, 4), r"expected floats \[n, d\] or \[1, n, d\], got float32 \[2, 3"),
            (torch.zeros(3), r"got float32 \[3\]"),
            (torch.zeros(3, 2, dtype=torch.int64), r"got int64 \[3, 2\]"),
            (torch.zeros(0, 4), r"got float32 \[0, 4\]"),
            (torch.full((2, 2), float("nan")), "holds NaN or infinity"),
            ({"a": ROWS, "b": ROWS}, "expected one tensor, got a dict with 2"),
            ([1, 2], "expected one tensor, got a list with none"),
            (torch.zeros(1).expand(5000, 4), "expected a prompt of at most 4096 rows"),
            (ROWS.to_sparse(), "expected a plain tensor"),
            (torch.nn.Linear(2, 2), "holds Python objects, not tensors alone"),
        ],
    )
    def test_what_is_refused(self, tmp_path, value, words):
        with pytest.raises(UnreadablePrompt, match=words):
            read_prompt(save(value, tmp_path / "p.pt"))

    def test_damaged_files(self, tmp_path):
        whole = save(ROWS, tmp_path / "p.pt").read_bytes()
        for content, words in (
            (b"", "empty file"),
            (b"hello world", "no file that torch.save wrote, or a damaged one"),
            (whole[: len(whole) // 2], "no file that torch.save wrote, or a damaged one"),
        ):
            (tmp_path / "p.pt").write_bytes(content)
            with pytest.raises(UnreadablePrompt, match=words):
                read_prompt(tmp_path / "p.pt")

    def test_adapters(self, tmp_path):
        save_file = pytest.importorskip("safetensors.torch").save_file
        file = tmp_path / "adapter_model.safetensors"
        save_file({"prompt_embeddings": ROWS.bfloat16()}, file)
        assert torch.equal(read_prompt(file), ROWS.bfloat16().float())
        save_file({"lora_A": ROWS}, file)
        with pytest.raises(UnreadablePrompt, match="expected prompt_embeddings, got lora_A"):
            read_prompt(file)
        file.write_bytes(b"12345678901")
        with pytest.raises(UnreadablePrompt, match="no file that safetensors wrote"):
            read_prompt(file)

    def test_prefix_tuning_has_a_cloud_a_layer(self, tmp_path):
        save_file = pytest.importorskip("safetensors.torch").save_file
        file = tmp_path / "adapter_model.safetensors"
        # [n, layers, key and value, d] = [4, 3, 2, 5]
        prefix = cloud("gaussian", 4, 30, dtype=torch.float32)
        save_file({"prompt_embeddings": prefix}, file)
        config = {"peft_type": "PREFIX_TUNING", "num_layers": 3}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        for layer in range(3):
            assert torch.equal(read_prompt(file, layer), prefix.reshape(4, 3, 10)[:, layer])
        with pytest.raises(UnreadablePrompt, match="expected --layer from 0 to 2, got none"):
            read_prompt(file)
        # The configuration is the adapter's; a prompt that lies beside it has one cloud.
        assert torch.equal(read_prompt(save(prefix, tmp_path / "p.pt")), prefix)
        with pytest.raises(UnreadablePrompt, match="holds one cloud: expected no --layer, got 1"):
            read_prompt(tmp_path / "p.pt", 1)
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"num_layers": 4}))
        with pytest.raises(UnreadablePrompt, match="got 30 columns and num_layers 4"):
            read_prompt(file, 0)


class TestFinding:
    def test_order_and_what_is_left_out(self, tmp_path):
        write_run(tmp_path, 12)
        save(ROWS, tmp_path / "soft_prompt_epoch_003.pt")
        (tmp_path / "soft_prompt_epoch_77.pt").mkdir()
        os.mkfifo(tmp_path / "soft_prompt_epoch_78.pt")
        for name in ("other.pt", "trainer_state.pt", "notes.txt", "soft_prompt_interrupted.pt"):
            (tmp_path / name).touch()
        found, skipped = find_checkpoints(tmp_path)
        assert [one.position for one in found] == list(range(12))
        reasons = {one.file.name: one.reason for one in skipped}
        assert set(reasons) == {
            "soft_prompt_epoch_3.pt",
            "soft_prompt_epoch_77.pt",
            "soft_prompt_epoch_78.pt",
            "other.pt",
            "soft_prompt_interrupted.pt",
        }
        assert "epoch 3 is in soft_prompt_epoch_003.pt already" in reasons["soft_prompt_epoch_3.pt"]
        assert reasons["soft_prompt_epoch_77.pt"] == "a folder, expected a file"

    def test_folders_of_the_trainer(self, tmp_path):
        for step in (20, 100, 3):
            folder = tmp_path / f"checkpoint-{step}"
            folder.mkdir()
            (folder / "adapter_model.safetensors").touch()
        (tmp_path / "checkpoint-4").mkdir()
        (tmp_path / "adapter_model.safetensors").touch()
        found, skipped = find_checkpoints(tmp_path)
        assert [(one.position, one.unit) for one in found] == [(k, "step") for k in (3, 20, 100)]
        assert len(skipped) == 2


class TestFeatures:
    def test_shapes_and_dtypes_are_mixed_and_order_is_kept(self):
        sizes = [(5, 3), (8, 3), (5, 3), (1, 2), (5, 4), (8, 3)]
        prompts = [cloud("gaussian", n, d, k) for k, (n, d) in enumerate(sizes)]
        prompts[2] = prompts[2].float()
        done = []
        results = topologies(prompts, done.append)
        assert sum(done) == len(prompts)
        for x, result in zip(prompts, results, strict=True):
            assert (result.n, result.d) == tuple(x.shape)
            for ours, theirs in zip(result.diagrams, rips_persistence(x), strict=True):
                assert torch.equal(ours.pairs, theirs.pairs)
            for name, value in topology_summary(x).as_dict().items():
                assert result.features[name] == pytest.approx(value.item(), abs=1e-12)
            i, j = torch.triu_indices(result.n, result.n, 1)
            mean = pairwise_distances(x)[i, j].mean().item()
            assert result.features["mean_distance"] == pytest.approx(mean, nan_ok=True)
            assert result.features["loops_per_row"] * result.n == result.features["h1_count"]


class TestStatistics:
    def test_a_perfect_split_gives_the_ceiling_of_the_paper(self):
        accuracy = [0] * 73 + [1] * 73
        table = associations(list(range(146)), {"constant": [1] * 146}, accuracy)
        constant, epoch = table.rows
        assert (table.low, table.high) == (73, 73)
        assert epoch.spearman == pytest.approx(3**0.5 / 2, abs=1e-4)
        assert epoch.spearman_p == pytest.approx(3.4e-45, rel=0.05)
        assert epoch.u == 0
        assert epoch.u_p == pytest.approx(1.9e-25, rel=0.05)
        assert (constant.spearman, constant.u, constant.u_p) == (None, 2664.5, 1.0)

    def test_accuracy_that_never_changes(self):
        (row, _) = associations([0, 1, 2], {"a": [1, 2, 3]}, [0.5] * 3).rows
        assert (row.spearman, row.u) == (None, None)
        assert row.with_time == pytest.approx(1)


class TestAccuracy:
    @pytest.mark.parametrize(
        "text",
        [
            "epoch,accuracy\n0,0.5\n3,0.75\n",
            "loss, accuracy, epoch\n1, 0.5, 0\n2, 0.75, 3\n",
            '{"epoch": 0, "accuracy": 0.5}\n{"epoch": 1, "loss": 2}\n\n'
            '{"epoch": 3, "accuracy": 0.75}\n',
        ],
    )
    def test_forms(self, tmp_path, text):
        (tmp_path / "a").write_text(text)
        assert read_accuracy(tmp_path / "a") == {0: 0.5, 3: 0.75}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "expected columns epoch and accuracy, got nothing"),
            ("epoch,acc\n1,2\n", "expected columns epoch and accuracy, got epoch, acc"),
            ("epoch,accuracy\n1,high\n", "a:2: accuracy: expected a number, got 'high'"),
            ("epoch,accuracy\n1,nan\n", "a:2: accuracy: expected a number, got 'nan'"),
            ("epoch,accuracy\n1.5,1\n", "a:2: epoch: expected a whole number"),
            ("epoch,accuracy\n1,1\n1,2\n", "a:3: epoch 1 a second time"),
            ('{"epoch": 1}\n', "expected lines with epoch and accuracy, got none"),
            ('{"epoch": 1}\n{\n', "a:2: not JSON"),
        ],
    )
    def test_errors_name_the_line(self, tmp_path, text, words):
        (tmp_path / "a").write_text(text)
        with pytest.raises(AnalysisError, match=words):
            read_accuracy(tmp_path / "a")


class TestCommand:
    def test_files_and_numbers(self, capsys, caplog, tmp_path):
        folder = write_run(tmp_path / "run")
        (folder / "soft_prompt_epoch_9.pt").write_bytes(b"")
        accuracy = folder / "accuracy.csv"
        accuracy.write_text("epoch,accuracy\n0,0.1\n1,0.2\n4,0.9\n")
        status, out, _ = run(capsys, folder, "--accuracy", accuracy, "--epochs", "0,4")
        assert status == 0
        assert "5 checkpoints analysed, 1 files skipped" in out
        assert "soft_prompt_epoch_9.pt: empty file" in caplog.text
        made = folder / "analysis"
        assert {file.name for file in made.iterdir()} == set(OUTPUTS)
        with (made / "features.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == list("01234")
        assert [row["accuracy"] for row in rows] == ["0.1", "0.2", "", "", "0.9"]
        summary = topology_summary(4 * ROWS)
        assert float(rows[4]["h0_mean_lifetime"]) == pytest.approx(summary.h0_mean_lifetime.item())
        assert (rows[0]["h0_count"], rows[4]["h0_count"]) == ("1", "8")
        assert (made / "diagrams.png").read_bytes().startswith(b"\x89PNG")
        assert "epoch 4" in (made / "barcodes.svg").read_text()

    def test_old_output_stays_unless_it_is_to_go(self, capsys, tmp_path):
        folder, out = write_run(tmp_path / "run"), tmp_path / "out"
        out.mkdir()
        (out / "accuracy.svg").write_text("from before")
        (out / "mine.txt").write_text("mine")
        status, _, err = run(capsys, folder, "--out", out)
        assert status == 2
        assert "holds an analysis already (accuracy.svg); --overwrite replaces it" in err
        assert {file.name for file in out.iterdir()} == {"accuracy.svg", "mine.txt"}
        assert run(capsys, folder, "--out", out, "--overwrite")[0] == 0
        assert not (out / "accuracy.svg").exists()
        assert (out / "mine.txt").read_text() == "mine"

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["--epochs", "0,x"], "epochs: expected whole numbers like 0,10,300, got '0,x'"),
            (
                ["--epochs", "7"],
                "epochs: expected epochs from 0 to 4 that have a checkpoint, got 7",
            ),
            (["--epochs", "0,1,2,3,4,5,6"], "epochs: expected 1 to 6 of them, got 7"),
            (["--accuracy", "none.csv"], "accuracy: cannot read none.csv: No such file"),
        ],
    )
    def test_wrong_arguments_change_nothing(self, capsys, tmp_path, args, words):
        folder = write_run(tmp_path / "run")
        status, _, err = run(capsys, folder, *args)
        assert status == 2
        assert words in err
        assert "Traceback" not in err
        assert not (folder / "analysis").exists()

    def test_nothing_readable(self, capsys, tmp_path):
        status, _, err = run(capsys, tmp_path / "none")
        assert status == 2
        assert "path: expected soft_prompt_epoch_N.pt files" in err
        write_run(tmp_path / "ce")
        status, _, err = run(capsys, tmp_path)
        assert status == 2
        assert "there are some in its folders ce" in err

    def test_other_shapes_one_checkpoint_and_one_row(self, tmp_path):
        for epoch, shape in enumerate([(8, 5), (3, 5), (1, 5), (8, 2)]):
            save(torch.randn(shape), tmp_path / f"soft_prompt_epoch_{epoch}.pt")
        result = analyze(tmp_path, progress=False)
        assert [(one.n, one.d) for one in result.topologies] == [(8, 5), (3, 5), (1, 5), (8, 2)]
        single = analyze(tmp_path / "soft_prompt_epoch_2.pt", tmp_path / "one", progress=False)
        assert len(single.checkpoints) == 1

    def test_output_is_the_same_on_every_run(self, tmp_path):
        folder = write_run(tmp_path / "run")
        results = [analyze(folder, tmp_path / name, progress=False) for name in "ab"]
        for one, other in zip(*(result.files for result in results), strict=True):
            assert one.read_bytes() == other.read_bytes(), one.name
