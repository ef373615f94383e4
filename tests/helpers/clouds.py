"""Point clouds and distance matrices: named families, and hypothesis strategies over them."""

import torch
from hypothesis import strategies as st


def _gaussian(n, d, generator):
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def _unit(n, d, generator):
    return torch.nn.functional.normalize(_gaussian(n, d, generator), dim=-1)


def _circle(n, d, generator):
    angle = 2 * torch.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    x = 0.05 * _gaussian(n, max(d, 2), generator)
    x[:, :2] += torch.stack((angle.cos(), angle.sin()), dim=-1)
    return x


def _grid(n, d, generator):
    return torch.randint(0, 4, (n, d), generator=generator).double()


def _duplicated(n, d, generator):
    rows = _gaussian((n + 2) // 3, d, generator)
    return rows[torch.randint(0, len(rows), (n,), generator=generator)]


def _collinear(n, d, generator):
    steps = torch.randint(0, 2 * n + 1, (n, 1), generator=generator).double()
    return steps * torch.randint(1, 4, (1, d), generator=generator).double()


def _identical(n, d, generator):
    return _gaussian(1, d, generator).repeat(n, 1)


FAMILIES = {
    "gaussian": _gaussian,
    "unit": _unit,
    "circle": _circle,
    "grid": _grid,
    "duplicated": _duplicated,
    "collinear": _collinear,
    "identical": _identical,
}
WITHOUT_TIES = ("gaussian", "unit", "circle")


def cloud(family, n, d, seed=0, dtype=torch.float64):
    """One cloud [n, d] of a named family; the circle has at least two columns."""
    generator = torch.Generator().manual_seed(seed)
    return FAMILIES[family](n, d, generator).to(dtype)


def matrix(kind, n, seed=0, dtype=torch.float64):
    """A symmetric matrix [n, n] with a zero diagonal that need not obey the triangle inequality.

    "ranks": all lengths distinct; "ties": few values; "zeros": ties with 0 and -0 among them.
    """
    generator = torch.Generator().manual_seed(seed)
    i, j = torch.triu_indices(n, n, 1)
    if kind == "ranks":
        lengths = torch.randperm(len(i), generator=generator) + 1.0
    elif kind == "ties":
        lengths = torch.randint(1, 5, (len(i),), generator=generator) + 0.0
    elif kind == "zeros":
        lengths = torch.randint(-1, 10, (len(i),), generator=generator) + 0.0
        lengths = torch.where(lengths < 0, -0.0, lengths)
    else:
        raise ValueError(kind)
    D = torch.zeros(n, n, dtype=dtype)
    D[i, j] = D[j, i] = lengths.to(dtype)
    return D


def clouds(
    families=tuple(FAMILIES), min_n=1, max_n=60, max_d=8, dtypes=(torch.float32, torch.float64)
):
    """Strategy of clouds [n, d]; a failure prints the call of `cloud` that makes it again."""
    return st.builds(
        cloud,
        family=st.sampled_from(families),
        n=st.integers(min_n, max_n),
        d=st.integers(1, max_d),
        seed=st.integers(0, 2**16),
        dtype=st.sampled_from(dtypes),
    )


def matrices(max_n=25, dtypes=(torch.float32, torch.float64)):
    """Strategy of symmetric matrices [n, n], see `matrix`."""
    return st.builds(
        matrix,
        kind=st.sampled_from(("ranks", "ties", "zeros")),
        n=st.integers(1, max_n),
        seed=st.integers(0, 2**16),
        dtype=st.sampled_from(dtypes),
    )
