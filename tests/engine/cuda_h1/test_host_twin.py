"""The kernels of H1 compiled for the host: the engine's bars, and no race between warps."""

import pytest

from tests.engine.cuda_h1 import twin
from tests.engine.cuda_h1.examples import KINDS, batch


@pytest.fixture(scope="module")
def plain():
    return twin.build()


@pytest.fixture(scope="module")
def watched():
    """Under the thread sanitizer, which ends the process at a race."""
    return twin.build("-fsanitize=thread")


def assert_bars_are_the_engines(binary, D, **options):
    found = twin.run_twin(binary, D, **options)
    assert not found.flags.any()
    for b, cloud in enumerate(D):
        assert found.of(b) == twin.engine_bars(cloud)


@pytest.mark.parametrize("kind", KINDS)
def test_bars_are_those_of_the_engine(plain, kind):
    """Every bar, its edges, and their order, for each size, and from one cloud to five."""
    for n in range(2, 131):
        assert_bars_are_the_engines(plain, batch(kind, n, 1 + n % 5), warps=1 + n % 3)


@pytest.mark.parametrize("kind", KINDS)
def test_bars_of_256_points(plain, kind):
    D = batch(kind, 256, 1)
    assert_bars_are_the_engines(plain, D, generators=4096, annotation_words=1 << 24, shared=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 20, 33, 70])
def test_warps_do_not_race(watched, kind, n):
    assert_bars_are_the_engines(watched, batch(kind, n, 2), warps=4)
