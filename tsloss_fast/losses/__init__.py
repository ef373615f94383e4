"""Losses on the topology of a cloud of points."""

from tsloss_fast.losses.tsloss import TSLoss

__all__ = ["TSLoss"]
