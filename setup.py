"""Builds tsloss_fast._C, which is plain C++17 behind pybind11 and free of torch."""

import os
import shlex
import sys
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

CSRC = Path("csrc")

# SIMD is picked at run time, so no -march flag here: one build runs on any CPU of its architecture.
# -fno-math-errno and -fno-trapping-math let loops vectorise and change no value.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-g0",
    "-Wno-psabi",
]
# `make coverage` adds to these, behind what would otherwise have the last word.
MORE = shlex.split(os.environ.get("TSLOSS_FAST_FLAGS", ""))

# Compiles as many files at once as the machine has cores; NPY_NUM_BUILD_JOBS=1 asks for fewer.
ParallelCompile("NPY_NUM_BUILD_JOBS", default=0).install()


class BuildWithKernels(build_py):
    """Puts the CUDA C++ beside the module that compiles it at run time."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for path in (CSRC / "cuda").iterdir():
                to = Path(self.build_lib, "tsloss_fast/_engine/cuda_h1/cuda", path.name)
                self.mkpath(str(to.parent))
                self.copy_file(str(path), str(to))


setup(
    cmdclass={"build_py": BuildWithKernels},
    ext_modules=[
        Extension(
            "tsloss_fast._C",
            sources=sorted(str(path) for path in CSRC.rglob("*.cpp")),
            depends=sorted(str(path) for path in [*CSRC.rglob("*.hpp"), *CSRC.rglob("*.inl")]),
            include_dirs=[pybind11.get_include(), str(CSRC)],
            extra_compile_args=FLAGS + MORE,
            extra_link_args=MORE + ([] if sys.platform == "darwin" else ["-pthread"]),
            language="c++",
        )
    ],
)
