"""Numbers that summarise diagrams: totals, variance, entropy, and the paper's table of features."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from tsloss_fast._checks import check_number
from tsloss_fast._engine.scaling import mean_of_powers
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.ragged import Clouds, Lengths
from tsloss_fast.persistence.rips import rips_persistence


def total_persistence(dgm: PersistenceDiagram, p: float = 1) -> Tensor:
    """Sum of the lifetimes to the power `p`, one number a cloud, shape [...].

    Differentiable for ``p >= 1``. Unit: that of the distances, to the power `p`.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> (h0,) = tsl.rips_persistence(torch.tensor([[0.0], [1.0], [3.0]]), max_dim=0)
    >>> total_persistence(h0, p=2)
    tensor(5.)
    """
    check_number(p, "p", least=1)
    return dgm.lifetimes.pow(p).where(dgm.mask, 0).sum(-1)


def lifetime_variance(dgm: PersistenceDiagram) -> Tensor:
    """Population variance of the lifetimes, one number a cloud, shape [...]; 0 without bars.

    For H0 this is ``L_H0`` of TSLoss: zero-length bars count. Differentiable.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> (h0,) = tsl.rips_persistence(torch.tensor([[0.0], [1.0], [3.0]]), max_dim=0)
    >>> lifetime_variance(h0)
    tensor(0.2500)
    """
    count = dgm.mask.sum(-1).clamp(min=1)
    mean = mean_of_powers(dgm.lifetimes, 1, count)
    return mean_of_powers((dgm.lifetimes - mean.unsqueeze(-1)).where(dgm.mask, 0), 2, count)


def persistence_entropy(*dgms: PersistenceDiagram) -> Tensor:
    """``-sum p log p`` over the bars of all `dgms` together, with p their share of all lifetimes.

    The logarithm is natural; zero-length bars count for nothing; without bars the entropy is 0.
    Shape [...], differentiable where lifetimes are positive. Source: arXiv 2602.16500v1, Eq. 10.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> dgms = tsl.rips_persistence(torch.tensor([[0.0], [1.0], [2.0]]))
    >>> persistence_entropy(*dgms)
    tensor(0.6931)
    """
    if not dgms:
        raise TypeError("dgms: expected at least one PersistenceDiagram, got none")
    lifetimes = torch.cat([dgm.lifetimes for dgm in dgms], dim=-1)  # [..., K]
    alive = lifetimes > 0
    total = lifetimes.sum(-1, keepdim=True)
    # log 1 = 0 keeps bars of no length, and clouds of no bars, out of the value and the gradient.
    shares = torch.where(alive, lifetimes / total.where(total > 0, 1), 1)
    # From 0, for the negative of a sum of nothing is -0.
    return 0 - (shares * shares.log()).sum(-1)


@dataclass(frozen=True, eq=False)
class TopologySummary:
    """The features of arXiv 2602.16500v1, Tables I and II, one number a cloud, shape [...].

    The paper leaves open which bars count; here they are those of positive, finite length.
    ``h0_count`` adds the classes that never die, so that it is the number of distinct points, where
    edges are missing too; ``h1_count`` is the number of loops that die. Lifetimes are in the units
    of the distances; ``entropy`` pools both dimensions.
    """

    h0_count: Tensor
    h1_count: Tensor
    h0_mean_lifetime: Tensor
    h0_max_lifetime: Tensor
    h1_mean_lifetime: Tensor
    h1_max_lifetime: Tensor
    entropy: Tensor

    def as_dict(self) -> dict[str, Tensor]:
        """The fields by name."""
        return asdict(self)


def topology_summary(
    x: Clouds,
    metric: Metric = "euclidean",
    max_edge_length: float | None = None,
    lengths: Lengths | None = None,
    *,
    p: float | None = None,
) -> TopologySummary:
    """Summarise the H0 and H1 diagrams of each cloud.

    Parameters
    ----------
    x, metric, max_edge_length, lengths, p
        As `rips_persistence` takes them, and with missing edges as there.

    Returns
    -------
    TopologySummary
        Detached from the graph of `x`.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> summary = tsl.topology_summary(square)
    >>> summary.h0_count, summary.h1_count, summary.h0_mean_lifetime
    (tensor(4), tensor(1), tensor(1.))
    """
    with torch.no_grad():
        return summarise_diagrams(*rips_persistence(x, 1, metric, max_edge_length, lengths, p=p))


torch.serialization.add_safe_globals([TopologySummary])


@torch.no_grad()
def summarise_diagrams(h0: PersistenceDiagram, h1: PersistenceDiagram) -> TopologySummary:
    """The summary of diagrams that are known already; see `topology_summary`."""
    h0_bars, h0_mean, h0_max = _lifetime_features(h0)
    h1_bars, h1_mean, h1_max = _lifetime_features(h1)
    entropy = persistence_entropy(h0, h1)
    forever = h0.essential_mask.sum(-1)
    if h0.essential_mask.shape[-1] == 0:
        # A diagram from elsewhere need not know of the class that H0 has.
        forever = forever + 1
    return TopologySummary(h0_bars + forever, h1_bars, h0_mean, h0_max, h1_mean, h1_max, entropy)


def _lifetime_features(dgm: PersistenceDiagram) -> tuple[Tensor, Tensor, Tensor]:
    """Number, mean and maximum of the positive lifetimes; 0 where there are none."""
    lifetimes = dgm.lifetimes
    count = (lifetimes > 0).sum(-1)
    mean = lifetimes.sum(-1) / count.clamp(min=1)
    longest = torch.nn.functional.pad(lifetimes, (0, 1)).amax(-1)
    return count, mean, longest
