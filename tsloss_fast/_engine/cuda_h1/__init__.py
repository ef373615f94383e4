"""Exact H1 of CUDA clouds by kernels alone: the CUDA C++ of csrc/cuda, compiled at run time.

`launch.py` is the door; docs/h1-gpu.md says how it works.
"""
