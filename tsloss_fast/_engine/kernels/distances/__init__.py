"""Pairwise distances: directly (`direct`) or by products (`product`); `launch` picks."""

from tsloss_fast._engine.kernels.distances.launch import MAX_DIRECT_POINTS, pairwise_distances

__all__ = ["MAX_DIRECT_POINTS", "pairwise_distances"]
