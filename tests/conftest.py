"""Settings that every test shares: reproducible examples, seeds, thread count."""

import importlib

import pytest
import torch
from hypothesis import settings

# Derandomized, so that a run can be repeated; `--hypothesis-profile=explore` looks further.
settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seed_and_threads():
    """The same seed for every test, and the thread count put back after it."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=["tsloss_fast", "tsloss_fast.reference"])
def impl(request):
    """The package and its reference: one specification, so one set of tests for both."""
    return importlib.import_module(request.param)


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that comes uninitialised holds NaN or -1, so that what a kernel skips shows."""
    empty = torch.empty

    def poisoned_empty(*size, **options):
        x = empty(*size, **options)
        return x.fill_(float("nan") if x.is_floating_point() else -1)

    monkeypatch.setattr(torch, "empty", poisoned_empty)


@pytest.fixture(scope="session")
def tsl():
    """The package."""
    return importlib.import_module("tsloss_fast")


def pytest_terminal_summary(terminalreporter):
    """Print what each kernel compiled ahead of time takes."""
    lines = [
        value
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for key, value in report.user_properties
        if key == "kernel" and report.when == "call"
    ]
    if lines:
        terminalreporter.section("kernels compiled ahead of time")
        terminalreporter.write_line("\n".join(lines))
