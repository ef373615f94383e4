"""The operators of the engine, one per idea, as `torch.ops.tsloss_fast.*`.

Each operator stands here whole: its CPU kernel (a call into the compiled module), its shapes for
tracing, and its gradient. Leading batch dimensions are free. Inputs are float32 or float64.

The combinatorial operators return integers and have no gradient: lengths are gathered from the
points on the critical edges, so gradients are exact for the chosen pairing and take O(bars) memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.validation import describe

try:
    import tsloss_fast._C as _C
except ImportError as error:
    raise ImportError(
        "tsloss_fast._C, the compiled module, is missing or does not load. Build it with "
        "`pip install .` (or `pip install -e .` to work on it) in the source folder; that needs "
        f"a C++17 compiler. The cause: {error}"
    ) from error

custom_op = torch.library.custom_op


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, for which the operators are; anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _batch(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[:-2])


def _flat(x: Tensor, trailing: int = 2) -> Any:
    """The NumPy view [B, ...] of a tensor [..., ...] that the compiled module reads."""
    lead = math.prod(x.shape[: x.ndim - trailing])
    return x.detach().reshape(lead, *x.shape[x.ndim - trailing :]).contiguous().numpy()


def _unflat(array: Any, batch: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(array).reshape((*batch, *array.shape[1:]))


def _require_finite(result: Any, x: Tensor, name: str) -> None:
    """Raise a ValueError with the cause if `result`, computed from all distances, is not finite.

    Every NaN or infinity among the points reaches the distances, so the points themselves are
    looked at only once something is wrong.
    """
    if _C.first_nonfinite(result) < 0:
        return
    require_finite_points(x, name)
    dtype = describe(x).split()[0]
    raise ValueError(
        f"{name}: expected rows whose distances and loss {dtype} can hold, got an overflow"
    )


def require_finite_points(x: Tensor, name: str = "x") -> None:
    """Raise a ValueError that names the first NaN or infinity of `x` [..., n, d]."""
    flat = _flat(x)
    index = _C.first_nonfinite(flat)
    if index < 0:
        return
    value = flat.reshape(-1)[index]
    where = ", ".join(str(int(k)) for k in torch.unravel_index(torch.tensor(index), x.shape))
    raise ValueError(f"{name}: expected finite values, got {name}[{where}] = {value}")


def require_distance_matrix(D: Tensor) -> None:
    """Raise a ValueError that names the first entry of ``D`` [..., n, n] that is at fault."""
    flat = _flat(D)
    fault = _C.first_matrix_fault(flat)
    if fault is None:
        return
    what, b, i, j = fault
    lead = "".join(f"{int(k)}, " for k in torch.unravel_index(torch.tensor(b), _batch(D)))
    raise ValueError(
        f"x: expected a symmetric, finite, non-negative matrix with zero diagonal, got one that is "
        f"{what}: x[{lead}{i}, {j}] = {flat[b, i, j]}, x[{lead}{j}, {i}] = {flat[b, j, i]}"
    )


@custom_op("tsloss_fast::scatter_differences", mutates_args=())
def scatter_differences(x: Tensor, weights: Tensor) -> Tensor:
    """``out_i = sum_j weights_ij (x_i - x_j)``: the gradient of a function of the distances."""
    out = _C.scatter_differences(_flat(x), _flat(weights), torch.get_num_threads())
    return _unflat(out, _batch(x))


@scatter_differences.register_fake
def _(x: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _scatter_differences_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _scatter_differences_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weights = ctx.saved_tensors
    # The transpose of the map x -> out is the same sum with the transposed weights, row by row.
    rows, columns = weights.sum(-1, keepdim=True), weights.mT
    grad_x = rows * grad - columns @ grad
    grad_weights = (grad * x).sum(-1, keepdim=True) - grad @ x.mT
    return grad_x, grad_weights


scatter_differences.register_autograd(
    _scatter_differences_backward, setup_context=_scatter_differences_context
)


@custom_op("tsloss_fast::pairwise_distances", mutates_args=())
def pairwise_distances(x: Tensor) -> Tensor:
    """Euclidean distances [..., n, n] of the rows of ``x`` [..., n, d]."""
    D = _C.distances(_flat(x), torch.get_num_threads())
    _require_finite(D, x, "x")
    return _unflat(D, _batch(x))


@pairwise_distances.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-2])


def _pairwise_distances_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _pairwise_distances_backward(ctx: Any, grad: Tensor) -> Tensor:
    x, D = ctx.saved_tensors
    weights = _divide_or_zero(grad + grad.mT, D)
    return scatter_differences(x, weights)


def _divide_or_zero(slopes: Tensor, lengths: Tensor) -> Tensor:
    """slopes / lengths, and 0 where the length is 0: the gradient at coincident points."""
    coincident = lengths == 0
    return (slopes / lengths.masked_fill(coincident, 1)).masked_fill(coincident, 0)


pairwise_distances.register_autograd(
    _pairwise_distances_backward, setup_context=_pairwise_distances_context
)


@custom_op("tsloss_fast::scatter_edges", mutates_args=())
def scatter_edges(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """Add ``weights_k (x_i - x_j)`` to row i and take it from row j, for each edge (i, j)."""
    out = _C.scatter_edges(_flat(x), _flat(edges), _flat(weights, 1), torch.get_num_threads())
    return _unflat(out, _batch(x))


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


scatter_edges.register_autograd(_scatter_edges_backward, setup_context=_scatter_edges_context)


@custom_op("tsloss_fast::edge_lengths", mutates_args=())
def edge_lengths(x: Tensor, edges: Tensor) -> Tensor:
    """``||x_i - x_j||`` for the edges (i, j) [..., K, 2]; padding -1 gives 0. Shape [..., K]."""
    lengths = _C.edge_lengths(_flat(x), _flat(edges), torch.get_num_threads())
    return _unflat(lengths, _batch(x))


@edge_lengths.register_fake
def _(x: Tensor, edges: Tensor) -> Tensor:
    return x.new_empty(edges.shape[:-1])


def _edge_lengths_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _edge_lengths_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    x, edges, lengths = ctx.saved_tensors
    return scatter_edges(x, edges, _divide_or_zero(grad, lengths)), None


edge_lengths.register_autograd(_edge_lengths_backward, setup_context=_edge_lengths_context)


@custom_op("tsloss_fast::h0_critical_edges", mutates_args=())
def h0_critical_edges(D: Tensor) -> Tensor:
    """The bars of H0 in filtration order, int64 [..., n-1, 3]: the dying vertex v, and (i, j)."""
    return _unflat(_C.h0(_flat(D), torch.get_num_threads()), _batch(D))


@h0_critical_edges.register_fake
def _(D: Tensor) -> Tensor:
    return D.new_empty(*_batch(D), D.shape[-1] - 1, 3, dtype=torch.int64)


@custom_op("tsloss_fast::h1_critical_edges", mutates_args=())
def h1_critical_edges(D: Tensor) -> tuple[Tensor, Tensor]:
    """The bars of H0 as above, and those of H1, int64 [..., K, 4]: birth (i, j), death (i, j).

    H1 is ordered by death, then birth; zero-length bars are left out; -1 pads to the longest.
    """
    h0, h1 = _C.h1(_flat(D), torch.get_num_threads())
    return _unflat(h0, _batch(D)), _unflat(h1, _batch(D))


@h1_critical_edges.register_fake
def _(D: Tensor) -> tuple[Tensor, Tensor]:
    bars = torch.library.get_ctx().new_dynamic_size()
    h1 = D.new_empty(*_batch(D), bars, 4, dtype=torch.int64)
    return D.new_empty(*_batch(D), D.shape[-1] - 1, 3, dtype=torch.int64), h1


@custom_op("tsloss_fast::persistence_loss", mutates_args=())
def persistence_loss(
    prompt: Tensor,
    h0_weight: float,
    h1_weight: float,
    h1_power: float,
    scale_by_mean: bool,
    max_dim: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """TSLoss from the exact diagrams: (loss, L_H0, L_H1) [...] and the loss's slope [..., n, d].

    With ``max_dim=0`` H1 is not computed and its term is 0.
    """
    results = _C.persistence_loss(
        _flat(prompt), h0_weight, h1_weight, h1_power, scale_by_mean, max_dim, True,
        torch.get_num_threads(),
    )  # fmt: skip
    return _loss_outputs(prompt, results)


@custom_op("tsloss_fast::surrogate_loss", mutates_args=())
def surrogate_loss(
    prompt: Tensor,
    h0_weight: float,
    h1_weight: float,
    tau: float,
    alpha: float,
    lambda_repel: float,
    lambda_attract: float,
    scale_by_mean: bool,
    self_pairs: bool,
    detach_scales: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """TSLoss by the paper's Eq. 1 to 6: (loss, L_H0, L_H1) [...] and the loss's slope."""
    results = _C.surrogate_loss(
        _flat(prompt), h0_weight, h1_weight, tau, alpha, lambda_repel, lambda_attract,
        scale_by_mean, self_pairs, detach_scales, True, torch.get_num_threads(),
    )  # fmt: skip
    return _loss_outputs(prompt, results)


def _loss_outputs(
    prompt: Tensor, results: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    _require_finite(results[0], prompt, "prompt")
    batch = _batch(prompt)
    loss, h0, h1 = (_unflat(array, batch) for array in results[:3])
    return loss, h0, h1, None if results[3] is None else _unflat(results[3], batch)


def _loss_fake(x: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    slope = torch.empty_like(x, memory_format=torch.contiguous_format)
    return (*(x.new_empty(_batch(x)) for _ in range(3)), slope)  # type: ignore[return-value]


def _loss_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, h0, h1, slope = output
    ctx.mark_non_differentiable(h0, h1, slope)
    ctx.save_for_backward(slope)
    ctx.options = len(inputs) - 1


def _loss_backward(ctx: Any, grad: Tensor, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    # Only create_graph=True leaves gradients on here, and the saved slope could not follow it.
    if torch.is_grad_enabled():
        raise RuntimeError(
            "TSLoss is differentiable once. For second derivatives build the loss from "
            "tsloss_fast.rips_persistence or tsloss_fast.pairwise_distances."
        )
    (slope,) = ctx.saved_tensors
    factors = grad[..., None, None] if grad.ndim else grad
    return factors * slope, *([None] * ctx.options)


class _EagerLoss(torch.autograd.Function):
    """A loss of the engine without the operator around it, which takes longer than 20 points do."""

    @staticmethod
    def forward(ctx: Any, prompt: Tensor, kernel: Any, *options: Any) -> tuple[Tensor, ...]:
        results = kernel(_flat(prompt), *options, True, torch.get_num_threads())
        output = _loss_outputs(prompt, results)
        _loss_context(ctx, (prompt, kernel, *options), output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _loss_backward(ctx, *grads)


def _is_plain(x: Tensor) -> bool:
    """Whether `x` is an ordinary CPU tensor that nothing traces, maps over or wraps."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def loss_terms(mode: str, prompt: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, L_H0, L_H1) of `persistence_loss` or `surrogate_loss`, by the shortest way to it.

    Without need of a gradient none is computed.
    """
    operator, kernel = {
        "persistence": (persistence_loss, _C.persistence_loss),
        "surrogate": (surrogate_loss, _C.surrogate_loss),
    }[mode]
    if not _is_plain(prompt):
        return operator(prompt, *options)[:3]
    if prompt.requires_grad and torch.is_grad_enabled():
        return _EagerLoss.apply(prompt, kernel, *options)[:3]
    results = kernel(_flat(prompt), *options, False, torch.get_num_threads())
    return _loss_outputs(prompt, results)[:3]


for _loss in (persistence_loss, surrogate_loss):
    _loss.register_fake(_loss_fake)
    _loss.register_autograd(_loss_backward, setup_context=_loss_context)
