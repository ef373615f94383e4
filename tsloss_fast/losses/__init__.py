"""Losses on the topology of a cloud of points."""

from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import TopologicalLoss
from tsloss_fast.losses.bridge_loss import BridgeAlignmentLoss, bridge_alignment
from tsloss_fast.losses.cascade_loss import CascadeDistortionLoss, cascade_distortion
from tsloss_fast.losses.dense_gradient import interpolated
from tsloss_fast.losses.mtop_div_loss import MTopDivLoss, mtop_div
from tsloss_fast.losses.persistence_loss import PersistenceLoss
from tsloss_fast.losses.rtd_lite_loss import RTDLiteLoss, rtd_lite
from tsloss_fast.losses.rtd_loss import RTDLoss, rtd
from tsloss_fast.losses.signature_loss import SignatureLoss, signature
from tsloss_fast.losses.surrogate_loss import SurrogateLoss
from tsloss_fast.losses.tsloss import TSLoss

__all__ = [
    "BridgeAlignmentLoss",
    "CascadeDistortionLoss",
    "MTopDivLoss",
    "Pending",
    "PersistenceLoss",
    "RTDLiteLoss",
    "RTDLoss",
    "SignatureLoss",
    "SurrogateLoss",
    "TSLoss",
    "TopologicalLoss",
    "bridge_alignment",
    "cascade_distortion",
    "interpolated",
    "mtop_div",
    "rtd",
    "rtd_lite",
    "signature",
]
