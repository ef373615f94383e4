"""Providers that do what the benchmark must notice: wrong, slow, crashing, hungry, missing.

They load no torch, so that their processes start quickly.
"""

import os
import time

import numpy as np

from benchmarks.providers.base import Call, Provider
from benchmarks.providers.ours import FromPoints
from benchmarks.truth import Truth


class Right(Truth):
    """gudhi again, under another name."""

    phases = ("h0", "h1")
    edges = True


class Wrong(Right):
    """One death is off by one part in 10^5."""

    def diagrams(self, D, max_dim):
        call = super().diagrams(D, max_dim)

        def read(result):
            diagrams = call.read(result)
            diagrams[0][0][0, 1] *= 1 + 1e-5
            return diagrams

        return Call(call.run, read)


class WrongOnOneInput(Right):
    """One bar is missing from the diagrams of the third input."""

    inputs = 0

    def diagrams(self, D, max_dim):
        call = super().diagrams(D, max_dim)
        self.inputs += D.shape[-1] > 5
        which = self.inputs

        def read(result):
            diagrams = call.read(result)
            if which == 3:
                diagrams[0][0] = diagrams[0][0][1:]
            return diagrams

        return Call(call.run, read)


class Counting(Provider):
    """Its result is the sizes of all inputs that it was called with so far."""

    package = "fake"
    modules = ()
    phases = ("h1",)

    def __init__(self, threads=1):
        super().__init__(threads)
        self.calls = []

    def diagrams(self, D, max_dim):
        return Call(lambda: self.calls.append(D.shape[-1]), lambda result: list(self.calls))


class Misbehaving(Provider):
    """Does as its subclass does, but not on the small case that it is warmed up with."""

    package = "fake"
    modules = ()
    phases = ("h1",)

    def diagrams(self, D, max_dim):
        return Call(lambda: self.misbehave() if D.shape[-1] > 5 else None, lambda result: [])


class Slow(Misbehaving):
    def misbehave(self):
        time.sleep(60)


class Crashing(Misbehaving):
    def misbehave(self):
        os.abort()


class Hungry(Misbehaving):
    def misbehave(self):
        np.ones(2**31)


class Eating(Misbehaving):
    """Takes 64 MiB for a moment."""

    def misbehave(self):
        np.ones(2**23)


class Missing(Misbehaving):
    modules = ("no_such_package_here",)


class WrongH0(FromPoints):
    """Its H0 is said to differ from the other engine's."""

    def h0_agrees(self, x):
        return False
