"""Bad arguments: the type of the error, the argument it names, and that nothing else happens."""

import subprocess
import sys
import textwrap

import pytest
import torch

MODES = ["persistence", "surrogate"]
NAN, INF = torch.nan, torch.inf


def points(n=5, d=3, dtype=torch.float32):
    return torch.randn(n, d).to(dtype)


def with_value(value, *index, shape=(5, 3), dtype=torch.float32):
    x = torch.randn(shape).to(dtype)
    x[index] = value
    return x


def takers_of_points(tsl):
    """Every public function that takes points, with the name of that argument."""
    return {
        "pairwise_distances": ("x", tsl.pairwise_distances),
        "pairwise_distances_cosine": ("x", lambda x: tsl.pairwise_distances(x, metric="cosine")),
        "rips_persistence": ("x", tsl.rips_persistence),
        "rips_persistence_h0": ("x", lambda x: tsl.rips_persistence(x, max_dim=0)),
        "rips_persistence_cosine": ("x", lambda x: tsl.rips_persistence(x, metric="cosine")),
        "topology_summary": ("x", tsl.topology_summary),
        "persistence_loss": ("prompt", tsl.TSLoss("persistence")),
        "surrogate_loss": ("prompt", tsl.TSLoss("surrogate")),
    }


@pytest.fixture(
    params=[
        "pairwise_distances",
        "pairwise_distances_cosine",
        "rips_persistence",
        "rips_persistence_h0",
        "rips_persistence_cosine",
        "topology_summary",
        "persistence_loss",
        "surrogate_loss",
    ]
)
def taker(tsl, request):
    return takers_of_points(tsl)[request.param]


# NaN and infinity


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float32, torch.float64],
    ids=["f16", "bf16", "f32", "f64"],
)
def test_a_value_that_is_not_finite_is_named_by_its_index(taker, value, dtype):
    name, function = taker
    with pytest.raises(ValueError, match=rf"\b{name}\[3, 1\]"):
        function(with_value(value, 3, 1, dtype=dtype))


@pytest.mark.parametrize("where", [(0, 0), (6, 16), (3, 15), (3, 16)], ids=str)
def test_a_nan_is_found_wherever_it_stands(taker, where):
    """First, last, and on both sides of a full vector register."""
    name, function = taker
    with pytest.raises(ValueError, match=rf"\b{name}\[{where[0]}, {where[1]}\]"):
        function(with_value(NAN, *where, shape=(7, 17)))


def test_the_first_of_several_is_named(taker):
    name, function = taker
    x = with_value(NAN, 2, 1)
    x[4, 0] = INF
    x[2, 2] = NAN
    with pytest.raises(ValueError, match=rf"\b{name}\[2, 1\]"):
        function(x)


def test_in_a_batch_the_cloud_is_named_too(taker):
    name, function = taker
    with pytest.raises(ValueError, match=rf"\b{name}\[1, 0, 4, 2\]"):
        function(with_value(NAN, 1, 0, 4, 2, shape=(2, 3, 5, 4)))


def test_in_a_strided_tensor_the_index_is_the_callers(taker):
    name, function = taker
    x = with_value(NAN, 1, 3, shape=(3, 5)).mT
    with pytest.raises(ValueError, match=rf"\b{name}\[3, 1\]"):
        function(x)


def test_one_point_is_checked_as_well(taker):
    _, function = taker
    with pytest.raises(ValueError, match=r"\[0, 2\]"):
        function(with_value(NAN, 0, 2, shape=(1, 3)))


def test_under_no_grad_and_with_grad_alike(taker):
    _, function = taker
    x = with_value(NAN, 3, 1)
    with torch.no_grad(), pytest.raises(ValueError, match=r"\[3, 1\]"):
        function(x)
    with pytest.raises(ValueError, match=r"\[3, 1\]"):
        function(x.requires_grad_())


@pytest.mark.parametrize(
    ("dtype", "huge"), [(torch.float32, 3e38), (torch.float64, 1.7e308)], ids=["f32", "f64"]
)
def test_a_distance_that_overflows_is_an_error(tsl, dtype, huge):
    x = torch.randn(4, 3, dtype=dtype)
    x[1, 2], x[3, 2] = huge, -huge
    for key, (name, function) in takers_of_points(tsl).items():
        if "cosine" not in key:
            with pytest.raises(ValueError, match=rf"^{name}: .*overflow"):
                function(x)


def test_a_loss_that_overflows_is_an_error(tsl):
    x = 1e5 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match=r"^prompt: .*overflow"):
        tsl.TSLoss(h1_power=9.0)(x)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("magnitude", [1e-30, 1e-22, 1e-20, 1e18, 1e21, 1e30])
