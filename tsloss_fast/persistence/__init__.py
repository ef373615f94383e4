"""Distances, diagrams of the Rips filtration, and what is read off them."""

from tsloss_fast._engine.births import Lengths
from tsloss_fast.persistence.containers import collate_diagrams
from tsloss_fast.persistence.cycles import cycle_length, loops_of, representative_cycles
from tsloss_fast.persistence.diagram import PersistenceDiagram
from tsloss_fast.persistence.distances import edge_lengths, pairwise_distances
from tsloss_fast.persistence.rips import rips_persistence
from tsloss_fast.persistence.summaries import (
    TopologySummary,
    lifetime_variance,
    persistence_entropy,
    topology_summary,
    total_persistence,
)

# A name of older releases, which nothing uses: the fields of H0 and H1 that are lengths of edges.
MEASURED = ((0, 1), (1, 0), (1, 1))

__all__ = [
    "MEASURED",
    "Lengths",
    "PersistenceDiagram",
    "TopologySummary",
    "collate_diagrams",
    "cycle_length",
    "edge_lengths",
    "lifetime_variance",
    "loops_of",
    "pairwise_distances",
    "persistence_entropy",
    "representative_cycles",
    "rips_persistence",
    "topology_summary",
    "total_persistence",
]
