"""MTop-Div of attention maps: how far a response is from its prompt, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_flag, check_floating, check_whole, describe
from tsloss_fast._engine import eager
from tsloss_fast._engine import operators as ops
from tsloss_fast.losses.base import show
from tsloss_fast.persistence.rips import rips_persistence


def mtop_div(
    attention: Tensor | Sequence[Tensor], n_prompt: int, *, normalise: bool = True
) -> Tensor:
    r"""MTop-Div of a response and its prompt in each attention map.

    Tokens i and j are at distance :math:`1 - \max(a_{ij}, a_{ji})`, tokens of the prompt at 0 of
    each other. The lifetimes of H0, which are the edges of a spanning tree that attaches each token
    of the response to the prompt, are summed and divided by the number of those tokens. The larger,
    the less the response attends to its prompt: heads in which it is large tell hallucinations.

    Parameters
    ----------
    attention : Tensor, shape [..., n, n], or a sequence of such tensors
        Weights from 0 to 1, each row those of a token, causal or not; float16 and bfloat16 are
        computed in float32. A sequence, such as the ``attentions`` of a model of transformers, one
        [B, heads, n, n] a layer, is stacked.
    n_prompt : int, from 0 to n - 1
        How many tokens are the prompt's: the first ones. The others are the response's.
    normalise : bool
        Whether to divide by the number of the response's tokens, as TOHA's score is.

    Returns
    -------
    Tensor, shape [...]
        One number a map; of a sequence, [layers, ...].

    Raises
    ------
    TypeError, ValueError
        Not attention maps, or weights beyond 0 to 1 by more than rounding. On CUDA nothing waits
        for the device: there NaN gives NaN, and weights are clamped.

    Notes
    -----
    Differentiable; at ties one valid subgradient. The prompt is one vertex to the search, so that a
    map takes time for its rows of the response alone.

    Source: Bazarova et al., arXiv 2504.10063 (TOHA).

    Examples
    --------
    Two tokens of a prompt and two of a response, which attend by 0.7 and 0.8 at most:

    >>> import torch, tsloss_fast as tsl
    >>> attention = torch.tensor(
    ...     [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.7, 0.1, 0.2, 0.0], [0.0, 0.1, 0.8, 0.1]]
    ... )
    >>> tsl.losses.mtop_div(attention, n_prompt=2)
    tensor(0.2500)
    """
    check_flag(normalise, "normalise")
    maps = _stacked(attention)
    check_floating(maps, "attention", "attention maps [..., n, n]")
    n = maps.shape[-1]
    if maps.shape[-2] != n or n == 0:
        raise ValueError(f"attention: expected maps [..., n, n], got {describe(maps)}")
    n_prompt = check_whole(n_prompt, "n_prompt", least=0, most=n - 1)
    if ops.shows_values(maps):
        _require_weights(maps)
    total = _tree_lengths(ops.at_least_float32(maps), n_prompt).sum(-1)
    return total / (n - n_prompt) if normalise else total


class MTopDivLoss(nn.Module):
    """`mtop_div` as a module: the mean over maps, to be trained down.

    Parameters
    ----------
    normalise
        As `mtop_div` has it.
    reduction : {"mean", "none"}
        Over all maps.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> scores = torch.zeros(2, 8, 4, 4, requires_grad=True)
    >>> loss = tsl.losses.MTopDivLoss()(scores.softmax(-1), n_prompt=2)
    >>> loss.backward()
    """

    SHOWN = ("normalise", "reduction")

    def __init__(self, normalise: bool = True, reduction: str = "mean") -> None:
        super().__init__()
        self.normalise = check_flag(normalise, "normalise")
        self.reduction = check_choice(reduction, "reduction", ("mean", "none"))

    def forward(self, attention: Tensor | Sequence[Tensor], n_prompt: int) -> Tensor:
        """MTop-Div of each map, or the mean over them as `reduction` says."""
        found = mtop_div(attention, n_prompt, normalise=self.normalise)
        return found.mean() if self.reduction == "mean" else found

    def extra_repr(self) -> str:
        """Name the options."""
        return show(self, self.SHOWN)


def _stacked(attention: Any) -> Tensor:
    if not isinstance(attention, (list, tuple)):
        maps: Tensor = attention  # Or what the caller refuses.
        return maps
    for each in attention:
        if not isinstance(each, Tensor):
            raise TypeError(
                f"attention: expected a Tensor for each layer, got {type(each).__name__}: "
                "transformers gives them with output_attentions=True and "
                "attn_implementation='eager'"
            )
    if not attention:
        raise ValueError("attention: expected a Tensor for at least one layer, got none")
    return torch.stack(list(attention))


def _require_weights(maps: Tensor) -> None:
    if maps.numel() == 0:
        return
    least, most = (end.item() for end in maps.detach().aminmax())
    slack = 8 * torch.finfo(maps.dtype).eps
    if not (least >= -slack and most <= 1 + slack):
        raise ValueError(
            f"attention: expected weights from 0 to 1, got values from {least:g} to {most:g}; "
            "leave out rows and columns of padding"
        )


def _tree_lengths(maps: Tensor, n_prompt: int) -> Tensor:
    """Lengths [..., K] of the edges that attach the response to the prompt, shortest first."""
    places = eager.attention_trees(maps, n_prompt)
    if places is not None:
        return 1 - maps.flatten(-2).gather(-1, places).clamp(0, 1)
    (h0,) = rips_persistence(_distances(maps, n_prompt), max_dim=0, metric="precomputed")
    return h0.deaths


def _distances(maps: Tensor, n_prompt: int) -> Tensor:
    """Distances [..., m + 1, m + 1] of the prompt, as one vertex, and the m tokens behind it."""
    rows, columns = maps[..., n_prompt:, :], maps[..., n_prompt:].mT  # [..., m, n]
    apart = 1 - torch.maximum(rows, columns).clamp(0, 1)
    m = apart.shape[-2]
    itself = torch.eye(m, dtype=torch.bool, device=maps.device)
    within = apart[..., n_prompt:].masked_fill(itself, 0)  # [..., m, m]
    if n_prompt == 0:
        return within
    to_prompt = apart[..., :n_prompt].min(-1).values  # [..., m]
    first_row = torch.nn.functional.pad(to_prompt, (1, 0)).unsqueeze(-2)  # [..., 1, m + 1]
    others = torch.cat((to_prompt.unsqueeze(-1), within), -1)  # [..., m, m + 1]
    return torch.cat((first_row, others), -2)
