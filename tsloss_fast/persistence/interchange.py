"""Diagrams to and from the formats of gudhi, ripser, persim, giotto-tda and torch-topological.

`wasserstein_distance` is POT's, for diagrams in training.

Their distances and vectorisations then serve on diagrams of `rips_persistence`:

============================================  =====================================================
for                                           take
============================================  =====================================================
gudhi's plots, ``SimplexTree.persistence()``  `to_gudhi`, `from_gudhi`
``gudhi.bottleneck_distance``,                `to_arrays`, `from_arrays`; one dimension, with
``gudhi.representations``, persim's images    gradients, of each cloud: ``dgm.unbatch()``
``gudhi.wasserstein``                         `wasserstein_distance`
ripser.py, the rest of persim                 ``to_arrays(dgms, essential=True)``, `from_arrays`
giotto-tda                                    `to_giotto`, `from_giotto`
torch-topological                             `to_torch_topological`, `from_torch_topological`
============================================  =====================================================

All of these give diameters, as we do, so no value changes. What comes from outside keeps its order,
has no critical edges (-1, as in padding; `mask` tells them apart) unless the format knows them, and
its classes that never die, of a death at infinity, are in the essential fields. None of these
packages is imported before a function that needs it is called.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsloss_fast._checks import check_flag, check_number, check_whole
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.norms import norm

Diagrams = Sequence[PersistenceDiagram]


def to_gudhi(dgms: Diagrams, essential: bool = True) -> list[tuple[int, tuple[float, float]]]:
    """The list of (dimension, (birth, death)) of one cloud that ``SimplexTree.persistence`` gives.

    Parameters
    ----------
    dgms : sequence of PersistenceDiagram
        H0, then H1, of one cloud.
    essential : bool
        Whether to add the classes that never die, (birth, inf), as gudhi has them.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> dgms = tsl.rips_persistence(torch.tensor([[0.0], [1.0], [3.0]]))
    >>> to_gudhi(dgms)
    [(0, (0.0, 1.0)), (0, (0.0, 2.0)), (0, (0.0, inf))]
    """
    return [
        (dim, (birth, death))
        for dim, bars in enumerate(to_arrays(dgms, essential))
        for birth, death in bars.tolist()
    ]


def from_gudhi(
    persistence: Iterable[tuple[int, tuple[float, float]]], max_dim: int = 1
) -> tuple[PersistenceDiagram, ...]:
    """Diagrams H0 to H`max_dim` from a list of (dimension, (birth, death)), in float64.

    Raises
    ------
    TypeError, ValueError
        As `from_arrays` does, for an entry of another form, and for a bar above `max_dim`.

    Examples
    --------
    >>> h0, h1 = from_gudhi([(1, (1.0, 1.5)), (0, (0.0, float("inf"))), (0, (0.0, 1.0))])
    >>> h0.pairs, h1.pairs
    (tensor([[0., 1.]], dtype=torch.float64), tensor([[1.0000, 1.5000]], dtype=torch.float64))
    """
    max_dim = check_whole(max_dim, "max_dim", least=0)
    bars: list[list[tuple[float, float]]] = [[] for _ in range(max_dim + 1)]
    for entry in persistence:
        dim, pair = _gudhi_bar(entry)
        if not 0 <= dim <= max_dim:
            raise ValueError(f"persistence: expected dimensions 0 to {max_dim}, got {dim}")
        bars[dim].append(pair)
    return from_arrays([np.array(pairs, dtype=np.float64) for pairs in bars])


def to_arrays(dgms: Diagrams, essential: bool = False) -> list[np.ndarray]:
    """One array [k, 2] of (birth, death) a dimension, of one cloud.

    Parameters
    ----------
    dgms : sequence of PersistenceDiagram
        H0, then H1, of one cloud.
    essential : bool
        Whether to add the classes that never die, (birth, inf), as the last rows: of H0 one at
        least, (0, inf). ripser.py has them; persim's and gudhi's distances accept them;
        vectorisations do not.

    Returns
    -------
    list of ndarray
        In the diagrams' dtype, without padding; bfloat16, which NumPy lacks, becomes float32.

    Raises
    ------
    TypeError
        For anything but a sequence of diagrams; all functions of this module raise it.
    ValueError
        For a batch of clouds: ``dgm.unbatch()`` gives one tensor a cloud.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> h0, h1 = to_arrays(tsl.rips_persistence(square), essential=True)
    >>> h0.shape, h1
    ((4, 2), array([[1.       , 1.4142135]], dtype=float32))
    """
    checked = _checked(dgms)
    arrays = [_as_numpy(_one_cloud(dgm)) for dgm in checked]
    if not essential:
        return arrays
    return [
        np.concatenate((bars, _forever(dgm, dim).astype(bars.dtype)))
        for dim, (bars, dgm) in enumerate(zip(arrays, checked, strict=True))
    ]


def _forever(dgm: PersistenceDiagram, dim: int) -> np.ndarray:
    """(birth, inf) of each class of one cloud that never dies, [e, 2].

    H0 has one, which a diagram that came from elsewhere need not know of.
    """
    births = _as_numpy(dgm.essential_births[dgm.essential_mask])
    if dim == 0 and dgm.essential_mask.shape[-1] == 0:
        births = np.zeros(1)
    return np.stack((births, np.full_like(births, np.inf)), axis=-1)


def from_arrays(arrays: Sequence[Any]) -> tuple[PersistenceDiagram, ...]:
    """Diagrams of one cloud from one array or tensor [k, 2] of (birth, death) a dimension.

    The dtype is kept (integers become float64), and so is the graph of tensors. Classes that never
    die, of a death at infinity, are in the essential fields.

    Raises
    ------
    TypeError
        For what are no real numbers.
    ValueError
        For another shape; for NaN, or a death before its birth.

    Examples
    --------
    >>> (h0,) = from_arrays([[[0.0, 2.0], [0.0, float("inf")]]])
    >>> h0.deaths, h0.death_edges, h0.essential_births
    (tensor([2.], dtype=torch.float64), tensor([[-1, -1]]), tensor([0.], dtype=torch.float64))
    """
    pairs = [_as_pairs(array, f"arrays[{dim}]") for dim, array in enumerate(arrays)]
    return tuple(_diagram([bars], dim) for dim, bars in enumerate(pairs))


def to_giotto(dgms: Diagrams) -> np.ndarray:
    """giotto-tda's array [B, k, 3] of (birth, death, dimension), float64; one cloud gives B = 1.

    A dimension has as many triples in each cloud, and at least one: padding is of length 0, at the
    dimension's smallest birth, as giotto-tda pads. The essential class is left out, as there.

    Raises
    ------
    ValueError
        For no diagram, or diagrams of different batches.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> to_giotto(tsl.rips_persistence(torch.tensor([[0.0], [1.0], [3.0]])))
    array([[[0., 1., 0.],
            [0., 2., 0.],
            [0., 0., 1.]]])
    """
    dgms = _of_same_clouds(dgms)
    return np.concatenate([_giotto_triples(dgm, dim) for dim, dgm in enumerate(dgms)], axis=1)


def from_giotto(X: Any) -> tuple[PersistenceDiagram, ...]:
    """Batched diagrams from giotto-tda's array [B, k, 3] of (birth, death, dimension).

    Triples of length 0 are padding and left out above H0. In H0 they are kept, because those of
    coincident points look the same: clouds of unequal size, or of one point, get bars of length 0
    there.

    Raises
    ------
    ValueError
        For another shape or a dimension that is no small number; as `from_arrays` does.

    Examples
    --------
    >>> h0, h1 = from_giotto([[[0.0, 2.0, 0.0], [2.0, 3.0, 1.0], [1.0, 1.0, 1.0]]])
    >>> h0.pairs, h1.pairs
    (tensor([[[0., 2.]]], dtype=torch.float64), tensor([[[2., 3.]]], dtype=torch.float64))
    """
    triples = torch.as_tensor(np.asarray(X, dtype=np.float64))
    if triples.ndim != 3 or triples.shape[-1] != 3 or len(triples) == 0:
        raise ValueError(f"X: expected triples [B, k, 3], B > 0, got {list(triples.shape)}")
    dims = triples[..., 2]  # [B, k]
    known = torch.isin(dims, torch.arange(8, dtype=dims.dtype))
    if not known.all():
        raise ValueError(f"X: expected dimensions 0, 1, ..., got {dims[~known][0].item()}")
    highest = int(dims.max()) if dims.numel() else -1
    return tuple(
        _diagram([_giotto_bars(cloud, dim) for cloud in triples], dim, batch=True)
        for dim in range(highest + 1)
    )


def to_torch_topological(dgms: Diagrams) -> list[Any]:
    """torch-topological's ``PersistenceInformation``, one a dimension; gradients survive.

    A batch [B, K] gives a list of such lists, one a cloud. The pairings are ours: vertex and death
    edge in H0 [k, 3], birth and death edge in H1 [k, 4].

    Raises
    ------
    ValueError
        For no diagram, or diagrams of different batches.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> dgms = tsl.rips_persistence(torch.randn(5, 2))
    >>> infos = to_torch_topological(dgms)  # doctest: +SKIP
    >>> infos[0].diagram.shape, infos[0].dimension  # doctest: +SKIP
    (torch.Size([4, 2]), 0)
    """
    from torch_topological.nn import PersistenceInformation

    dgms = _of_same_clouds(dgms)
    clouds = zip(*(dgm.unbatch() for dgm in dgms), strict=True)
    pairings = zip(*(_pairings(dgm, dim) for dim, dgm in enumerate(dgms)), strict=True)
    infos = [
        list(map(PersistenceInformation, pairing, cloud, range(len(dgms))))
        for pairing, cloud in zip(pairings, clouds, strict=True)
    ]
    return infos[0] if all(dgm.mask.ndim == 1 for dgm in dgms) else infos


def from_torch_topological(infos: Sequence[Any]) -> tuple[PersistenceDiagram, ...]:
    """Diagrams from a list of ``PersistenceInformation``, or from one such list a cloud.

    Gradients survive. Critical edges are taken from the pairings of a Rips complex, vertex and edge
    in H0 [k, 3] and two edges above [k, 4]; from those of other complexes they are -1.

    Raises
    ------
    ValueError
        If clouds differ in their dimensions, or these are not 0, 1, ...; as `from_arrays` does.

    Examples
    --------
    >>> from types import SimpleNamespace as Info
    >>> info = Info(pairing=[[1, 0, 1]], diagram=torch.tensor([[0.0, 2.0]]), dimension=0)
    >>> (h0,) = from_torch_topological([info])
    >>> h0.deaths, h0.birth_edges, h0.death_edges
    (tensor([2.]), tensor([[1, 1]]), tensor([[0, 1]]))
    """
    single = bool(infos) and hasattr(infos[0], "diagram")
    clouds = [infos] if single else list(infos)
    dims = {tuple(info.dimension for info in cloud) for cloud in clouds}
    if len(dims) != 1 or (found := dims.copy().pop()) != tuple(range(len(found))):
        raise ValueError(f"infos: expected dimensions 0, 1, ... of each cloud, got {sorted(dims)}")
    columns = zip(*clouds, strict=True)
    return tuple(_from_infos(column, dim, not single) for dim, column in enumerate(columns))


def wasserstein_distance(
    a: PersistenceDiagram | Any,
    b: PersistenceDiagram | Any,
    order: float = 1.0,
    internal_p: float = math.inf,
    essential: bool = True,
) -> Tensor:
    r"""The Wasserstein distance of two diagrams of one dimension, differentiable.

    .. math:: W = \left( \min_\gamma \sum_{(u, v) \in \gamma} \lVert u - v \rVert_p^q \right)^{1/q}

    over the matchings of bars with bars or with the diagonal. POT finds the matching; the gradient
    is that of the bars matched, and 0 for those that lie on their partners.

    Parameters
    ----------
    a, b : PersistenceDiagram, or array or tensor [k, 2] of (birth, death)
        Diagrams may be batches of the same shape, or one cloud against a batch. Without a bar they
        are the diagonal.
    order : float, >= 1
        The power q.
    internal_p : float, >= 1
        The norm of the plane, p; infinity unless given, as in gudhi.
    essential : bool
        Whether classes that never die count: they are matched in the order of their births, and
        the distance is infinite, without a gradient, where their numbers differ.

    Returns
    -------
    Tensor, shape [...]
        One number a cloud, what ``gudhi.wasserstein.wasserstein_distance`` gives.

    Raises
    ------
    TypeError, ValueError
        For what are no bars, batches of different shapes, and wrong powers.
    ImportError
        Without POT.

    Notes
    -----
    The matching is computed on the host, for which CUDA diagrams wait.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> _, small = tsl.rips_persistence(square)
    >>> _, large = tsl.rips_persistence(1.2 * square)
    >>> wasserstein_distance(small, large)  # doctest: +SKIP
    tensor(0.2828)
    """
    order = check_number(order, "order", least=1)
    if internal_p != math.inf:
        internal_p = check_number(internal_p, "internal_p", least=1)
    check_flag(essential, "essential")
    batches = [_batch_shape(a, "a"), _batch_shape(b, "b")]
    if () not in batches and batches[0] != batches[1]:
        raise ValueError(
            f"b: expected one cloud or the batch of a, {list(batches[0])}, got {list(batches[1])}"
        )
    first, second = _split_bars(a, "a"), _split_bars(b, "b")
    batch = batches[0] or batches[1]
    if batches[0] != batch:
        first = first * math.prod(batch)
    if batches[1] != batch:
        second = second * math.prod(batch)
    distances = [
        _one_distance(one, other, order, internal_p, essential)
        for one, other in zip(first, second, strict=True)
    ]
    if not distances:
        return (a if batches[0] == batch else b).births.new_zeros(batch)
    return torch.stack(distances).reshape(batch)


# The bars [k, 2] of one cloud, and the births [e] of its classes that never die.
Split = tuple[Tensor, Tensor]


def _batch_shape(dgm: Any, name: str) -> tuple[int, ...]:
    if isinstance(dgm, PersistenceDiagram):
        return tuple(dgm.mask.shape[:-1])
    if isinstance(dgm, tuple) and any(isinstance(part, PersistenceDiagram) for part in dgm):
        raise TypeError(
            f"{name}: expected one PersistenceDiagram or bars [k, 2], got a tuple of diagrams; "
            "take one dimension"
        )
    return ()


def _split_bars(dgm: Any, name: str) -> list[Split]:
    """The bars and the classes that never die of each cloud, in the diagram's graph."""
    if isinstance(dgm, PersistenceDiagram):
        E = dgm.essential_mask.shape[-1]
        bars = dgm.unbatch()
        if not E:
            return [(each, each.new_zeros(0)) for each in bars]
        births, masks = dgm.essential_births.reshape(-1, E), dgm.essential_mask.reshape(-1, E)
        return [(each, births[k][masks[k]]) for k, each in enumerate(bars)]
    pairs = _as_pairs(dgm, name)
    birth, death = pairs.detach().unbind(-1)
    wrong = ~(birth.isfinite() & (death >= birth))
    if wrong.any():
        got = tuple(pairs[wrong][0].tolist())
        raise ValueError(f"{name}: expected finite births and deaths not before them, got {got}")
    forever = death == math.inf
    return [(pairs[~forever], pairs[forever, 0])]


