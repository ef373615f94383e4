"""Ctrl-C, or SIGTERM, as a flag that is looked at between steps, where the state is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Training was stopped by a signal; the message says what was saved.

    Attributes
    ----------
    signal : int
        The signal: SIGINT for Ctrl-C, or SIGTERM, which a scheduler sends.
    """

    def __init__(self, message: str, signal: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal = signal


class InterruptFlag:
    """While entered, the first SIGINT or SIGTERM sets `raised`; a second interrupts at once.

    Outside the main thread, where Python handles no signals, it never becomes set.
    """

    def __init__(self) -> None:
        # The number of the signal, 0 before it comes.
        self.raised = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = number
