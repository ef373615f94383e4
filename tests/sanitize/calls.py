"""Every function of the compiled module on every instruction set, and on threads that meet.

    python tests/sanitize/calls.py build/address/tsloss_fast/_C.cpython-311-x86_64-linux-gnu.so

Loads the module by its path and needs NumPy alone: torch and its OpenMP are not instrumented, so
the sanitizer of threads would take their locks for races.
"""

import importlib.util
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
        module.persistence_loss(x, 1.0, 1.0, 2.0, True, True, threads, isa)
        module.surrogate_loss(x, 1, 1, 0.5, 4.0, 1, 1, True, False, False, True, threads, isa)
        check_bars(module, D, isa, threads)
        lengths = np.array([n, n // 2])
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


def main(path: str) -> None:
    """Call everything; the sanitizer ends the process at what it finds."""
    module = load(path)
    isas = ISAS[: ISAS.index(module.best_isa()) + 1]
    for isa in isas:
        for n in SIZES:
            call_all(module, isa, n, threads=1 + n % 2, seed=0)
    call_together(module)
    print(f"{len(SIZES)} sizes on {', '.join(isas)}, and 8 threads at once")


if __name__ == "__main__":
    main(sys.argv[1])