def test_large_and_small_magnitudes_are_right(tsl, metric, magnitude):
    """Squares leave the range of float32 long before distances do; cosines know no scale."""
    x = (magnitude * torch.randn(6, 5, dtype=torch.float64)).float()
    y = x.double()
    if metric == "cosine":
        y = y / y.norm(dim=-1, keepdim=True)
    expected = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist")
    expected = expected**2 / 2 if metric == "cosine" else expected
    D = tsl.pairwise_distances(x, metric=metric)
    assert torch.allclose(D.double(), expected, rtol=1e-5, atol=0)


# Shapes


@pytest.mark.parametrize("shape", [(), (4,)], ids=str)
def test_rank_below_two(taker, shape):
    name, function = taker
    with pytest.raises(
        ValueError, match=rf"^{name}: expected .*got .*{list(shape)}".replace("[", r"\[")
    ):
        function(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0)], ids=str)
def test_an_empty_cloud(taker, shape):
    name, function = taker
    with pytest.raises(ValueError, match=rf"^{name}: expected at least one point"):
        function(torch.zeros(shape))


@pytest.mark.parametrize("mode", ["persistence", "surrogate"])
def test_the_mean_loss_of_no_cloud_at_all(tsl, mode):
    empty = torch.zeros(0, 3, 2, requires_grad=True)
    with pytest.raises(ValueError, match=r"^prompt: expected at least one cloud .*\[0, 3, 2\]"):
        tsl.TSLoss(mode)(empty)
    assert tsl.TSLoss(mode, reduction="none")(empty).shape == (0,)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (0, 0), (4,), ()], ids=str)
def test_a_matrix_that_is_not_square(tsl, shape):
    with pytest.raises(ValueError, match=r"^x: expected .*\[\.\.\., n, n\]"):
        tsl.rips_persistence(torch.zeros(shape), metric="precomputed")


# Types


