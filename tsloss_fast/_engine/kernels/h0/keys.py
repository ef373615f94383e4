"""The total filtration order of edges as one signed 64-bit integer.

The key of the edge (i, j), i < j, holds the bits of its float32 length, without the sign, above
i * n + j: keys sort as (length, i, j), -0 counts as 0, and every NaN is longer than infinity. The
pair has 32 bits, unsigned, which is enough for up to 65,536 points.
"""

import triton.language as tl

# Behind every edge: a NaN length, whose bits are at most 2**31 - 1, still has a smaller key.
NO_EDGE = tl.constexpr(2**63 - 1)
PAIR = tl.constexpr(2**32 - 1)
