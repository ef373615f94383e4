"""Which kernels a run of the tests launched, on how many points: `pytest --executed FILE`.

`recording` counts launches while tests run, in Triton's interpreter, in that of PTX (`--ptx`) or on
a device (`--gpu`); `table` makes the table of docs/kernel-notes.md of what was recorded, which lies
here as JSON.
"""