def _one_distance(a: Split, b: Split, order: float, internal_p: float, essential: bool) -> Tensor:
    """The distance of two clouds' bars, a scalar in the graph of both."""
    costs = [_matched_costs(a[0], b[0], order, internal_p)]
    if essential:
        if len(a[1]) != len(b[1]):
            return a[0].sum() * 0 + b[0].sum() * 0 + math.inf
        costs.append((a[1].sort().values - b[1].sort().values).abs())
    together = torch.cat(costs)
    return norm(together, order) if len(together) else together.sum()


def _matched_costs(a: Tensor, b: Tensor, order: float, internal_p: float) -> Tensor:
    """What each pair of the best matching of bars [k, 2] and [m, 2] costs, shape [matched]."""
    to_diagonal = [(bars[:, 1] - bars[:, 0]) * 2 ** (1 / internal_p - 1) for bars in (a, b)]
    if len(a) == 0 or len(b) == 0:
        return torch.cat(to_diagonal)
    with torch.no_grad():
        among = norm(a.unsqueeze(1) - b.unsqueeze(0), internal_p)  # [k, m]
        matched = _matching(among, to_diagonal[0], to_diagonal[1], order)
    i, j = matched[:-1, :-1].nonzero().unbind(-1)
    alone = [
        part[stays]
        for part, stays in zip(to_diagonal, (matched[:-1, -1], matched[-1, :-1]), strict=True)
    ]
    return torch.cat((norm(a[i] - b[j], internal_p), *alone))


