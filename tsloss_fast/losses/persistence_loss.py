"""PersistenceLoss: the variance of the H0 lifetimes, and the lifetimes of the H1 bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsloss_fast._checks import check_choice, check_number
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.host_h1 import critical_edges, start_critical_edges
from tsloss_fast._engine.padding import without_padding
from tsloss_fast.losses.base import H0H1Loss, LossAndTerms
from tsloss_fast.losses.by_distances import persistence_terms
from tsloss_fast.persistence.distances import Metric


class PersistenceLoss(H0H1Loss):
    r"""A loss from the exact Vietoris-Rips diagrams: `TSLoss` with ``mode="persistence"``.

    .. math::
        L_{H0} = \frac{1}{n-1} \sum_i (l_i - \bar l)^2, \qquad
        L_{H1} = \frac{1}{n} \sum_k (death_k - birth_k)^p

    over the n - 1 finite H0 lifetimes (zero-length bars count) and the H1 bars.

    Parameters
    ----------
    lambda_ts, beta_h0, beta_h1 : float, >= 0
        Weights: the loss is lambda_ts (beta_h0 L_H0 + beta_h1 L_H1).
    h1_power : float, >= 1
        The power p.
    scale : {None, "mean"}
        ``"mean"`` divides the distances by their detached mean over all n^2 entries first.
    reduction : {"mean", "none"}
        Over the clouds of a batch.
    metric : str or callable
        As `rips_persistence` has it: a ``"precomputed"`` prompt is a matrix of distances, sparse or
        with infinities where edges are missing. The engine has the Euclidean loss and its gradient
        in one pass; with another metric, or a longest edge, the same formulas are PyTorch's, on
        distances in memory.
    max_edge_length : float, optional
        Longer edges are absent, as in `rips_persistence`; in the units of the prompt, before
        `scale`.
    h1 : {"auto", "device", "host"}
        Where H1 of a CUDA prompt is computed. ``"device"``: by kernels alone, which nothing waits
        for and a CUDA graph can capture, of Euclidean clouds of as many points each, up to 512,
        without a longest edge; an error of other CUDA prompts. ``"host"``: by the engine, after a
        copy. ``"auto"``: on the device where the kernels take the prompt, by its shape and the
        device's memory.

    Notes
    -----
    The kernels have room for as many classes of H1 as random clouds have, and some more. A cloud
    with too many has the loss NaN and the gradient 0, and `h1_overflow` says so when it is asked.

    Where edges are missing, both sums are over the bars that there are, and the first is divided by
    their number: classes that never die have no lifetime. The mean of `scale` is over the finite
    distances.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> tsl.losses.PersistenceLoss()(torch.tensor([[0.0], [1.0], [3.0]]))
    tensor(0.2500)
    """

    SHOWN: ClassVar[tuple[str, ...]] = (
        *("lambda_ts", "beta_h0", "beta_h1"),
        *("h1_power", "scale", "reduction"),
    )

    # Of losses that were pickled before there was a choice.
    h1: str = "auto"
    _h1_overflow: Tensor | None = None

    def __init__(
        self,
        lambda_ts: float = 1.0,
        beta_h0: float = 1.0,
        beta_h1: float = 1.0,
        h1_power: float = 2.0,
        scale: str | None = None,
        reduction: str = "mean",
        metric: Metric = "euclidean",
        max_edge_length: float | None = None,
        h1: str = "auto",
    ) -> None:
        super().__init__(lambda_ts, beta_h0, beta_h1, scale, reduction, metric)
        self._set_persistence_options(h1_power, max_edge_length, h1)

    def _set_persistence_options(
        self, h1_power: float, max_edge_length: float | None, h1: str
    ) -> None:
        self.h1 = check_choice(h1, "h1", ("auto", "device", "host"))
        self.h1_power = check_number(h1_power, "h1_power", least=1)
        if max_edge_length is not None:
            max_edge_length = check_number(
                max_edge_length, "max_edge_length", least=0, infinite=True
            )
        self.max_edge_length = max_edge_length

    @property
    def h1_overflow(self) -> Tensor | None:
        """Which clouds of the last CUDA prompt had more classes than the kernels have room for.

        bool, of the shape of the batch, on the device: to look at it waits for the device. None
        where H1 was not computed there.
        """
        return self._h1_overflow

    def _forget_overflow(self) -> None:
        if self._h1_overflow is not None:
            self._h1_overflow = None

    def _terms_of_distances(
        self, D: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if not ops.fuses_persistence_loss(D):
            if self.h1 == "device":
                raise _not_on_device("the kernels take Euclidean clouds without a longest edge")
            self._forget_overflow()
        return persistence_terms(D, self.h1_power, lengths)

    def _at_once(self, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        return ops.loss_terms_at_once(
            ops.persistence_loss, self.reduction == "mean", prompt, *self._term_weights(prompt),
            self.h1_power, self.scale == "mean",
        )  # fmt: skip

    def _begin_euclidean(
        self, prompt: Tensor, x: Tensor, lengths: Tensor | None = None
    ) -> Callable[[], LossAndTerms]:
        takes_mean = self.reduction == "mean"
        options = (*self._term_weights(x), self.h1_power, self.scale == "mean")
        if not ops.fuses_persistence_loss(x):
            if self._takes_device(x, lengths):
                results = self._on_device(x, options)
                return lambda: results
            self._forget_overflow()
            return self._begin_on_host(prompt, x, options, lengths)
        loss, h0, h1 = ops.loss_terms(
            ops.persistence_loss, takes_mean, x, *options, lengths=lengths
        )
        return lambda: (loss, {"h0": h0, "h1": h1})

    def _begin_each(self, clouds: list[Tensor]) -> Callable[[], LossAndTerms]:
        weights = self._term_weights(clouds[0], len(clouds))
        loss, h0, h1 = ops.loss_terms_of_each(
            ops.persistence_loss, self.reduction == "mean", clouds, *weights, self.h1_power,
            self.scale == "mean",
        )  # fmt: skip
        return lambda: (loss, {"h0": h0, "h1": h1})

    def _begin_on_host(
        self, prompt: Tensor, x: Tensor, options: tuple[Any, ...], lengths: Tensor | None
    ) -> Callable[[], LossAndTerms]:
        """Send the distances of ``x`` to the host, which computes the critical edges."""
        D = ops.distances_out_of_graph(x)
        takes_mean = self.reduction == "mean"
        if lengths is not None:
            D, options = without_padding(D, lengths), (*options, lengths)
        if ops.is_transformed():
            edges = critical_edges(*ops.h1_critical_edges(D, lengths))
            results = _on_edges(x, D, edges, options, takes_mean)
            return lambda: results
        pending = start_critical_edges(D, prompt, "prompt", lengths)
        return lambda: _on_edges(x, D, pending.result(), options, takes_mean)

    def _takes_device(self, x: Tensor, lengths: Tensor | None) -> bool:
        """Whether H1 of CUDA points is computed there; an error where it has to be and is not."""
        if self.h1 == "host":
            return False
        reason = _why_not_on_device(x, lengths)
        if reason is not None and self.h1 == "device":
            raise _not_on_device(reason)
        return reason is None

    def _on_device(self, x: Tensor, options: tuple[Any, ...]) -> LossAndTerms:
        D = ops.distances_out_of_graph(x)
        edges, overflow = ops.critical_edges_on_device(D)
        loss, terms = _on_edges(x, D, edges, options, False)
        self._h1_overflow = overflow
        loss = loss.masked_fill(overflow, torch.nan)
        terms["h1"] = terms["h1"].masked_fill(overflow, torch.nan)
        return loss.sum() if self.reduction == "mean" and loss.ndim else loss, terms

    def _require_capturable(self) -> None:
        super()._require_capturable()
        if self.beta_h1 != 0 and self.h1 == "host":
            raise self._no_graph("h1='host' says so")

    def _no_graph(self, reason: str) -> ValueError:
        return ValueError(
            "beta_h1: expected 0 for a graph of the exact loss: H1 is computed on the host, which "
            f"no CUDA graph holds, for {reason} (the surrogate loss has one, with H1), "
            f"got {self.beta_h1:g}"
        )

    def _capturable_loss(self, x: Tensor) -> Tensor:
        options = (*self._term_weights(x), self.h1_power, self.scale == "mean")
        if self.beta_h1 != 0:
            reason = _why_not_on_device(x)
            if reason is not None:
                raise self._no_graph(reason)
            return self._on_device(x, options)[0]
        D = ops.distances_out_of_graph(x)
        no_bars = torch.empty((*x.shape[:-2], 0, 4), dtype=torch.int64, device=x.device)
        edges = critical_edges(ops.h0_critical_edges(D), no_bars)
        loss, _ = _on_edges(x, D, edges, options, self.reduction == "mean")
        return loss


def _not_on_device(reason: str) -> ValueError:
    return ValueError(f'h1: expected "auto" or "host", got "device", but {reason}')


def _why_not_on_device(x: Tensor, lengths: Tensor | None = None) -> str | None:
    if lengths is not None:
        return "the clouds differ in their numbers of points"
    if ops.is_transformed():
        return "torch.func and torch.compile follow the operators, whose H1 is the host's"
    why: str | None = ops.why_no_h1_on_device(x)
    return why


def _on_edges(
    x: Tensor, D: Tensor, edges: Tensor, options: tuple[Any, ...], takes_mean: bool
) -> LossAndTerms:
    loss, h0, h1 = ops.exact_terms_on_edges(x, D, edges, *options)
    return loss.sum() if takes_mean and loss.ndim else loss, {"h0": h0, "h1": h1}
