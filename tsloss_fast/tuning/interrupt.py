"""Ctrl-C as a flag that is looked at between steps, where the state is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupted(Exception):
    """Training was stopped by the user; the message says what was saved."""


class InterruptFlag:
    """While entered, the first SIGINT sets `raised`; a second one interrupts at once.

    Outside the main thread, where Python handles no signals, it never becomes set.
    """

    def __init__(self) -> None:
        self.raised = False
        self._previous: object = None

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True
