"""SurrogateLoss: the smooth formulas of arXiv 2602.16500, which need no diagram."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from tsloss_fast._checks import check_flag, check_number
from tsloss_fast._engine import operators as ops
from tsloss_fast.losses.base import H0H1Loss, LossAndTerms
from tsloss_fast.losses.by_distances import surrogate_terms
from tsloss_fast.persistence.distances import Metric


class SurrogateLoss(H0H1Loss):
    r"""A loss by Eq. 1 to 6 of the paper: `TSLoss` with ``mode="surrogate"``.

    .. math::
        s_i = -\tau \log \sum_j e^{-D_{ij}/\tau}, \quad L_{H0} = \frac1n \sum_i (s_i - \bar s)^2
    .. math::
        L_{H1} = \frac{1}{n^2} \sum_{ij} \lambda_{repel} \max(0, \delta - D_{ij})^2
        + \lambda_{attract} \max(0, D_{ij} - \zeta)^2

    where :math:`\delta, \zeta` are means of D weighted by the softmax over all pairs of
    :math:`-\alpha D` and :math:`+\alpha D`.

    Parameters
    ----------
    lambda_ts, beta_h0, beta_h1 : float, >= 0
        Weights: the loss is lambda_ts (beta_h0 L_H0 + beta_h1 L_H1).
    tau, alpha : float, > 0
        Temperature and sharpness, in units of distance and its inverse.
    lambda_repel, lambda_attract : float, >= 0
    scale : {None, "mean"}
        ``"mean"`` divides the distances by their detached mean over all n^2 entries first.
    self_pairs : bool
        Whether i = j counts in the sums; n and n^2 are the divisors in either case.
    detach_scales : bool
        Whether delta and zeta are constants for the gradient.
    reduction : {"mean", "none"}
        Over the clouds of a batch.
    metric : str or callable
        As `pairwise_distances` has it, or ``"precomputed"`` for a prompt that is a matrix of finite
        distances. The engine has the Euclidean loss and its gradient in one pass; with another
        metric the same formulas are PyTorch's, on distances in memory.

    Notes
    -----
    On CUDA nothing waits for the device, and a CUDA graph can capture it.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> prompt = torch.tensor([[0.0], [1.0], [3.0]])
    >>> tsl.losses.SurrogateLoss()(prompt) == tsl.TSLoss("surrogate")(prompt)
    tensor(True)
    """

    SHOWN: ClassVar[tuple[str, ...]] = (
        "lambda_ts", "beta_h0", "beta_h1", "tau", "alpha", "lambda_repel", "lambda_attract",
        "self_pairs", "detach_scales", "scale", "reduction",
    )  # fmt: skip

    def __init__(
        self,
        lambda_ts: float = 1.0,
        beta_h0: float = 1.0,
        beta_h1: float = 1.0,
        tau: float = 1.0,
        alpha: float = 10.0,
        lambda_repel: float = 1.0,
        lambda_attract: float = 1.0,
        scale: str | None = None,
        self_pairs: bool = False,
        detach_scales: bool = False,
        reduction: str = "mean",
        metric: Metric = "euclidean",
    ) -> None:
        super().__init__(lambda_ts, beta_h0, beta_h1, scale, reduction, metric)
        self._set_surrogate_options(
            tau, alpha, lambda_repel, lambda_attract, self_pairs, detach_scales
        )

    def _set_surrogate_options(
        self,
        tau: float,
        alpha: float,
        lambda_repel: float,
        lambda_attract: float,
        self_pairs: bool,
        detach_scales: bool,
    ) -> None:
        self.tau = check_number(tau, "tau", least=0, open_below=True)
        self.alpha = check_number(alpha, "alpha", least=0, open_below=True)
        self.lambda_repel = check_number(lambda_repel, "lambda_repel", least=0)
        self.lambda_attract = check_number(lambda_attract, "lambda_attract", least=0)
        self.self_pairs = check_flag(self_pairs, "self_pairs")
        self.detach_scales = check_flag(detach_scales, "detach_scales")

    def _terms_of_distances(
        self, D: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if self.metric == "precomputed" and ops.shows_values(D):
            _require_all_edges(D)
        return surrogate_terms(
            D, self.tau, self.alpha, self.lambda_repel, self.lambda_attract, self.self_pairs,
            self.detach_scales, lengths,
        )  # fmt: skip

    def _at_once(self, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        return ops.loss_terms_at_once(
            ops.surrogate_loss, self.reduction == "mean", prompt, *self._term_weights(prompt),
            *self._engine_options(),
        )  # fmt: skip

    def _begin_euclidean(
        self, prompt: Tensor, x: Tensor, lengths: Tensor | None = None
    ) -> Callable[[], LossAndTerms]:
        if not ops.fuses_surrogate_loss(x, lengths):
            return self._begin_by_distances(x, lengths)
        loss, h0, h1 = ops.loss_terms(
            ops.surrogate_loss, self.reduction == "mean", x, *self._term_weights(x),
            *self._engine_options(), lengths=lengths,
        )  # fmt: skip
        return lambda: (loss, {"h0": h0, "h1": h1})

    def _begin_each(self, clouds: list[Tensor]) -> Callable[[], LossAndTerms]:
        weights = self._term_weights(clouds[0], len(clouds))
        loss, h0, h1 = ops.loss_terms_of_each(
            ops.surrogate_loss, self.reduction == "mean", clouds, *weights, *self._engine_options()
        )
        return lambda: (loss, {"h0": h0, "h1": h1})

    def _engine_options(self) -> tuple[float | bool, ...]:
        return (
            self.tau, self.alpha, self.lambda_repel, self.lambda_attract, self.scale == "mean",
            self.self_pairs, self.detach_scales,
        )  # fmt: skip


def _require_all_edges(D: Tensor) -> None:
    """Raise unless ``D`` [..., n, n] has a distance for every pair, over which the formulas sum."""
    missing = D.isposinf().nonzero()
    if len(missing):
        place = ", ".join(map(str, missing[0].tolist()))
        raise ValueError(
            f"prompt: expected a finite distance for every pair, got prompt[{place}] = inf: "
            'missing edges are for the exact loss, mode="persistence" or PersistenceLoss'
        )
