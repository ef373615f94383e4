"""Slow, independent answers that both the package and its reference are compared with."""

import numpy as np
import torch

from tsloss_fast.persistence.diagram import FIELDS


def filtration(D, longest=np.inf):
    """Edges (length, i, j), i < j, of a matrix [n, n], in filtration order.

    Those that are infinite or longer than `longest` are absent.
    """
    n = len(D)
    edges = ((D[i, j].item(), i, j) for i in range(n) for j in range(i + 1, n))
    return sorted(edge for edge in edges if edge[0] <= longest and edge[0] < np.inf)


def elder_rule(D, longest=np.inf):
    """H0 as rows (v, v, i, j) by a walk over the edges, labels held by brute force."""
    return _walk(D, longest)[0]


def components(D, longest=np.inf):
    """The smallest vertex of each component that stays apart, as rows (v, v)."""
    return [(v, v) for v in sorted(set(_walk(D, longest)[1]))]


def _walk(D, longest):
    """The bars of H0, and the oldest vertex of each vertex's component at the end."""
    oldest = list(range(len(D)))
    bars = []
    for _, i, j in filtration(D, longest):
        old, young = sorted((oldest[i], oldest[j]))
        if old != young:
            bars.append((young, young, i, j))
            oldest = [old if v == young else v for v in oldest]
    return bars, oldest


def matrix_reduction(D, longest=np.inf):
    """H1 as rows (birth edge, death edge) by reducing the boundary matrix over Z/2.

    The textbook algorithm on columns held as sets, nothing skipped: for small n only.
    """
    return _reduce_triangles(D, longest)[0]


def unfilled_loops(D, longest=np.inf):
    """The birth edges of the classes of H1 that never die, in filtration order.

    Edges that close a loop, less those that some triangle pairs.
    """
    paired = _reduce_triangles(D, longest)[1]
    joining = {(i, j) for _, _, i, j in elder_rule(D, longest)}
    closing = [(i, j) for _, i, j in filtration(D, longest) if (i, j) not in joining]
    return [edge for edge in closing if edge not in paired]


def _reduce_triangles(D, longest):
    """The bars of positive length of H1, and the birth edges of all, those of length zero too."""
    n = len(D)
    edges = [(i, j) for _, i, j in filtration(D, longest)]
    index = {edge: position for position, edge in enumerate(edges)}
    triangles = []
    for a in range(n):
        for b in range(a + 1, n):
            for c in range(b + 1, n):
                sides = ((a, b), (a, c), (b, c))
                if all(side in index for side in sides):
                    boundary = {index[side] for side in sides}
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
    rows = [(*edges[birth], *edges[death]) for death, birth in sorted(bars)]
    return rows, {edges[birth] for birth in reduced}


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
    import scipy.sparse.csgraph

    n = len(D)
    i, j = np.triu_indices(n, 1)
    i, j = i.astype(np.int32), j.astype(np.int32)  # SciPy 1.15 takes no others in csgraph
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


def essential_edges(dgm):
    """The birth edges of the classes that never die of one unbatched diagram, as rows."""
    return [tuple(row) for row in dgm.essential_edges[dgm.essential_mask].tolist()]


def essential_births(dgm):
    """The sorted births of the classes that never die of one unbatched diagram, float64."""
    return sorted(dgm.essential_births[dgm.essential_mask].detach().double().tolist())


def values(dgm, positive=True):
    """The sorted (birth, death) of one unbatched diagram, zero-length bars left out, float64."""
    pairs = dgm.pairs[dgm.mask].detach().double()
    if positive:
        pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    return sorted(map(tuple, pairs.tolist()))


def select(dgm, index):
    """One cloud of a batched diagram, its padding cut off."""
    masks = dict.fromkeys(FIELDS[:5], dgm.mask) | dict.fromkeys(FIELDS[5:], dgm.essential_mask)
    return type(dgm)(**{name: getattr(dgm, name)[index][masks[name][index]] for name in FIELDS})


def assert_same(dgm, expected):
    """Every field of two diagrams is equal: dtype, shape, and bit for bit up to the sign of 0."""
    for name in FIELDS:
        ours, theirs = getattr(dgm, name).detach(), getattr(expected, name).detach()
        assert ours.dtype == theirs.dtype, name
        assert ours.shape == theirs.shape, name
        assert torch.equal(ours, theirs), (name, ours, theirs)


def assert_valid(dgm, dim, n, complete=True):
    """What every diagram obeys: shapes, order of vertices, padding last and of the fixed value.

    Where no edge is missing, the graph is `complete`, one class never dies.
    """
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
        assert (dgm.births == 0).all()
        assert (birth[:, 0] == birth[:, 1]).all()
        born = torch.cat((dgm.birth_edges, dgm.essential_edges), dim=-2)[..., 0]  # [..., K + E]
        vertices = torch.arange(n).expand(*born.shape[:-1], n)
        assert torch.equal(born.sort(-1).values[..., -n:], vertices)
        assert not complete or dgm.mask.all()
    else:
        assert (birth[:, 0] < birth[:, 1]).all()
        assert (dgm.deaths[dgm.mask] > dgm.births[dgm.mask]).all()
        assert not complete or dgm.essential_mask.shape[-1] == 0
        if dgm.mask.numel():
            assert dgm.mask.sum(-1).max() == K


def _finite(intervals):
    intervals = np.asarray(intervals).reshape(-1, 2)
    keep = np.isfinite(intervals[:, 1]) & (intervals[:, 1] > intervals[:, 0])
    return sorted(map(tuple, intervals[keep].tolist()))
