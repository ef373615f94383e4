"""Triton kernels: distances, H0, edge lengths, gradients and the surrogate, an idea a file.

`tsloss_fast._engine.cuda` hands CUDA tensors to them; `import tsloss_fast` does not load them. They
are tested through Triton's interpreter and compiled ahead of time for sm_80, sm_90 and sm_100, and
were run on an H200 with Triton 3.6: docs/kernel-notes.md.

======================  ===================================  =====================================
module                  launcher                             limits
======================  ===================================  =====================================
`distances`             `pairwise_distances(x)`              direct up to n = 1024, then by products
`edge_lengths`          `edge_lengths(x, edges)`             none
`h0`                    `h0_critical_edges(D)`               n <= 65,535; 46,340 in float64
`persistence_terms`     `persistence_terms(lengths, ...)`    none
`scatter`               `scatter_edges(x, edges, weights)`   none; sorts where n * K is large
`scatter`               `scatter_differences(x, weights)`    work grows with n^2 * d
`surrogate`             `surrogate_terms(D, ...)`            one launch up to n = 64, then three
======================  ===================================  =====================================

A folder has its launcher in `launch` and its kernels beside it; `scatter` has two launchers, in a
file each. `launching` starts kernels that are compiled already.

The modules need Triton, which the package itself does not ask for: 3.7.1 and 3.9.0 pass all tests,
3.6.0 those on an H200 and a sample of the others. A launcher takes CUDA tensors,
or CPU tensors where TRITON_INTERPRET=1 was set before Triton was imported. No launcher waits for
the device, so values are not checked: see each docstring for what NaN gives.
"""
