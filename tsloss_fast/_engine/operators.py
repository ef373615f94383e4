"""The operators of the engine, one per idea, as `torch.ops.tsloss_fast.*`.

Each operator stands here: its CPU kernel (a call into the compiled module), its CUDA kernel (a
function of `cuda`), its shapes for tracing, its gradient, and how `torch.func.vmap` batches it.
Leading batch dimensions are free. Inputs are float32 or float64.

The combinatorial operators return integers and have no gradient: lengths are gathered from the
points on the critical edges, so gradients are exact for the chosen pairing and take O(bars) memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from tsloss_fast._checks import is_dense
from tsloss_fast._engine import cuda
from tsloss_fast._engine.arrays import (
    _C,
    batch_of,
    host_array,
    host_memory,
    raise_not_finite,
    require_distance_matrix,
    require_finite,
)
from tsloss_fast._engine.cuda_h1 import launch as cuda_h1
from tsloss_fast._engine.derivatives import register_derivatives
from tsloss_fast._engine.host_h1 import bar_tensors
from tsloss_fast._engine.padding import with_lengths
from tsloss_fast._engine.persistence_terms import persistence_terms

# "as" says that whoever imports this module finds them here, too.
from tsloss_fast._engine.plain import is_plain as is_plain
from tsloss_fast._engine.plain import is_plain_gradient, takes_derivatives
from tsloss_fast._engine.plain import is_tracing as is_tracing
from tsloss_fast._engine.plain import is_transformed as is_transformed
from tsloss_fast._engine.plain import shows_values as shows_values
from tsloss_fast._engine.plain import wants_gradient as wants_gradient
from tsloss_fast._engine.room import has_room, require_room, require_room_for_h1
from tsloss_fast._engine.scaling import scales_of

custom_op = torch.library.custom_op


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, for which the operators are; anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def fuses_persistence_loss(x: Tensor) -> bool:
    """Whether `persistence_loss` has a kernel for `x`: on CUDA it has several, or the host's H1."""
    return x.device.type != "cuda"


why_no_h1_on_device = cuda_h1.why_not
critical_edges_on_device = cuda.critical_edges_on_device


def fuses_surrogate_loss(x: Tensor, lengths: Tensor | None) -> bool:
    """Whether `surrogate_loss` has a kernel for `x`: on CUDA for clouds of as many points each."""
    return lengths is None or x.device.type != "cuda"


@custom_op("tsloss_fast::scatter_differences", mutates_args=(), device_types="cpu")
def scatter_differences(x: Tensor, weights: Tensor) -> Tensor:
    """``out_i = sum_j weights_ij (x_i - x_j)``: the gradient of a function of the distances."""
    out = _C.scatter_differences(host_array(x), host_array(weights), torch.get_num_threads())
    return torch.from_numpy(out)


