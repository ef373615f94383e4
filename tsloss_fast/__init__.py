"""Exact, differentiable Vietoris-Rips persistence (H0, H1) and TSLoss for soft prompt tuning."""

from tsloss_fast import interchange, reference
from tsloss_fast.diagram import PersistenceDiagram
from tsloss_fast.loss import TSLoss
from tsloss_fast.monitor import TopologyMonitor
from tsloss_fast.persistence import pairwise_distances, rips_persistence
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.summaries import (
    TopologySummary,
    lifetime_variance,
    persistence_entropy,
    topology_summary,
    total_persistence,
)

__version__ = "0.1.0"

__all__ = [
    "PersistenceDiagram",
    "PromptTunedLM",
    "SoftPrompt",
    "TSLoss",
    "TopologyMonitor",
    "TopologySummary",
    "interchange",
    "lifetime_variance",
    "pairwise_distances",
    "persistence_entropy",
    "reference",
    "rips_persistence",
    "topology_summary",
    "total_persistence",
]
