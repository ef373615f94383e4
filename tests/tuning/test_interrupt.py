"""Signals as a flag: what sets it, and that handlers are put back."""

import os
import signal

import pytest

from tsloss_fast.tuning.interrupt import InterruptFlag


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_flag_and_the_second_interrupts(number):
    before = signal.getsignal(number)
    with InterruptFlag() as flag:
        os.kill(os.getpid(), number)
        assert flag.raised == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_no_signal_leaves_it_unset():
    with InterruptFlag() as flag:
        assert not flag.raised
