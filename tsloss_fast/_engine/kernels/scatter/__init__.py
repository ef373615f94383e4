"""Gradients of points: from lengths of `edges`, and from `differences` of all pairs."""

from tsloss_fast._engine.kernels.scatter.differences import scatter_differences
from tsloss_fast._engine.kernels.scatter.edges import BLOCK_D, BLOCK_K, MAX_UNSORTED, scatter_edges

__all__ = ["BLOCK_D", "BLOCK_K", "MAX_UNSORTED", "scatter_differences", "scatter_edges"]
