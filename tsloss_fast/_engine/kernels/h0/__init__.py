"""H0 by Boruvka rounds: `small` clouds, `large` ones, the `elder` rule; `launch` picks."""

from tsloss_fast._engine.kernels.h0.launch import (
    MAX_POINTS_FLOAT64,
    h0_critical_edges,
    length_ranks,
)

__all__ = ["MAX_POINTS_FLOAT64", "h0_critical_edges", "length_ranks"]
