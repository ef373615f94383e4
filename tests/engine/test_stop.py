"""Ctrl-C during a long call: it ends at once, gives its memory back, and the process goes on."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from clouds import cloud

import tsloss_fast as tsl
from tsloss_fast._engine import host_h1

# Seconds that a person takes for at once.
AT_ONCE = 0.5


def large(n=6000):
    """A cloud whose H1 takes seconds."""
    return cloud("gaussian", n, 16, 0, torch.float32)


def seconds_to_stop(call, after=0.4):
    """Seconds from Ctrl-C, `after` the start, to the KeyboardInterrupt that `call` then raises.

    Those of this process, for each of its threads, where they are fewer: on a busy machine it waits
    for others.
    """
    sent = []

    def send():
        sent.extend((time.perf_counter(), time.process_time()))
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, send)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        own = (time.process_time() - sent[1]) / torch.get_num_threads()
        return min(time.perf_counter() - sent[0], own)
    finally:
        timer.cancel()
        timer.join()


def works(x):
    """Whether the engine still gives the edges of the reference, in memory that it keeps."""
    D = tsl.pairwise_distances(x)
    found = tsl.rips_persistence(x)
    expected = tsl.reference.rips_persistence(D.double(), metric="precomputed")
    return all(
        torch.equal(ours.death_edges, theirs.death_edges)
        for ours, theirs in zip(found, expected, strict=True)
    )


def of_matrix(x):
    D = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return tsl.rips_persistence(D, metric="precomputed")


def deaths_of_h0(x):
    return tsl.rips_persistence(x)[0].deaths


# A call, and the points that it gets, of a small cloud and of a large one.
ROUTES = {
    "points": (tsl.rips_persistence, lambda x: x),
    "gradient": (tsl.rips_persistence, lambda x: x.requires_grad_()),
    "matrix": (of_matrix, lambda x: x),
    "cycles": (tsl.representative_cycles, lambda x: x),
    "loss": (tsl.TSLoss(), lambda x: x.requires_grad_()),
    "operator": (torch.func.vmap(deaths_of_h0), lambda x: x[None]),
    "many clouds": (
        tsl.rips_persistence,
        lambda x: x[:20, :2].expand(30 * len(x), -1, -1),
    ),
    "batch": (tsl.rips_persistence, lambda x: torch.stack((x, x))),
    # One thread has nothing left to do, and only waits for the other.
    "first of a batch": (tsl.rips_persistence, lambda x: torch.stack((x, x * 0))),
    "last of a batch": (tsl.rips_persistence, lambda x: torch.stack((x * 0, x))),
    "loss of a batch": (tsl.TSLoss(), lambda x: torch.stack((x, x))),
    "distances": (tsl.pairwise_distances, lambda x: x.repeat(1, 512)),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("route", ROUTES)
def test_a_long_call_stops_at_once(route, threads):
    torch.set_num_threads(threads)
    call, points = ROUTES[route]
    # What is imported late must be there, for an import that is interrupted is not repaired.
    call(points(large(20)))
    x = points(large())
    assert seconds_to_stop(lambda: call(x)) < AT_ONCE
    small = cloud("circle", 60, 2)
    assert works(small)
    assert works(torch.stack((small, 2 * small, small)))


# In a process of its own, for in one that has run other tests the allocator moves by as much. It
# keeps freed blocks, which glibc gives back when asked.
STOPPED_AGAIN = """
    import ctypes, gc, os, signal, threading, torch
    import tsloss_fast as tsl

    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda kept: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    call, x = CALL

    def megabytes():
        gc.collect()
        trim(0)
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop():
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            call(x)
        except KeyboardInterrupt:
            return
        raise AssertionError("it was over before")

    call(x[..., :20, :])
    stop()
    before = megabytes()
    stop(), stop(), stop()
    print(megabytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "call",
    [
        "tsl.rips_persistence, torch.randn(6000, 16)",
        "tsl.TSLoss(), torch.randn(6000, 16, requires_grad=True)",
        "tsl.rips_persistence, torch.randn(2, 6000, 16)",
    ],
)
def test_a_stopped_call_gives_its_memory_back(call):
    code = textwrap.dedent(STOPPED_AGAIN).replace("CALL", call)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The distances alone are 137 MiB.
    assert float(done.stdout) < 50


