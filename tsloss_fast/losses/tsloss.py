"""TSLoss: the topological regulariser of arXiv 2602.16500, exact and as the paper's surrogate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_cloud, check_flag, check_number, describe
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.host_h1 import PendingBars, critical_edges
from tsloss_fast.losses.graphed import GraphedTSLoss


class PendingTSLoss:
    """A loss that `TSLoss.start` began to compute."""

    def __init__(self, terms: Callable[[], tuple[Tensor, Tensor, Tensor]], reduction: str) -> None:
        self._terms = terms
        self._reduction = reduction

    def result(self, return_terms: bool = False) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """What `TSLoss.forward` returns; waits for the host's part alone, never for the device."""
        loss, h0, h1 = self._terms()
        if not return_terms:
            return loss
        if self._reduction == "mean":
            h0, h1 = h0.mean(), h1.mean()
        return loss, {"h0": h0, "h1": h1}


class TSLoss(nn.Module):
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

    Notes
    -----
    Ties are broken as in `rips_persistence`. The gradient is exact for the chosen pairing, one
    valid subgradient at ties, 0 at coincident points, and the same on every run. One point alone
    has loss 0 and gradient 0. Forward computes loss and gradient together; backward scales it, so
    the loss is differentiable once.

    On CUDA ``mode="surrogate"`` is all kernels: nothing waits for the device, and a CUDA graph can
    capture it. ``mode="persistence"`` computes H1 on the host: its distances are copied there, and
    the call waits for that copy and the engine. See `start` for how to hide it.

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
    ) -> None:
        super().__init__()
        check_choice(mode, "mode", ("persistence", "surrogate"))
        check_choice(scale, "scale", (None, "mean"))
        check_choice(reduction, "reduction", ("mean", "none"))
        self.mode = mode
        self.lambda_ts = check_number(lambda_ts, "lambda_ts", least=0)
        self.beta_h0 = check_number(beta_h0, "beta_h0", least=0)
        self.beta_h1 = check_number(beta_h1, "beta_h1", least=0)
        self.h1_power = check_number(h1_power, "h1_power", least=1)
        self.tau = check_number(tau, "tau", least=0, open_below=True)
        self.alpha = check_number(alpha, "alpha", least=0, open_below=True)
        self.lambda_repel = check_number(lambda_repel, "lambda_repel", least=0)
        self.lambda_attract = check_number(lambda_attract, "lambda_attract", least=0)
        self.scale = scale
        self.self_pairs = check_flag(self_pairs, "self_pairs")
        self.detach_scales = check_flag(detach_scales, "detach_scales")
        self.reduction = reduction

    @overload
    def forward(self, prompt: Tensor, return_terms: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(
        self, prompt: Tensor, return_terms: Literal[True]
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def forward(
        self, prompt: Tensor, return_terms: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of one cloud or a batch of them.

        Parameters
        ----------
        prompt : Tensor, shape [n, d] or [B, n, d]
            float16, bfloat16, float32 or float64, on the CPU or on CUDA.
        return_terms : bool
            Whether to return ``{"h0": L_H0, "h1": L_H1}`` too: unweighted, detached, reduced as the
            loss is.

        Raises
        ------
        TypeError, ValueError
            As `pairwise_distances` does; NaN and infinity never give a number. On CUDA they give
            an error under ``mode="persistence"``, and a NaN under ``mode="surrogate"``, which does
            not wait for the device to look.
        """
        return self.start(prompt).result(return_terms)

    def start(self, prompt: Tensor) -> PendingTSLoss:
        """Begin to compute the loss, which `PendingTSLoss.result` then returns.

        Of CUDA prompts under ``mode="persistence"``, the distances go to the host on a stream of
        their own and H1 is computed there, while the caller goes on: what is launched between start
        and result, such as the forward pass of the model, hides it. In every other case nothing is
        left to wait for. Arguments and errors are those of `forward`; that a CUDA prompt holds NaN
        shows in the result.

        Examples
        --------
        >>> import torch, tsloss_fast as tsl
        >>> pending = tsl.TSLoss().start(torch.tensor([[0.0], [1.0], [3.0]]))
        >>> pending.result()  # after the model's forward
        tensor(0.2500)
        """
        check_cloud(prompt, "prompt")
        if self.reduction == "mean" and prompt.numel() == 0:
            raise ValueError(
                f"prompt: expected at least one cloud to take the mean of, got {describe(prompt)}"
            )
        x = ops.at_least_float32(prompt)
        if self.mode == "persistence" and not ops.fuses_persistence_loss(x):
            D = ops.pairwise_distances(x.detach())
            if ops.is_transformed():
                terms = self._on_edges(x, D, critical_edges(*ops.h1_critical_edges(D)))
                return PendingTSLoss(lambda: terms, self.reduction)
            bars = PendingBars(D, prompt, "prompt")
            return PendingTSLoss(
                lambda: self._on_edges(x, D, bars.critical_edges()), self.reduction
            )
        terms = self._compute(x)
        return PendingTSLoss(lambda: terms, self.reduction)

    def graphed(self, prompt: Tensor) -> GraphedTSLoss:
        """Capture forward and backward for one prompt in a CUDA graph, so that a step is a replay.

        For prompts in a loop of their own, where launching takes longer than computing. Each call
        of the result computes the loss of the values that ``prompt`` then has, adds its gradient to
        ``prompt.grad`` as ``loss.backward()`` would, and returns the loss without a graph.

        Parameters
        ----------
        prompt : Tensor, shape [n, d] or [B, n, d]
            A leaf on CUDA that requires a gradient. The graph reads its memory: change it in place,
            as optimizers do. Once it lies elsewhere, or an attribute of the loss has changed, the
            next call captures anew, which takes milliseconds.

        Returns
        -------
        GraphedTSLoss
            ``graphed()`` gives the loss in memory of the graph, which the next call overwrites.
            ``prompt.grad`` is memory of its own. The graph keeps the memory of one forward and
            backward for as long as it lives.

        Raises
        ------
        ValueError
            If the prompt is no such leaf, if ``reduction="none"`` leaves no scalar, or if H1, which
            the host computes, belongs to the loss: with ``mode="persistence"`` only
            ``beta_h1=0`` has a graph.

        Examples
        --------
        >>> import torch, tsloss_fast as tsl
        >>> def train(prompt, optimizer, steps):
        ...     ts_loss = tsl.TSLoss("surrogate").graphed(prompt)
        ...     for _ in range(steps):
        ...         optimizer.zero_grad()
        ...         loss = ts_loss()
        ...         optimizer.step()
        ...     return loss.clone()
        """
        self._require_graphable()
        check_cloud(prompt, "prompt")
        return GraphedTSLoss(self._capturable, self._options, prompt)

    def _require_graphable(self) -> None:
        if self.reduction != "mean":
            raise ValueError(
                f'reduction: expected "mean" for a graph of the loss, got {self.reduction!r}'
            )
        if self.mode == "persistence" and self.beta_h1 != 0:
            raise ValueError(
                'mode: expected "surrogate", or "persistence" with beta_h1=0, for a graph of the '
                f"loss: H1 is computed on the host, which no CUDA graph holds, got {self.mode!r} "
                f"with beta_h1={self.beta_h1:g}"
            )

    def _capturable(self, prompt: Tensor) -> Tensor:
        """The loss by what a CUDA graph can capture."""
        self._require_graphable()
        x = ops.at_least_float32(prompt)
        if self.mode == "surrogate":
            return self._compute(x)[0]
        D = ops.pairwise_distances(x.detach())
        no_bars = torch.empty((*x.shape[:-2], 0, 4), dtype=torch.int64, device=x.device)
        return self._on_edges(x, D, critical_edges(ops.h0_critical_edges(D), no_bars))[0]

    def _options(self) -> tuple[object, ...]:
        """What the loss hangs on beside the prompt."""
        values = vars(self).items()
        return tuple(v for name, v in values if not name.startswith("_") and name != "training")

    def _on_edges(self, x: Tensor, D: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, h0, h1 = ops.exact_terms_on_edges(
            x, D, edges, *self._weights(x), self.h1_power, self.scale == "mean"
        )
        return loss.sum() if self._sums and loss.ndim else loss, h0, h1

    def _compute(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h0_weight, h1_weight = self._weights(x)
        by_mean = self.scale == "mean"
        if self.mode == "persistence":
            return ops.loss_terms(
                "persistence", self._sums, x, h0_weight, h1_weight, self.h1_power, by_mean, 1
            )
        return ops.loss_terms(
            "surrogate", self._sums, x, h0_weight, h1_weight, self.tau, self.alpha,
            self.lambda_repel, self.lambda_attract, by_mean, self.self_pairs, self.detach_scales,
        )  # fmt: skip

    @property
    def _sums(self) -> bool:
        """Whether the losses of the clouds are summed, to a mean: `_weights` hold their shares.

        To divide the sum would cost a pass over the gradient.
        """
        return self.reduction == "mean"

    def _weights(self, x: Tensor) -> tuple[float, float]:
        """The weights of L_H0 and L_H1 in the loss of each cloud."""
        clouds = x.shape[:-2].numel() if self._sums else 1
        each = self.lambda_ts / clouds
        return each * self.beta_h0, each * self.beta_h1

    def extra_repr(self) -> str:
        """Name the options of the chosen mode."""
        own = {
            "persistence": ("h1_power",),
            "surrogate": (
                "tau", "alpha", "lambda_repel", "lambda_attract", "self_pairs", "detach_scales",
            ),
        }[self.mode]  # fmt: skip
        names = ("mode", "lambda_ts", "beta_h0", "beta_h1", *own, "scale", "reduction")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