def _matching(among: Tensor, a_alone: Tensor, b_alone: Tensor, order: float) -> Tensor:
    """Which bars POT matches, bool [k + 1, m + 1]; the last row and column are the diagonal."""
    try:
        import ot
    except ImportError:
        raise ImportError("wasserstein_distance needs POT: pip install POT") from None
    k, m = among.shape
    costs = np.zeros((k + 1, m + 1))
    parts = ((np.s_[:k, :m], among), (np.s_[:k, m], a_alone), (np.s_[k, :m], b_alone))
    for place, part in parts:
        costs[place] = part.cpu().double().numpy() ** order
    masses = [np.append(np.ones(count), other) for count, other in ((k, m), (m, k))]
    plan, log = ot.emd(*masses, costs, numItermax=2_000_000, log=True)
    if log["warning"]:
        raise RuntimeError(f"POT found no matching of {k} bars with {m}: {log['warning']}")
    return torch.from_numpy(plan > 0.5).to(among.device)


def _from_infos(infos: Sequence[Any], dim: int, batch: bool) -> PersistenceDiagram:
    """The diagram of one dimension over the clouds."""
    pairs = [_as_pairs(info.diagram, f"infos, H{dim}") for info in infos]
    edges = [
        _pairing_edges(info.pairing, dim, len(bars)).to(bars.device)
        for info, bars in zip(infos, pairs, strict=True)
    ]
    return _diagram(pairs, dim, edges, batch=batch)


