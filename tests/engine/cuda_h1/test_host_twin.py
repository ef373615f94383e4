"""The kernels of H1 compiled for the host: the engine's bars, no race, nothing undefined."""

import pytest
import torch

from tests.engine.cuda_h1 import twin
from tests.engine.cuda_h1.examples import KINDS, batch, distances
from tsloss_fast._engine.cuda_h1 import sizes

if not twin.can_be_built():
    pytest.skip("needs csrc and a C++ compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def plain():
    return twin.build()


@pytest.fixture(scope="module")
def watched():
    """Under the thread sanitizer, which ends the process at a race."""
    return twin.build("-fsanitize=thread")


@pytest.fixture(scope="module")
def guarded():
    """Under the sanitizers of memory and of undefined behaviour, which end the process likewise."""
    return twin.build("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def assert_bars_are_the_engines(binary, D, **options):
    found = twin.run_twin(binary, D, **options)
    assert not found.flags.any()
    for b, cloud in enumerate(D):
        assert found.of(b) == twin.engine_bars(cloud)


@pytest.mark.parametrize("kind", KINDS)
def test_bars_are_those_of_the_engine(plain, kind):
    """Every bar, its edges, and their order, for each size, and from one cloud to five.

    One warp where n is no multiple of 8, for on a busy machine several wait long for each other.
    """
    for n in range(2, 131):
        B = 1 + n % 5 if n < 66 else 1
        assert_bars_are_the_engines(plain, batch(kind, n, B), warps=1 if n % 8 else 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [20, 64, 128, 256, 300, 512])
def test_the_room_that_is_taken_suffices(plain, kind, n):
    """Also for distances that are in no metric's order, which have the most classes: "ranks"."""
    room = sizes.room_for(n)
    assert_bars_are_the_engines(
        plain,
        batch(kind, n, 1),
        generators=room.generators,
        annotation_words=room.annotation_words,
        warps=1 if n > 128 else 2,
        shared=n <= 256,
    )


@pytest.mark.parametrize(
    ("room", "flag"), [({"generators": 32}, 1), ({"annotation_words": 10}, 4)], ids=str
)
def test_what_does_not_fit_is_flagged(plain, room, flag):
    """And has no bars; the cloud beside it, on a line, has none anyway, and no flag."""
    D = torch.stack((distances("ranks", 40, 1), distances("collinear", 40, 1)))
    found = twin.run_twin(plain, D, **room)
    assert found.flags.tolist() == [flag, 0]
    assert found.of(0) == found.of(1) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 20, 33, 70])
def test_warps_do_not_race(watched, kind, n):
    assert_bars_are_the_engines(watched, batch(kind, n, 2), warps=4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 20, 33, 64, 65, 129, 300])
def test_kernels_keep_to_their_memory(guarded, kind, n):
    """In the room that a device gives them, with rows of ranks in shared memory and beside it."""
    room = sizes.room_for(n)
    assert_bars_are_the_engines(
        guarded,
        batch(kind, n, 2),
        warps=2 if n <= 65 else 1,
        generators=room.generators,
        annotation_words=room.annotation_words,
        shared=n % 2 == 0,
    )
