"""The border to what computes: arrays, operators, the kernels on CUDA and the host's H1.

Private. `operators` is what the layers above call; `arrays` prepares and checks tensors for the
compiled module, `cuda` hands tensors to the Triton kernels in `kernels`, and `host_h1` runs H1 of a
CUDA tensor on the host.
"""
