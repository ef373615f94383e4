"""Instructions against NumPy and exact arithmetic, on all lanes of a warp."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.ptx.faults import Fault
from tests.ptx.tests.writing import apply, program, run

RNG = np.random.default_rng(0)
LANES = np.arange(32)


def integers(dtype):
    """Random bits, and the ends of the range."""
    info = np.iinfo(dtype)
    x = RNG.integers(info.min, info.max, 32, dtype=dtype, endpoint=True)
    x[:4] = info.min, info.max, 0, 1
    return RNG.permutation(x)


def floats(dtype):
    """Sizes of all kinds, both zeros, infinities and NaN."""
    x = RNG.standard_normal(32) * 10.0 ** RNG.integers(-20, 20, 32)
    x[:6] = 0.0, -0.0, np.inf, -np.inf, np.nan, 1.0
    with np.errstate(over="ignore"):
        return RNG.permutation(x).astype(dtype)


def same(found, expected):
    """Bit for bit, any NaN as good as another."""
    if found.dtype.kind == "f":
        nan = np.isnan(expected)
        assert (np.isnan(found) == nan).all()
        found, expected = np.where(nan, 0, found), np.where(nan, 0, expected)
        assert (np.signbit(found) == np.signbit(expected)).all()
    assert np.array_equal(found, expected)


INTEGERS = {"s32": np.int32, "u32": np.uint32, "s64": np.int64, "u64": np.uint64, "s16": np.int16}
FLOATS = {"f32": np.float32, "f64": np.float64}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("add", lambda a, b: a + b),
        ("sub", lambda a, b: a - b),
        ("mul.lo", lambda a, b: a * b),
        ("min", min),
        ("max", max),
        ("mul.hi", lambda a, b: a * b >> "bits"),
        ("div", lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)),
        ("rem", lambda a, b: math.copysign(1, a) * (abs(a) % abs(b))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_integers(kind, name, function):
    dtype = INTEGERS[kind]
    bits = 8 * np.dtype(dtype).itemsize
    a, b = integers(dtype), integers(dtype)
    b[b == 0] = 3
    found = apply(f"{name}.{kind} {{d}}, {{a}}, {{b}}", a, b, result=dtype)
    for k in range(32):
        x, y = int(a[k]), int(b[k])
        if name == "mul.hi":
            exact = x * y >> bits
        elif name == "rem":
            exact = abs(x) % abs(y) * (-1 if x < 0 else 1)
        else:
            exact = function(x, y)
        assert int(found[k]) % 2**bits == exact % 2**bits


def test_quotients_by_zero_have_all_bits_set():
    a, zero = integers(np.uint32), np.zeros(32, np.uint32)
    assert (apply("div.u32 {d}, {a}, {b}", a, zero, result=np.uint32) == 2**32 - 1).all()
    assert np.array_equal(apply("rem.u32 {d}, {a}, {b}", a, zero, result=np.uint32), a)


@pytest.mark.parametrize("kind", ["s32", "u32"])
def test_wide_products(kind):
    a, b = integers(INTEGERS[kind]), integers(INTEGERS[kind])
    wide = INTEGERS[kind.replace("32", "64")]
    found = apply(f"mul.wide.{kind} {{d}}, {{a}}, {{b}}", a, b, result=wide)
    assert np.array_equal(found, a.astype(wide) * b.astype(wide))
    c = integers(wide)
    found = apply(f"mad.wide.{kind} {{d}}, {{a}}, {{b}}, {{c}}", a, b, c, result=wide)
    assert np.array_equal(found, a.astype(wide) * b.astype(wide) + c)


@pytest.mark.parametrize("kind", ["b32", "u32", "s32", "b64", "s64"])
@pytest.mark.parametrize("name", ["shl", "shr"])
def test_shifts_by_up_to_more_than_all_bits(kind, name):
    if name == "shl":
        kind = kind.replace("u", "b").replace("s", "b")
    dtype = INTEGERS[kind.replace("b", "u")]
    bits = 8 * np.dtype(dtype).itemsize
    a, by = integers(dtype), RNG.integers(0, 70, 32).astype(np.uint32)
    found = apply(f"{name}.{kind} {{d}}, {{a}}, {{b}}", a, by, result=dtype)
    for k in range(32):
        exact = int(a[k]) << int(by[k]) if name == "shl" else int(a[k]) >> int(by[k])
        assert int(found[k]) % 2**bits == exact % 2**bits


@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_logic(name):
    a, b = integers(np.uint64), integers(np.uint64)
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[name]
    found = apply(f"{name}.b64 {{d}}, {{a}}, {{b}}", a, b, result=np.uint64)
    assert np.array_equal(found, function(a, b))
    assert np.array_equal(apply("not.b64 {d}, {a}", a, result=np.uint64), ~a)


def test_fields_of_bits():
    a, into = integers(np.uint32), integers(np.uint32)
    for start, length in [(0, 32), (3, 5), (28, 8), (7, 0), (40, 3)]:
        mask = (1 << length) - 1
        found = apply(f"bfe.u32 {{d}}, {{a}}, {start}, {length}", a, result=np.uint32)
        assert [int(x) for x in found] == [int(x) >> start & mask for x in a]
        found = apply(f"bfi.b32 {{d}}, {{a}}, {{b}}, {start}, {length}", a, into, result=np.uint32)
        place = mask << start & 0xFFFFFFFF
        expected = [
            int(y) & ~place | (int(x) << start) & place for x, y in zip(a, into, strict=True)
        ]
        assert [int(x) for x in found] == expected
    found = apply("bfe.s32 {d}, {a}, 4, 8", a, result=np.int32)
    assert [int(x) for x in found] == [((int(x) >> 4 & 255) ^ 128) - 128 for x in a]


def test_funnels_bytes_and_tables():
    a, b, c = (integers(np.uint32) for _ in range(3))
    both = [(int(y) << 32) | int(x) for x, y in zip(a, b, strict=True)]
    found = apply("shf.l.wrap.b32 {d}, {a}, {b}, 37", a, b, result=np.uint32)
    assert [int(x) for x in found] == [(z << 5 >> 32) & 0xFFFFFFFF for z in both]
    found = apply("shf.r.clamp.b32 {d}, {a}, {b}, 32", a, b, result=np.uint32)
    assert np.array_equal(found, b)
    found = apply("prmt.b32 {d}, {a}, {b}, 0x7610", a, b, result=np.uint32)
    assert [int(x) for x in found] == [(z & 0xFFFF) | (z >> 48 << 16) for z in both]
    found = apply("prmt.b32 {d}, {a}, {b}, 0x8888", a, b, result=np.uint32)
    assert [int(x) for x in found] == [0xFFFFFFFF if int(x) & 128 else 0 for x in a]
    found = apply("lop3.b32 {d}, {a}, {b}, {c}, 0xE8", a, b, c, result=np.uint32)
    assert np.array_equal(found, (a & b) | (a & c) | (b & c))


def test_counts_of_bits():
    a = integers(np.uint32)
    expected = {
        "popc.b32": [bin(x).count("1") for x in a.tolist()],
        "clz.b32": [32 - x.bit_length() for x in a.tolist()],
        "brev.b32": [int(f"{x:032b}"[::-1], 2) for x in a.tolist()],
        "bfind.u32": [(x.bit_length() - 1) % 2**32 for x in a.tolist()],
    }
    for name, values in expected.items():
        assert apply(f"{name} {{d}}, {{a}}", a, result=np.uint32).tolist() == values


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div.rn"])
def test_float_operations_are_rounded_once(kind, name):
    a, b = floats(FLOATS[kind]), floats(FLOATS[kind])
    function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div.rn": np.divide}[name]
    with np.errstate(all="ignore"):
        expected = function(a, b)
    same(apply(f"{name}.{kind} {{d}}, {{a}}, {{b}}", a, b, result=FLOATS[kind]), expected)


@pytest.mark.parametrize("kind", FLOATS)
def test_extremes_of_floats(kind):
    dtype = FLOATS[kind]
    a, b = floats(dtype), floats(dtype)
    a[:4], b[:4] = [0.0, -0.0, np.nan, 2.0], [-0.0, 0.0, 1.0, np.nan]
    low = apply(f"min.{kind} {{d}}, {{a}}, {{b}}", a, b, result=dtype)
    high = apply(f"max.{kind} {{d}}, {{a}}, {{b}}", a, b, result=dtype)
    same(low[4:], np.fmin(a, b)[4:])
    same(high[4:], np.fmax(a, b)[4:])
    assert np.signbit(low[:2]).all()
    assert not np.signbit(high[:2]).any()
    assert low[2:4].tolist() == [1.0, 2.0]
    if kind == "f32":
        kept = apply("max.NaN.f32 {d}, {a}, {b}", a, b, result=np.uint32)
        assert (kept[2:4] == 0x7FFFFFFF).all()


def exact_fma(a, b, c, dtype):
    """The value nearest to a * b + c, ties to even, from exact fractions."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = dtype(exact.numerator / exact.denominator)
    around = [np.nextafter(near, dtype(-np.inf)), near, np.nextafter(near, dtype(np.inf))]
    bits = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    return min(around, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(bits)) & 1))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-36])
