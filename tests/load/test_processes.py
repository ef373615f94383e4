"""Many threads of Python, forked and spawned workers, and a process that ends amid a call."""

import multiprocessing
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from threads import in_threads
from torch.utils.data import DataLoader, Dataset

import tsloss_fast as tsl


def cloud(k):
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(k))


def numbers(k):
    """Loss, gradient and deaths of cloud `k`, as one tensor."""
    x = cloud(k).requires_grad_()
    loss = tsl.TSLoss()(x) + tsl.TSLoss("surrogate")(x)
    loss.backward()
    with torch.no_grad():
        batch = torch.stack((x, 2 * x, 3 * x))
        deaths = [dgm.deaths.flatten() for dgm in tsl.rips_persistence(batch)]
    return torch.cat((loss.detach().reshape(1), x.grad.flatten(), *deaths))


class Clouds(Dataset):
    """What a worker of a DataLoader computes from a cloud."""

    def __len__(self):
        return 12

    def __getitem__(self, k):
        return numbers(k)[:200]


def test_eight_threads_at_once_get_what_each_gets_alone():
    torch.set_num_threads(2)
    expected = [numbers(k) for k in range(8)]
    wrong = []

    def repeat(k):
        for _ in range(25):
            if not torch.equal(numbers(k), expected[k]):
                wrong.append(k)

    in_threads(8, repeat)
    assert wrong == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_compute_what_the_parent_does(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    expected = torch.stack([Clouds()[k] for k in range(12)])
    loader = DataLoader(Clouds(), batch_size=4, num_workers=2, multiprocessing_context=method)
    assert torch.equal(torch.cat(list(loader)), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_forked_while_other_threads_compute():
    """A lock may be held, and helpers be at work, at the moment of the fork."""
    code = """
        import os, sys, threading
        import numpy as np
        from tsloss_fast import _C

        D = _C.distances(np.random.default_rng(0).standard_normal((6, 90, 6)))
        expected = _C.rips(D, 1, threads=3)[1].bars
        ends = threading.Event()

        def compute():
            while not ends.is_set():
                _C.rips(D, 1, threads=3)

        workers = [threading.Thread(target=compute) for _ in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(25):
            child = os.fork()
            if child == 0:
                same = all(
                    np.array_equal(_C.rips(D, 1, threads=3)[1].bars, expected) for _ in range(3)
                )
                os._exit(0 if same else 1)
            assert os.waitpid(child, 0)[1] == 0
        ends.set()
    """
    ends_quietly(code)


# What a daemon thread computes while Python ends. Not calls that are over at once: before 3.14 the
# memory of a tensor that torch.from_numpy made asks for the GIL where torch cannot be unwound.
UNDER_WAY = {
    "one long call": "tsl.rips_persistence(torch.randn(6000, 16))",
    "a long batch": "tsl.rips_persistence(torch.randn(2, 5000, 16))",
    "a long loss": "tsl.TSLoss()(torch.randn(6000, 16))",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", UNDER_WAY)
def test_python_ends_amid_a_call_of_a_daemon_thread(call, threads):
    code = f"""
        import threading, time, torch
        import tsloss_fast as tsl

        torch.set_num_threads({threads})
        small = torch.randn(30, 4)
        tsl.rips_persistence(small), tsl.TSLoss()(small)
        threading.Thread(target=lambda: {UNDER_WAY[call]}, daemon=True).start()
        time.sleep(0.4)
    """
    for _ in range(3):
        ends_quietly(code)


def ends_quietly(code):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
