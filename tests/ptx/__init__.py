"""Compiled kernels executed on the CPU: an interpreter of the PTX that Triton emits.

The programs of a launch run in groups, all lanes of a group in step, so that one NumPy operation
does an instruction of some thousand lanes. What is modelled: the values of every instruction, lanes
that part ways and meet again, barriers, shuffles, shared and global memory with bounds and
alignment, and which accesses no barrier keeps apart. What is not: time, caches, the order in which
a device would run warps (a race is found from the accesses, not from wrong values), the rounding of
tensor cores, `wgmma` and what only Blackwell has. An instruction that is not known is refused by
its name.
"""
