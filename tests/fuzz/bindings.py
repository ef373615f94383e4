"""A coverage-guided fuzzer of the compiled module's own functions, by Atheris (libFuzzer).

    make fuzz-bindings SECONDS=60   # with clang, which instruments the module

Every function gets arrays of any dtype, shape, layout and content. It must raise one of its errors
or return; the instruction sets must agree; the sanitizers that the module has see the rest.
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

DTYPES = [np.float32, np.float64, np.float32, np.float64, np.int64, np.bool_, np.float16]
# What lengths and coordinates are often made of, beside any bits at all.
SPECIAL = [0.0, -0.0, 1.0, 1.0, 2.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 1e-310, 3e38, 1e300]
MOST = 4096
# The last is NumPy's own, for memory that DLPack cannot describe.
ERRORS = (ValueError, TypeError, BufferError)


class Drawn:
    """Arguments made of the bytes of an input."""

    def __init__(self, data: Any, isas: list[str]) -> None:
        self.bytes = data
        self.isas = isas

    def number(self, least: int, most: int) -> int:
        return self.bytes.ConsumeIntInRange(least, most)

    def rarely(self) -> bool:
        return self.number(0, 15) == 15

    def values(self, count: int, dtype: Any) -> np.ndarray:
        if self.bytes.ConsumeBool():
            picks = np.frombuffer(self.bytes.ConsumeBytes(count), np.uint8)
            found = np.array(SPECIAL)[np.resize(picks, count) % len(SPECIAL)] if count else []
            with np.errstate(all="ignore"):
                return np.asarray(found).astype(dtype)
        size = np.dtype(dtype).itemsize
        raw = self.bytes.ConsumeBytes(count * size)
        whole = len(raw) // size * size
        found = np.frombuffer(raw[:whole], dtype) if dtype != np.bool_ else np.zeros(0, bool)
        return np.resize(found, count) if len(found) else np.zeros(count, dtype)

    def array(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array that mostly has the shape, the dtype and the layout that is asked for."""
        if self.rarely():
            shape = tuple(self.number(0, 5) for _ in range(self.number(0, 4)))
        if self.rarely():
            dtype = DTYPES[self.number(0, len(DTYPES) - 1)]
        found = self.values(int(np.prod(shape)), dtype).reshape(shape)
        if self.rarely():
            return found.T
        if self.rarely() and found.ndim:
            return np.repeat(found, 2, -1)[..., ::2]
        return None if self.rarely() else found

    def matrix(self, lead: tuple[int, ...], n: int, dtype: Any) -> Any:
        D = self.array((*lead, n, n), dtype)
        if not isinstance(D, np.ndarray) or D.ndim < 2 or D.shape[-1] != D.shape[-2]:
            return D
        if self.rarely() or D.dtype.kind != "f":
            return D
        D = np.triu(np.where(np.isnan(D), 1, np.abs(D)), 1)
        return np.ascontiguousarray(D + D.swapaxes(-1, -2))

    def clouds(self, d: int, dtype: Any) -> list[Any]:
        return [self.array((self.number(0, 5), d), dtype) for _ in range(self.number(0, 3))]

    def options(self) -> dict[str, Any]:
        return {"threads": self.number(0, 3), "isa": self.isas[self.number(0, len(self.isas) - 1)]}


def capsule(array: Any) -> Any:
    """An array's memory by DLPack, as PyTorch gives a tensor's."""
    return array.__dlpack__() if isinstance(array, np.ndarray) else array


