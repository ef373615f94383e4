"""Failures that a test can bring about."""

import contextlib
import resource
import signal


@contextlib.contextmanager
def full_disk(size):
    """Make every write past `size` bytes fail, as on a full disk.

    The limit holds for the whole process, pytest's own log included, so it is lifted at once.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
