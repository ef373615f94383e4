"""The plain twin of tsloss_fast: the same results from eager PyTorch and gudhi, slowly.

This is the specification that tests and benchmarks compare with, and a drop-in for ``TSLoss``. It
is written to be read, so it keeps every intermediate in memory and checks little: NaN or Inf in
the points gives NaN or a ValueError, never a plausible number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from tsloss_fast.persistence.diagram import PersistenceDiagram

# Clouds [..., n, d], or of different sizes [n_i, d].
Clouds = Tensor | Sequence[Tensor]


def pairwise_distances(x: Tensor, metric: str = "euclidean", *, p: float = 2) -> Tensor:
    """All distances between the rows of a point cloud.

    ``"euclidean"``: D_ij = ||x_i - x_j||_2. ``"cosine"``: D_ij = 1 - cos(x_i, x_j), computed as
    ||u_i - u_j||^2 / 2 with u the unit rows, which stays accurate for near-duplicate rows.
    ``"correlation"``: that of rows less their mean. ``"cityblock"``, ``"chebyshev"`` and
    ``"minkowski"``: ||x_i - x_j||_p with p = 1, infinity and `p`.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], floating
        Point clouds. float16 and bfloat16 are computed in float32.
    metric : {"euclidean", "cosine", "correlation", "cityblock", "chebyshev", "minkowski"}
    p : float, >= 1
        The power of "minkowski".

    Returns
    -------
    Tensor, shape [..., n, n]
        Symmetric with a zero diagonal; float32 for half inputs, else of the input's dtype. The
        gradient at coincident rows is 0. Takes memory for n * n * d numbers.

    Examples
    --------
    >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    # torch sums in an order that follows the strides; one layout gives one result.
    x = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).contiguous()
    if metric == "euclidean":
        return _safe_sqrt(_squared_distances(x))
    if metric == "correlation":
        x = x - x.mean(-1, keepdim=True)
    if metric in ("cosine", "correlation"):
        return _squared_distances(x / x.norm(dim=-1, keepdim=True)) / 2
    sizes = (x.unsqueeze(-2) - x.unsqueeze(-3)).abs()  # [..., n, n, d]
    if metric == "cityblock":
        return sizes.sum(-1)
    if metric == "chebyshev" or p == float("inf"):
        return sizes.amax(-1)
    if metric == "minkowski":
        powers = (sizes**p).sum(-1)
        return torch.where(powers == 0, 0, torch.where(powers == 0, 1, powers) ** (1 / p))
    raise ValueError(f"metric: expected the name of a metric, got {metric!r}")


