"""Types of the compiled module: clouds [..., n, d] and matrices [..., n, n] of floats."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

max_points: int

def best_isa() -> str: ...
def first_nonfinite(a: Array) -> int: ...
def first_matrix_fault(D: Array) -> tuple[str, int, int, int] | None: ...
def distances(x: Array, threads: int = 1, isa: str = "auto") -> Array: ...
def scatter_differences(x: Array, weights: Array, threads: int = 1, isa: str = "auto") -> Array: ...
def h0(D: Array, threads: int = 1) -> Array: ...
def h1(D: Array, threads: int = 1, isa: str = "auto") -> tuple[Array, Array]: ...
def diagrams(
    D: Array, max_dim: int, threads: int = 1, isa: str = "auto"
) -> tuple[tuple[Array, ...], ...]: ...
def edge_lengths(x: Array, edges: Array, threads: int = 1, isa: str = "auto") -> Array: ...
def scatter_edges(
    x: Array, edges: Array, weights: Array, threads: int = 1, isa: str = "auto"
) -> Array: ...
def persistence_loss(
    x: Array,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    max_dim: int,
    with_grad: bool,
    threads: int = 1,
    isa: str = "auto",
) -> tuple[Array, Array, Array, Array | None]: ...
def surrogate_loss(
    x: Array,
    h0_weight: float,
    h1_weight: float,
    tau: float,
    alpha: float,
    lambda_repel: float,
    lambda_attract: float,
    scale_by_mean: bool,
    self_pairs: bool,
    detach_scales: bool,
    with_grad: bool,
    threads: int = 1,
    isa: str = "auto",
) -> tuple[Array, Array, Array, Array | None]: ...