def test_a_handler_that_raises_nothing_stops_nothing():
    """Such as the one that lets `tsloss-fast tune` end its step."""
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        h0, _ = tsl.rips_persistence(large(2500))
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert seen == [1]
    assert h0.mask.all()


def test_what_the_function_of_a_caller_raises_ends_its_call():
    D = tsl.pairwise_distances(large()).numpy()

    def no_more():
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        tsl._C.rips(D, 1, meanwhile=no_more)
    assert works(cloud("circle", 60, 2))


# H1 of CUDA tensors, which a thread computes on the host: here of tensors that say they are.


@pytest.fixture
def start(monkeypatch):
    """Begin H1 of a cloud on its thread, as for a CUDA tensor; the result and the thread."""
    copied = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(
        host_h1, "_copy_to_host", lambda parts: ([x.on_host for x in parts], copied)
    )
    monkeypatch.setattr(host_h1, "_wait_for", lambda copied, device: None)

    def begin(x):
        D = tsl.pairwise_distances(x)
        on_device = types.SimpleNamespace(device=torch.device("cuda"), on_host=D)
        pending = host_h1.start_bars(on_device, on_device, "x")
        (thread,) = (t for t in threading.enumerate() if t.name == "h1")
        return pending, thread

    return begin


def seconds_to_end(thread):
    began = time.process_time()
    thread.join(60)
    assert not thread.is_alive()
    return time.process_time() - began


def test_ctrl_c_where_the_result_is_waited_for_ends_the_thread(start):
    pending, thread = start(large())
    assert seconds_to_stop(pending.result) < AT_ONCE
    assert seconds_to_end(thread) < AT_ONCE


def test_a_result_that_is_thrown_away_ends_the_thread(start):
    """As Ctrl-C in the model's forward does, between start and result."""
    pending, thread = start(large())
    time.sleep(0.3)
    assert thread.is_alive()
    del pending
    assert seconds_to_end(thread) < AT_ONCE


def test_a_result_that_is_waited_for_elsewhere_is_computed():
    """A thread that is no daemon may take the result after the main thread has ended."""
    code = """
        import threading, time, types, torch
        from tsloss_fast import host_h1, pairwise_distances

        D = pairwise_distances(torch.randn(2000, 16))
        copied = types.SimpleNamespace(synchronize=lambda: None)
        host_h1._copy_to_host = lambda parts: ([x.on_host for x in parts], copied)
        host_h1._wait_for = lambda copied, device: None
        host_h1._to_device = lambda part, device: part
        on_device = types.SimpleNamespace(device=torch.device("cuda"), on_host=D)
        pending = host_h1.start_bars(on_device, on_device, "x")
        waiting = lambda: (time.sleep(0.5), print(pending.result()[1].sum().item()))
        {}
    """
    last = {"taken": "threading.Thread(target=waiting).start()", "left": "raise SystemExit(3)"}
    for name, line in last.items():
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code).format(line)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if name == "taken" else 3), done.stderr
        assert done.stdout == ("1999\n" if name == "taken" else "")
        assert done.stderr == ""


def test_python_ends_at_once_though_h1_is_pending():
    """Ctrl-C keeps the frames of its traceback, and with them the result, to the end."""
    code = """
        import threading, time, types, torch
        from tsloss_fast import host_h1, pairwise_distances

        D = pairwise_distances(torch.randn(8000, 16))
        copied = types.SimpleNamespace(synchronize=lambda: None)
        host_h1._copy_to_host = lambda parts: ([x.on_host for x in parts], copied)
        host_h1._wait_for = lambda copied, device: None
        on_device = types.SimpleNamespace(device=torch.device("cuda"), on_host=D)
        pending = host_h1.start_bars(on_device, on_device, "x")
        print(time.process_time(), flush=True)
        raise KeyboardInterrupt
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.strip().endswith("KeyboardInterrupt")
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Python itself takes some tenths of a second to go with torch, and H1 would take many seconds.
    assert computed - float(done.stdout) < 1