@scatter_differences.register_fake
def _(x: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _scatter_differences_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _scatter_differences_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weights = ctx.saved_tensors
    # Where the loss is computed under autocast, a backward that is called there must not round.
    with torch.autocast(grad.device.type, enabled=False):
        # The transpose of x -> out is the same sum with the transposed weights, row by row.
        rows, columns = weights.sum(-1, keepdim=True), weights.mT
        grad_x = rows * grad - columns @ grad
        grad_weights = (grad * x).sum(-1, keepdim=True) - grad @ x.mT
    return grad_x, grad_weights


def _scatter_differences_jvp(inputs: Any, tangents: Any, output: Tensor) -> Tensor:
    x, weights = inputs
    along_x, along_weights = tangents
    return _total(
        None if along_x is None else scatter_differences(along_x, weights),
        None if along_weights is None else scatter_differences(x, along_weights),
    )


def _total(first: Tensor | None, second: Tensor | None) -> Tensor:
    """The sum of the two that are there."""
    if first is None:
        assert second is not None
        return second
    return first if second is None else first + second


register_derivatives(
    scatter_differences,
    _scatter_differences_context,
    _scatter_differences_backward,
    _scatter_differences_jvp,
)


@custom_op("tsloss_fast::pairwise_distances", mutates_args=(), device_types="cpu")
def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances [..., n, n] of the rows of ``x`` [..., n, d]."""
    return eager_distances(x)


def eager_distances(x: Tensor) -> Tensor:
    """`pairwise_distances` of a plain ``x``, out of its graph and without the operator."""
    require_room(x)
    D = _C.distances(host_array(x), torch.get_num_threads())
    require_finite(D, x, "x")
    return torch.from_numpy(D)


def distances_out_of_graph(x: Tensor) -> Tensor:
    """`pairwise_distances` of ``x``, out of its graph, by the shortest way to them."""
    x = x.detach()
    if is_plain(x):
        return eager_distances(x)
    return cuda.pairwise_distances(x) if is_plain(x, "cuda") else pairwise_distances(x)


@pairwise_distances.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-2])


def _pairwise_distances_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _pairwise_distances_backward(ctx: Any, grad: Tensor) -> Tensor:
    x, D = ctx.saved_tensors
    weights = _divide_or_zero(grad + grad.mT, D)
    out: Tensor = scatter_differences(x, weights)
    return out


def _divide_or_zero(slopes: Tensor, lengths: Tensor) -> Tensor:
    """slopes / lengths, and 0 where the length is 0: the gradient at coincident points.

    Nearer than this, 8e-34 in float32, points count as coincident: the quotient may be none that
    the dtype holds.
    """
    coincident = lengths < torch.finfo(lengths.dtype).tiny * 2**16
    return (slopes / lengths.masked_fill(coincident, 1)).masked_fill(coincident, 0)


def _pairwise_distances_jvp(inputs: Any, tangents: Any, D: Tensor) -> Tensor:
    return _divide_or_zero(_products_of_differences(*inputs, *tangents), D)


def _products_of_differences(x: Tensor, y: Tensor) -> Tensor:
    """``<x_i - x_j, y_i - y_j>`` [..., n, n], with all digits where rows nearly coincide."""
    rows = max(1, _BLOCK // max(1, x.numel()))
    blocks = [
        ((a.unsqueeze(-2) - x.unsqueeze(-3)) * (b.unsqueeze(-2) - y.unsqueeze(-3))).sum(-1)
        for a, b in zip(x.split(rows, -2), y.split(rows, -2), strict=True)
    ]
    return torch.cat(blocks, dim=-2)


# The differences that are held at once, in numbers: 64 MiB of float32.
_BLOCK = 2**24

register_derivatives(
    pairwise_distances,
    _pairwise_distances_context,
    _pairwise_distances_backward,
    _pairwise_distances_jvp,
)


@custom_op("tsloss_fast::scatter_edges", mutates_args=(), device_types="cpu")
def scatter_edges(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """Add ``weights_k (x_i - x_j)`` to row i and take it from row j, for each edge (i, j)."""
    return eager_scatter_edges(x, edges, weights)


def eager_scatter_edges(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """`scatter_edges` of plain tensors, without the operator."""
    out = _C.scatter_edges(
        host_array(x), host_array(edges), host_array(weights), torch.get_num_threads()
    )
    return torch.from_numpy(out)


@scatter_edges.register_fake
def _(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _scatter_edges_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _scatter_edges_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
    x, edges, weights = ctx.saved_tensors
    products = _edge_differences(grad, edges) * _edge_differences(x, edges)
    return scatter_edges(grad, edges, weights), None, products.sum(-1)


def _edge_differences(x: Tensor, edges: Tensor) -> Tensor:
    """x_i - x_j for each edge, [..., K, d]; padding -1 gives 0."""
    i, j = edges.clamp(min=0).unsqueeze(-1).expand(*edges.shape, x.shape[-1]).unbind(-2)
    return x.gather(-2, i) - x.gather(-2, j)


def _scatter_edges_jvp(inputs: Any, tangents: Any, output: Tensor) -> Tensor:
    x, edges, weights = inputs
    along_x, _, along_weights = tangents
    return _total(
        None if along_x is None else scatter_edges(along_x, edges, weights),
        None if along_weights is None else scatter_edges(x, edges, along_weights),
    )


register_derivatives(
    scatter_edges, _scatter_edges_context, _scatter_edges_backward, _scatter_edges_jvp
)


@custom_op("tsloss_fast::edge_lengths", mutates_args=(), device_types="cpu")
def edge_lengths(x: Tensor, edges: Tensor) -> Tensor:
    """``||x_i - x_j||`` for the edges (i, j) [..., K, 2]; padding -1 gives 0. Shape [..., K]."""
    lengths = _C.edge_lengths(host_array(x), host_array(edges), torch.get_num_threads())
    return torch.from_numpy(lengths)


@edge_lengths.register_fake
def _(x: Tensor, edges: Tensor) -> Tensor:
    return x.new_empty(edges.shape[:-1])


def _edge_lengths_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _edge_lengths_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    x, edges, lengths = ctx.saved_tensors
    return scatter_edges(x, edges, _divide_or_zero(grad, lengths)), None


def _edge_lengths_jvp(inputs: Any, tangents: Any, lengths: Tensor) -> Tensor:
    x, edges = inputs
    products = _edge_differences(x, edges) * _edge_differences(tangents[0], edges)
    return _divide_or_zero(products.sum(-1), lengths)


register_derivatives(edge_lengths, _edge_lengths_context, _edge_lengths_backward, _edge_lengths_jvp)


@custom_op("tsloss_fast::checked_matrix", mutates_args=())
def checked_matrix(D: Tensor) -> Tensor:
    """A copy of ``D`` [..., n, n] once its values are those of a distance matrix, out of graphs."""
    require_distance_matrix(D)
    return D.clone()


@checked_matrix.register_fake
def _(D: Tensor) -> Tensor:
    return torch.empty_like(D)


@custom_op("tsloss_fast::rips_bars", mutates_args=(), device_types="cpu")
def rips_bars(
    D: Tensor,
    max_dim: int,
    lengths: Tensor | None = None,
    max_edge_length: float | None = None,
    vertex_births: Tensor | None = None,
) -> list[Tensor]:
    """The bars of dimensions 0 to ``max_dim``, four tensors a dimension; see `Bars`.

    H0 has n - 1 bars in filtration order, and its oldest class never dies. H1 is ordered by death,
    then birth; zero-length bars are left out. ``lengths`` [...], int64, are the clouds' numbers of
    points, where not all have n: the first rows and columns of their matrices.

    With `max_edge_length`, which may be infinite, edges that are infinite or longer are absent, and
    more classes may never die: what is traced knows how many from its value alone.

    With `vertex_births` [..., n] in the dtype of ``D`` an edge enters no earlier than its vertices
    are born, and of two components' eldest vertices the one born later dies.
    """
    points, births = (None if x is None else host_array(x) for x in (lengths, vertex_births))
    threads = torch.get_num_threads()
    require_room_for_h1(D, max_dim, max_edge_length)
    found = _C.rips(
        host_array(D), max_dim, points, threads, max_edge_length=max_edge_length,
        vertex_births=births,
    )  # fmt: skip
    return bar_tensors(found)


@rips_bars.register_fake
def _(
    D: Tensor,
    max_dim: int,
    lengths: Tensor | None = None,
    max_edge_length: float | None = None,
    vertex_births: Tensor | None = None,
) -> list[Tensor]:
    def essential(of_all_edges: int) -> Any:
        missing = max_edge_length is not None
        return torch.library.get_ctx().new_dynamic_size() if missing else of_all_edges

    def dimension(K: Any, E: int) -> list[Tensor]:
        batch = batch_of(D)
        return [
            D.new_empty(*batch, K, 4, dtype=torch.int64),
            D.new_empty(*batch, K, dtype=torch.bool),
            D.new_empty(*batch, E, 2, dtype=torch.int64),
            D.new_empty(*batch, E, dtype=torch.bool),
        ]

    h0 = dimension(D.shape[-1] - 1, essential(1))
    if max_dim == 0:
        return h0
    return h0 + dimension(torch.library.get_ctx().new_dynamic_size(), essential(0))


class Bars(NamedTuple):
    """The bars of one homology dimension, padded to K a cloud, and its E classes that never die."""

    bars: Tensor  # [..., K, 4] int64: birth edge, death edge; -1 where padded
    mask: Tensor  # [..., K] bool
    essential_edges: Tensor  # [..., E, 2] int64: birth edges
    essential_mask: Tensor  # [..., E] bool


def bars_by_dimension(
    D: Tensor,
    max_dim: int,
    lengths: Tensor | None = None,
    max_edge_length: float | None = None,
    vertex_births: Tensor | None = None,
) -> list[Bars]:
    """`rips_bars`, its tensors put together by dimension."""
    parts = rips_bars(D, max_dim, lengths, max_edge_length, vertex_births)
    return [Bars(*parts[k : k + 4]) for k in range(0, len(parts), 4)]


def h0_critical_edges(D: Tensor) -> Tensor:
    """The bars of H0, int64 [..., n - 1, 4]."""
    bars: Tensor = rips_bars(D, 0)[0]
    return bars


def h1_critical_edges(D: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The bars of H0 and of H1, int64 [..., K, 4] each."""
    h0, h1 = rips_bars(D, 1, lengths)[::4]
    return h0, h1


@custom_op("tsloss_fast::persistence_loss", mutates_args=(), device_types="cpu")
def persistence_loss(
    prompt: Tensor,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The exact loss: (loss, L_H0, L_H1) [...] and the loss's gradient [..., n, d].

    ``lengths`` [...], int64, are the clouds' numbers of points, where not all have n.
    """
    options = (h0_weight, h1_weight, h1_power, scale_by_mean)
    return eager_persistence_loss(prompt, True, lengths, *options)


def eager_persistence_loss(
    prompt: Tensor, with_gradient: bool, lengths: Tensor | None, *options: Any
) -> tuple[Any, ...]:
    """`persistence_loss` of an ordinary CPU tensor, without the operator around it."""
    require_room(prompt, "prompt", each_thread=True, h1=True)
    # mypy takes the options for all that follows.
    results = _C.persistence_loss(  # type: ignore[call-arg]
        host_memory(prompt), *options, with_gradient, torch.get_num_threads(), *_counts(lengths)
    )
    return _loss_outputs(prompt, results)


def _counts(lengths: Tensor | None) -> tuple[Any, ...]:
    """The last arguments of the engine's losses: the instruction set, and the numbers of points."""
    return () if lengths is None else ("auto", host_array(lengths))


@custom_op("tsloss_fast::gradient_for_once", mutates_args=())
def gradient_for_once(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of a loss at ``x``, known as numbers: an error where they are derived by x."""
    return gradient.clone()


@gradient_for_once.register_fake
def _(gradient: Tensor, x: Tensor) -> Tensor:
    return torch.empty_like(gradient)


def _gradient_for_once_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    if ctx.needs_input_grad[1]:
        raise _only_once()
    return grad, None


def _gradient_for_once_jvp(inputs: Any, tangents: Any, output: Tensor) -> Any:
    if tangents[1] is not None:
        raise _only_once()
    return tangents[0]


def _once(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient_for_once` where something may derive the gradient at all."""
    derived = torch.is_grad_enabled() or takes_derivatives()
    return gradient_for_once(gradient, x) if derived else gradient


def _only_once() -> RuntimeError:
    return RuntimeError(
        "TSLoss is differentiable once. For second derivatives build the loss from "
        "tsloss_fast.rips_persistence or tsloss_fast.pairwise_distances."
    )


register_derivatives(
    gradient_for_once,
    lambda ctx, inputs, output: None,
    _gradient_for_once_backward,
    _gradient_for_once_jvp,
)


@custom_op("tsloss_fast::loss_of_edges", mutates_args=(), device_types="cpu")
def loss_of_edges(
    x: Tensor,
    D: Tensor,
    edges: Tensor,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    points: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`persistence_loss` once its critical edges are known: (loss, L_H0, L_H1) [...].

    ``D`` [..., n, n] are the distances of ``x``, and ``edges`` [..., n - 1 + 2 K, 2] the deaths of
    H0, the births of H1 and its deaths, -1 where padded. Also returns what the gradient is made of:
    the factors [..., n - 1 + 2 K] of the edges, for `scatter_edges`, and the scales [...].
    `points` [...] are the clouds' numbers of points, where not all have n: then ``D`` is 0 behind
    them.
    """
    lengths = _C.edge_lengths(host_array(x), host_array(edges), torch.get_num_threads())
    scales = scales_of(D, scale_by_mean, points)
    terms = persistence_terms(
        torch.from_numpy(lengths), x.shape[-2], h0_weight, h1_weight, h1_power, scales, points
    )
    return *terms, scales


@loss_of_edges.register_fake
def _(x: Tensor, D: Tensor, edges: Tensor, *options: Any) -> tuple[Tensor, ...]:
    batch = batch_of(x)
    terms = (x.new_empty(batch) for _ in range(3))
    return *terms, x.new_empty(edges.shape[:-1]), x.new_empty(batch, dtype=torch.float64)


def _loss_of_edges_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, _, edges, *options = inputs
    _, h0, h1, weights, scales = output
    ctx.mark_non_differentiable(h0, h1, weights, scales)
    ctx.save_for_backward(x, edges, weights, scales)
    ctx.options = len(options)


def _loss_of_edges_backward(
    ctx: Any, grad: Tensor, *unused: Tensor | None
) -> tuple[Tensor | None, ...]:
    x, edges, weights, scales = ctx.saved_tensors
    gradient = _once(scatter_edges(x.detach(), edges, weights), x)
    return gradient * _factors(grad, scales, x), None, None, *([None] * ctx.options)


def _factors(grad: Tensor, scales: Tensor | None, x: Tensor) -> Tensor:
    """By what the gradient on the edges is multiplied, [..., 1, 1].

    At the end, for the product of a scale and the factors of the edges may leave the range of
    float32 for clouds that are tiny or huge.
    """
    return (grad if scales is None else grad * scales).to(x.dtype)[..., None, None]


def _loss_of_edges_jvp(
    inputs: Any, tangents: Any, outputs: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    x, _, edges, *_ = inputs
    *_, weights, scales = outputs
    gradient = _once(scatter_edges(x.detach(), edges, weights), x)
    along = (gradient * tangents[0]).sum((-2, -1)) * scales
    return along.to(x.dtype), None, None, None, None


register_derivatives(
    loss_of_edges, _loss_of_edges_context, _loss_of_edges_backward, _loss_of_edges_jvp
)


@custom_op(
    "tsloss_fast::surrogate_loss",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor prompt, float h0_weight, float h1_weight, float tau, float alpha, "
    "float lambda_repel, float lambda_attract, bool scale_by_mean, bool self_pairs, "
    "bool detach_scales, Tensor? lengths=None) -> (Tensor, Tensor, Tensor, Tensor)",
)
def surrogate_loss(prompt: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss by the paper's Eq. 1 to 6: (loss, L_H0, L_H1) [...] and the loss's gradient.

    ``lengths`` [...], int64, are the clouds' numbers of points, where not all have n.
    """
    *others, lengths = with_lengths(options, 10)
    return eager_surrogate_loss(prompt, True, lengths, *others)


def eager_surrogate_loss(
    prompt: Tensor, with_gradient: bool, lengths: Tensor | None, *options: Any
) -> tuple[Any, ...]:
    """`surrogate_loss` of an ordinary CPU tensor, without the operator around it."""
    require_room(prompt, "prompt", matrices=2, each_thread=True)
    # mypy takes the options for all that follows.
    results = _C.surrogate_loss(  # type: ignore[call-arg]
        host_memory(prompt), *options, with_gradient, torch.get_num_threads(), *_counts(lengths)
    )
    return _loss_outputs(prompt, results)


def _loss_outputs(
    prompt: Tensor, results: tuple[Any, ...] | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    if results is None:
        raise_not_finite(prompt, "prompt")
    losses, h0, h1, gradient = results
    return (
        torch.from_numpy(losses),
        torch.from_numpy(h0),
        torch.from_numpy(h1),
        None if gradient is None else torch.from_numpy(gradient),
    )


def _loss_fake(x: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gradient = torch.empty_like(x, memory_format=torch.contiguous_format)
    loss, h0, h1 = (x.new_empty(batch_of(x)) for _ in range(3))
    return loss, h0, h1, gradient


def _loss_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, h0, h1, gradient = output
    ctx.mark_non_differentiable(h0, h1, gradient)
    ctx.save_for_backward(inputs[0], gradient)
    ctx.options = len(inputs) - 1


def _loss_backward(ctx: Any, grad: Tensor, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    prompt, gradient = ctx.saved_tensors
    return grad[..., None, None] * _once(gradient, prompt), *([None] * ctx.options)


def _loss_jvp(inputs: Any, tangents: Any, outputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    gradient = _once(outputs[3], inputs[0])
    return (gradient * tangents[0]).sum((-2, -1)), None, None, None


def _require_once() -> None:
    """Refuse a second derivative, which what was saved for the first could not follow."""
    # Only create_graph=True leaves gradients on in a backward.
    if torch.is_grad_enabled():
        raise _only_once()


class _EagerLoss(torch.autograd.Function):
    """A loss without the operator around it, which takes longer than the engine for 20 points."""

    @staticmethod
    def forward(ctx: Any, prompt: Tensor, results: tuple[Tensor, Tensor]) -> Tensor:
        loss, gradient = results
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _require_once()
        (gradient,) = ctx.saved_tensors
        # In a sum of losses the factor is 1, so the saved gradient is returned as it is, without
        # a copy, where no other backward can ask for it. On a device the factor is not looked at,
        # for that would wait.
        if grad.ndim == 0 and is_plain_gradient(grad) and not _keeps_graph() and grad.item() == 1:
            return gradient, None
        return (grad[..., None, None] if grad.ndim else grad) * gradient, None


_READ_DIRECTLY = (torch.float32, torch.float64)

# torch has no public question for this. A release without it is taken to keep every graph.
_keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


Compute = Callable[..., tuple[Any, ...]]


class _EagerLossOfEach(torch.autograd.Function):
    """As `_EagerLoss`, of clouds that are tensors of their own."""

    @staticmethod
    def forward(ctx: Any, results: tuple[Tensor, list[Tensor]], *clouds: Tensor) -> Tensor:
        loss, gradients = results
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _require_once()
        if grad.ndim == 0 and is_plain_gradient(grad) and not _keeps_graph() and grad.item() == 1:
            return None, *ctx.saved_tensors
        factors = grad.unbind() if grad.ndim else [grad] * len(ctx.saved_tensors)
        found = (factor * each for factor, each in zip(factors, ctx.saved_tensors, strict=True))
        return None, *found


def loss_terms_of_each(
    operator: Any, sums: bool, clouds: list[Tensor], *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """`loss_terms` of plain clouds [m, d] that differ in size, without a padded copy of them."""
    largest = max(clouds, key=len)
    require_room(largest, "prompt", matrices=2, h1=operator is persistence_loss)
    with_gradient = any(map(wants_gradient, clouds))
    arrays = [host_array(cloud) for cloud in clouds]
    losses, *terms, gradients = _COMPILED[operator](
        arrays, *options, with_gradient, torch.get_num_threads()
    )
    b = _C.first_nonfinite(losses)
    if b >= 0:
        raise_not_finite(clouds[b], f"prompt[{b}]")
    loss, h0, h1 = (torch.from_numpy(part) for part in (losses, *terms))
    loss = loss.sum() if sums else loss
    if with_gradient:
        each = [torch.from_numpy(gradient) for gradient in gradients]
        # torch has no types for `apply`.
        loss = _EagerLossOfEach.apply((loss, each), *clouds)  # type: ignore[no-untyped-call]
    return loss, h0, h1


# What computes the loss: in the compiled module, and of an ordinary tensor without the operator, on
# the CPU and on CUDA.
_COMPILED: dict[Any, Callable[..., Any]] = {
    persistence_loss: _C.persistence_loss,
    surrogate_loss: _C.surrogate_loss,
}
_ON_CPU: dict[Any, Compute] = {
    persistence_loss: eager_persistence_loss,
    surrogate_loss: eager_surrogate_loss,
}
_ON_CUDA: dict[Any, Compute] = {surrogate_loss: cuda.eager_surrogate_loss}


def loss_terms(
    operator: Any, sums: bool, prompt: Tensor, *options: Any, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, L_H0, L_H1) of an operator such as `persistence_loss`, by the shortest way to it.

    The loss is summed over the clouds where `sums` says so. Without need of a gradient none is
    computed. ``lengths`` [...] are the clouds' numbers of points, where not all have n.
    """
    if is_plain(prompt):
        compute = _ON_CPU[operator]
    elif is_plain(prompt, "cuda") and operator in _ON_CUDA:
        compute = _ON_CUDA[operator]
    else:
        counts = () if lengths is None else (lengths,)
        loss, h0, h1, _ = operator(prompt, *options, *counts)
        return loss.sum() if sums else loss, h0, h1
    with_gradient = wants_gradient(prompt)
    loss, h0, h1, gradient = compute(prompt, with_gradient, lengths, *options)
    return _in_graph(prompt, with_gradient, sums, loss, gradient), h0, h1


def is_usual_cloud(prompt: Any) -> bool:
    """Whether `loss_terms_at_once` may be asked of what nobody has looked at."""
    return (
        is_plain(prompt)
        and prompt.dtype in _READ_DIRECTLY
        and is_dense(prompt)
        and prompt.ndim > 1
        and prompt.numel() > 0
        and has_room(prompt)
    )


def loss_terms_at_once(
    operator: Any, sums: bool, prompt: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor] | None:
    """`loss_terms` of a usual cloud that nobody has looked at further, or None.

    For 20 points to ask every question from Python takes a quarter of the time. So the compiled
    module asks the others, and whoever gets None has to, and to raise the errors.
    """
    with_gradient = wants_gradient(prompt)
    results = _COMPILED[operator](
        to_dlpack(prompt), *options, with_gradient, torch.get_num_threads()
    )
    if results is None:
        return None
    loss, h0, h1, gradient = _loss_outputs(prompt, results)
    return _in_graph(prompt, with_gradient, sums, loss, gradient), h0, h1


def _in_graph(
    prompt: Tensor, with_gradient: bool, sums: bool, loss: Tensor, gradient: Tensor | None
) -> Tensor:
    if sums and loss.ndim:
        loss = loss.sum()
    if with_gradient:
        # torch has no types for `apply`.
        loss = _EagerLoss.apply(prompt, (loss, gradient))  # type: ignore[no-untyped-call]
    return loss


class _EagerLossOfEdges(torch.autograd.Function):
    """`loss_of_edges` of CUDA points without the operator around it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, D: Tensor, edges: Tensor, *options: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        loss, h0, h1, weights, scales = cuda.eager_loss_of_edges(x, D, edges, *options)
        ctx.mark_non_differentiable(h0, h1)
        # Nor are zeros made for their gradients, each by a launch.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, edges, weights, scales)
        ctx.options = len(options)
        return loss, h0, h1

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: None) -> tuple[Tensor | None, ...]:
        _require_once()
        x, edges, weights, scales = ctx.saved_tensors
        if is_plain_gradient(grad, x.device.type):
            gradient = cuda.scaled_scatter_edges(x, edges, weights, grad, scales)
        else:
            scatter = scatter_edges if is_transformed() else cuda.scatter_edges
            gradient = scatter(x, edges, weights) * _factors(grad, scales, x)
        return gradient, None, None, *([None] * ctx.options)


def exact_terms_on_edges(
    x: Tensor, D: Tensor, edges: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, L_H0, L_H1) of `loss_of_edges`, by the shortest way to it."""
    if is_transformed():
        loss, h0, h1, *_ = loss_of_edges(x, D, edges, *options)
    else:
        # torch has no types for `apply`.
        found = _EagerLossOfEdges.apply(x, D, edges, *options)  # type: ignore[no-untyped-call]
        loss, h0, h1 = found
    return loss, h0, h1


class _EagerEdgeLengths(torch.autograd.Function):
    """`edge_lengths`, whose values are known, without the operator around it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, edges: Tensor, lengths: tuple[Tensor]) -> Tensor:
        ctx.save_for_backward(x, edges, lengths[0])
        return lengths[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, edges, lengths = ctx.saved_tensors
        # With create_graph=True the operator's own derivatives are needed.
        scatter = eager_scatter_edges if is_plain_gradient(grad) else scatter_edges
        return scatter(x, edges, _divide_or_zero(grad, lengths)), None, None


class _EagerEdgeLengthsOfEach(torch.autograd.Function):
    """As `_EagerEdgeLengths`, of clouds that are tensors of their own."""

    @staticmethod
    def forward(ctx: Any, edges: Tensor, lengths: tuple[Tensor], *clouds: Tensor) -> Tensor:
        ctx.save_for_backward(edges, lengths[0], *clouds)
        return lengths[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        edges, lengths, *clouds = ctx.saved_tensors
        weights = _divide_or_zero(grad, lengths)
        scatter = eager_scatter_edges if is_plain_gradient(grad) else scatter_edges
        found = (
            scatter(x, edges[b], weights[b]) if ctx.needs_input_grad[b + 2] else None
            for b, x in enumerate(clouds)
        )
        return None, None, *found


def measured_edges_of_each(clouds: list[Tensor], edges: Tensor, lengths: Tensor) -> Tensor:
    """``lengths`` [B, M] of ``edges`` [B, M, 2] in the graph of plain clouds, one each."""
    # torch has no types for `apply`.
    out: Tensor = _EagerEdgeLengthsOfEach.apply(  # type: ignore[no-untyped-call]
        edges, (lengths,), *clouds
    )
    return out


def measured_edges(x: Tensor, edges: Tensor, lengths: Tensor) -> Tensor:
    """``lengths`` of ``edges`` as `edge_lengths` of ``x``, for a plain ``x`` with a gradient."""
    # torch has no types for `apply`.
    out: Tensor = _EagerEdgeLengths.apply(x, edges, (lengths,))  # type: ignore[no-untyped-call]
    return out


def eager_diagrams(D: Tensor, max_dim: int) -> list[list[Tensor]]:
    """Births, deaths, birth edges, death edges and mask of each dimension of a plain ``D``."""
    names = ("births", "deaths", "birth_edges", "death_edges", "mask")
    found = _C.rips(host_array(D), max_dim, None, torch.get_num_threads())
    return [[torch.from_numpy(getattr(diagram, name)) for name in names] for diagram in found]


for _loss in (persistence_loss, surrogate_loss):
    _loss.register_fake(_loss_fake)
    register_derivatives(_loss, _loss_context, _loss_backward, _loss_jvp)


def _batched(op: Any) -> Any:
    """The rule of `torch.func.vmap`: the batch becomes one more leading dimension."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        moved = [
            _leading(value, dim, info.batch_size)
            for value, dim in zip(inputs, in_dims, strict=True)
        ]
        outputs = op(*moved)
        return outputs, 0 if isinstance(outputs, Tensor) else type(outputs)([0] * len(outputs))

    return rule


def _leading(value: Any, dim: int | None, batch: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.expand(batch, *value.shape) if dim is None else value.movedim(dim, 0)


# persistence_loss has none, see fuses_persistence_loss.
_CUDA_KERNELS = {
    pairwise_distances: cuda.pairwise_distances,
    scatter_differences: cuda.scatter_differences,
    edge_lengths: cuda.edge_lengths,
    scatter_edges: cuda.scatter_edges,
    rips_bars: cuda.rips_bars,
    loss_of_edges: cuda.loss_of_edges,
    surrogate_loss: cuda.surrogate_loss,
}
for _op, _kernel in _CUDA_KERNELS.items():
    _op.register_kernel("cuda")(_kernel)
for _op in (*_CUDA_KERNELS, persistence_loss, gradient_for_once, checked_matrix):
    _op.register_vmap(_batched(_op))
