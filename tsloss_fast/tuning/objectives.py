"""What is added to the cross-entropy: TSLoss in either formulation, an L2 penalty, or nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsloss_fast.losses.tsloss import TSLoss

LOSSES = ("ce", "tsloss", "surrogate", "l2")


class L2Penalty(nn.Module):
    """lambda_ts * (1/n) * sum_i ||x_i||^2, called like `TSLoss`.

    The paper compares with "L2-Reg" and gives no formula; this one is ours.
    """

    def __init__(self, lambda_ts: float = 1.0) -> None:
        super().__init__()
        self.lambda_ts = lambda_ts

    def forward(
        self, prompt: Tensor, return_terms: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The penalty on a prompt [n, d]; with `return_terms` also an empty dictionary."""
        loss = self.lambda_ts * prompt.square().sum() / len(prompt)
        return (loss, {}) if return_terms else loss


def make_objective(name: str, lambda_ts: float) -> nn.Module | None:
    """The module for one of `LOSSES`; None for the cross-entropy alone."""
    if name == "ce":
        return None
    if name == "l2":
        return L2Penalty(lambda_ts)
    return TSLoss(mode="surrogate" if name == "surrogate" else "persistence", lambda_ts=lambda_ts)


class TermMonitor:
    """L_H0 and L_H1 of a prompt, exact, for runs whose loss does not contain them."""

    def __init__(self) -> None:
        self._ts_loss = TSLoss()

    def __call__(self, prompt: Tensor) -> dict[str, Tensor]:
        """The terms ``{"h0", "h1"}`` of a prompt [n, d], without gradient."""
        with torch.no_grad():
            terms: dict[str, Tensor] = self._ts_loss(prompt, return_terms=True)[1]
        return terms
