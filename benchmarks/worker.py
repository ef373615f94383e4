"""A provider in a process of its own, where it may hang, crash or fill its memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.memory import limit_memory, peak_memory
from benchmarks.providers import provider_class

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
START_LIMIT_S = 120.0
FAREWELL_S = 3.0


class NoAnswer(RuntimeError):
    """A provider gave no result; ``status`` is the word that its row has for it."""

    status: str

    def row(self) -> dict[str, str]:
        """What a row says of it."""
        return {"status": self.status, "reason": str(self)}


class Unavailable(NoAnswer):
    """The provider cannot be used on this machine."""

    status = "unavailable"


class ProviderFailed(NoAnswer):
    """The provider raised an error; it goes on with other cases."""

    status = "failed"


class ProviderStopped(NoAnswer):
    """The provider's process is gone: it crashed, or exceeded its time."""

    status = "crashed"


class TimeExceeded(ProviderStopped):
    """The provider was stopped because it exceeded its time."""

    status = "exceeded its time"


class Worker:
    """The near side: asks a provider's process, and stops it when it exceeds its time.

    Parameters
    ----------
    provider : str
        Its name, or where its class is: ``"module:Class"``.
    threads : int
        Threads it may use, set in its environment before it starts.
    memory_gib : float
        Its address space; 0 means no limit.
    """

    def __init__(self, provider: str, threads: int = 1, memory_gib: float = 0.0) -> None:
        context = multiprocessing.get_context("spawn")
        self._near, far = context.Pipe()
        arguments = (far, provider, threads, memory_gib)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(threads))):
            self._process.start()
        far.close()

    def ask(self, operation: str, *arguments: Any, limit_s: float) -> Any:
        """What the provider's process answers.

        Raises
        ------
        ProviderFailed
            With the provider's own error.
        TimeExceeded
            No answer in time; the process is stopped.
        ProviderStopped
            The process ended.
        """
        try:
            self._near.send((operation, arguments))
            if not self._near.poll(limit_s):
                self.stop(at_once=True)
                raise TimeExceeded(f"no answer in {limit_s:g} s")
            status, answer = self._near.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join(5)
            raise ProviderStopped(self._how_it_ended()) from error
        if status == "failed":
            raise ProviderFailed(answer)
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"its process ended by {signal.Signals(-code).name}"
        return f"its process ended with status {code}"

    def stop(self, at_once: bool = False) -> None:
        """End the process; left to itself it ends when nobody listens any more."""
        self._near.close()
        if not at_once:
            self._process.join(FAREWELL_S)
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, provider: str, threads: int, memory_gib: float) -> None:
    """The far side: answer until the near side hangs up."""
    # Ctrl-C reaches the whole group of processes; the near side alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(memory_gib)
    server = _Server(provider, threads)
    while True:
        try:
            operation, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("done", getattr(server, operation)(*arguments)))
        except MemoryError as error:
            connection.send(("failed", f"out of the {memory_gib:g} GiB it may take: {error!r}"))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0]))


class _Server:
    """What can be asked of a provider: one method an operation."""

    def __init__(self, provider: str, threads: int) -> None:
        self._place, self._threads = provider, threads
        self._warm: set[str] = set()

    def start(self) -> dict[str, Any]:
        """Import everything; why the provider cannot be used, and its version."""
        self._provider = provider_class(self._place)(self._threads)
        reason = self._provider.available()
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(self._threads)
        return {"reason": reason, "version": self._provider.version()}

    def warm_up(self, phase: str, array: np.ndarray) -> None:
        """Run a new phase once on something small: what is loaded on first use is loaded then."""
        if phase not in self._warm:
            self._provider.call(phase, array).run()
            self._warm.add(phase)

    def prepare(self, phase: str, array: np.ndarray) -> dict[str, Any]:
        """Make the phase's call and run it once: its seconds, and its result for the check."""
        call = self._provider.call(phase, array)
        started = time.perf_counter()
        result = call.run()
        seconds = time.perf_counter() - started
        self._runs = [call.run]
        self._turn = 0
        return {"seconds": seconds, "result": call.read(result)}

    def prepare_others(self, phase: str, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Make the calls that `sample` takes in turn with the first; their results."""
        calls = [self._provider.call(phase, array) for array in arrays]
        self._runs += [call.run for call in calls]
        return [call.read(call.run()) for call in calls]

    def sample(self, repeats: int, warm_up: bool) -> float:
        """Seconds of one call, the mean over `repeats`, after one that is not timed."""
        runs = [self._runs[(self._turn + k) % len(self._runs)] for k in range(repeats + warm_up)]
        self._turn += len(runs)
        if warm_up:
            runs.pop()()
        # Not the package's own `sample`: a peer's process need not load torch.
        started = time.perf_counter()
        for run in runs:
            run()
        return (time.perf_counter() - started) / repeats

    def memory(self, phase: str, small: np.ndarray, array: np.ndarray) -> int:
        """Peak bytes of one call, after a small one that loads what the provider needs."""
        self._provider.call(phase, small).run()
        return peak_memory(self._provider.call(phase, array).run)