def _checked(dgms: Diagrams) -> list[PersistenceDiagram]:
    if isinstance(dgms, PersistenceDiagram):
        raise TypeError(
            "dgms: expected a sequence of PersistenceDiagram, H0 first, got one alone; put it into "
            "a list"
        )
    dgms = list(dgms)
    for dgm in dgms:
        if not isinstance(dgm, PersistenceDiagram):
            raise TypeError(f"dgms: expected PersistenceDiagram, got {type(dgm).__name__}")
    return dgms


def _of_same_clouds(dgms: Diagrams) -> list[PersistenceDiagram]:
    dgms = _checked(dgms)
    if not dgms:
        raise ValueError("dgms: expected at least one diagram, got none")
    batches = [list(dgm.mask.shape[:-1]) for dgm in dgms]
    if any(batch != batches[0] for batch in batches):
        raise ValueError(f"dgms: expected diagrams of the same clouds, got batches {batches}")
    return dgms


def _gudhi_bar(entry: Any) -> tuple[int, tuple[float, float]]:
    try:
        dim, (birth, death) = entry
        return operator.index(dim), (birth, death)
    except (TypeError, ValueError):
        raise TypeError(
            f"persistence: expected (dimension, (birth, death)), got {entry!r}"
        ) from None


def _as_numpy(bars: Tensor) -> np.ndarray:
    bars = bars.detach().cpu()
    return (bars.float() if bars.dtype == torch.bfloat16 else bars).numpy()


