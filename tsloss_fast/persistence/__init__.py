"""Distances, diagrams of the Rips filtration, and what is read off them."""

from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import edge_lengths, pairwise_distances
from tsloss_fast.persistence.rips import MEASURED, Lengths, rips_persistence
from tsloss_fast.persistence.summaries import (
    TopologySummary,
    lifetime_variance,
    persistence_entropy,
    topology_summary,
    total_persistence,
)

__all__ = [
    "MEASURED",
    "Lengths",
    "PersistenceDiagram",
    "TopologySummary",
    "edge_lengths",
    "lifetime_variance",
    "pairwise_distances",
    "persistence_entropy",
    "rips_persistence",
    "topology_summary",
    "total_persistence",
]