def test_fma_is_rounded_once(kind, scale):
    dtype = FLOATS[kind]
    a, b = (RNG.standard_normal(32).astype(dtype) for _ in range(2))
    a = (a * scale).astype(dtype)
    # The product all but cancels, so that its last bits are what is left.
    c = -(a * b) * (1 + RNG.integers(-2, 3, 32) * np.finfo(dtype).eps)
    c = c.astype(dtype)
    c[:8] = RNG.standard_normal(8)
    found = apply(f"fma.rn.{kind} {{d}}, {{a}}, {{b}}, {{c}}", a, b, c, result=dtype)
    expected = [exact_fma(*row, dtype) for row in zip(a, b, c, strict=True)]
    same(found, np.array(expected, dtype))


def test_fma_of_float32_is_not_rounded_twice():
    """The sum is 2^-70 below a tie, which float64 takes for the tie itself."""
    a, b, c = 1 + 2.0**-23, (1 - 2.0**-23) * 2.0**-24, 1 + 2.0**-23
    assert np.float32(a * b + c) == 1 + 2.0**-22
    sources = [np.full(32, value, np.float32) for value in (a, b, c)]
    found = apply("fma.rn.f32 {d}, {a}, {b}, {c}", *sources, result=np.float32)
    assert (found == np.float32(1 + 2.0**-23)).all()


