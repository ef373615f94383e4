"""Two gloo processes tune the same prompt as one process with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_worker import CASES, DIM, N, start

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "tests/helpers/distributed_worker.py"

# Two processes add the same gradients in another order: measured, up to 4e-7 after six steps of
# AdamW that move each entry by 0.07 on average, entries being of size 1.
TOLERANCE = 2e-6

# Gradient accumulation, sharding, and where the loss is built change nothing either.
SAME_AS = {
    "accelerate": "ddp-persistence",
    "trainer-accumulating": "trainer",
    "trainer-attached": "trainer",
    "trainer-attached-own-loss": "trainer",
    "trainer-of-module": "trainer",
    "trainer-of-module-accumulating": "trainer",
    "fsdp-frozen-model": "ddp-persistence",
    "fsdp-whole-prompt-tuned": "ddp-persistence",
    "fsdp1-whole-prompt-tuned": "ddp-persistence",
    "fsdp-whole-peft-model": "ddp-persistence",
    "fsdp1-frozen-model": "ddp-persistence",
    "fsdp1-whole-peft-model": "ddp-persistence",
}


# A CPU counts as a GPU for accelerate's launcher, which otherwise starts several through MPI alone.
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    "accelerate": [
        "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes=2",
        "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0",
    ],
}  # fmt: skip


def launched(launcher, out, *cases):
    """What each of two processes came to, by case."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *LAUNCHERS[launcher], WORKER, out, *cases],
        capture_output=True,
        text=True,
        cwd=out,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [torch.load(out / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1)]


def assert_that_of_one_process(case, prompts):
    torch.set_num_threads(1)
    first, second = (of_rank[case] for of_rank in prompts)
    assert torch.equal(first, second)
    alone = CASES[SAME_AS.get(case, case)]().detach()
    assert (alone - start()).abs().mean() > 0.05
    difference = (first - alone).abs().max().item()
    assert difference <= TOLERANCE


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return launched("torchrun", tmp_path_factory.mktemp("torchrun"))


@pytest.mark.parametrize("case", CASES)
def test_prompt_is_that_of_one_process(case, two_processes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_that_of_one_process(case, two_processes)


def test_by_the_launcher_of_accelerate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompts = launched("accelerate", tmp_path, "accelerate", "trainer")
    assert_that_of_one_process("accelerate", prompts)
    assert_that_of_one_process("trainer", prompts)


@pytest.mark.parametrize("case", ["fsdp-whole-peft-model", "fsdp1-whole-peft-model"])
def test_monitor_records_whole_prompts_and_refuses_shards(case, two_processes):
    """The first process alone records, so there it must not wait for the others' shards."""
    first, second = (prompts["monitored"][case] for prompts in two_processes)
    refused, whole = first
    assert len(refused) >= 2
    for words in refused:
        assert words.startswith("prompt: expected a whole prompt, got one that is sharded")
    assert whole == [[N, DIM]]
    assert second == ([None] * len(refused), [None])