def calls(module: Any) -> list[Callable[[Drawn], None]]:
    """A call of each function, on arguments that are drawn."""

    def shape(drawn: Drawn) -> tuple[tuple[int, ...], int, int, Any]:
        lead = ((), (1,), (2,), (0,), (2, 2))[drawn.number(0, 4)]
        n = drawn.number(0, 20) if drawn.number(0, 7) else drawn.number(60, 70)
        d = drawn.number(0, 20)
        while int(np.prod(lead)) * n * max(n, d) > 4 * MOST:
            n //= 2
        return lead, n, d, DTYPES[drawn.number(0, 1)]

    def distances(drawn: Drawn) -> None:
        lead, n, d, dtype = shape(drawn)
        x = drawn.array((*lead, n, d), dtype)
        module.first_nonfinite(x)
        module.distances(x, **drawn.options())

    def rips(drawn: Drawn) -> None:
        lead, n, _, dtype = shape(drawn)
        D = drawn.matrix(lead, n, dtype)
        module.first_matrix_fault(D)
        dim, longest = drawn.number(-1, 2), None
        if drawn.bytes.ConsumeBool():
            longest = drawn.bytes.ConsumeFloat()
        lengths = births = None
        if drawn.number(0, 3) == 0:
            lengths = drawn.array(lead, np.int64)
        if drawn.number(0, 3) == 0:
            births = drawn.array((*lead, n), dtype)
        found = module.rips(
            D, dim, lengths, max_edge_length=longest, vertex_births=births, **drawn.options()
        )
        if births is not None and not np.isfinite(births).all():
            return
        if np.isnan(D).any() or (D < 0).any():
            return
        plain = module.rips(
            D, dim, lengths, max_edge_length=longest, vertex_births=births, isa="plain"
        )
        for one, other in zip(found, plain, strict=True):
            for field in ("bars", "mask", "births", "deaths", "essential_edges"):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))

    def cycles(drawn: Drawn) -> None:
        lead, n, _, dtype = shape(drawn)
        D = drawn.matrix(lead, n, dtype)
        lengths = drawn.array(lead, np.int64) if drawn.number(0, 3) == 0 else None
        births = drawn.array((*lead, n), dtype) if drawn.number(0, 3) == 0 else None
        if isinstance(births, np.ndarray) and not np.isfinite(births).all():
            return
        module.rips_cycles(
            D,
            drawn.bytes.ConsumeBool(),
            lengths,
            max_edge_length=drawn.bytes.ConsumeFloat() if drawn.rarely() else None,
            vertex_births=births,
            check=True,
            room=drawn.number(0, 1 << 16) if drawn.rarely() else None,
            most=drawn.number(0, 3) if drawn.rarely() else None,
            **drawn.options(),
        )

    def of_tensor(drawn: Drawn) -> None:
        lead, n, _, dtype = shape(drawn)
        D = drawn.matrix(lead, n, dtype)
        longest = drawn.bytes.ConsumeFloat() if drawn.rarely() else None
        dim, threads = drawn.number(-1, 2), drawn.number(0, 3)
        found = module.rips_of_tensor(capsule(D), dim, threads, longest)
        if isinstance(found, tuple) and found and not isinstance(found[0], str):
            for one, other in zip(found, module.rips(D, dim, isa="plain"), strict=True):
                if longest is None and (D.swapaxes(-1, -2) == D).all():
                    np.testing.assert_array_equal(one.bars, other.bars)

    def attention(drawn: Drawn) -> None:
        lead, n, _, dtype = shape(drawn)
        maps = drawn.array((*lead, n, n), dtype)
        places = module.attention_trees(maps, drawn.number(0, n), drawn.number(0, 3))
        assert ((places >= 0) & (places < maps.shape[-1] ** 2)).all()

    def packed(drawn: Drawn) -> None:
        _, n, _, dtype = shape(drawn)
        d = drawn.number(0, 9)
        module.packed_distances_of_each(drawn.clouds(d, dtype), drawn.number(0, 3))
        lengths = drawn.array((drawn.number(0, 3),), np.int64)
        if isinstance(lengths, np.ndarray) and lengths.dtype == np.int64 and not drawn.rarely():
            lengths = lengths % (n + 1)
            module.packed_distances(drawn.array((len(lengths), n, d), dtype), lengths, 2)
            D = drawn.array((int((lengths**2).sum()),), dtype)
        else:
            D = drawn.array((n * n,), dtype)
        module.rips_of_packed(D, lengths, n, drawn.number(0, 1), drawn.bytes.ConsumeBool(), 2)

    def edges(drawn: Drawn) -> None:
        lead, n, d, dtype = shape(drawn)
        x, K = drawn.array((*lead, n, d), dtype), drawn.number(0, 9)
        which = drawn.array((*lead, K, 2), np.int64)
        if isinstance(which, np.ndarray) and which.dtype == np.int64 and not drawn.rarely():
            which = which % (n + 1) - 1
        options = drawn.options()
        module.edge_lengths(x, which, **options)
        module.scatter_edges(x, which, drawn.array((*lead, K), dtype), **options)
        module.scatter_differences(x, drawn.array((*lead, n, n), dtype), **options)

    def losses(drawn: Drawn) -> None:
        lead, n, d, dtype = shape(drawn)
        x = drawn.array((*lead, n, d), dtype)
        lengths, kind = None, drawn.number(0, 7)
        if kind == 0:
            x = drawn.clouds(d, dtype)
        elif kind == 1 and isinstance(x, np.ndarray):
            x = capsule(x)
        elif kind == 2:
            lengths = drawn.array(lead, np.int64)
        flags = [drawn.bytes.ConsumeBool() for _ in range(4)]
        numbers = [abs(drawn.bytes.ConsumeFloat()) for _ in range(6)]
        options = {"lengths": lengths} | drawn.options()
        module.persistence_loss(x, *numbers[:3], flags[0], flags[1], **options)
        module.surrogate_loss(x, *numbers, *flags[:3], flags[3], **options)

    return [distances, rips, rips, cycles, of_tensor, attention, packed, edges, losses]


def main() -> None:
    import atheris

    path = sys.argv.pop(1)
    spec = importlib.util.spec_from_file_location("_C", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    isas = ["auto", "plain", "avx2", "avx512", "sse"]
    every = calls(module)

    def one_input(data: bytes) -> None:
        drawn = Drawn(atheris.FuzzedDataProvider(data), isas)
        try:
            every[drawn.number(0, len(every) - 1)](drawn)
        except ERRORS:
            return

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
