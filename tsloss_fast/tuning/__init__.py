"""Soft prompt tuning of a causal language model: data, models, training, and the demo.

`tsloss-fast tune` is this package's front; `tsloss_fast.tuning.run.tune` is the same from Python.
It needs the extra ``tsloss-fast[tune]``.
"""
