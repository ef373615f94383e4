"""Pending: what was begun and goes on elsewhere, until its result is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

Result = TypeVar("Result")


class Pending(Generic[Result]):
    """A result whose computation has begun.

    Parameters
    ----------
    begin : callable
        Called at once. It returns the function that `result` calls, which waits for what is not
        done by then.

    Attributes
    ----------
    seconds : float
        Seconds that the host has spent in `begin` and in `result`; not counted under
        ``torch.compile``.

    Examples
    --------
    >>> pending = Pending(lambda: lambda: 3)
    >>> pending.result()
    3
    """

    def __init__(self, begin: Callable[[], Callable[..., Result]]) -> None:
        self.seconds = 0.0
        self._take: Callable[..., Result] = self._timed(begin)

    def result(self, *args: Any, **kwargs: Any) -> Result:
        """What was begun, once it is there; a second call gives it again.

        Arguments go to the function that `begin` returned. A loss takes ``return_terms``, as its
        ``forward`` does.
        """
        result: Result = self._timed(self._take, *args, **kwargs)
        return result

    def _timed(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return call(*args, **kwargs)
        began = time.perf_counter()
        value = call(*args, **kwargs)
        self.seconds += time.perf_counter() - began
        return value