@pytest.mark.parametrize(
    "dtype",
    [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.complex128],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_a_dtype_that_is_not_floating(taker, dtype):
    name, function = taker
    match = rf"^{name}: expected float16, .*got {str(dtype).removeprefix('torch.')}"
    with pytest.raises(TypeError, match=match):
        function(torch.ones(4, 3).to(dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool], ids=str)
def test_a_matrix_whose_dtype_is_not_floating(tsl, dtype):
    with pytest.raises(TypeError, match=r"^x: expected float16"):
        tsl.rips_persistence(torch.zeros(3, 3).to(dtype), metric="precomputed")


@pytest.mark.parametrize("value", [None, 3.0, [[0.0, 1.0]], "x"], ids=repr)
def test_what_is_not_a_tensor(taker, value):
    name, function = taker
    with pytest.raises(TypeError, match=rf"^{name}: expected .*Tensor.*{type(value).__name__}"):
        function(value)


def test_a_numpy_array_is_not_a_tensor(taker):
    name, function = taker
    with pytest.raises(TypeError, match=rf"^{name}: expected .*Tensor.*ndarray"):
        function(torch.zeros(3, 2).numpy())


# Precomputed matrices


def matrix_with(value, *index, symmetric=True):
    D = torch.cdist(points(5), points(5)).double()
    D = (D + D.mT).fill_diagonal_(0)
    D[index] = value
    if symmetric:
        D[index[:-2] + index[:-3:-1]] = value
    return D


@pytest.mark.parametrize(
    ("D", "fault"),
    [
        (matrix_with(-1.0, 1, 3), "negative"),
        (matrix_with(-1e-300, 0, 4), "negative"),
        (matrix_with(9.0, 1, 3, symmetric=False), "symmetric"),
        (matrix_with(9.0, 3, 1, symmetric=False), "symmetric"),
        (matrix_with(0.5, 2, 2), "diagonal"),
        (matrix_with(-0.5, 2, 2), "diagonal"),
        (matrix_with(NAN, 2, 2), "not a number"),
        (matrix_with(NAN, 1, 3), "not a number"),
        (matrix_with(INF, 2, 2), "diagonal"),
        (matrix_with(INF, 1, 3, symmetric=False), "asymmetric"),
        (matrix_with(NAN, 3, 1, symmetric=False), "not a number"),
    ],
    ids=[
        "negative",
        "slightly-negative",
        "asymmetric-above",
        "asymmetric-below",
        "diagonal",
        "negative-diagonal",
        "nan-diagonal",
        "nan",
        "inf-diagonal",
        "inf-one-side",
        "nan-below",
    ],
)
@pytest.mark.parametrize("max_dim", [0, 1])
@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
def test_what_is_no_distance_matrix(tsl, D, fault, max_dim, batch):
    wrong = (D.mT != D) | ~D.isfinite() | (D < 0) | (D.diag().diag() != 0)
    i, j = wrong.nonzero()[0].tolist()
    lead = ""
    if batch:
        good = matrix_with(1.0, 0, 1)
        D, lead = torch.stack((good, good, D, good)), "2, "
    with pytest.raises(ValueError, match=rf"(?s)^x: (?=.*({fault})).*x\[{lead}{i}, {j}\]"):
        tsl.rips_persistence(D, max_dim=max_dim, metric="precomputed")


def test_a_last_bit_of_asymmetry_is_no_error(tsl):
    D = matrix_with(1.0, 1, 3)
    D[1, 3] = 1 + 2**-52
    h0, _ = tsl.rips_persistence(D, metric="precomputed")
    assert (h0.deaths == 1 + 2**-52).any()


# Options


@pytest.mark.parametrize("metric", ["Euclidean", "l2", "", None, 2])
def test_an_unknown_metric(tsl, metric):
    with pytest.raises(ValueError, match=r"^metric: .*euclidean.*cosine.*got") as error:
        tsl.pairwise_distances(points(), metric=metric)
    assert repr(metric) in str(error.value)
    for function in (tsl.rips_persistence, tsl.topology_summary):
        with pytest.raises(ValueError, match=r"^metric: .*euclidean.*cosine.*precomputed.*got"):
            function(points(), metric=metric)


def test_distances_of_a_precomputed_matrix_are_an_error(tsl):
    with pytest.raises(ValueError, match=r"^metric: .*euclidean.*cosine.*got 'precomputed'"):
        tsl.pairwise_distances(torch.zeros(3, 3), metric="precomputed")


@pytest.mark.parametrize("row", [0, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_a_zero_row_has_no_cosine(tsl, row, dtype):
    x = points(dtype=dtype)
    x[row] = 0
    for function in (tsl.pairwise_distances, tsl.rips_persistence, tsl.topology_summary):
        with pytest.raises(ValueError, match=rf"x\[{row}\]"):
            function(x, metric="cosine")


@pytest.mark.parametrize("max_dim", [-1, 2, 1.5, None, "1"])
def test_an_unknown_dimension(tsl, max_dim):
    with pytest.raises((ValueError, TypeError), match=r"^max_dim: .*0.*1.*got"):
        tsl.rips_persistence(points(), max_dim=max_dim)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("mode", "exact", "persistence.*surrogate"),
        ("mode", None, "persistence.*surrogate"),
        ("scale", "max", "None.*mean"),
        ("scale", 1.0, "None.*mean"),
        ("reduction", "sum", "mean.*none"),
        ("reduction", None, "mean.*none"),
    ],
)
def test_an_unknown_choice_lists_what_is_allowed(tsl, name, value, allowed):
    with pytest.raises(ValueError, match=rf"^{name}: .*{allowed}.*got {value!r}"):
        tsl.TSLoss(**{name: value})


WEIGHTS = ["lambda_ts", "beta_h0", "beta_h1", "lambda_repel", "lambda_attract"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [-1.0, -1e-12, NAN, INF, -INF])
@pytest.mark.parametrize("name", [*WEIGHTS, "tau", "alpha", "h1_power"])
def test_a_number_out_of_range(tsl, name, value, mode):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*got {value!r}"):
        tsl.TSLoss(mode, **{name: value})


@pytest.mark.parametrize(("name", "value"), [("tau", 0.0), ("alpha", 0), ("h1_power", 0.99)])
def test_a_number_on_the_wrong_side_of_its_bound(tsl, name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*got {value!r}"):
        tsl.TSLoss(**{name: value})


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_zero_weight_is_allowed(tsl, name):
    assert tsl.TSLoss("surrogate", **{name: 0})(points()).isfinite()


@pytest.mark.parametrize("value", ["1", None, [1.0], 1j, True])
@pytest.mark.parametrize("name", [*WEIGHTS, "tau", "alpha", "h1_power"])
def test_what_is_no_number(tsl, name, value):
    with pytest.raises(TypeError, match=rf"^{name}: expected a number, got"):
        tsl.TSLoss(**{name: value})


@pytest.mark.parametrize("value", ["no", 1, None])
@pytest.mark.parametrize("name", ["self_pairs", "detach_scales"])
def test_what_is_no_flag(tsl, name, value):
    with pytest.raises(TypeError, match=rf"^{name}: expected .*got {value!r}"):
        tsl.TSLoss(**{name: value})


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("mode", MODES)
def test_a_weight_that_is_set_to_nan_later_does_not_hide(tsl, mode, value):
    """`lambda_ts` may be set between steps, past the checks of the constructor."""
    loss = tsl.TSLoss(mode)
    loss.lambda_ts = value
    try:
        result = loss(points(12, 2))
    except ValueError:
        return
    assert not result.isfinite()


def test_entropy_of_nothing(tsl):
    with pytest.raises(TypeError, match="dgm"):
        tsl.persistence_entropy()


@pytest.mark.parametrize("p", [-1, 0.5, NAN, INF])
def test_a_power_out_of_range(tsl, p):
    (h0,) = tsl.rips_persistence(points(), max_dim=0)
    with pytest.raises(ValueError, match=r"^p: expected .*got"):
        tsl.total_persistence(h0, p=p)


# Size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS to bite")
def test_too_many_points_are_refused_before_any_matrix_is_made():
    """65536 points: a matrix takes 17 GB, and the process may take 4 more than it has."""
    calls = [
        "tsl.pairwise_distances(torch.zeros(65536, 1))",
        "tsl.rips_persistence(torch.zeros(65536, 1))",
        "tsl.rips_persistence(torch.zeros(65536, 1), max_dim=0, metric='cosine')",
        "tsl.rips_persistence(torch.zeros(1).expand(65536, 65536), metric='precomputed')",
        "tsl.TSLoss()(torch.zeros(65536, 1))",
        "tsl.TSLoss('surrogate')(torch.zeros(2, 65536, 1))",
    ]
    code = f"""
        import resource, torch, tsloss_fast as tsl
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**32, size + 2**32))
        for call in {calls!r}:
            try:
                eval(call)
            except ValueError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    messages = run.stdout.splitlines()
    assert len(messages) == len(calls)
    for message in messages:
        assert "expected at most 65535 points" in message
        assert "65536" in message


# Errors change nothing


@pytest.mark.parametrize("mode", MODES)
def test_an_error_leaves_the_module_and_the_prompt_as_they_were(tsl, mode):
    loss = tsl.TSLoss(mode)
    good = torch.randn(9, 3, requires_grad=True)
    before_loss, before_state = loss(good), dict(vars(loss))
    bad = with_value(NAN, 2, 1).requires_grad_()
    copy = bad.detach().clone()
    with pytest.raises(ValueError, match="finite"):
        loss(bad)
    assert torch.equal(bad.detach().nan_to_num(7), copy.nan_to_num(7))
    assert bad.grad is None
    assert dict(vars(loss)) == before_state
    assert torch.equal(loss(good), before_loss)


def test_an_error_in_one_cloud_does_not_poison_the_next_call(tsl):
    x = torch.randn(4, 20, 3)
    expected = tsl.rips_persistence(x)
    bad = x.clone()
    bad[2, 3, 1] = NAN
    for _ in range(3):
        with pytest.raises(ValueError, match=r"x\[2, 3, 1\]"):
            tsl.rips_persistence(bad)
    for dgm, again in zip(expected, tsl.rips_persistence(x), strict=True):
        assert torch.equal(dgm.pairs, again.pairs)


def test_a_missing_compiled_module_says_how_to_build_it():
    code = """
        import sys
        class Block:
            def find_spec(self, name, path=None, target=None):
                if name == "tsloss_fast._C":
                    raise ModuleNotFoundError("No module named 'tsloss_fast._C'", name=name)
        sys.meta_path.insert(0, Block())
        try:
            import tsloss_fast
        except ImportError as error:
            print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "pip install ." in run.stdout
    assert "pip install -e ." in run.stdout
    assert "_C" in run.stdout


# What looks like a tensor, or is one of another layout


def test_arrays_and_lists_are_told_the_conversion(tsl):
    for name, function in takers_of_points(tsl).values():
        for like in (points().numpy(), points().tolist(), [points().numpy()]):
            words = rf"^{name}: expected a torch.Tensor .*got .*: take torch.as_tensor\({name}\)$"
            with pytest.raises(TypeError, match=words):
                function(like)
        for unlike in (None, "points", [], [True]):
            with pytest.raises(TypeError, match=rf"^{name}: expected a torch.Tensor .*got \w+$"):
                function(unlike)


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_points_are_told_the_conversion(tsl, layout):
    """Was "unsupported memory format option" or "Sparse CSR tensors do not have is_contiguous"."""
    x = points()
    x = x.to_sparse() if layout == "coo" else x.to_sparse_csr()
    for name, function in takers_of_points(tsl).values():
        with pytest.raises(
            TypeError, match=rf"^{name}: .*sparse_{layout} one: take {name}.to_dense"
        ):
            function(x)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_nested_points_are_told_the_conversion(tsl, layout):
    """Was "NestedTensorImpl doesn't support sizes" or "ge: relation is indeterminate"."""
    x = torch.nested.nested_tensor([points(), points()[:3]], layout=layout)
    with pytest.raises(TypeError, match=r"^x: .*nested one: take .*x"):
        tsl.edge_lengths(x, torch.tensor([[0, 1]]))
    with pytest.raises(TypeError, match=r"^prompt: .*nested one: take .*prompt"):
        tsl.TSLoss("surrogate").graphed(x)
