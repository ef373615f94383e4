"""Every function of the compiled module on every instruction set, and on threads that meet.

    python tests/sanitize/calls.py build/address/tsloss_fast/_C.cpython-311-x86_64-linux-gnu.so
    python tests/sanitize/calls.py MODULE --overruns   # that reads beyond memory are found

Loads the module by its path and needs NumPy alone: torch and its OpenMP are not instrumented, so
the sanitizer of threads would take their locks for races.
"""

import argparse
import ctypes
import importlib.util
import re
import subprocess
import sys
import threading
from types import ModuleType

import numpy as np

ISAS = ["plain", "avx2", "avx512"]
# Both sides of each size at which the engine changes, and of no points at all.
SIZES = [0, 1, 2, 3, 5, 16, 17, 63, 64, 65, 127, 129, 257, 513, 1030]


def load(path: str) -> ModuleType:
    """The compiled module that lies at a path."""
    spec = importlib.util.spec_from_file_location("_C", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clouds(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Clouds [2, n, d] of both dtypes: without ties, with many, and of one point."""
    few = rng.integers(0, 3, (2, n, 3))
    return [
        rng.standard_normal((2, n, 5)).astype(np.float32),
        rng.standard_normal((2, n, 33)),
        few.astype(np.float32),
        few.astype(np.float64),
        np.ones((2, n, 1)),
    ]


def matrices(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Symmetric matrices [2, n, n] far from a metric: ties, missing edges, what is no number."""
    i, j = np.triu_indices(n, 1)
    few = rng.integers(0, 4, (2, len(i))).astype(np.float64)
    drawn = [rng.random((2, len(i))), few, np.where(few == 3, np.inf, few)]
    drawn += [np.where(few == 3, bad, few) for bad in (np.nan, -1.0, -np.inf)]
    found = []
    for lengths in drawn:
        D = np.zeros((2, n, n))
        D[:, i, j] = D[:, j, i] = lengths
        found += [D, D.astype(np.float32)]
    return found


def call_all(module: ModuleType, isa: str, n: int, threads: int, seed: int) -> None:
    """Each function once on clouds and matrices of n points."""
    rng = np.random.default_rng((seed, n))
    for x in clouds(n, rng):
        D = module.distances(x, threads, isa)
        edges = rng.integers(-1, max(n, 1), (2, 9, 2)) if n else np.full((2, 9, 2), -1)
        weights = rng.standard_normal((2, 9)).astype(x.dtype)
        module.edge_lengths(x, edges, threads, isa)
        module.scatter_edges(x, edges, weights, threads, isa)
        module.scatter_differences(x, D, threads, isa)
        module.first_nonfinite(x)
        module.first_matrix_fault(D)
        check_bars(module, D, isa, threads)
        lengths = np.array([n, n // 2])
        each = [cloud[:m].copy() for cloud, m in zip(x, lengths, strict=True)]
        for points in (x, each, x.__dlpack__()):
            module.persistence_loss(points, 1.0, 1.0, 2.0, True, True, threads, isa)
        for points in (x, each, x.__dlpack__()):
            module.surrogate_loss(
                points, 1, 1, 0.5, 4.0, 1, 1, True, False, False, True, threads, isa
            )
        module.packed_distances_of_each(each, threads)
        module.rips_of_tensor(D.__dlpack__(), 1, threads)
        if n:
            module.attention_trees(D, n // 3, threads)
        module.rips(D, 1, lengths, threads, isa)
        packed = module.packed_distances(x, lengths, threads)
        module.rips_of_packed(packed, lengths, n, 1, True, threads)
        births = rng.standard_normal((2, n)).astype(x.dtype)
        module.rips(D, 1, None, threads, isa, 0.5, None, births)
    for D in matrices(n, rng):
        module.rips(D, 1, None, threads, isa)
        module.rips(D, 0, None, threads, isa, 2.0)
        if not (np.isnan(D) | (D < 0)).any():
            check_bars(module, D, isa, threads)


def check_bars(module: ModuleType, D: np.ndarray, isa: str, threads: int) -> None:
    """Bars are those of the plain build; cycles are found without harm."""
    for found, expected in zip(
        module.rips(D, 1, None, threads, isa), module.rips(D, 1, isa="plain"), strict=True
    ):
        np.testing.assert_array_equal(found.bars, expected.bars)
        np.testing.assert_array_equal(found.essential_edges, expected.essential_edges)
    if D.shape[-1] <= 65:
        module.rips_cycles(D, True, None, threads, isa)
        module.rips_cycles(D, False, None, threads, isa)


def call_together(module: ModuleType) -> None:
    """Eight threads of Python at once, each of which asks for helpers, and calls that stop."""
    D = module.distances(np.random.default_rng(0).standard_normal((6, 150, 4)))
    expected = module.rips(D, 1)[1].bars
    wrong = []

    def stop() -> None:
        raise InterruptedError

    def work(k: int) -> None:
        for turn in range(6):
            if k == 0:
                try:
                    module.rips(np.repeat(D, 20, 0), 1, None, 3, "auto", None, stop)
                except InterruptedError:
                    continue
            elif k < 4:
                x = np.random.default_rng((k, turn)).standard_normal((6, 40, 16))
                module.persistence_loss(x, 1.0, 1.0, 2.0, False, True, 2)
            elif not np.array_equal(module.rips(D, 1, threads=3)[1].bars, expected):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def overrun(module: ModuleType, isa: str) -> None:
    """Ask for the loss of a cloud that says it has a row more than there is memory of."""
    capsule = np.ones((64, 64), np.float32).__dlpack__()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # Of a DLTensor: the memory, the device, the number of dimensions and the dtype come first.
    shape = ctypes.c_void_p.from_address(get(capsule, b"dltensor") + 24).value
    ctypes.c_int64.from_address(shape).value += 1
    module.persistence_loss(capsule, 1.0, 1.0, 2.0, False, True, 1, isa)


def assert_overruns_are_found(path: str, isas: list[str]) -> None:
    """Each instruction set's own code is watched: a read beyond memory ends the process there."""
    for isa in isas:
        command = [sys.executable, __file__, path, "--overrun", isa]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        # The innermost function of the engine; the sanitizer's own memcpy may stand above.
        where = re.search(r"tsl::\w+::\w+::\w+", ran.stderr)
        stopped = ran.returncode != 0 and "heap-buffer-overflow" in ran.stderr
        if not (stopped and where and where[0].startswith(f"tsl::{isa}::")):
            raise SystemExit(f"{isa}: a read beyond memory was not found\n{ran.stderr[-4000:]}")
        print(f"{isa}: a read beyond memory was found in {where[0]}", flush=True)


def main() -> None:
    """Call everything; the sanitizer ends the process at what it finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--overrun", choices=ISAS, help="read beyond memory on one set")
    parser.add_argument("--overruns", action="store_true", help="that such a read is found on each")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="points of a cloud at most")
    args = parser.parse_args()
    module = load(args.path)
    if args.overrun:
        overrun(module, args.overrun)
        return
    isas = ISAS[: ISAS.index(module.best_isa()) + 1]
    if args.overruns:
        assert_overruns_are_found(args.path, isas)
        return
    sizes = [n for n in SIZES if n <= args.largest]
    for isa in isas:
        for n in sizes:
            call_all(module, isa, n, threads=1 + n % 2, seed=0)
    call_together(module)
    print(f"{len(sizes)} sizes on {', '.join(isas)}, and 8 threads at once")


if __name__ == "__main__":
    main()
