"""Triton kernels: distances, H0 and the scatter of edge gradients, each in a file of its own.

Nothing here is wired yet: no operator of the package calls these kernels, `import tsloss_fast`
does not load them, and CUDA tensors are still refused by the public functions. They are tested
through Triton's interpreter and compiled ahead of time for sm_80, sm_90 and sm_100; they have not
been run or measured on a GPU.

================  ===================================  =============================================
module            launcher                             limits
================  ===================================  =============================================
`distances`       `pairwise_distances(x)`              direct differences at every n
`h0`              `h0_critical_edges(D)`               n <= 256, float32 lengths
`scatter`         `scatter_edges(x, edges, weights)`   work grows with n * K
================  ===================================  =============================================

The modules need Triton, which the package itself does not ask for: 3.7.1 and 3.9.0 pass all tests,
3.6.0 those of the compiler (its interpreter fails with NumPy 2.4). A launcher takes CUDA tensors,
or CPU tensors where TRITON_INTERPRET=1 was set before Triton was imported. No launcher waits for
the device, so values are not checked: see each docstring for what NaN gives.
"""
