"""Exact, differentiable Vietoris-Rips persistence (H0, H1) and TSLoss for soft prompt tuning."""

from tsloss_fast import _moved, reference
from tsloss_fast.losses import TSLoss
from tsloss_fast.persistence import (
    PersistenceDiagram,
    TopologySummary,
    cycle_length,
    edge_lengths,
    interchange,
    lifetime_variance,
    loops_of,
    pairwise_distances,
    persistence_entropy,
    representative_cycles,
    rips_persistence,
    topology_summary,
    total_persistence,
)
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.prompt.monitor import TopologyMonitor
from tsloss_fast.prompt.nearest import nearest_tokens

__version__ = "0.1.0"

__all__ = [
    "PersistenceDiagram",
    "PromptTunedLM",
    "SoftPrompt",
    "TSLoss",
    "TopologyMonitor",
    "TopologySummary",
    "cycle_length",
    "edge_lengths",
    "interchange",
    "lifetime_variance",
    "loops_of",
    "nearest_tokens",
    "pairwise_distances",
    "persistence_entropy",
    "reference",
    "representative_cycles",
    "rips_persistence",
    "topology_summary",
    "total_persistence",
]

_moved.install()