def _one_cloud(dgm: PersistenceDiagram) -> Tensor:
    if dgm.mask.ndim != 1:
        shape = list(dgm.mask.shape)
        raise ValueError(f"dgms: expected one cloud, got a batch {shape}; see unbatch()")
    return dgm.unbatch()[0]


def _as_pairs(array: Any, name: str) -> Tensor:
    """A floating tensor [k, 2] that shares the graph of a tensor given."""
    try:
        pairs = array if isinstance(array, Tensor) else torch.as_tensor(np.asarray(array))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of numbers [k, 2]: {error}") from error
    if pairs.is_complex():
        dtype = str(pairs.dtype).removeprefix("torch.")
        raise TypeError(f"{name}: expected real numbers, got {dtype}")
    if pairs.numel() == 0:
        pairs = pairs.reshape(0, 2)
    if not pairs.is_floating_point():
        pairs = pairs.double()
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"{name}: expected bars [k, 2], got {list(pairs.shape)}")
    return pairs


def _finite(pairs: Tensor, dim: int) -> Tensor:
    """Which bars die, [k] bool, once no birth or death is at fault."""
    birth, death = pairs.detach().unbind(-1)
    # A comparison with NaN is false, so this finds NaN too.
    wrong = ~(birth.isfinite() & (death >= birth))
    if wrong.any():
        got = tuple(pairs[wrong][0].tolist())
        raise ValueError(f"H{dim}: expected finite births and deaths not before them, got {got}")
    return death.isfinite()


