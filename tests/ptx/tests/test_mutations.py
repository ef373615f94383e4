"""Each barrier of each kernel dropped, and each atomic made plain: the races that follow are seen.

A barrier whose loss nothing reports is in the list below, with what is known of the reason. Those
that no launch here comes by, in branches for other alignments and sizes, are left out.
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

# The next barrier comes before the next access to what this one keeps apart: a barrier of the
# source beside one of a reduction or of a change of layout.
SHIELDED = "the barrier next to it is enough"
# Of these no more is known than that the launches here touch no word on both sides of it.
NOT_MET = "nothing meets across it in these launches"

# Barriers whose loss nothing reports (Triton 3.9), by call: the kernel, the barriers' numbers among
# all barriers and atomics of it, and why.
UNNOTICED: dict[str, list[tuple[str, list[int], str]]] = {
    "prim-100": [("_prim_kernel", [1, 4], SHIELDED), ("_prim_kernel", [5], NOT_MET)],
    "prim-140": [("_prim_kernel", [4, 19], NOT_MET)],
    "large": [
        ("_nearest_kernel", [0], NOT_MET),
        ("_hook_kernel", [2, 5, 8, 11, 14, 17], SHIELDED),
        ("_hook_kernel", [21], NOT_MET),
        ("_deaths_kernel", [0], NOT_MET),
    ],
    "direct": [("_direct_kernel", [38, 43], NOT_MET)],
    "direct-float64": [("_direct_kernel", [17], NOT_MET)],
    "shared out": [("_join_kernel", [0, 4, 7, 24, 25, 26], NOT_MET)],
    "product": [("_anew_kernel", [41, 48], NOT_MET)],
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
    executed = [mutation for mutation in found(name) if mutation.executed]
    atomics = [mutation for mutation in executed if "bar" not in mutation.text]
    assert all(mutation.noticed for mutation in atomics)
    unnoticed = {(one.kernel, one.ordinal) for one in executed if not one.noticed}
    if triton.__version__.startswith("3.9."):
        listed = UNNOTICED.get(name, [])
        assert unnoticed == {(kernel, k) for kernel, numbers, _ in listed for k in numbers}


def test_every_call_is_tested():
    from tests.ptx.kernel_calls import CALLS

    assert [*CALLS] == KERNELS
