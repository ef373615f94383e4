"""Distance matrices from sparse ones, in which an entry that is not stored is a missing edge."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsloss_fast._checks import check_square
from tsloss_fast._engine.room import require_room

_COMPRESSED = (torch.sparse_csr, torch.sparse_csc)
# These store blocks and whole diagonals, with zeros that nobody meant: they say nothing here.
_BLOCKS = (torch.sparse_bsr, torch.sparse_bsc)
_SPARSE = (torch.sparse_coo, *_COMPRESSED, *_BLOCKS)
_BLOCKS_OF_SCIPY = ("bsr", "dia")


def is_sparse(x: Any) -> bool:
    """Whether `x` is a sparse tensor, or a sparse matrix or array of SciPy."""
    if isinstance(x, Tensor):
        # Most are dense, and nothing else is asked of them.
        return x.layout is not torch.strided and x.layout in _SPARSE
    return type(x).__module__.startswith("scipy.sparse")


def holds_sparse(x: Any) -> bool:
    """Whether `x` is a list or tuple that begins with a sparse matrix."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and is_sparse(x[0])


def each_dense(x: Any) -> Any:
    """`x` with sparse matrices as `dense_distances` has them, one or those of a list."""
    if isinstance(x, (list, tuple)):
        return [dense_distances(each) if is_sparse(each) else each for each in x]
    return dense_distances(x) if is_sparse(x) else x


def dense_distances(x: Any) -> Tensor:
    """The matrix [n, n] of a sparse one, +inf where neither [i, j] nor [j, i] is stored.

    What is stored, zeros too, is the length of an edge, but for zeros in blocks (BSR, BSC) and
    diagonals (DIA). An edge may be stored on one side of the diagonal or on both, and the diagonal
    may be left out. Differentiable by a tensor's values.
    """
    if len(x.shape) != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(
            f"x: expected one sparse matrix [n, n], got sparse {list(x.shape)}: take the matrices "
            "of a batch one at a time"
        )
    row, column, values = _of_tensor(x) if isinstance(x, Tensor) else _of_scipy(x)
    n = x.shape[0]
    of_its_size = values.new_empty((n, n), device="meta")
    check_square(of_its_size)
    require_room(of_its_size, matrices=2)
    entries = values.new_full((n, n), torch.inf).index_put((row, column), values)
    stored = torch.zeros(n, n, dtype=torch.bool, device=values.device)
    stored[row, column] = True
    D = entries.where(stored, entries.mT)
    unset = ~stored & torch.eye(n, dtype=torch.bool, device=values.device)
    return D.masked_fill(unset, 0)


def _of_tensor(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    has_blocks = x.layout in _BLOCKS
    if x.layout is not torch.sparse_coo:
        x = x.to_sparse_coo()
    x = x.coalesce()
    at, values = x.indices(), x.values()
    if has_blocks:
        meant = values.detach() != 0
        at, values = at[:, meant], values[meant]
    i, j = at.unbind(0)
    return i, j, values


def _of_scipy(x: Any) -> tuple[Tensor, Tensor, Tensor]:
    coo = x.tocoo(copy=True)
    coo.sum_duplicates()
    if x.format in _BLOCKS_OF_SCIPY:
        coo.eliminate_zeros()
    values = torch.from_numpy(coo.data)
    if not values.is_floating_point():
        values = values.double()
    return torch.from_numpy(coo.row).long(), torch.from_numpy(coo.col).long(), values
