"""Slow, independent answers that both the package and its reference are compared with."""

import numpy as np
import scipy.sparse
import torch


def filtration(D):
    """Edges (length, i, j), i < j, of a matrix [n, n], in filtration order."""
    n = len(D)
    return sorted((D[i, j].item(), i, j) for i in range(n) for j in range(i + 1, n))


def elder_rule(D):
    """H0 as rows (v, v, i, j) by a walk over the edges, labels held by brute force."""
    oldest = list(range(len(D)))
    bars = []
    for _, i, j in filtration(D):
        old, young = sorted((oldest[i], oldest[j]))
        if old != young:
            bars.append((young, young, i, j))
            oldest = [old if v == young else v for v in oldest]
    return bars


def matrix_reduction(D):
    """H1 as rows (birth edge, death edge) by reducing the boundary matrix over Z/2.

    The textbook algorithm on columns held as sets, nothing skipped: for small n only.
    """
    n = len(D)
    edges = [(i, j) for _, i, j in filtration(D)]
    index = {edge: position for position, edge in enumerate(edges)}
    triangles = []
    for a in range(n):
        for b in range(a + 1, n):
            for c in range(b + 1, n):
                boundary = {index[a, b], index[a, c], index[b, c]}
                triangles.append((max(boundary), boundary))
    triangles.sort(key=lambda triangle: triangle[0])

    reduced = {}
    bars = []
    for death, boundary in triangles:
        column = set(boundary)
        while column and max(column) in reduced:
            column ^= reduced[max(column)]
        if column:
            birth = max(column)
            reduced[birth] = column
            if D[edges[death]] > D[edges[birth]]:
                bars.append((death, birth))
    return [(*edges[birth], *edges[death]) for death, birth in sorted(bars)]


def gudhi_intervals(D):
    """Sorted finite bars of positive length of H0 and H1, from gudhi's simplex tree on D itself."""
    import gudhi

    tree = gudhi.RipsComplex(distance_matrix=D.double().numpy()).create_simplex_tree(2)
    tree.compute_persistence(homology_coeff_field=2)
    return [_finite(tree.persistence_intervals_in_dimension(dim)) for dim in (0, 1)]


def collapsed_intervals(D):
    """The same for hundreds of points: gudhi's edge collapse first, up to the enclosing radius."""
    import gudhi

    D = D.double()
    radius = D.max(dim=-1).values.min().item()
    rips = gudhi.RipsComplex(distance_matrix=D.numpy(), max_edge_length=radius)
    tree = rips.create_simplex_tree(max_dimension=1)
    tree.collapse_edges(nb_iterations=2)
    tree.expansion(2)
    tree.compute_persistence(homology_coeff_field=2)
    return [_finite(tree.persistence_intervals_in_dimension(dim)) for dim in (0, 1)]


def spanning_tree_lengths(D):
    """Edge lengths of SciPy's minimum spanning tree, ascending, [n - 1]."""
    n = len(D)
    i, j = np.triu_indices(n, 1)
    graph = scipy.sparse.csr_array((D.double().numpy()[i, j], (i, j)), shape=(n, n))
    lengths = np.sort(scipy.sparse.csgraph.minimum_spanning_tree(graph).data)
    # SciPy honours stored zeros as edges, but drops the ones it chose from the tree it returns.
    return torch.from_numpy(np.concatenate((np.zeros(n - 1 - len(lengths)), lengths)))


def empty_lune_edges(D):
    """Edges (i, j) with no k such that ik and jk both come before ij, in filtration order."""
    n = len(D)
    ranks = torch.full((n, n), n * n)
    for rank, (_, i, j) in enumerate(filtration(D)):
        ranks[i, j] = ranks[j, i] = rank
    return [
        (i, j)
        for _, i, j in filtration(D)
        if not ((ranks[i] < ranks[i, j]) & (ranks[j] < ranks[i, j])).any()
    ]


def edges(dgm):
    """The bars of one unbatched diagram as a list of (birth edge, death edge) rows."""
    rows = torch.cat((dgm.birth_edges, dgm.death_edges), dim=-1)
    return [tuple(row) for row in rows[dgm.mask].tolist()]


def values(dgm, positive=True):
    """The sorted (birth, death) of one unbatched diagram, zero-length bars left out, float64."""
    pairs = dgm.pairs[dgm.mask].detach().double()
    if positive:
        pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    return sorted(map(tuple, pairs.tolist()))


def select(dgm, index):
    """One cloud of a batched diagram, its padding cut off."""
    mask = dgm.mask[index]
    cut = {
        name: getattr(dgm, name)[index][mask]
        for name in ("births", "deaths", "birth_edges", "death_edges", "mask")
    }
    return type(dgm)(**cut)


def assert_same(dgm, expected):
    """Every field of two diagrams is equal: dtype, shape, and bit for bit up to the sign of 0."""
    for name in ("births", "deaths", "birth_edges", "death_edges", "mask"):
        ours, theirs = getattr(dgm, name).detach(), getattr(expected, name).detach()
        assert ours.dtype == theirs.dtype, name
        assert ours.shape == theirs.shape, name
        assert torch.equal(ours, theirs), (name, ours, theirs)


def assert_valid(dgm, dim, n):
    """What every diagram obeys: shapes, order of vertices, padding last and of the fixed value."""
    K = dgm.mask.shape[-1]
    assert dgm.mask.dtype == torch.bool
    assert dgm.births.shape == dgm.deaths.shape == dgm.mask.shape
    assert dgm.birth_edges.shape == dgm.death_edges.shape == (*dgm.mask.shape, 2)
    assert dgm.birth_edges.dtype == dgm.death_edges.dtype == torch.int64
    padding = ~dgm.mask
    assert (dgm.births[padding] == 0).all()
    assert (dgm.deaths[padding] == 0).all()
    assert (dgm.birth_edges[padding] == -1).all()
    assert (dgm.death_edges[padding] == -1).all()
    assert torch.equal(dgm.mask, dgm.mask.sort(dim=-1, descending=True, stable=True).values)

    birth, death = dgm.birth_edges[dgm.mask], dgm.death_edges[dgm.mask]
    for edge in (birth, death):
        assert ((edge >= 0) & (edge < n)).all()
    assert (death[:, 0] < death[:, 1]).all()
    if dim == 0:
        assert n - 1 == K
        assert dgm.mask.all()
        assert (dgm.births == 0).all()
        assert (birth[:, 0] == birth[:, 1]).all()
        vertices = dgm.birth_edges[..., 0].sort(-1).values
        assert torch.equal(vertices, torch.arange(1, n).expand_as(vertices))
    else:
        assert (birth[:, 0] < birth[:, 1]).all()
        assert (dgm.deaths[dgm.mask] > dgm.births[dgm.mask]).all()
        if dgm.mask.numel():
            assert dgm.mask.sum(-1).max() == K


def _finite(intervals):
    intervals = np.asarray(intervals).reshape(-1, 2)
    keep = np.isfinite(intervals[:, 1]) & (intervals[:, 1] > intervals[:, 0])
    return sorted(map(tuple, intervals[keep].tolist()))
