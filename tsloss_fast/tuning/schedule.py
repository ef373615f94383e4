"""The paper's learning-rate schedule: linear warm-up, then linear decay."""

from __future__ import annotations


def warmup_linear(step: int, total: int, warmup: float = 0.1) -> float:
    """The factor on the learning rate in one step.

    With ``w = round(warmup * total)``: ``(step + 1) / w`` in the first ``w`` steps, then
    ``(total - step) / (total - w)``. The paper says "linear schedule, 10 % warm-up"; that the
    first step has a factor of ``1 / w`` instead of 0 is ours, so that no step is idle.

    Parameters
    ----------
    step : int
        From 0 to ``total - 1``.
    total : int
        Steps of the whole run.
    warmup : float, default 0.1
        Share of the steps that warm up, in [0, 1).

    Examples
    --------
    >>> [round(warmup_linear(step, 10, 0.2), 3) for step in range(10)]
    [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    """
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / rise
    return (total - step) / (total - rise)
