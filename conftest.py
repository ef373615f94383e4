"""What must be settled before any module of the package or the tests is imported."""

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

# Triton reads this when a kernel is defined. TRITON_INTERPRET=0 leaves the kernels to a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")


def _numbers(package: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version(package).split(".")[:2])


def _why_not_interpreted() -> str | None:
    """Why the kernels cannot run in Triton's interpreter here, or None."""
    try:
        triton = _numbers("triton")
    except PackageNotFoundError:
        return "the kernels need Triton, which is not installed (it exists for Linux only)"
    if os.environ["TRITON_INTERPRET"] != "1":
        return "TRITON_INTERPRET is not 1, so the kernels are compiled"
    if triton < (3, 7) and _numbers("numpy") >= (2, 4):
        return "before 3.7, Triton's interpreter cannot run loops with NumPy 2.4"
    return None


# A command with no examples in it, which cannot be imported without Triton.
collect_ignore_glob = ["tests/compile_kernels.py"]
# The examples of the kernels' docstrings are run in the interpreter, too.
if _why_not_interpreted():
    collect_ignore_glob += ["tsloss_fast/kernels/*.py"]


@pytest.fixture(scope="session")
def interpreter() -> None:
    """Skip a test where the kernels cannot run in Triton's interpreter."""
    if reason := _why_not_interpreted():
        pytest.skip(reason)