def rips_persistence(
    x: Clouds,
    max_dim: int = 1,
    metric: str = "euclidean",
    max_edge_length: float | None = None,
    lengths: Tensor | None = None,
    vertex_births: Clouds | None = None,
) -> tuple[PersistenceDiagram, ...]:
    """Vietoris-Rips persistence over Z/2 with critical edges, from gudhi's simplex tree.

    The filtration order is total: edges by (length, i, j) with i < j. gudhi is given the matrix
    of ranks in that order instead of the lengths, so that no two edges tie and the critical edges
    it names are the ones of that order. Lengths are then read from the distances at those edges.

    An edge that is infinite in a precomputed matrix, or longer than `max_edge_length`, is absent.

    Parameters
    ----------
    x : Tensor, shape [..., n, d], or [..., n, n] if metric is "precomputed"
        Or a list of clouds [n_i, d] or [n_i, n_i], which give the diagrams of a batch.
    max_dim : {0, 1}
    metric : {"euclidean", "cosine", "precomputed"}
    max_edge_length : float, optional
        Compared in the dtype of the distances; an edge of just this length is kept.
    lengths : Tensor, shape [...], int64, optional
        How many points each cloud has: the first rows, and columns of a matrix.
    vertex_births : Tensor, shape [..., n], or a list of [n_i], optional
        An edge ij enters at max(length, birth of i, birth of j). The elder of two components is
        the one whose eldest vertex comes first by (birth, vertex). Edges that enter after
        `max_edge_length`, and vertices born after it, are absent.

    Returns
    -------
    tuple of PersistenceDiagram, one a dimension from 0 to max_dim
        Births and deaths are differentiable: the gradient goes to the critical edges, and to
        entry [i, j] with i < j of a precomputed matrix. H0 is born with the vertex that dies: of
        two merging components, the one whose smallest vertex is larger dies. Classes that never
        die are in the essential fields.

    Raises
    ------
    ValueError
        If a distance is NaN, or infinite and not off the diagonal of a precomputed matrix.
    ImportError
        If gudhi is not installed.

    Examples
    --------
    >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    >>> h0, h1 = rips_persistence(square)
    >>> h0.deaths, h1.births, h1.death_edges
    (tensor([1., 1., 1.]), tensor([1.]), tensor([[0, 2]]))
    """
    clouds, batch = _separate(x, lengths, square=metric == "precomputed")
    matrices = [_distances(cloud, metric) for cloud in clouds]
    if vertex_births is None:
        births = [D.new_zeros(len(D)) for D in matrices]
    elif isinstance(vertex_births, Tensor):
        rows = vertex_births.reshape(len(matrices), -1)
        births = [row[: len(D)].to(D.dtype) for row, D in zip(rows, matrices, strict=True)]
    else:
        births = [row.to(D.dtype) for row, D in zip(vertex_births, matrices, strict=True)]
    matrices = [_entering(D, born) for D, born in zip(matrices, births, strict=True)]
    longest = math.inf if max_edge_length is None else max_edge_length
    found = [_critical_edges(D.detach(), longest) for D in matrices]
    n = x.shape[-2] if isinstance(x, Tensor) else max([1, *map(len, x)])
    padded = [nn.functional.pad(D, (0, n - len(D)) * 2) for D in matrices]
    D = torch.stack(padded) if padded else torch.as_tensor(x).new_zeros(0, n, n)  # [B, n, n]
    return tuple(
        _diagram(D, [each[dim] for each in found], dim, batch) for dim in range(max_dim + 1)
    )


def total_persistence(dgm: PersistenceDiagram, p: float = 1) -> Tensor:
    """Sum over the bars of lifetime**p, shape [...]."""
    lifetimes = torch.where(dgm.mask, dgm.lifetimes, 1)
    return torch.where(dgm.mask, lifetimes**p, 0).sum(-1)


def lifetime_variance(dgm: PersistenceDiagram) -> Tensor:
    """Population variance of the lifetimes, shape [...]; 0 if there is no bar."""
    count = dgm.mask.sum(-1, keepdim=True).clamp(min=1)
    mean = dgm.lifetimes.sum(-1, keepdim=True) / count
    deviations = torch.where(dgm.mask, dgm.lifetimes - mean, 0)
    return (deviations**2 / count).sum(-1)


def persistence_entropy(*dgms: PersistenceDiagram) -> Tensor:
    """Shannon entropy of the lifetimes of all bars given, shape [...]; 0 if there is no bar.

    E = -sum_i p_i log p_i with p_i = l_i / sum_k l_k and the natural log (arXiv 2602.16500,
    Eq. 10). Zero-length bars add nothing.
    """
    lifetimes = torch.cat([dgm.lifetimes for dgm in dgms], dim=-1)
    zero = lifetimes == 0
    p = lifetimes / lifetimes.sum(-1, keepdim=True)
    p = torch.where(zero, 1, p)
    return (p * (1 / p).log()).sum(-1)


@dataclass(frozen=True, eq=False)
class TopologySummary:
    """What the paper's Tables I and II count: one tensor of shape [...] a quantity, detached.

    ``h0_count`` is the number of distinct points, the essential class being one of them. Means
    and maxima are over finite bars of positive length, and 0 if there is none.
    """

    h0_count: Tensor
    h1_count: Tensor
    h0_mean_lifetime: Tensor
    h0_max_lifetime: Tensor
    h1_mean_lifetime: Tensor
    h1_max_lifetime: Tensor
    entropy: Tensor


