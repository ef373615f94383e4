"""A sample of the kernels' tests on compiled code, executed by the interpreter of tests/ptx.

All of them, and all mutations: `make test-ptx`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need Triton")

ROOT = Path(__file__).parents[3]
KERNELS = "tests/engine/kernels"
MUTATIONS = "tests/ptx/tests/test_mutations.py"
# Every kernel is in some test; together less than a minute of one core.
SAMPLE = [
    f"{KERNELS}/test_edge_lengths.py::test_lengths_are_those_of_the_engine",
    f"{KERNELS}/test_edge_lengths.py::test_strides_are_followed",
    f"{KERNELS}/test_distances.py::test_equal_rows_have_distance_zero",
    f"{KERNELS}/test_distances.py::test_coordinates_are_shared_out_where_tiles_are_few[17-300-float32]",
    f"{KERNELS}/test_product.py::test_distances_are_those_of_float64[2-17-100-torch.float32]",
    f"{KERNELS}/test_product.py::test_tight_pairs_inside_a_wide_cloud_keep_their_digits[0.001]",
    f"{KERNELS}/test_h0.py::test_bars_are_those_of_the_engine[ties-17]",
    f"{KERNELS}/test_h0.py::test_bars_are_those_of_the_engine[ranks-65]",
    f"{KERNELS}/test_h0.py::test_the_kernels_for_large_clouds_serve_small_ones[ties-3]",
    f"{KERNELS}/test_scatter.py::test_equal_rows_get_no_gradient_from_their_edge",
    f"{KERNELS}/test_scatter.py::test_sorting_the_ends_changes_no_bit[2x3x5x4]",
    f"{KERNELS}/test_scatter_differences.py::test_near_duplicate_rows_keep_their_digits",
    f"{KERNELS}/test_surrogate.py::test_float32[17]",
    f"{KERNELS}/test_surrogate.py::test_float32[65]",
    f"{KERNELS}/test_persistence_terms.py::test_a_nan_length_makes_the_loss_nan",
    f"{KERNELS}/test_launching.py::test_every_launch_says_whether_products_are_fused",
    f"{MUTATIONS}::test_a_change_is_noticed[prim-14]",
    f"{MUTATIONS}::test_a_change_is_noticed[edge lengths]",
    f"{MUTATIONS}::test_a_change_is_noticed[surrogate-12]",
    f"{MUTATIONS}::test_a_change_is_noticed[surrogate-70]",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A process of its own, for Triton must know before its import that it compiles."""
    cache = tmp_path_factory.mktemp("triton")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--ptx", "-p", "no:cacheprovider", *SAMPLE],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
    )


def test_the_sample_passes_without_a_race(report):
    assert report.returncode == 0, report.stdout[-5000:] + report.stderr[-5000:]
    assert not re.search(r"\d+ (skipped|deselected)", report.stdout)


def test_every_kernel_was_executed(report):
    sources = (ROOT / "tsloss_fast/_engine/kernels").rglob("*.py")
    defined = re.findall(r"^def (_\w+_kernel)\(", "".join(p.read_text() for p in sources), re.M)
    rows = re.findall(r"^(_\w+_kernel) +\d+ +(\d+) .* (\d+)$", report.stdout, re.M)
    assert {name for name, _, _ in rows} == set(defined)
    assert all(int(races) == 0 for *_, races in rows)
