"""The surrogate loss: its `formulas`, whole or `tiled`; `launch` picks."""

from tsloss_fast._engine.kernels.surrogate.launch import MAX_POINTS, WARPS, surrogate_terms

# The name before, for those who import it.
surrogate_slopes = surrogate_terms

__all__ = ["MAX_POINTS", "WARPS", "surrogate_slopes", "surrogate_terms"]
