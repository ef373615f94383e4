"""RTD, representation topology divergence: topological features of one cloud that another lacks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_flag, check_number, check_whole
from tsloss_fast._engine import operators as ops
from tsloss_fast.losses.base import show
from tsloss_fast.losses.cascades import critical_skeleton
from tsloss_fast.losses.paired import PairedCloud, paired
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.rips import rips_persistence

MODES = ("minimum", "maximum")
# From so many points on a search among fewer edges pays for finding out which.
SPARSE_FROM = 128


def rtd(
    a: Tensor,
    b: Tensor,
    metric: Metric = "euclidean",
    *,
    mode: str = "minimum",
    scale: str | None = "quantile",
    detach_scale: bool = False,
    power: float = 1.0,
    card: int | None = None,
    immovable: str | None = None,
) -> Tensor:
    r"""RTD of two clouds with the same points in the same order, such as data and its embedding.

    With distances :math:`w, \tilde w` of the two, bars of H1 of the 2n x 2n matrix

    .. math::
        \begin{pmatrix} 0 & w \\ w & \min(w, \tilde w) \end{pmatrix}

    are features that :math:`\tilde w` has at a smaller scale than :math:`w`: clusters that are
    joined too early, loops that are not there. RTD is the sum of their lifetimes, the mean over
    both orders of the two clouds; it is 0 if the distances are the same.

    Parameters
    ----------
    a, b : Tensor, shape [..., n, d_a] and [..., n, d_b]
        Points, or distances [..., n, n] where `metric` is ``"precomputed"``; row i of both is the
        same point. float16, bfloat16, float32 or float64, on the CPU or on CUDA.
    metric : str or callable
        Of both clouds, as `rips_persistence` has it. Infinite entries of a precomputed matrix are
        errors.
    mode : {"minimum", "maximum"}
        ``"maximum"`` has the larger of both distances instead of :math:`w`, and
        :math:`\tilde w` instead of the smaller; the authors train with it where the minimum's
        gradient is too sparse.
    scale : {"quantile", "max", None}
        What each cloud's distances are divided by: the 0.9-quantile of all n^2, as the authors do,
        or the largest.
    detach_scale : bool
        Whether the scale is a constant for the gradient. As it is not, all bars pull at the points
        whose distance it is; where it is, nothing keeps descent from shrinking a cloud.
    power : float, >= 1
        Of the lifetimes.
    card : int, optional
        Only so many of the longest bars count, of each order.
    immovable : {None, "a", "b"}
        The cloud that is fixed, as the data of an autoencoder are. With ``mode="minimum"``, a bar
        that dies where the smaller distance of a pair enters then takes the other cloud's distance
        of this pair for its death, so that the gradient moves it. That is what the authors' code
        trains with; the value is then no longer RTD, but never less.

    Returns
    -------
    Tensor, shape [...]
        One number a pair of clouds.

    Raises
    ------
    TypeError, ValueError
        As `rips_persistence` does, and for clouds of different numbers of points.

    Notes
    -----
    Differentiable twice; the gradient at coincident points is 0, and at ties one valid
    subgradient. One point alone gives 0. H1 of CUDA tensors is computed on the host, see
    `rips_persistence`.

    The search leaves out edges between the copies that no bar of H1 depends on, as the paper's
    matrix leaves out half of them.

    Source: Barannikov et al., ICML 2022, arXiv 2201.00058; as a loss: Trofimov et al., ICLR 2023,
    arXiv 2302.00136.

    Examples
    --------
    A square, and the same corners in a line, which lacks its loop:

    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> line = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> tsl.losses.rtd(square, line, scale=None)
    tensor(0.2071)
    >>> tsl.losses.rtd(square, 2 * square)  # scaled alike
    tensor(0.)
    """
    check_choice(mode, "mode", MODES)
    check_number(power, "power", least=1)
    check_choice(immovable, "immovable", (None, "a", "b"))
    card = None if card is None else check_whole(card, "card", least=1)
    clouds = paired(a, b, scale, detach_scale, metric)
    movable = None if immovable is None else ("a", "b").index(immovable) ^ 1
    ab, ba = _divergences(clouds, mode, power, card, movable, both=True)
    return (ab + ba) / 2


class RTDLoss(nn.Module):
    """The loss of RTD autoencoders, with the signature of its authors' class.

    Called with distances of the data and of their embedding, each scaled by the caller, it returns
    three numbers: features that the embedding has and the data lack, the converse, and the mean.

    Parameters
    ----------
    dim : {1}
        The authors' class adds H2 with ``dim=2``, which is not computed here.
    card : int or None
        Only so many of the longest bars count, of each order.
    n_threads, engine
        Of the authors' class. They change nothing here: `torch.set_num_threads` says how many
        clouds are worked on at once.
    mode : {"minimum", "maximum"}
        See `rtd`.
    is_sym : bool
        Without it the second number is 0.
    lp : float, >= 1
        The power of the lifetimes.
    metric, scale, detach_scale
        As `rtd` has them; by default distances that are taken as they are.
    immovable : {"x", None}
        ``"x"`` trains as the authors' code does, see `rtd`; None has RTD's values and gradients.
    reduction : {"mean", "none"}
        Over the pairs of a batch.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> x, z = torch.eye(5), torch.eye(5)[:, :2].requires_grad_()
    >>> loss_xz, loss_zx, loss = tsl.losses.RTDLoss()(torch.cdist(x, x), torch.cdist(z, z))
    >>> loss_xz.item() + loss_zx.item() == 2 * loss.item()
    True
    """

    SHOWN: ClassVar[tuple[str, ...]] = (
        *("dim", "card", "mode", "is_sym", "lp", "metric", "scale", "detach_scale"),
        *("immovable", "reduction"),
    )

    def __init__(
        self,
        dim: int = 1,
        card: int | None = 50,
        n_threads: int = 25,
        engine: str = "giotto",
        mode: str = "minimum",
        is_sym: bool = True,
        lp: float = 1.0,
        *,
        metric: Metric = "precomputed",
        scale: str | None = None,
        detach_scale: bool = False,
        immovable: str | None = "x",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if dim != 1:
            raise ValueError(f"dim: expected 1, for H2 and above are not computed, got {dim!r}")
        self.dim = dim
        self.card = None if card is None else check_whole(card, "card", least=1)
        self.mode = check_choice(mode, "mode", MODES)
        self.is_sym = check_flag(is_sym, "is_sym")
        self.lp = check_number(lp, "lp", least=1)
        self.metric, self.scale, self.detach_scale = metric, scale, detach_scale
        self.immovable = check_choice(immovable, "immovable", (None, "x"))
        self.reduction = check_choice(reduction, "reduction", ("mean", "none"))

    def forward(self, x_dist: Tensor, z_dist: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss from x to z, from z to x, and their mean; of a batch, as `reduction` says."""
        clouds = paired(x_dist, z_dist, self.scale, self.detach_scale, self.metric)
        movable = None if self.immovable is None else 1
        found = _divergences(clouds, self.mode, self.lp, self.card, movable, both=self.is_sym)
        if self.reduction == "mean":
            found = [each.mean() for each in found]
        xz, zx = found if self.is_sym else (*found, torch.zeros_like(found[0]))
        return xz, zx, (xz + zx) / 2

    def extra_repr(self) -> str:
        """Name the options."""
        return show(self, self.SHOWN)


