"""The signature loss of topological autoencoders: critical edges as long in the other cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_flag, check_number
from tsloss_fast.losses.base import show
from tsloss_fast.losses.paired import PairedCloud, paired
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import Metric
from tsloss_fast.persistence.interchange import from_torch_topological
from tsloss_fast.persistence.rips import rips_persistence

Diagrams = Sequence[PersistenceDiagram]


def signature(
    a: Tensor,
    b: Tensor,
    metric: Metric | None = None,
    *,
    p: float = 2.0,
    normalise: bool = True,
    dimensions: int | Sequence[int] = 0,
    squared: bool = False,
    diagrams: tuple[Diagrams | None, Diagrams | None] = (None, None),
) -> Tensor:
    r"""The signature loss of two clouds with the same points, such as data and their embedding.

    .. math::
        \tfrac12 \lVert A[\pi(a)] - B[\pi(a)] \rVert_p
        + \tfrac12 \lVert A[\pi(b)] - B[\pi(b)] \rVert_p

    where :math:`A[\pi]` are the lengths in cloud a of the critical edges :math:`\pi`: for H0 those
    of a minimum spanning tree; for H1 the lifetimes :math:`|death - birth|` that the critical edges
    of one cloud have in the other, in a sum of their own.

    Parameters
    ----------
    a, b : Tensor, shape [..., n, d_a] and [..., n, d_b]
        Points, or distances [..., n, n] where `metric` is ``"precomputed"``; row i of both is the
        same point. float16, bfloat16, float32 or float64, on the CPU or on CUDA.
    metric : str or callable, optional
        Of both clouds, as `rips_persistence` has it; the p-norm of differences unless given.
    p : float, >= 1
        Of the norms; may be infinite.
    normalise : bool
        Whether each cloud's distances are divided by their largest; the gradient goes through it.
    dimensions : {0, 1, (0, 1)}
        Of homology.
    squared : bool
        Squares of the norms, as the paper has them; the norms themselves are what
        torch-topological's ``SignatureLoss`` has. (The paper's own code has squares without the
        factor 1/2, over n.)
    diagrams : pair
        Those of a and of b where they are known, such as those of data that do not change.

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
    The gradient at coincident points, and where both clouds agree, is 0; at ties it is one valid
    subgradient. One point alone gives 0. On CUDA, H0 is all kernels: nothing waits for the device.

    Source: Moor et al., ICML 2020, arXiv 1906.00722. H1 may be 0 for clouds of different H1 (Clémot
    et al., arXiv 2502.20215, show one), as it says nothing of the triangles that fill a loop.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> a, b = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0], [3.0]])
    >>> tsl.losses.signature(a, b, normalise=False, squared=True)  # 1, 2 against 2, 1, twice
    tensor(2.)
    """
    options = (metric, p, normalise, _checked_dimensions(dimensions), squared)
    return _signature(a, b, diagrams, *options)


class SignatureLoss(nn.Module):
    """`signature` as a module, with the signature and values of torch-topological's.

    Parameters
    ----------
    p, normalise, dimensions, squared, metric
        As `signature` has them.
    reduction : {"mean", "none"}
        Over the pairs of a batch.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> x, z = torch.eye(5), torch.eye(5)[:, :2].requires_grad_()
    >>> loss = tsl.losses.SignatureLoss(p=2)
    >>> loss(x, z).backward()
    >>> dgms = tsl.rips_persistence(x, max_dim=0)  # once, for data that do not change
    >>> torch.equal(loss([x, dgms], z), loss(x, z))
    True
    """

    SHOWN = ("p", "normalise", "dimensions", "squared", "metric", "reduction")

    def __init__(
        self,
        p: float = 2.0,
        normalise: bool = True,
        dimensions: int | Sequence[int] = 0,
        *,
        squared: bool = False,
        metric: Metric | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.p = p if p == torch.inf else check_number(p, "p", least=1)
        self.normalise = check_flag(normalise, "normalise")
        self.dimensions = _checked_dimensions(dimensions)
        self.squared = check_flag(squared, "squared")
        self.metric = metric
        self.reduction = check_choice(reduction, "reduction", ("mean", "none"))

    def forward(self, X: Tensor | Sequence[Any], Y: Tensor | Sequence[Any]) -> Tensor:
        """The loss of one pair of clouds, or of a batch of them as `reduction` says.

        Parameters
        ----------
        X, Y : Tensor, or pair of a Tensor and its diagrams
            The diagrams that `rips_persistence` gives, or what torch-topological's
            ``VietorisRipsComplex`` gives.
        """
        (a, of_a), (b, of_b) = _cloud_and_diagrams(X, "X"), _cloud_and_diagrams(Y, "Y")
        options = (self.metric, self.p, self.normalise, self.dimensions, self.squared)
        found = _signature(a, b, (of_a, of_b), *options)
        return found.mean() if self.reduction == "mean" else found

    def extra_repr(self) -> str:
        """Name the options."""
        return show(self, self.SHOWN)


def _checked_dimensions(dimensions: int | Sequence[int]) -> tuple[int, ...]:
    chosen = (dimensions,) if isinstance(dimensions, int) else tuple(dimensions)
    if not chosen or not set(chosen) <= {0, 1}:
        raise ValueError(f"dimensions: expected 0, 1 or (0, 1), got {dimensions!r}")
    return chosen


def _cloud_and_diagrams(given: Tensor | Sequence[Any], name: str) -> tuple[Any, Diagrams | None]:
    if not isinstance(given, (list, tuple)):
        return given, None
    if len(given) != 2:
        raise ValueError(f"{name}: expected a cloud and its diagrams, got {len(given)} parts")
    cloud, diagrams = given
    is_ours = all(isinstance(dgm, PersistenceDiagram) for dgm in diagrams)
    return cloud, diagrams if is_ours else from_torch_topological(diagrams)


def _signature(
    a: Tensor,
    b: Tensor,
    diagrams: tuple[Diagrams | None, Diagrams | None],
    metric: Metric | None,
    p: float,
    normalise: bool,
    dimensions: tuple[int, ...],
    squared: bool,
) -> Tensor:
    scale = "max" if normalise else None
    by_norm = (metric, None) if metric is not None else ("minkowski", p)
    clouds = paired(a, b, scale, False, *by_norm)
    known = [
        _critical_edges(cloud, dgms, dimensions, name)
        for cloud, dgms, name in zip(clouds, diagrams, ("a", "b"), strict=True)
    ]
    edges = [each for of_cloud in known for each in of_cloud]
    in_a, in_b = (cloud.lengths(*edges) for cloud in clouds)
    terms = []
    for dim in [dim for _ in clouds for dim in dimensions]:
        values = [_values(of_cloud, dim) for of_cloud in (in_a, in_b)]
        terms.append(_norm(values[0] - values[1], p, squared) / 2)
    return torch.stack(terms).sum(0)


def _critical_edges(
    cloud: PairedCloud, diagrams: Diagrams | None, dimensions: tuple[int, ...], name: str
) -> list[Tensor]:
    """Death edges of H0, birth and death edges of H1, in the order of `dimensions`."""
    if diagrams is None:
        diagrams = rips_persistence(cloud.D, max_dim=max(dimensions), metric="precomputed")
    if len(diagrams) <= max(dimensions):
        raise ValueError(
            f"diagrams: expected H0 to H{max(dimensions)} of {name}, got {len(diagrams)} of them"
        )
    edges = []
    for dim in dimensions:
        edges += [diagrams[1].birth_edges] if dim == 1 else []
        edges.append(diagrams[dim].death_edges)
    return edges


def _norm(differences: Tensor, p: float, squared: bool) -> Tensor:
    if squared and p == 2:
        return differences.square().sum(-1)
    norm: Tensor = torch.linalg.vector_norm(differences, ord=p, dim=-1)
    return norm.square() if squared else norm


def _values(lengths: list[Tensor], dim: int) -> Tensor:
    """Take the next lengths of one dimension: H0's, or H1's differences."""
    first = lengths.pop(0)
    return first if dim == 0 else (lengths.pop(0) - first).abs()
