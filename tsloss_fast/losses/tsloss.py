"""TSLoss: the topological regulariser of arXiv 2602.16500, exact and as the paper's surrogate."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tsloss_fast._checks import check_choice
from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import H0H1Loss, LossAndTerms, show
from tsloss_fast.losses.persistence_loss import PersistenceLoss
from tsloss_fast.losses.surrogate_loss import SurrogateLoss
from tsloss_fast.persistence.distances import Metric

# The name of a class that `Pending` replaced, for those who import it.
PendingTSLoss = Pending

# What each mode computes.
LOSSES: dict[str, type[PersistenceLoss] | type[SurrogateLoss]] = {
    "persistence": PersistenceLoss,
    "surrogate": SurrogateLoss,
}


class TSLoss(PersistenceLoss, SurrogateLoss):
    r"""Topological regulariser for a soft prompt, to be added to the cross-entropy.

    .. math:: L = \lambda_{ts} (\beta_{H0} L_{H0} + \beta_{H1} L_{H1})

    with rows :math:`x_i`, :math:`D_{ij} = \lVert x_i - x_j \rVert_2`, and one of two formulations.

    ``mode="persistence"``, from the exact Vietoris-Rips diagrams:

    .. math::
        L_{H0} = \frac{1}{n-1} \sum_i (l_i - \bar l)^2, \qquad
        L_{H1} = \frac{1}{n} \sum_k (death_k - birth_k)^p

    over the n - 1 finite H0 lifetimes (zero-length bars count) and the H1 bars.

    ``mode="surrogate"``, Eq. 1 to 6 of the paper:

    .. math::
        s_i = -\tau \log \sum_j e^{-D_{ij}/\tau}, \quad L_{H0} = \frac1n \sum_i (s_i - \bar s)^2
    .. math::
        L_{H1} = \frac{1}{n^2} \sum_{ij} \lambda_{repel} \max(0, \delta - D_{ij})^2
        + \lambda_{attract} \max(0, D_{ij} - \zeta)^2

    where :math:`\delta, \zeta` are means of D weighted by the softmax over all pairs of
    :math:`-\alpha D` and :math:`+\alpha D`.

    The paper states neither tau, nor the defaults of alpha, lambda_repel and lambda_attract, nor
    whether pairs i = j count. Read literally they do: then the zero diagonal pulls delta to 0 and
    the repelling term is dead. So by default the diagonal is left out of every sum (n and n^2 stay
    as divisors), and ``self_pairs=True`` is the literal reading.

    Parameters
    ----------
    mode : {"persistence", "surrogate"}
    lambda_ts, beta_h0, beta_h1 : float, >= 0
        Weights. ``lambda_ts`` is an attribute that may be set between steps.
    h1_power : float, >= 1
        The power p ("persistence" only).
    tau, alpha : float, > 0
        Temperature and sharpness, in units of distance and its inverse ("surrogate" only).
    lambda_repel, lambda_attract : float, >= 0
        ("surrogate" only)
    scale : {None, "mean"}
        ``"mean"`` divides D by its detached mean over all n^2 entries first, so that the loss does
        not depend on the scale of the prompt.
    self_pairs : bool
        Whether i = j counts ("surrogate" only).
    detach_scales : bool
        Whether delta and zeta are constants for the gradient ("surrogate" only).
    reduction : {"mean", "none"}
        Over the clouds of a batch.
    metric : str or callable
        As `rips_persistence` has it: a ``"precomputed"`` prompt is a matrix of distances. The
        engine has the Euclidean loss and its gradient in one pass; with another metric, or a
        longest edge, the same formulas are PyTorch's, on distances in memory.
    max_edge_length : float, optional
        Longer edges are absent, see `PersistenceLoss` ("persistence" only).
    h1 : {"auto", "device", "host"}
        Where H1 of a CUDA prompt is computed, see `PersistenceLoss` ("persistence" only).

    Notes
    -----
    Ties are broken as in `rips_persistence`. The gradient is exact for the chosen pairing, one
    valid subgradient at ties, 0 at coincident points, and the same on every run. One point alone
    has loss 0 and gradient 0. Forward computes loss and gradient together; backward scales it, so
    the loss is differentiable once, in forward or reverse mode; a second derivative is an error.

    On CUDA ``mode="surrogate"`` is all kernels: nothing waits for the device, and a CUDA graph can
    capture it. So is ``mode="persistence"`` of clouds of up to 512 points. Of larger ones, and with
    ``h1="host"``, H1 is computed on the host: the distances are copied there, and the call waits
    for that copy and the engine. See `start` for how to hide it.

    Half prompts are computed in float32 and give a float32 loss, under ``torch.autocast`` too.

    Source: arXiv 2602.16500v1, "Optimizing Soft Prompt Tuning via Structural Evolution" (Huang et
    al., 2026). The exact L_H0 is the quantity that the paper says its surrogate minimises.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> prompt = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
    >>> loss = tsl.TSLoss()(prompt)
    >>> loss.backward()
    >>> loss.item(), prompt.grad.flatten().tolist()
    (0.25, [0.5, -1.0, 0.5])
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
        metric: Metric = "euclidean",
        max_edge_length: float | None = None,
        h1: str = "auto",
    ) -> None:
        # Not super(): the constructor of either class takes its own options alone.
        H0H1Loss.__init__(self, lambda_ts, beta_h0, beta_h1, scale, reduction, metric)
        self.mode = check_choice(mode, "mode", tuple(LOSSES))
        self._set_persistence_options(h1_power, max_edge_length, h1)
        if max_edge_length is not None and mode == "surrogate":
            raise ValueError(
                "max_edge_length: expected None for mode 'surrogate', whose sums are over all "
                f"pairs, got {max_edge_length}: mode 'persistence' takes it"
            )
        self._set_surrogate_options(
            tau, alpha, lambda_repel, lambda_attract, self_pairs, detach_scales
        )

    def _at_once(self, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        return self._chosen._at_once(self, prompt)

    def _begin_euclidean(
        self, prompt: Tensor, x: Tensor, lengths: Tensor | None = None
    ) -> Callable[[], LossAndTerms]:
        return self._chosen._begin_euclidean(self, prompt, x, lengths)

    def _begin_each(self, clouds: list[Tensor]) -> Callable[[], LossAndTerms]:
        return self._chosen._begin_each(self, clouds)

    def _terms_of_distances(
        self, D: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._chosen._terms_of_distances(self, D, lengths)

    def _require_capturable(self) -> None:
        self._chosen._require_capturable(self)

    def _capturable_loss(self, x: Tensor) -> Tensor:
        return self._chosen._capturable_loss(self, x)

    def _named(self) -> str:
        return show(self, ("mode", *self._chosen.SHOWN))

    @property
    def _chosen(self) -> type[PersistenceLoss] | type[SurrogateLoss]:
        """The class that computes the loss; it reads its options from the attributes here."""
        return LOSSES[self.mode]
