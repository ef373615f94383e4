"""H0: `small` clouds by Prim's algorithm, `large` ones by Boruvka's; `launch` picks.

`small_elder` and `elder` hold the elder rule of each.
"""

from tsloss_fast._engine.kernels.h0.launch import (
    MAX_POINTS_FLOAT64,
    h0_critical_edges,
    length_ranks,
)

__all__ = ["MAX_POINTS_FLOAT64", "h0_critical_edges", "length_ranks"]
