"""What must be settled before any module of the package or the tests is imported."""

import importlib.util
import os

# Triton reads this when a kernel is defined. On a CUDA machine, TRITON_INTERPRET=0 compiles them.
os.environ.setdefault("TRITON_INTERPRET", "1")

# The kernels' docstrings are examples too, but their modules need Triton (Linux only).
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["tsloss_fast/kernels/*.py"]
