"""Adversarial clouds and matrices: each family draws points [n, d] or a matrix [n, n] in float64.

What a family draws is rounded to the dtype of the case, so the extremes are those of that dtype.
"""

import numpy as np


def symmetric(n, lengths):
    """The matrix [n, n] with these lengths, in the order of (i, j), above its diagonal."""
    D = np.zeros((n, n), lengths.dtype)
    i, j = np.triu_indices(n, 1)
    D[i, j] = D[j, i] = lengths
    return D


def pairs(n):
    return n * (n - 1) // 2


def _ranks(rng, n, info):
    return symmetric(n, rng.permutation(pairs(n)) + 1.0)


def _few_values(rng, n, info):
    return symmetric(n, rng.integers(1, 5, pairs(n)).astype(float))


def _signed_zeros(rng, n, info):
    lengths = rng.integers(-1, 10, pairs(n)).astype(float)
    return symmetric(n, np.where(lengths < 0, -0.0, lengths))


def _all_equal(rng, n, info):
    return symmetric(n, np.full(pairs(n), rng.choice([0.0, 0.1, 1.0, 3.0])))


def _two_distances(rng, n, info):
    return symmetric(n, np.where(rng.random(pairs(n)) < rng.random(), 1.0, rng.choice([1.5, 2, 9])))


def _bipartite(rng, n, info):
    """Edges across are short and those within a part long, so all n^2 / 4 across are empty."""
    part = rng.random(n) < 0.5
    i, j = np.triu_indices(n, 1)
    ties = rng.random() < 0.3
    across = rng.integers(1, 3, pairs(n)) if ties else rng.permutation(pairs(n)) + 1
    within = rng.integers(1, 3, pairs(n)) if ties else rng.permutation(pairs(n)) + 1
    return symmetric(n, np.where(part[i] != part[j], across, 2.0 * pairs(n) + within))


def _neighbouring_floats(rng, n, info):
    steps = rng.permutation(pairs(n)) if rng.random() < 0.5 else rng.integers(0, 4, pairs(n))
    return symmetric(n, 1 + steps * float(info.eps))


def _denormal(rng, n, info):
    return symmetric(
        n, rng.integers(0, 2 * pairs(n) + 2, pairs(n)) * float(info.smallest_subnormal)
    )


def _tiny(rng, n, info):
    return symmetric(n, rng.random(pairs(n)) * (1e-30 if info.bits == 32 else 1e-300))


def _huge(rng, n, info):
    return symmetric(n, rng.random(pairs(n)) * (1e30 if info.bits == 32 else 1e300))


def _whole_range(rng, n, info):
    exponents = rng.uniform(info.minexp - info.nmant, info.maxexp - 1, pairs(n))
    return symmetric(n, np.exp2(exponents))


def _largest_floats(rng, n, info):
    return symmetric(n, float(info.max) * (1 - rng.integers(0, 9, pairs(n)) * float(info.eps)))


def _missing(rng, n, info):
    lengths = rng.permutation(pairs(n)) + 1.0
    lengths[rng.random(pairs(n)) < rng.random()] = np.inf
    return symmetric(n, lengths)


def _apart(rng, n, info):
    part = rng.integers(0, 3, n)
    i, j = np.triu_indices(n, 1)
    lengths = rng.integers(1, 6, pairs(n)).astype(float)
    return symmetric(n, np.where(part[i] == part[j], lengths, np.inf))


def _hops(rng, n, info):
    """Hop counts around a circle, with some shortcuts of another length."""
    i, j = np.triu_indices(n, 1)
    steps = np.minimum(j - i, n - (j - i)).astype(float)
    cut = rng.random(pairs(n)) < 0.1
    return symmetric(n, np.where(cut, rng.integers(1, n + 1, pairs(n)), steps))


def _ultrametric(rng, n, info):
    """The height at which two leaves of a random tree meet."""
    D = np.zeros((n, n))
    clusters = [[v] for v in range(n)]
    height = 0
    while len(clusters) > 1:
        height += int(rng.integers(0, 2))
        a, b = rng.choice(len(clusters), 2, replace=False)
        one, other = clusters[a], clusters[b]
        D[np.ix_(one, other)] = D[np.ix_(other, one)] = height
        clusters = [c for k, c in enumerate(clusters) if k not in (a, b)] + [one + other]
    return D


def _far_ring(rng, n, info):
    """A core with a hub that sees all of it early, and a ring far away."""
    lengths = rng.random((n, n))
    ring = n // 3
    core = n - ring
    D = 1 + lengths
    D[0] = 0.1 + 0.1 * lengths[0]
    D[:, core:] = 12 + lengths[:, core:]
    for k in range(ring):
        i, j = sorted((core + k, core + (k + 1) % ring))
        D[i, j] = 10 + lengths[i, j]
    return symmetric(n, D[np.triu_indices(n, 1)])