@torch.no_grad()
def topology_summary(
    x: Clouds,
    metric: str = "euclidean",
    max_edge_length: float | None = None,
    lengths: Tensor | None = None,
) -> TopologySummary:
    """Counts, lifetimes and entropy of the persistence of each cloud, see `TopologySummary`."""
    h0, h1 = rips_persistence(x, 1, metric, max_edge_length, lengths)
    return TopologySummary(
        h0_count=(h0.lifetimes > 0).sum(-1) + h0.essential_mask.sum(-1),
        h1_count=(h1.lifetimes > 0).sum(-1),
        h0_mean_lifetime=_mean_lifetime(h0),
        h0_max_lifetime=_max_lifetime(h0),
        h1_mean_lifetime=_mean_lifetime(h1),
        h1_max_lifetime=_max_lifetime(h1),
        entropy=persistence_entropy(h0, h1),
    )


class TSLoss(nn.Module):
    """The topological regulariser L_ts = lambda_ts * (beta_h0 * L_H0 + beta_h1 * L_H1).

    ``mode="persistence"``, from the exact diagrams, l the n - 1 finite H0 lifetimes:

    - L_H0 = (1/(n-1)) * sum_i (l_i - mean l)^2
    - L_H1 = (1/n) * sum_k (death_k - birth_k)^h1_power over the H1 bars

    ``mode="surrogate"``, arXiv 2602.16500, Eq. 1 to 6:

    - s_i = -tau * log sum_j exp(-D_ij / tau); L_H0 = (1/n) * sum_i (s_i - mean s)^2
    - w_low = softmax over all pairs of -alpha * D, w_high of +alpha * D;
      delta = sum w_low * D, zeta = sum w_high * D
    - L_H1 = (1/n^2) * sum_ij [lambda_repel * max(0, delta - D_ij)^2
      + lambda_attract * max(0, D_ij - zeta)^2]

    The paper does not say whether i = j counts: ``self_pairs=False`` leaves the diagonal out of
    every sum. ``detach_scales=True`` stops the gradient through delta and zeta. ``scale="mean"``
    divides D by its detached mean over all n * n entries first; distances that are all 0 stay 0.

    Examples
    --------
    >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    >>> TSLoss(h1_power=1.0)(square) * 4 + 1
    tensor(1.4142)
    """

    def __init__(
        self,
        mode: str = "persistence",
        lambda_ts: float = 1.0,
        beta_h0: float = 1.0,
        beta_h1: float = 1.0,
        h1_power: float = 2.0,
        tau: float = 1.0,
        alpha: float = 10.0,
        lambda_repel: float = 1.0,
        lambda_attract: float = 1.0,
        scale: str | None = None,
        self_pairs: bool = False,
        detach_scales: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if mode not in ("persistence", "surrogate"):
            raise ValueError(f'mode: expected "persistence" or "surrogate", got {mode!r}')
        if scale not in (None, "mean"):
            raise ValueError(f'scale: expected None or "mean", got {scale!r}')
        if reduction not in ("mean", "none"):
            raise ValueError(f'reduction: expected "mean" or "none", got {reduction!r}')
        self.mode = mode
        self.lambda_ts = lambda_ts
        self.beta_h0 = beta_h0
        self.beta_h1 = beta_h1
        self.h1_power = h1_power
        self.tau = tau
        self.alpha = alpha
        self.lambda_repel = lambda_repel
        self.lambda_attract = lambda_attract
        self.scale = scale
        self.self_pairs = self_pairs
        self.detach_scales = detach_scales
        self.reduction = reduction

    def forward(
        self, prompt: Clouds, return_terms: bool = False, lengths: Tensor | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The loss of a prompt [n, d], or of a batch [..., n, d] reduced as ``reduction`` says.

        Clouds of different sizes are a list of [n_i, d], or have `lengths`; one without points has
        loss 0. With ``return_terms`` also {"h0": L_H0, "h1": L_H1}: unweighted, detached and
        reduced alike.
        """
        if lengths is None and isinstance(prompt, Tensor):
            h0, h1 = self._terms(prompt)
        else:
            clouds, batch = _separate(prompt, lengths)
            each = [self._terms(x) if len(x) else (x.sum(), x.sum()) for x in clouds]
            h0, h1 = (torch.stack(terms).reshape(batch) for terms in zip(*each, strict=True))
        loss = self.lambda_ts * (self.beta_h0 * h0 + self.beta_h1 * h1)
        if self.reduction == "mean":
            loss, h0, h1 = loss.mean(), h0.mean(), h1.mean()
        return (loss, {"h0": h0.detach(), "h1": h1.detach()}) if return_terms else loss

    def _terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        D = pairwise_distances(x)  # [..., n, n]
        if self.scale == "mean":
            mean = D.detach().mean((-2, -1), keepdim=True)
            D = D / torch.where(mean == 0, 1, mean)
        return self._persistence(D) if self.mode == "persistence" else self._surrogate(D)

    def _persistence(self, D: Tensor) -> tuple[Tensor, Tensor]:
        n = D.shape[-1]
        h0, h1 = rips_persistence(D, metric="precomputed")
        return lifetime_variance(h0), total_persistence(h1, self.h1_power) / n

    def _surrogate(self, D: Tensor) -> tuple[Tensor, Tensor]:
        n = D.shape[-1]
        if n == 1:
            # Without self pairs the sums are empty; the sum keeps the (zero) gradient and NaN.
            zero = D.sum((-2, -1))
            return zero, zero
        keep = torch.ones_like(D, dtype=torch.bool)  # [..., n, n]
        if not self.self_pairs:
            keep &= ~torch.eye(n, dtype=torch.bool, device=D.device)

        nearness = torch.where(keep, -D / self.tau, -torch.inf)
        s = -self.tau * torch.logsumexp(nearness, dim=-1)  # [..., n]
        h0 = ((s - s.mean(-1, keepdim=True)) ** 2).sum(-1) / n

        delta = self._soft_extreme(D, keep, -self.alpha)  # [..., 1, 1]
        zeta = self._soft_extreme(D, keep, +self.alpha)  # [..., 1, 1]
        repel = self.lambda_repel * (delta - D).clamp(min=0) ** 2
        attract = self.lambda_attract * (D - zeta).clamp(min=0) ** 2
        h1 = torch.where(keep, repel + attract, 0).sum((-2, -1)) / n**2
        return h0, h1

    def _soft_extreme(self, D: Tensor, keep: Tensor, alpha: float) -> Tensor:
        """Mean of D weighted by the softmax of alpha * D over the pairs kept, [..., 1, 1]."""
        logits = torch.where(keep, alpha * D, -torch.inf)
        weights = logits.flatten(-2).softmax(-1).reshape(D.shape)  # [..., n, n]
        extreme = (weights * D).sum((-2, -1), keepdim=True)
        return extreme.detach() if self.detach_scales else extreme


def _separate(
    x: Clouds, lengths: Tensor | None, square: bool = False
) -> tuple[list[Tensor], torch.Size]:
    """Each cloud [m, d], or matrix [m, m] where `square`, by itself, and the shape of the batch."""
    if not isinstance(x, Tensor):
        return list(x), torch.Size([len(x)])
    batch = x.shape[:-2]
    clouds = x.reshape(batch.numel(), *x.shape[-2:])
    if lengths is None:
        return list(clouds), batch
    counts = lengths.flatten().tolist()
    return [
        cloud[:m, : m if square else None] for cloud, m in zip(clouds, counts, strict=True)
    ], batch


def _distances(x: Tensor, metric: str) -> Tensor:
    """The distances [n, n] of one cloud; finite, but for the missing edges of a matrix."""
    if metric != "precomputed":
        D = pairwise_distances(x, metric)
    else:
        D = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    missing = metric == "precomputed" and D.isposinf() & ~torch.eye(
        D.shape[-1], dtype=torch.bool, device=D.device
    )
    if not (D.isfinite() | missing).all():
        raise ValueError("x: expected finite distances, got NaN or Inf")
    return D


def _entering(D: Tensor, births: Tensor) -> Tensor:
    """When each edge enters, [n, n]; on the diagonal the births. Gradients go to D in a tie."""
    n = len(D)
    i, j = births.unsqueeze(-1).expand(n, n), births.expand(n, n)
    # The birth of the smaller vertex in a tie, above and below the diagonal.
    smaller_first = torch.ones_like(D, dtype=torch.bool).triu()
    low, high = torch.where(smaller_first, i, j), torch.where(smaller_first, j, i)
    later = torch.where(low >= high, low, high)
    diagonal = torch.eye(n, dtype=torch.bool, device=D.device)
    return torch.where((later <= D) & ~diagonal, D, later)


def _squared_distances(x: Tensor) -> Tensor:
    """||x_i - x_j||^2 by direct differences, [..., n, d] -> [..., n, n]."""
    return ((x.unsqueeze(-2) - x.unsqueeze(-3)) ** 2).sum(-1)


def _safe_sqrt(squares: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0; NaN stays NaN."""
    zero = squares == 0
    return torch.where(zero, 0, torch.where(zero, 1, squares).sqrt())


def _critical_edges(D: Tensor, longest: float) -> list[tuple[Tensor, Tensor]]:
    """Bars [K, 4] and classes that never die [E, 2] of one cloud D [n, n], H0 and H1, int64.

    ``D`` holds when each edge enters, and on its diagonal when each vertex is born.

    A row is (birth edge, death edge), the rows in filtration order of (death edge, birth edge); or
    a birth edge, in filtration order.
    """
    n = D.shape[-1]
    i, j = torch.triu_indices(n, n, 1, device=D.device)
    births = D.diagonal()
    if n == 0:
        return [(i.new_empty(0, 4), i.new_empty(0, 2))] * 2
    present = (D[i, j] <= longest) & D[i, j].isfinite()
    i, j = i[present], j[present]
    # The indices come in the order of (i, j), so a stable sort by length breaks ties by it.
    order = torch.argsort(D[i, j], stable=True)
    i, j = i[order], j[order]
    ranks = torch.full((n, n), torch.inf, dtype=torch.float64, device=D.device).fill_diagonal_(0)
    ranks[i, j] = ranks[j, i] = torch.arange(1, len(i) + 1, dtype=torch.float64, device=D.device)

    rips = _gudhi().RipsComplex(distance_matrix=ranks.tolist(), max_edge_length=len(i))
    tree = rips.create_simplex_tree(max_dimension=2)
    # Vertices are born before every edge and one after another, so that the elder rule has no tie.
    by_age = torch.argsort(births, stable=True)
    for place, v in enumerate(by_age.tolist()):
        tree.assign_filtration([v], place - n)
    # Of a graph without triangles H1 is the highest dimension, which gudhi leaves out by default.
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    vertex_edge, edge_edge, vertices, essential = tree.flag_persistence_generators()
    h0 = torch.tensor(vertex_edge.tolist(), dtype=torch.int64).reshape(-1, 3)
    h0 = h0[:, [0, 0, 1, 2]]
    h1 = torch.tensor(edge_edge[0].tolist() if edge_edge else [], dtype=torch.int64).reshape(-1, 4)
    h0, h1 = _in_order(h0.to(D.device), ranks), _in_order(h1.to(D.device), ranks)
    h1 = h1[D[h1[:, 2], h1[:, 3]] > D[h1[:, 0], h1[:, 1]]]

    alone = set(vertices.tolist())
    apart = torch.tensor(
        [v for v in by_age.tolist() if v in alone and births[v] <= longest], dtype=torch.int64
    )
    loops = torch.tensor(essential[0].tolist() if essential else [], dtype=torch.int64)
    loops = _in_order(loops.reshape(-1, 2).to(D.device), ranks)
    return [(h0, apart.to(D.device).reshape(-1, 1).expand(-1, 2)), (h1, loops)]


def _in_order(rows: Tensor, ranks: Tensor) -> Tensor:
    """Vertices of each edge ascending, rows by the ranks of their edges, the last edge first."""
    edges: Tensor = rows.unflatten(1, (-1, 2)).sort(-1).values  # [K, 1 or 2, 2]
    for k in range(edges.shape[1]):
        edges = edges[torch.argsort(ranks[edges[:, k, 0], edges[:, k, 1]], stable=True)]
    return edges.flatten(1)


def _diagram(
    clouds: Tensor, found: list[tuple[Tensor, Tensor]], dim: int, batch: torch.Size
) -> PersistenceDiagram:
    """What `_critical_edges` found in every cloud [B, n, n] to a padded diagram."""
    # H0's oldest class never dies, and an empty batch has the shape of others.
    edges = _padded([bars for bars, _ in found], clouds, clouds.shape[-1] - 1 if dim == 0 else 0, 4)
    essential = _padded([births for _, births in found], clouds, 1 if dim == 0 else 0, 2)
    mask, essential_mask = edges[..., 0] >= 0, essential[..., 0] >= 0  # [B, K], [B, E]
    deaths = _entries(clouds, edges[..., 2:])
    births = _entries(clouds, edges[..., :2])
    essential_births = _entries(clouds, essential)
    K, E = mask.shape[-1], essential_mask.shape[-1]
    return PersistenceDiagram(
        births=births.reshape(*batch, K),
        deaths=deaths.reshape(*batch, K),
        birth_edges=edges[..., :2].reshape(*batch, K, 2),
        death_edges=edges[..., 2:].reshape(*batch, K, 2),
        mask=mask.reshape(*batch, K),
        essential_births=essential_births.reshape(*batch, E),
        essential_edges=essential.reshape(*batch, E, 2),
        essential_mask=essential_mask.reshape(*batch, E),
    )


def _padded(rows: list[Tensor], clouds: Tensor, least: int, width: int) -> Tensor:
    """B of [k, width] as one [B, K, width], K the most of them and `least`; padding is -1."""
    K = max([least, *(len(each) for each in rows)])
    padded = torch.full((len(clouds), K, width), -1, dtype=torch.int64, device=clouds.device)
    for row, each in zip(padded, rows, strict=True):
        row[: len(each)] = each
    return padded


def _entries(clouds: Tensor, edges: Tensor) -> Tensor:
    """The lengths [B, K] of edges [B, K, 2], 0 on padding."""
    cloud = torch.arange(len(clouds), device=clouds.device).unsqueeze(-1)  # [B, 1]
    return torch.where(edges[..., 0] >= 0, clouds[cloud, edges[..., 0], edges[..., 1]], 0)


def _mean_lifetime(dgm: PersistenceDiagram) -> Tensor:
    """Mean over the bars of positive length, [...]; 0 if there is none."""
    return dgm.lifetimes.sum(-1) / (dgm.lifetimes > 0).sum(-1).clamp(min=1)


def _max_lifetime(dgm: PersistenceDiagram) -> Tensor:
    """Longest lifetime, [...]; 0 if there is no bar."""
    return nn.functional.pad(dgm.lifetimes, (0, 1)).amax(-1)


def _gudhi() -> ModuleType:
    try:
        import gudhi
    except ImportError as error:
        raise ImportError(
            "tsloss_fast.reference needs gudhi: pip install 'tsloss-fast[reference]'"
        ) from error
    module: ModuleType = gudhi
    return module