def test_subnormals_are_flushed_where_the_instruction_says_so():
    tiny, one = np.full(32, -1e-40, np.float32), np.ones(32, np.float32)
    kept = apply("mul.f32 {d}, {a}, {b}", tiny, one, result=np.float32)
    gone = apply("mul.ftz.f32 {d}, {a}, {b}", tiny, one, result=np.float32)
    assert np.array_equal(kept, tiny)
    assert (gone == 0).all()
    assert np.signbit(gone).all()


@pytest.mark.parametrize("kind", FLOATS)
def test_square_roots_are_rounded_once(kind):
    a = np.abs(floats(FLOATS[kind]))
    same(apply(f"sqrt.rn.{kind} {{d}}, {{a}}", a, result=FLOATS[kind]), np.sqrt(a))


def test_exponentials_of_float32():
    a = RNG.uniform(-100, 100, 32).astype(np.float32)
    found = apply("ex2.approx.f32 {d}, {a}", a, result=np.float32)
    assert np.array_equal(found, np.exp2(a.astype(np.float64)).astype(np.float32))


@pytest.mark.parametrize("kind", ["s32", "u32", "s64", "f32", "f64"])
@pytest.mark.parametrize("how", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(kind, how):
    dtype = (INTEGERS | FLOATS)[kind]
    a = integers(dtype) if kind in INTEGERS else floats(dtype)
    b = a.copy()
    b[::2] = (integers(dtype) if kind in INTEGERS else floats(dtype))[::2]
    functions = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
    function = (functions | {"gt": np.greater, "ge": np.greater_equal})[how]
    nan = np.isnan(a) | np.isnan(b) if kind in FLOATS else np.zeros(32, bool)
    found = apply(f"setp.{how}.{kind} {{d}}, {{a}}, {{b}}", a, b, result=bool, predicate=True)
    assert np.array_equal(found, function(a, b) & ~nan)
    if kind in FLOATS:
        text = f"setp.{how}u.{kind} {{d}}, {{a}}, {{b}}"
        found = apply(text, a, b, result=bool, predicate=True)
        assert np.array_equal(found, function(a, b) | nan)


def test_predicates_guard_and_join():
    a, b = integers(np.int32), integers(np.int32)
    text = "mov.b32 {d}, 7; setp.lt.s32 %p2, {a}, {b}; @!%p2 bra L; mov.b32 {d}, 9; L:"
    text += " not.pred %p3, %p2"
    found = apply(text, a, b, result=np.int32)
    assert np.array_equal(found, np.where(a < b, 9, 7))
    text = "setp.gt.s32 %p2, {a}, 0; setp.lt.and.s32 {d}, {a}, {b}, %p2"
    found = apply(text, a, b, result=bool, predicate=True)
    assert np.array_equal(found, (a < b) & (a > 0))


CONVERSIONS = [
    ("cvt.s64.s32", np.int32, np.int64),
    ("cvt.u64.u32", np.uint32, np.uint64),
    ("cvt.u32.u64", np.uint64, np.uint32),
    ("cvt.rn.f32.s32", np.int32, np.float32),
    ("cvt.rn.f64.s32", np.int32, np.float64),
    ("cvt.f64.f32", np.float32, np.float64),
    ("cvt.rn.f32.f64", np.float64, np.float32),
    ("cvt.f32.f16", np.float16, np.float32),
    ("cvt.rn.f16.f32", np.float32, np.float16),
]


@pytest.mark.parametrize(("name", "source", "to"), CONVERSIONS, ids=lambda v: str(v))
def test_conversions(name, source, to):
    a = integers(source) if np.dtype(source).kind in "iu" else floats(source)
    with np.errstate(over="ignore"):
        expected = a.astype(to)
    same(apply(f"{name} {{d}}, {{a}}", a, result=to), expected)


def test_floats_to_integers_saturate():
    a = np.resize(np.array([1.5, -1.5, 2.5, 1e20, -1e20, np.nan, np.inf, -0.4], np.float32), 32)
    found = apply("cvt.rzi.s32.f32 {d}, {a}", a, result=np.int32)[:8]
    assert found.tolist() == [1, -1, 2, 2**31 - 1, -(2**31), 0, 2**31 - 1, 0]
    found = apply("cvt.rni.s32.f32 {d}, {a}", a, result=np.int32)[:3]
    assert found.tolist() == [2, -2, 2]


def test_bfloat16_and_tf32():
    torch = pytest.importorskip("torch")
    a = floats(np.float32)
    to = torch.from_numpy(a).bfloat16()
    found = apply("cvt.rn.bf16.f32 {d}, {a}", a, result=np.uint16)
    back = apply("cvt.f32.bf16 {d}, {a}", found, result=np.float32)
    same(back, to.float().numpy())
    found = apply("cvt.rna.tf32.f32 {d}, {a}", a, result=np.float32)
    fraction, exponent = np.frexp(a.astype(np.float64))
    scaled = fraction * 2**11
    expected = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled) * 2.0**-11
    with np.errstate(invalid="ignore"):
        same(found, np.ldexp(expected, exponent).astype(np.float32))