MATRICES = {
    "ranks": _ranks,
    "few values": _few_values,
    "signed zeros": _signed_zeros,
    "all equal": _all_equal,
    "two distances": _two_distances,
    "bipartite": _bipartite,
    "neighbouring floats": _neighbouring_floats,
    "denormal": _denormal,
    "tiny": _tiny,
    "huge": _huge,
    "whole range": _whole_range,
    "largest floats": _largest_floats,
    "missing": _missing,
    "apart": _apart,
    "hops": _hops,
    "ultrametric": _ultrametric,
    "far ring": _far_ring,
}


def _dimension(rng):
    return int(rng.choice([1, 2, 3, 4, 5, 8, 15, 16, 17, 33]))


def _gaussian(rng, n, info):
    return rng.standard_normal((n, _dimension(rng)))


def _unit(rng, n, info):
    x = rng.standard_normal((n, 1 + _dimension(rng)))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _circle(rng, n, info):
    angle = 2 * np.pi * rng.random(n)
    return np.stack((np.cos(angle), np.sin(angle)), 1) + 0.05 * rng.standard_normal((n, 2))


def _identical(rng, n, info):
    return np.repeat(rng.standard_normal((1, _dimension(rng))), n, axis=0)


def _duplicated(rng, n, info):
    rows = rng.standard_normal(((n + 2) // 3, _dimension(rng)))
    return rows[rng.integers(0, len(rows), n)]


def _near_duplicates(rng, n, info):
    rows = rng.standard_normal(((n + 2) // 3, _dimension(rng)))
    noise = rng.standard_normal((n, rows.shape[1])) * float(info.eps) * rng.choice([1, 10, 1e3])
    return rows[rng.integers(0, len(rows), n)] + noise


def _grid(rng, n, info):
    return rng.integers(0, rng.choice([2, 3, 4]), (n, min(4, _dimension(rng)))).astype(float)


def _one_hot(rng, n, info):
    return np.eye(n + 1)[rng.integers(0, n + 1, n)]


def _simplex(rng, n, info):
    return rng.choice([0.1, 1.0, 3.0]) * np.eye(n)


def _rank_one(rng, n, info):
    return rng.standard_normal((n, 1)) * rng.standard_normal((1, _dimension(rng)))


def _collinear(rng, n, info):
    d = _dimension(rng)
    return rng.integers(0, 2 * n + 1, (n, 1)) * rng.integers(1, 4, (1, d)).astype(float)


def _offset(rng, n, info):
    return (1e6 if info.bits == 32 else 1e12) + rng.standard_normal((n, _dimension(rng)))


def _neighbouring_points(rng, n, info):
    return 1 + rng.integers(0, 4, (n, _dimension(rng))) * float(info.eps)


def _denormal_points(rng, n, info):
    return rng.integers(-9, 9, (n, _dimension(rng))) * float(info.smallest_subnormal)


def _tiny_points(rng, n, info):
    return rng.standard_normal((n, _dimension(rng))) * (1e-30 if info.bits == 32 else 1e-300)


def _huge_points(rng, n, info):
    return rng.standard_normal((n, _dimension(rng))) * (1e30 if info.bits == 32 else 1e300)


def _scales(rng, n, info):
    """Each point at a scale of its own."""
    exponents = rng.uniform(info.minexp, info.maxexp - 8, (n, 1))
    return rng.standard_normal((n, _dimension(rng))) * np.exp2(exponents)


def _crowds(rng, n, info):
    rows = rng.standard_normal((3, _dimension(rng)))
    return rows[np.arange(n) % 3] + 1e-4 * rng.standard_normal((n, rows.shape[1]))


def _zeros(rng, n, info):
    return np.zeros((n, 1)) * rng.choice([0.0, -0.0])


POINTS = {
    "gaussian": _gaussian,
    "unit": _unit,
    "circle": _circle,
    "identical": _identical,
    "duplicated": _duplicated,
    "near duplicates": _near_duplicates,
    "grid": _grid,
    "one-hot": _one_hot,
    "simplex": _simplex,
    "rank one": _rank_one,
    "collinear": _collinear,
    "offset": _offset,
    "neighbouring points": _neighbouring_points,
    "denormal points": _denormal_points,
    "tiny points": _tiny_points,
    "huge points": _huge_points,
    "scales": _scales,
    "crowds": _crowds,
    "zeros": _zeros,
}