def _divergences(
    clouds: tuple[PairedCloud, PairedCloud],
    mode: str,
    power: float,
    card: int | None,
    movable: int | None,
    both: bool,
) -> list[Tensor]:
    """The summed lifetimes [...] with the first cloud as w and, if `both`, with the second."""
    orders = 2 if both else 1
    n = clouds[0].D.shape[-1]
    # u, v [1 or 2, ..., n, n], a matrix an order.
    D = [cloud.scaled() for cloud in clouds]
    w, other = (torch.stack([D[k ^ order] for order in range(orders)]) for k in (0, 1))
    u, v = _blocks(w, other, mode)
    _, h1 = rips_persistence(_doubled(u, v), metric="precomputed")
    ends = [_pairs_and_copies(edges, n) for edges in (h1.birth_edges, h1.death_edges)]
    of_orders = [pairs[order] for order in range(orders) for pairs, _ in ends]
    lengths = [cloud.lengths(*of_orders) for cloud in clouds]
    sums = []
    for order in range(orders):
        of_births, of_deaths = (
            [lengths[cloud ^ order][2 * order + end] for cloud in (0, 1)] for end in (0, 1)
        )
        copies = [copies[order] for _, copies in ends]
        u, v = _blocks(of_births[0], of_births[1], mode)
        births = torch.where(copies[0] == 1, u, v)
        u, v = _blocks(of_deaths[0], of_deaths[1], mode)
        deaths = torch.where(copies[1] == 1, u, v)
        counts = None if card is None else _longest(deaths - births, card)
        if movable is not None and mode == "minimum":
            # Where u = v it is for the order of ties to say which of the two edges is the last.
            deaths = torch.where((copies[1] == 2) | (u == v), of_deaths[movable ^ order], u)
        bars = (deaths - births).abs().pow(power)
        sums.append((bars if counts is None else bars.where(counts, 0)).sum(-1))
    return sums


def _blocks(w: Tensor, other: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """The lengths u between the copies, and v <= u inside the second."""
    if mode == "minimum":
        return w, torch.minimum(w, other)
    return torch.maximum(w, other), other


def _doubled(u: Tensor, v: Tensor) -> Tensor:
    """Distances [..., 2n, 2n] of two copies of the points: 0, u between them, and v."""
    between = u if u.shape[-1] < SPARSE_FROM else u.where(_needed_between(u), torch.inf)
    above, below = (torch.zeros_like(u), between.mT), (between, v)
    return torch.cat((torch.cat(above, -1), torch.cat(below, -1)), -2)


def _needed_between(u: Tensor) -> Tensor:
    """Which edges from point i of the second copy to j of the first H1 needs, bool [..., n, n].

    The simplices of the second copy that a vertex of the first is joined to are the base of a cone.
    Of it H1 needs what carries H0 and H1 of u: the tree's edges and those that bars of u are born
    with, each in one direction. The vertex nearest to all keeps all of its edges, since longer ones
    than the longest of these the search never reads.
    """
    dgms = rips_persistence(u, metric="precomputed")
    n = u.shape[-1]
    vertices = torch.arange(n, device=u.device)
    centre = u.amax(-1).argmin(-1)[..., None, None]  # [..., 1, 1]
    is_same = vertices == vertices.unsqueeze(-1)
    return critical_skeleton(u, dgms) | is_same | (vertices == centre)


def _pairs_and_copies(edges: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The points (i, j) of edges [..., K, 2], and how many of both are in the second copy.

    Edges of the first copy, all of length 0, become padding.
    """
    copies = (edges >= n).sum(-1)  # [..., K]
    return (edges % n).where(copies.unsqueeze(-1) > 0, -1), copies


def _longest(lifetimes: Tensor, card: int) -> Tensor | None:
    """Which of the bars [..., K] are the `card` longest, bool; None if all are."""
    if not ops.is_transformed() and lifetimes.shape[-1] <= card:
        return None
    return lifetimes.detach().argsort(-1, descending=True).argsort(-1) < card
