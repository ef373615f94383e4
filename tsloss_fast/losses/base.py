"""What all losses on a cloud share: weights, scale, batches, reduction, and `start`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, overload

import torch
from torch import Tensor, nn

from tsloss_fast._checks import (
    check_choice,
    check_cloud,
    check_number,
    check_square,
    describe,
)
from tsloss_fast._engine import operators as ops
from tsloss_fast._engine.arrays import require_distance_matrix, require_finite_points
from tsloss_fast._engine.padding import filled_points, without_padding
from tsloss_fast._engine.pending import Pending
from tsloss_fast._engine.scaling import scales_of
from tsloss_fast.losses.by_distances import divided_by_mean
from tsloss_fast.losses.graphed import GraphedTSLoss
from tsloss_fast.persistence.distances import METRICS, Metric, pairwise_distances
from tsloss_fast.persistence.ragged import (
    Clouds,
    Lengths,
    is_ragged,
    padded_matrices,
    padded_points,
    plain_clouds,
    separate_clouds,
)
from tsloss_fast.persistence.sparse import dense_distances, each_dense, holds_sparse, is_sparse

# A loss and its terms: the loss reduced, the terms one number a cloud, unweighted and detached.
LossAndTerms = tuple[Tensor, dict[str, Tensor]]


class TopologicalLoss(nn.Module):
    r"""A loss on the topology of clouds; a subclass gives its formula in `terms`.

    .. math:: L = \lambda_{ts} \sum_k \beta_k L_k

    over the terms by their names. The weight :math:`\beta_k` of a term ``"h1"`` is the attribute
    ``beta_h1``; a term without such an attribute has weight 1.

    Parameters
    ----------
    lambda_ts : float, >= 0
        Weight of the loss, an attribute that may be set between steps.
    scale : {None, "mean"}
        ``"mean"`` divides all distances by their detached mean over the n^2 pairs first, so that
        the loss does not depend on the scale of the points.
    reduction : {"mean", "none"}
        Over the clouds of a batch.

    Notes
    -----
    A loss is differentiable as often as its terms are. float16 and bfloat16 points reach `terms`
    as float32.

    Examples
    --------
    The number and the length of loops, pulled towards one loop of lifetime 1:

    >>> import torch, tsloss_fast as tsl
    >>> class OneLoop(tsl.losses.TopologicalLoss):
    ...     def terms(self, x):
    ...         _, h1 = tsl.rips_persistence(x)
    ...         return {"h1": (tsl.total_persistence(h1, p=1) - 1).square()}
    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> OneLoop()(square)  # its loop lives for sqrt(2) - 1
    tensor(0.3431)
    """

    # The attributes that `repr` shows, in this order; a subclass puts its own between them.
    SHOWN: ClassVar[tuple[str, ...]] = ("lambda_ts", "scale", "reduction")

    def __init__(
        self, lambda_ts: float = 1.0, scale: str | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.scale = check_choice(scale, "scale", (None, "mean"))
        self.reduction = check_choice(reduction, "reduction", ("mean", "none"))
        self.lambda_ts = check_number(lambda_ts, "lambda_ts", least=0)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The terms of the loss of each cloud, by their names: what a subclass defines.

        Parameters
        ----------
        x : Tensor, shape [..., n, d]
            Finite points on the CPU, float32 or float64, divided by their mean distance if `scale`
            says so. On CUDA nothing has looked at their values.

        Returns
        -------
        dict of str to Tensor, shape [...]
            One number a cloud, unweighted, in the graph of `x`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no terms")

    @overload
    def forward(
        self,
        prompt: Clouds,
        return_terms: Literal[False] = False,
        lengths: Lengths | None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self, prompt: Clouds, return_terms: Literal[True], lengths: Lengths | None = None
    ) -> LossAndTerms: ...

    def forward(
        self, prompt: Clouds, return_terms: bool = False, lengths: Lengths | None = None
    ) -> Tensor | LossAndTerms:
        """Compute the loss of one cloud or a batch of them.

        Parameters
        ----------
        prompt : Tensor, shape [n, d] or [B, n, d]
            float16, bfloat16, float32 or float64, on the CPU or on CUDA. Clouds of different sizes
            are a list or tuple of tensors [n_i, d], a nested tensor, or a padded tensor with
            `lengths`; each counts once in the mean, also one without points, whose loss is 0.
        return_terms : bool
            Whether to return a dictionary of the terms too, such as ``{"h0": L_H0, "h1": L_H1}``:
            unweighted, detached, reduced as the loss is.
        lengths : Tensor, shape [B], int64 or int32, or whole numbers, optional
            How many points each cloud of a padded prompt has. The padding behind them is never
            read, and its gradient is 0.

        Raises
        ------
        TypeError, ValueError
            As `pairwise_distances` does; NaN and infinity never give a number. On CUDA they raise
            an error where H1 is computed on the host, and give NaN elsewhere, where nothing waits
            for the device.
        """
        return self._reduced(self._begin_checked(prompt, lengths)(), return_terms)

    def start(self, prompt: Clouds, lengths: Lengths | None = None) -> Pending[Any]:
        """Begin to compute the loss, which `Pending.result` then returns.

        Where `TSLoss` under ``mode="persistence"`` has H1 of CUDA prompts computed on the host, the
        distances go there on a stream of their own, while the caller goes on: what is launched
        between start and result, such as the forward pass of the model, hides it. In every other
        case the loss is computed here, and nothing is left to wait for. Arguments and errors are
        those of `forward`; that a CUDA prompt holds NaN shows in the result.

        Examples
        --------
        >>> import torch, tsloss_fast as tsl
        >>> pending = tsl.TSLoss().start(torch.tensor([[0.0], [1.0], [3.0]]))
        >>> pending.result()  # after the model's forward
        tensor(0.2500)
        """

        def begin() -> Callable[..., Tensor | LossAndTerms]:
            compute = self._begin_checked(prompt, lengths)
            return lambda return_terms=False: self._reduced(compute(), return_terms)

        return Pending(begin)

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
            If the prompt is no such leaf, if ``reduction="none"`` leaves no scalar, or if the loss
            has H1 of ``mode="persistence"`` where the host computes it: see ``h1`` there.

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
        self._require_capturable()
        if isinstance(prompt, (list, tuple)):
            raise TypeError(
                "prompt: expected one tensor [n, d] or [B, n, d] for a graph of the loss, got a "
                f"{type(prompt).__name__}: capture one graph for each cloud, or call the loss"
            )
        prompt = self._checked(prompt)
        return GraphedTSLoss(self._capturable, self._options, prompt)

    def _capturable(self, prompt: Tensor) -> Tensor:
        """The loss by what a CUDA graph can capture."""
        self._require_capturable()
        return self._capturable_loss(ops.at_least_float32(prompt))

    def _require_capturable(self) -> None:
        if self.reduction != "mean":
            raise ValueError(
                f'reduction: expected "mean" for a graph of the loss, got {self.reduction!r}'
            )

    def _capturable_loss(self, x: Tensor) -> Tensor:
        loss, _ = self._begin(x, x)()
        return loss

    def _options(self) -> tuple[object, ...]:
        """The attributes on which the loss depends beside the prompt."""
        values = vars(self).items()
        return tuple(v for name, v in values if not name.startswith("_") and name != "training")

    def _checked(self, prompt: Any) -> Tensor:
        return check_cloud(prompt, "prompt")

    def _begin_checked(
        self, prompt: Clouds, lengths: Lengths | None = None
    ) -> Callable[[], LossAndTerms]:
        if lengths is not None or is_ragged(prompt) or holds_sparse(prompt):
            return self._begin_ragged(prompt, lengths)
        prompt = self._checked(prompt)
        if prompt.numel() == 0 and self.reduction == "mean":
            raise _no_cloud(prompt)
        return self._begin(prompt, ops.at_least_float32(prompt))

    def _reduced(self, results: LossAndTerms, return_terms: bool) -> Tensor | LossAndTerms:
        loss, terms = results
        if not return_terms:
            return loss
        if self.reduction == "mean":
            terms = {name: term.mean() for name, term in terms.items()}
        return loss, terms

    def _begin(self, prompt: Tensor, x: Tensor) -> Callable[[], LossAndTerms]:
        """Begin the loss of checked points; ``x`` is ``prompt`` in float32 or float64.

        A subclass overrides this instead of `terms` where the engine computes the loss and its
        gradient at once, or where another thread or device works until the result is asked for.
        """
        if ops.shows_values(x):
            require_finite_points(x, "prompt")
        terms = self.terms(_divided_by_mean(x) if self.scale == "mean" else x)
        return self._weighed(terms, x.new_zeros(x.shape[:-2]))

    def _begin_ragged(self, prompt: Clouds, lengths: Lengths | None) -> Callable[[], LossAndTerms]:
        """`_begin` of clouds of different sizes: the terms of one after the other."""
        clouds, batch = separate_clouds(prompt, lengths, "prompt")
        if not clouds:
            assert isinstance(prompt, Tensor)  # A list without clouds is none of points.
            if self.reduction == "mean":
                raise _no_cloud(prompt)
            return self._weighed({}, prompt.new_zeros(batch))
        points = [ops.at_least_float32(cloud) for cloud in clouds]
        each = [self._terms_of_some(x) for x in points]
        nothing = [x.sum() * 0 for x in points]
        terms = {
            name: torch.stack(
                [found.get(name, zero) for found, zero in zip(each, nothing, strict=True)]
            ).reshape(batch)
            for name in dict.fromkeys(name for found in each for name in found)
        }
        return self._weighed(terms, torch.stack(nothing).reshape(batch))

    def _terms_of_some(self, x: Tensor) -> dict[str, Tensor]:
        """The terms of one cloud [m, d], none where it has no points."""
        if len(x) == 0:
            return {}
        if ops.shows_values(x):
            require_finite_points(x, "prompt")
        return self.terms(_divided_by_mean(x) if self.scale == "mean" else x)

    def _weighed(self, terms: dict[str, Tensor], loss: Tensor) -> Callable[[], LossAndTerms]:
        """The loss of `terms`, which are added to what has the shape of the batch and is 0."""
        for name, term in terms.items():
            if term.shape != loss.shape:
                raise ValueError(
                    f"terms: expected one number a cloud, shape {list(loss.shape)}, got "
                    f"{name!r} of shape {list(term.shape)}"
                )
            loss = loss + getattr(self, f"beta_{name}", 1.0) * term
        loss = self.lambda_ts * (loss.mean() if self.reduction == "mean" else loss)
        detached = {name: term.detach() for name, term in terms.items()}
        return lambda: (loss, detached)

    def extra_repr(self) -> str:
        """Name the options."""
        return show(self, self.SHOWN)


class H0H1Loss(TopologicalLoss):
    """A loss of two terms, L_H0 and L_H1, that the engine computes with their gradient at once."""

    SHOWN: ClassVar[tuple[str, ...]] = ("lambda_ts", "beta_h0", "beta_h1", "scale", "reduction")

    # Of losses that were pickled before there were others.
    metric: Metric = "euclidean"
    max_edge_length: float | None = None

    def __init__(
        self,
        lambda_ts: float = 1.0,
        beta_h0: float = 1.0,
        beta_h1: float = 1.0,
        scale: str | None = None,
        reduction: str = "mean",
        metric: Metric = "euclidean",
    ) -> None:
        super().__init__(lambda_ts, scale, reduction)
        metrics = (*METRICS, "precomputed")
        self.metric = metric if callable(metric) else check_choice(metric, "metric", metrics)
        self.beta_h0 = check_number(beta_h0, "beta_h0", least=0)
        self.beta_h1 = check_number(beta_h1, "beta_h1", least=0)

    def _begin_checked(
        self, prompt: Clouds, lengths: Lengths | None = None
    ) -> Callable[[], LossAndTerms]:
        if lengths is None and self._is_fused() and ops.is_usual_cloud(prompt):
            found = self._at_once(prompt)
            if found is not None:
                loss, h0, h1 = found
                return lambda: (loss, {"h0": h0, "h1": h1})
        return super()._begin_checked(prompt, lengths)

    def _is_fused(self) -> bool:
        """Whether the engine has the loss and its gradient in one pass."""
        return self.metric == "euclidean" and self.max_edge_length is None

    def _at_once(self, prompt: Any) -> tuple[Tensor, Tensor, Tensor] | None:
        """The loss and its terms by `ops.loss_terms_at_once`."""
        raise NotImplementedError

    def _begin(self, prompt: Tensor, x: Tensor) -> Callable[[], LossAndTerms]:
        if self._is_fused():
            return self._begin_euclidean(prompt, x)
        if ops.shows_values(x):
            self._require_values(x)
        return self._begin_by_distances(x)

    def _begin_ragged(self, prompt: Clouds, lengths: Lengths | None) -> Callable[[], LossAndTerms]:
        is_fused = self._is_fused()
        clouds = plain_clouds(prompt, lengths, "prompt") if is_fused else None
        if clouds is not None:
            return self._begin_each(clouds)
        if self.metric == "precomputed":
            D, sizes = padded_matrices(each_dense(prompt), lengths, "prompt")
            x = without_padding(D, sizes)
        else:
            x, sizes = padded_points(prompt, lengths, "prompt")
            x = filled_points(x, sizes)
        if x.numel() == 0 and self.reduction == "mean":
            raise _no_cloud(x)
        if is_fused:
            return self._begin_euclidean(x, x, sizes)
        if ops.shows_values(x):
            self._require_values(x)
        return self._begin_by_distances(x, sizes)

    def _begin_each(self, clouds: list[Tensor]) -> Callable[[], LossAndTerms]:
        """`_begin_euclidean` of plain clouds [m, d] in tensors of their own."""
        raise NotImplementedError

    def _require_values(self, x: Tensor) -> None:
        is_given = self.metric == "precomputed"
        (require_distance_matrix if is_given else require_finite_points)(x, "prompt")

    def _begin_by_distances(
        self, x: Tensor, lengths: Tensor | None = None
    ) -> Callable[[], LossAndTerms]:
        """`_begin` by the formulas on distances, in PyTorch."""
        is_given = self.metric == "precomputed"
        D = x if is_given else pairwise_distances(x, self.metric, lengths)
        scaled = divided_by_mean(D, is_given, lengths) if self.scale == "mean" else D
        if self.max_edge_length is not None:
            # Mirrored entries may differ by rounding, and the upper one is the distance.
            is_long = (D.detach() > self.max_edge_length).triu(1)
            scaled = scaled.masked_fill(is_long | is_long.mT, torch.inf)
        h0, h1 = self._terms_of_distances(scaled, lengths)
        h0_weight, h1_weight = self._term_weights(x)
        loss = h0_weight * h0 + h1_weight * h1
        loss = loss.sum() if self.reduction == "mean" else loss
        return lambda: (loss, {"h0": h0.detach(), "h1": h1.detach()})

    def _checked(self, prompt: Any) -> Tensor:
        if self.metric != "precomputed":
            return super()._checked(prompt)
        D = dense_distances(prompt) if is_sparse(prompt) else prompt
        check_square(D, "prompt")
        return D

    def _begin_euclidean(
        self, prompt: Tensor, x: Tensor, lengths: Tensor | None = None
    ) -> Callable[[], LossAndTerms]:
        """`_begin` by the engine, which computes the loss and its gradient at once."""
        raise NotImplementedError

    def _terms_of_distances(
        self, D: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """L_H0 and L_H1 [...] of distances [..., n, n], in their graph."""
        raise NotImplementedError

    def _require_capturable(self) -> None:
        super()._require_capturable()
        if self.metric != "euclidean":
            raise ValueError(
                f'metric: expected "euclidean" for a graph of the loss, got {self.metric!r}'
            )
        if self.max_edge_length is not None:
            longest = self.max_edge_length
            raise ValueError(
                f"max_edge_length: expected None for a graph of the loss, got {longest}"
            )

    def extra_repr(self) -> str:
        """Name the options; the metric and the longest edge where they are given."""
        named = self._named()
        if self.metric != "euclidean":
            named += f", metric={self.metric!r}"
        if self.max_edge_length is not None:
            named += f", max_edge_length={self.max_edge_length!r}"
        return named

    def _named(self) -> str:
        return show(self, self.SHOWN)

    def _term_weights(self, x: Tensor, B: int | None = None) -> tuple[float, float]:
        """The weights of L_H0 and L_H1 in the loss of each cloud.

        For a mean over B clouds they are divided by B and the losses are summed: dividing the sum
        instead would take a pass over the gradient.
        """
        each = self.lambda_ts
        if self.reduction == "mean" and (x.ndim > 2 or B is not None):
            each /= x.shape[:-2].numel() if B is None else B
            if ops.is_tracing():
                raise ValueError(
                    'reduction: expected "none" for a batch in torch.jit.trace, which would fix '
                    f"the number of clouds that the mean is taken over, got {self.reduction!r}"
                )
        return each * self.beta_h0, each * self.beta_h1


def _no_cloud(prompt: Tensor) -> ValueError:
    return ValueError(
        f"prompt: expected at least one cloud to take the mean of, got {describe(prompt)}"
    )


def show(module: nn.Module, names: Sequence[str]) -> str:
    """Attributes with their values, as `repr` shows them."""
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)


def _divided_by_mean(x: Tensor) -> Tensor:
    """Points [..., n, d] divided by the mean of their distances, which has no gradient."""
    scales = scales_of(ops.pairwise_distances(x.detach()), by_mean=True)  # [...]
    return x * scales.to(x.dtype)[..., None, None]