def test_vectors_are_packed_and_unpacked():
    a, b = integers(np.uint32), integers(np.uint32)
    found = apply("mov.b64 {d}, {{{a}, {b}}}", a, b, result=np.uint64)
    assert [int(x) for x in found] == [int(y) << 32 | int(x) for x, y in zip(a, b, strict=True)]
    wide = integers(np.uint64)
    found = apply("mov.b64 {{%r50, {d}}}, {a}", wide, result=np.uint32)
    assert np.array_equal(found, (wide >> np.uint64(32)).astype(np.uint32))


@pytest.mark.parametrize(
    ("text", "lane"),
    [
        ("bfly.b32 {d}, {a}, 5, 31", LANES ^ 5),
        ("up.b32 {d}, {a}, 3, 0", np.where(LANES < 3, LANES, LANES - 3)),
        ("down.b32 {d}, {a}, 9, 31", np.where(LANES + 9 > 31, LANES, LANES + 9)),
        ("idx.b32 {d}, {a}, 4, 31", np.full(32, 4)),
        # Segments of 8 lanes.
        ("idx.b32 {d}, {a}, 2, 6175", LANES // 8 * 8 + 2),
        ("up.b32 {d}, {a}, 1, 6144", np.where(LANES % 8 < 1, LANES, LANES - 1)),
    ],
)
def test_shuffles(text, lane):
    a = integers(np.uint32)
    assert np.array_equal(apply(f"shfl.sync.{text}, -1", a, result=np.uint32), a[lane])


def test_a_shuffle_says_which_lanes_were_in_reach():
    a = integers(np.uint32)
    text = "shfl.sync.down.b32 %r50|{d}, {a}, 9, 31, -1"
    found = apply(text, a, result=bool, predicate=True)
    assert np.array_equal(found, LANES + 9 <= 31)


def test_votes():
    a = integers(np.int32)
    text = "setp.lt.s32 %p2, {a}, 0; vote.sync.ballot.b32 {d}, %p2, -1"
    found = apply(text, a, result=np.uint32)
    assert (found == sum(1 << k for k in range(32) if a[k] < 0)).all()
    for how, expected in (("any", (a < 0).any()), ("all", (a < 0).all())):
        text = f"setp.lt.s32 %p2, {{a}}, 0; vote.sync.{how}.pred {{d}}, %p2, -1"
        assert (apply(text, a, result=bool, predicate=True) == expected).all()


@pytest.mark.parametrize(
    ("name", "reduce"),
    [
        ("min.s32", np.min),
        ("max.u32", np.max),
        ("add.s32", lambda x: x.sum(dtype=np.int32)),
        ("or.b32", np.bitwise_or.reduce),
    ],
)
def test_reductions_of_a_warp(name, reduce):
    dtype = np.int32 if name.endswith("s32") else np.uint32
    a = integers(dtype)
    found = apply(f"redux.sync.{name} {{d}}, {{a}}, -1", a, result=dtype)
    assert (found == reduce(a)).all()


def test_matrices_and_their_product():
    """A and B through shared memory, by the layout of the fragments that PTX documents."""
    a, b = (RNG.integers(-8, 8, shape).astype(np.float32) for shape in ((16, 8), (8, 8)))
    out = np.zeros((16, 8), np.float32)
    group, member = LANES >> 2, LANES & 3
    fragments = np.zeros((32, 6), np.float32)
    for k in range(4):
        fragments[:, k] = a[group + 8 * (k & 1), member + 4 * (k >> 1)]
    for k in range(2):
        fragments[:, 4 + k] = b[member + 4 * k, group]
    loads = "\n".join(f"ld.global.b32 %r{10 + k}, [%rd10+{4 * k}];" for k in range(6))
    body = f"""
    mul.wide.u32 %rd10, %r0, 24;
    add.s64 %rd10, %rd10, %rd0;
    {loads}
    mov.b32 %r20, 0f3F800000;
    mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
        {{%r30, %r31, %r32, %r33}}, {{%r10, %r11, %r12, %r13}}, {{%r14, %r15}},
        {{%r20, %r20, %r20, %r20}};
    and.b32 %r40, %r0, 3;
    shr.u32 %r41, %r0, 2;
    mad.lo.s32 %r42, %r41, 8, %r40;
    add.s32 %r42, %r42, %r40;
    mul.wide.u32 %rd11, %r42, 4;
    add.s64 %rd11, %rd11, %rd1;
    st.global.b32 [%rd11], %r30;
    st.global.b32 [%rd11+4], %r31;
    st.global.b32 [%rd11+256], %r32;
    st.global.b32 [%rd11+260], %r33;
    """
    assert not run(body, fragments, out).races
    assert np.array_equal(out, a @ b + 1)


def test_rows_of_matrices_come_back_as_they_were_stored():
    values, out = integers(np.uint32), np.zeros(32, np.uint32)
    body = """
    mul.wide.u32 %rd10, %r0, 4;
    add.s64 %rd11, %rd10, %rd0;
    ld.global.b32 %r10, [%rd11];
    and.b32 %r12, %r0, 7;
    shl.b32 %r11, %r12, 4;
    stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r11], {%r10};
    bar.warp.sync -1;
    ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r13}, [%r11];
    add.s64 %rd12, %rd10, %rd1;
    st.global.b32 [%rd12], %r13;
    """
    assert not run(body, values, out, shared=128).races
    assert np.array_equal(out.view(np.uint16).reshape(8, 8), values.view(np.uint16).reshape(8, 8).T)


@pytest.mark.parametrize(
    "text",
    [
        "add.rz.f32 %r1, %r1, %r1",
        "wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 %r1, %rd1",
        "fma.rn.f32x2 %rd1, %rd1, %rd1, %rd1",
        "ld.local.b32 %r1, [%rd1]",
        "ld.b32 %r1, [%rd1]",
        "cvt.rn.satfinite.e4m3x2.f32 %h1, %r1, %r1",
        "bar.arrive 0, 64",
        "bar.sync 1",
        "atom.global.cas.b32 %r1, [%rd1], %r1, %r1",
        "tcgen05.fence",
        "redux.sync.min.f32 %r1, %r1, -1",
    ],
)
def test_what_is_not_known_is_refused_by_name(text):
    name = text.split()[0]
    with pytest.raises(Fault, match="not known") as refusal:
        program(text + ";")
    assert name in str(refusal.value)
