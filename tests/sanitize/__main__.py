"""Build the engine with a sanitizer and run its tests: python -m tests.sanitize [NAME ...].

"address" (and undefined behaviour) and "thread" by GCC; "bindings", which has to be asked for,
fuzzes the module's functions by Atheris and wants clang. Each build lies in build/NAME, apart from
the one that is used.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of the kinds of undefined behaviour vptr needs types that pybind11 keeps to itself.
MEMORY = "-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all"
FLAGS = {
    "address": MEMORY,
    "thread": "-fsanitize=thread",
    "bindings": f"{MEMORY} -fsanitize=fuzzer-no-link -fno-sanitize=function",
}
RUNTIMES = {"address": "libasan.so", "thread": "libtsan.so"}
OPTIONS = {
    # Python itself keeps memory to its end, which is no leak of ours.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 halt_on_error=1",
    "OMP_NUM_THREADS": "1",
}
# Those that call the compiled module itself; torch's own threads are not instrumented.
TESTS = ["engine/test_compiled_module.py", "persistence/test_h1.py", "persistence/test_cycles.py"]
TESTS += ["persistence/test_missing_edges.py", "persistence/test_vertex_births.py"]
TESTS += ["losses/test_tsloss.py"]


def build(name: str) -> Path:
    """Compile what changed; returns the folder that holds the package."""
    folder, objects = ROOT / "build" / name, ROOT / "build" / f"{name}-objects"
    flags = f"{FLAGS[name]} -fno-omit-frame-pointer"
    env = os.environ | {"CFLAGS": flags, "CXXFLAGS": flags, "LDFLAGS": flags}
    # Checks of every access take long to optimise as setup.py asks.
    env |= {"TSLOSS_FAST_FLAGS": "-O1"}
    if name == "bindings":
        # What Atheris brings along has the runtime.
        env |= {"CC": "clang", "CXX": "clang++", "LDFLAGS": ""}
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-lib", folder, "--build-temp", objects],
        cwd=ROOT,
        env=env,
        check=True,
    )
    return folder


def runtime(name: str) -> str:
    """The libraries that have to be loaded before anything else."""
    if name == "bindings":
        atheris = importlib.util.find_spec("atheris")
        sanitizer = str(Path(atheris.origin).parents[1] / "asan_with_fuzzer.so")
    else:
        sanitizer = gcc_library(RUNTIMES[name])
    # Python is no C++, and sanitizers look for what throws exceptions when they begin.
    return f"{sanitizer} {gcc_library('libstdc++.so.6')}"


def gcc_library(file: str) -> str:
    """Where GCC has a library of its own."""
    asked = subprocess.run(
        ["gcc", f"-print-file-name={file}"], capture_output=True, text=True, check=True
    )
    return asked.stdout.strip()


def run(name: str, folder: Path, seconds: int, quick: bool) -> None:
    """Call everything, and for memory the tests too, as a copy beside the sanitized package."""
    env = os.environ | OPTIONS | {"LD_PRELOAD": runtime(name)}
    (module,) = (folder / "tsloss_fast").glob("_C*.so")
    if name == "bindings":
        corpus = folder / "corpus"
        corpus.mkdir(exist_ok=True)
        fuzzer = [sys.executable, ROOT / "tests" / "fuzz" / "bindings.py", module, corpus]
        options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={folder}/"]
        subprocess.run([*fuzzer, *options], env=env, check=True)
        return
    calls = [sys.executable, ROOT / "tests" / "sanitize" / "calls.py", module]
    if name == "address":
        subprocess.run([*calls, "--overruns"], env=env, check=True)
    subprocess.run(calls + (["--largest", "65"] if quick else []), env=env, check=True)
    if name == "thread" or quick:
        return
    for part in ("tests", "conftest.py", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        shutil.rmtree(folder / part, ignore_errors=True)
        copy(ROOT / part, folder / part)
    tests = [f"tests/{file}" for file in TESTS]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    subprocess.run(pytest, cwd=folder, env=env, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sanitize", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" or ".join(FLAGS))
    parser.add_argument("--quick", action="store_true", help="leave the tests and large clouds out")
    parser.add_argument("--seconds", type=int, default=60, help="how long the bindings are fuzzed")
    args = parser.parse_args()
    for name in args.names or ["address", "thread"]:
        run(name, build(name), args.seconds, args.quick)


if __name__ == "__main__":
    main()
