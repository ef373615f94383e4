"""Types of the compiled module: clouds [..., n, d] and matrices [..., n, n] of floats."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
# The capsule of torch.utils.dlpack.to_dlpack, which has no type of its own.
DLPack = Any

max_points: int

def best_isa() -> str: ...
def first_nonfinite(a: Array) -> int: ...
def first_matrix_fault(D: Array) -> tuple[str, int, int, int] | None: ...
def distances(x: Array, threads: int = 1, isa: str = "auto") -> Array: ...
def packed_distances(x: Array, lengths: Array, threads: int = 1) -> Array: ...
def packed_distances_of_each(x: list[Array], threads: int = 1) -> Array: ...
def scatter_differences(x: Array, weights: Array, threads: int = 1, isa: str = "auto") -> Array: ...

class Diagram:
    """The bars of one homology dimension: of each cloud K bars and E classes that never die."""

    @property
    def bars(self) -> Array: ...  # [..., K, 4] int64
    @property
    def mask(self) -> Array: ...  # [..., K] bool
    @property
    def births(self) -> Array: ...  # [..., K]
    @property
    def deaths(self) -> Array: ...  # [..., K]
    @property
    def birth_edges(self) -> Array: ...  # [..., K, 2] int64
    @property
    def death_edges(self) -> Array: ...  # [..., K, 2] int64
    @property
    def essential_births(self) -> Array: ...  # [..., E]
    @property
    def essential_edges(self) -> Array: ...  # [..., E, 2] int64
    @property
    def essential_mask(self) -> Array: ...  # [..., E] bool

def rips(
    D: Array,
    max_dim: int,
    lengths: Array | None = None,
    threads: int = 1,
    isa: str = "auto",
    max_edge_length: float | None = None,
    meanwhile: Callable[[], object] | None = None,
    vertex_births: Array | None = None,
) -> tuple[Diagram, ...]: ...
def rips_of_packed(
    D: Array,
    lengths: Array,
    n: int,
    max_dim: int,
    checks: bool = False,
    threads: int = 1,
    max_edge_length: float | None = None,
    vertex_births: Array | None = None,
) -> tuple[Diagram, ...] | tuple[str, int, int, int]: ...
def rips_of_tensor(
    memory: DLPack, max_dim: int, threads: int = 1, max_edge_length: float | None = None
) -> tuple[Diagram, ...] | tuple[str, int, int, int] | None: ...
def rips_cycles(
    D: Array,
    shorten: bool,
    lengths: Array | None = None,
    threads: int = 1,
    isa: str = "auto",
    max_edge_length: float | None = None,
    vertex_births: Array | None = None,
    check: bool = False,
    room: int | None = None,
    most: int | None = None,
) -> (
    tuple[tuple[Diagram, Diagram], Array, Array, list[int]]
    | tuple[str, int, int]
    | tuple[str, int, int, int]
): ...
def attention_trees(
    maps: Array, prompt: int, threads: int = 1, isa: str = "auto"
) -> Array: ...  # [..., K] int64
def edge_lengths(x: Array, edges: Array, threads: int = 1, isa: str = "auto") -> Array: ...
def scatter_edges(
    x: Array, edges: Array, weights: Array, threads: int = 1, isa: str = "auto"
) -> Array: ...
def persistence_loss(
    x: Array | list[Array] | DLPack,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    with_grad: bool,
    threads: int = 1,
    isa: str = "auto",
    lengths: Array | None = None,
) -> tuple[Array, Array, Array, Array | list[Array] | None] | None: ...
def surrogate_loss(
    x: Array | list[Array] | DLPack,
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
    lengths: Array | None = None,
) -> tuple[Array, Array, Array, Array | list[Array] | None] | None: ...
