"""A process killed at random points: what it said it had saved is there, and a run goes on.

KILLS=200 pytest tests/load/test_killed.py
"""

import contextlib
import os
import random
import signal
import sys
import time
import traceback

import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer, write_jsonl

from tsloss_fast._files import write_together
from tsloss_fast.prompt.topology_log import TopologyLog
from tsloss_fast.tuning.checkpoints import RunError, RunFolder
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.data import Example
from tsloss_fast.tuning.run import tune

KILLS = int(os.environ.get("KILLS", "12"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks a process with torch in it")

EXAMPLES = [Example(f"{a} or {b} is", str(a < b)) for a in range(3) for b in range(4)]


def killed(work, seconds, begins=lambda: None):
    """Run `work` in a child that is killed; returns whether it was done before.

    The time until then is counted from where `begins` returns.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    begins()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return True
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    # It may have ended in the meantime.
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


def rows(k):
    return torch.full((20, 64), float(k))


def save_everything(folder, pipe, first):
    """Save one state after another from the first on, and say in the pipe which is saved whole."""
    run, log = (
        RunFolder(folder / "run"),
        TopologyLog(folder / "log.jsonl", "euclidean", resume=True),
    )
    for k in range(first, 10**6):
        run.save_prompt(run.prompt_file(k % 1000), rows(k))
        run.append_metrics({"step": k, "text": "x" * 300})
        log.append({"kind": "topology", "step": k, "h0": [0.5] * 200})
        write_together(folder / "out", {name: b"%d\n" % k * 5000 for name in ("a", "b")})
        run.save_state({"step": k, "prompt": rows(k)})
        os.write(pipe, b"%d\n" % k)


def test_what_was_saved_is_there_after_a_kill(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.prepare()
    (tmp_path / "out").mkdir()
    TopologyLog(tmp_path / "log.jsonl", "euclidean")
    rng, last = random.Random(0), -1
    for _ in range(KILLS):
        (reading, writing), said = os.pipe(), []
        # However busy the machine is, the child saves a few states, and is killed amid the next.
        few = rng.randrange(4)
        killed(
            lambda pipe=writing, first=last + 1: save_everything(tmp_path, pipe, first),
            rng.uniform(0, 0.01),
            begins=lambda pipe=reading, few=few, said=said: [
                said.append(os.read(pipe, 100)) for _ in range(few)
            ],
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as rest:
            said.append(rest.read())
        last = max([last, *map(int, b"".join(said).split())])
        if last < 0:
            continue
        state = run.load_state()
        assert state["step"] >= last
        assert torch.equal(state["prompt"], rows(state["step"]))
        for k in range(max(0, last - 30), last + 1):
            saved = torch.load(run.prompt_file(k % 1000), weights_only=True)
            assert saved.shape == (20, 64)
            assert saved[0, 0] in (k, k + 1000)
        steps = [record["step"] for record in run.read_metrics()]
        assert set(range(last + 1)) <= set(steps)
        # As a resumed run does, and the next child goes on from.
        run.cut_metrics(last)
        log = TopologyLog(tmp_path / "log.jsonl", "euclidean", resume=True)
        assert set(range(last + 1)) <= log.steps
        for name in ("a", "b"):
            numbers = (tmp_path / "out" / name).read_bytes().split()
            assert len(numbers) == 5000
            assert len(set(numbers)) == 1
            assert int(numbers[0]) >= last
    assert last > KILLS // 4
    leftovers = [file.name for file in (tmp_path / "run").iterdir() if file.name.startswith(".")]
    run.prepare()
    assert not [name for name in leftovers if (tmp_path / "run" / name).exists()]


@pytest.mark.model
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_numbers(tmp_path):
    torch.set_num_threads(1)
    loaded = tiny_model(), tiny_tokenizer()
    config = TuneConfig(
        data=str(write_jsonl(tmp_path / "data.jsonl", EXAMPLES)),
        n_tokens=4,
        epochs=5,
        batch_size=3,
        lr=0.01,
        holdout=0.2,
        eval_every=2,
        max_new_tokens=2,
    )

    def go_on(folder):
        try:
            tune(config, folder, resume=True, loaded=loaded, progress=False)
        except RunError:
            # Killed before anything was saved.
            tune(config, folder, overwrite=True, loaded=loaded, progress=False)

    begin = time.monotonic()
    whole = tune(config, tmp_path / "whole", loaded=loaded, progress=False)
    seconds = time.monotonic() - begin
    rng, kills, finished = random.Random(1), 0, 0
    while kills < KILLS or not finished:
        folder, step = tmp_path / f"run{finished}", -1
        while not killed(lambda out=folder: go_on(out), rng.uniform(0, seconds)):
            kills += 1
            with contextlib.suppress(RunError):
                saved = RunFolder(folder).load_state()["step"]
                assert saved >= step
                step = saved
        finished += 1
        assert same_numbers(folder, tmp_path / "whole")
    assert torch.isfinite(whole.prompt).all()


def same_numbers(folder, other):
    """Whether two runs have the same prompts bit by bit, and the same metrics but for times."""

    def content(path):
        timeless = [
            {k: v for k, v in record.items() if k not in ("seconds", "ts_share")}
            for record in RunFolder(path).read_metrics()
        ]
        files = sorted(path.glob("soft_prompt_*.pt"))
        prompts = [torch.load(file, weights_only=True).tolist() for file in files]
        return timeless, [file.name for file in files], prompts

    return content(folder) == content(other)
