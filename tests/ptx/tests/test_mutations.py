"""Each barrier of each kernel dropped, and each atomic made plain: the races that follow are seen.

The launches here come by all of them. A barrier whose loss nothing reports is in the list below,
with the reason.
"""

import pytest

pytestmark = pytest.mark.ptx

triton = pytest.importorskip("triton", reason="the kernels need Triton")

KERNELS = [
    *["prim-14", "prim-40", "prim-100", "prim-140", "large", "direct", "direct-float64"],
    *["shared out", "product", "edge lengths", "scatter", "scatter sorted", "differences"],
    *["surrogate-12", "surrogate-30", "surrogate-50", "surrogate-70", "surrogate-12-float64"],
    "persistence terms",
]

# Barriers of the source for which another stands in, one that Triton puts into what comes behind
# them: the language promises none there, so they stay.
BY_SORT = "tl.sort exchanges through shared memory at this size; at 14 and 40 points it does not"
BY_GATHER = "tl.gather goes through shared memory at this size; at 14 and 40 points it does not"
BY_MINIMUM = "several warps share a row, so that the minimum over its columns has a barrier"

# Barriers whose loss nothing reports (Triton 3.9), by call: the kernel, the barrier's number among
# all barriers and atomics of it, and why.
UNNOTICED: dict[str, list[tuple[str, int, str]]] = {
    "prim-100": [("_prim_kernel", 1, BY_SORT), ("_prim_kernel", 4, BY_GATHER)],
    "prim-140": [("_prim_kernel", 4, BY_SORT), ("_prim_kernel", 19, BY_GATHER)],
    "large": [("_nearest_kernel", 0, BY_MINIMUM)],
}


def found(name):
    """The mutations of a call's kernels, after its own launches showed no race."""
    from tests.ptx.driver import SESSION
    from tests.ptx.kernel_calls import CALLS
    from tests.ptx.mutations import mutations

    first = len(SESSION.launches)
    SESSION.recording = True
    try:
        CALLS[name]()
    finally:
        SESSION.recording = False
    launches = SESSION.launches[first:]
    assert launches
    assert not [race for one in launches for race in one.outcome.races]
    return mutations(launches)


@pytest.mark.parametrize("name", KERNELS)
def test_a_change_is_noticed(name):
    mutations = found(name)
    assert all(mutation.executed for mutation in mutations)
    unnoticed = [one for one in mutations if not one.noticed]
    assert not [one for one in unnoticed if "bar" not in one.text]
    if triton.__version__.startswith("3.9."):
        listed = {(kernel, number) for kernel, number, _ in UNNOTICED.get(name, [])}
        assert {(one.kernel, one.ordinal) for one in unnoticed} == listed


def test_every_call_is_tested():
    from tests.ptx.kernel_calls import CALLS

    assert [*CALLS] == KERNELS