def _diagram(
    pairs: Sequence[Tensor],
    dim: int,
    edges: Sequence[Tensor] | None = None,
    *,
    batch: bool = False,
) -> PersistenceDiagram:
    """A diagram of bars [k, 2] and edges [k, 4], one a cloud, padded to the longest.

    Those that end at infinity are the classes that never die.
    """
    if edges is None:
        edges = [torch.full((len(p), 4), -1, device=p.device) for p in pairs]
    dies = [_finite(bars, dim) for bars in pairs]
    bars, mask = _padded([p[keep] for p, keep in zip(pairs, dies, strict=True)])
    critical, _ = _padded([e[keep] for e, keep in zip(edges, dies, strict=True)], padding=-1)
    births, lives = _padded([p[~keep, 0] for p, keep in zip(pairs, dies, strict=True)])
    born_with, _ = _padded([e[~keep, :2] for e, keep in zip(edges, dies, strict=True)], padding=-1)
    fields = (
        *(bars[..., 0], bars[..., 1], critical[..., :2], critical[..., 2:], mask),
        *(births, born_with, lives),
    )
    return PersistenceDiagram(*(fields if batch else [part[0] for part in fields]))


def _padded(parts: Sequence[Tensor], padding: float = 0) -> tuple[Tensor, Tensor]:
    """Rows [k, ...] of each cloud as one tensor [B, K, ...], and which are no padding [B, K]."""
    pad = torch.nn.utils.rnn.pad_sequence
    masks = [torch.ones(len(part), dtype=torch.bool, device=part.device) for part in parts]
    rows = pad(list(parts), batch_first=True, padding_value=padding)
    return rows, pad(masks, batch_first=True)


def _giotto_triples(dgm: PersistenceDiagram, dim: int) -> np.ndarray:
    """One dimension's triples [B, max(K, 1), 3]."""
    clouds = [bars.detach().cpu().double().numpy() for bars in dgm.unbatch()]
    births = [bars[:, 0].min() for bars in clouds if len(bars)]
    longest = max((len(bars) for bars in clouds), default=0)
    triples = np.full((len(clouds), max(longest, 1), 3), min(births, default=0.0))
    triples[..., 2] = dim
    for cloud, bars in zip(triples, clouds, strict=True):
        cloud[: len(bars), :2] = bars
    return triples


def _giotto_bars(triples: Tensor, dim: int) -> Tensor:
    """The bars [k, 2] of one dimension and cloud."""
    pairs = triples[triples[:, 2] == dim, :2]
    _finite(pairs, dim)
    return pairs if dim == 0 else pairs[pairs[:, 0] < pairs[:, 1]]


def _pairings(dgm: PersistenceDiagram, dim: int) -> list[np.ndarray]:
    """Vertex and edge [k, 3] in H0, two edges [k, 4] above, one array a cloud."""
    first = dgm.birth_edges[..., :1] if dim == 0 else dgm.birth_edges
    both = torch.cat((first, dgm.death_edges), dim=-1)  # [..., K, 3 or 4]
    if both.ndim == 2:
        return [both[dgm.mask].cpu().numpy()]
    clouds = zip(both.flatten(0, -3), dgm.mask.flatten(0, -2), strict=True)
    return [cloud[mask].cpu().numpy() for cloud, mask in clouds]


def _pairing_edges(pairing: Any, dim: int, count: int) -> Tensor:
    """Birth and death edges [k, 4] of a Rips pairing; -1 where it is of another kind."""
    try:
        pairing = torch.as_tensor(np.asarray(pairing))
    except (TypeError, ValueError):
        # Pairings of other complexes may be ragged.
        pairing = torch.empty(0)
    if pairing.shape != (count, 3 if dim == 0 else 4) or pairing.is_floating_point():
        return torch.full((count, 4), -1)
    vertices = pairing[:, :1].expand(-1, 2) if dim == 0 else pairing[:, :2].sort(-1).values
    return torch.cat((vertices, pairing[:, -2:].sort(-1).values), dim=-1).long()
