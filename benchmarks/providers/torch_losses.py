"""TSLoss as one writes it in eager PyTorch, for the peers that give edges or diagrams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.providers.base import Call

Loss = Callable[[Tensor], Tensor]


def loss_call(loss: Loss, x: np.ndarray, backward: bool) -> Call:
    """The loss of points [B, n, d] as in training, with its gradient if asked."""
    prompt = torch.from_numpy(x).clone().requires_grad_()

    def run() -> tuple[Tensor, Tensor]:
        prompt.grad = None
        value = loss(prompt)
        value.backward()
        return value, prompt.grad

    if not backward:
        return Call(lambda: loss(prompt), lambda value: float(value.detach()))
    return Call(run, lambda result: (float(result[0].detach()), result[1].numpy().copy()))


def mean_over_batch(one: Loss) -> Loss:
    """The mean of a loss of one cloud [n, d] over a batch [B, n, d]."""
    return lambda x: torch.stack([one(cloud) for cloud in x]).mean()


def loss_of_lifetimes(h0: Tensor, h1: Tensor, n: int) -> Tensor:
    """TSLoss's default formulation from the lifetimes of H0 [n - 1] and H1 [k]."""
    return h0.var(unbiased=False) + h1.square().sum() / n


def loss_of_edges(edges_of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Loss:
    """TSLoss of a batch by an engine that gives critical edges, lengths gathered from cdist.

    ``edges_of`` takes D [n, n] and returns H0's death edges [n - 1, 2] and H1's edges [k, 4].
    """

    def loss(x: Tensor) -> Tensor:
        D = torch.cdist(x, x)
        h0, h1 = (torch.from_numpy(np.asarray(e)).long() for e in edges_of(D.detach().numpy()))
        i, j, k, m = h1.unbind(1)
        return loss_of_lifetimes(D[h0[:, 0], h0[:, 1]], D[k, m] - D[i, j], len(x))

    return mean_over_batch(loss)


def surrogate(x: Tensor, tau: float = 1.0, alpha: float = 10.0) -> Tensor:
    """Eq. 1 to 6 of the paper without self pairs, points [B, n, d] -> the mean over the batch."""
    n = x.shape[-2]
    D = torch.cdist(x, x)
    self_pairs = torch.eye(n, dtype=torch.bool)
    s = -tau * torch.logsumexp((-D / tau).masked_fill(self_pairs, -torch.inf), dim=-1)
    h0 = (s - s.mean(-1, keepdim=True)).square().mean(-1)
    pairs = D.masked_select(~self_pairs).reshape(*D.shape[:-2], n * (n - 1))
    delta = (torch.softmax(-alpha * pairs, -1) * pairs).sum(-1, keepdim=True)
    zeta = (torch.softmax(alpha * pairs, -1) * pairs).sum(-1, keepdim=True)
    outside = torch.relu(delta - pairs).square() + torch.relu(pairs - zeta).square()
    return (h0 + outside.sum(-1) / n**2).mean()
