"""GradientBalance: the weight that keeps two gradient norms at a fixed ratio."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_number


class GradientBalance(nn.Module):
    """Weigh TSLoss so that its gradient is ``ratio`` times that of the cross-entropy.

    With ``c`` and ``t`` the moving averages of the gradient norms of cross-entropy and of TSLoss on
    the prompt, and ``t_now`` TSLoss's norm in this step,

        weight = ratio * c / max(t, t_now).

    Taking the larger of ``t`` and ``t_now`` means that no single step lets TSLoss exceed ``ratio``
    times the cross-entropy's average, not even when its gradient has just grown.

    This is ours, not the paper's, which keeps lambda_ts fixed.

    Parameters
    ----------
    ratio : float
        Wanted ratio of the norms, TSLoss over cross-entropy; finite and positive.
    momentum : float, default 0.9
        Share of the old average that each new norm leaves in place, in [0, 1).

    Notes
    -----
    Everything is detached: no gradient flows through the weight. A norm of exactly zero (TSLoss on
    coincident rows) is left out of its average, and the weight is 0 until both norms have been
    seen. The state is two scalar buffers that stay on the device: nothing here waits for a GPU.

    Examples
    --------
    >>> import torch
    >>> balance = GradientBalance(ratio=0.5)
    >>> balance.observe_ce(torch.tensor(4.0))
    >>> balance.observe_ts(torch.tensor(0.01))
    >>> round(float(balance.weight(torch.tensor(0.01))))
    200
    """

    average_ce: Tensor
    average_ts: Tensor

    def __init__(self, ratio: float, momentum: float = 0.9) -> None:
        super().__init__()
        self.ratio = check_number(ratio, "balance", least=0, open_below=True)
        self.momentum = check_number(momentum, "momentum", least=0, most=1, open_above=True)
        self.register_buffer("average_ce", torch.zeros(()))
        self.register_buffer("average_ts", torch.zeros(()))

    def observe_ce(self, norm: Tensor) -> None:
        """Take one gradient norm of the cross-entropy into its average."""
        self.average_ce.copy_(self._updated(self.average_ce, norm))

    def observe_ts(self, norm: Tensor) -> None:
        """Take one gradient norm of the unweighted TSLoss into its average."""
        self.average_ts.copy_(self._updated(self.average_ts, norm))

    def weight(self, ts_norm: Tensor) -> Tensor:
        """The factor for this step's TSLoss, whose gradient norm is ``ts_norm``; a 0-d tensor."""
        scale = torch.maximum(self.average_ts, ts_norm)
        known = (self.average_ce > 0) & (self.average_ts > 0)
        ratio = self.ratio * self.average_ce / torch.where(known, scale, torch.ones_like(scale))
        return torch.where(known, ratio, torch.zeros_like(ratio))

    def _updated(self, average: Tensor, norm: Tensor) -> Tensor:
        norm = norm.detach().to(average)
        moved = self.momentum * average + (1 - self.momentum) * norm
        # The first norm is taken whole, so that the average needs no correction for its start.
        moved = torch.where(average > 0, moved, norm)
        return torch.where(norm > 0, moved, average)
