"""Losses on the topology of a cloud of points."""

from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import TopologicalLoss
from tsloss_fast.losses.persistence_loss import PersistenceLoss
from tsloss_fast.losses.surrogate_loss import SurrogateLoss
from tsloss_fast.losses.tsloss import TSLoss

__all__ = [
    "Pending",
    "PersistenceLoss",
    "SurrogateLoss",
    "TSLoss",
    "TopologicalLoss",
]
