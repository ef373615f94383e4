"""Which tokens the rows of a prompt are like: the nearest rows of a model's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_cloud, check_whole
from tsloss_fast._engine.arrays import require_finite_points
from tsloss_fast.prompt.embedding import vocabulary
from tsloss_fast.prompt.rows import rows_of

# Numbers of one part of the vocabulary, and of its products with a part of the rows: 32 MiB each.
PART_NUMBERS = 2**22


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The tokens that are nearest to each row in one metric, the nearest first.

    Attributes
    ----------
    ids : Tensor, shape [..., n, k], int64
    distances : Tensor, shape [..., n, k], float64
    """

    ids: Tensor
    distances: Tensor


@dataclass(frozen=True, eq=False)
class NearestTokens:
    """The tokens that are nearest to each row of a prompt.

    Attributes
    ----------
    euclidean : Neighbours
        By the distance that the diagrams are made of.
    cosine : Neighbours
        By 1 - cos, which asks for a row's direction alone. A row of zeros has none: it is at
        distance 1 from all.
    """

    euclidean: Neighbours
    cosine: Neighbours


@torch.no_grad()
def nearest_tokens(prompt: Any, embedding: nn.Module | Tensor, k: int = 5) -> NearestTokens:
    """The `k` rows of a model's vocabulary that are nearest to each row of a prompt.

    Parameters
    ----------
    prompt : Tensor, SoftPrompt, PromptTunedLM or PEFT model
        [..., n, d], or what holds it, as `TopologyMonitor` takes it.
    embedding : nn.Module or Tensor of shape [V, d]
        The model, its ``get_input_embeddings()``, or a table. Some models multiply their table by
        a factor (Gemma by sqrt(d), BioGPT, Falcon-H1); the model gives rows as it multiplies them,
        which is what a prompt's rows stand beside. So does the module, except for Falcon-H1. A
        table is taken as it is.
    k : int, default 5
        Tokens for each row, of at most V.

    Returns
    -------
    NearestTokens
        On the CPU.

    Raises
    ------
    TypeError, ValueError
        For a wrong argument, or an embedding of another dimension; the message names it.

    Notes
    -----
    Exact: distances are in float64, those returned from differences of rows, so that a row that is
    a token's is at distance 0. Of equal rows of the vocabulary, such as unused tokens, which come
    first is open. The vocabulary is read in parts, which takes about 250 MB beside the model,
    however large it is.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> table = torch.tensor([[1.0, 0.0], [0.0, 1.0], [8.0, 1.0]])
    >>> nearest = tsl.nearest_tokens(torch.tensor([[3.0, 0.0]]), table, k=2)
    >>> nearest.euclidean.ids, nearest.euclidean.distances
    (tensor([[0, 1]]), tensor([[2.0000, 3.1623]], dtype=torch.float64))
    >>> nearest.cosine.ids
    tensor([[0, 2]])
    """
    prompt = rows_of(prompt)
    check_cloud(prompt, "prompt")
    require_finite_points(prompt, "prompt")
    lead, d = prompt.shape[:-1], prompt.shape[-1]
    size, table = vocabulary(embedding, d)
    k = check_whole(k, "k", least=1, most=size)
    rows = prompt.reshape(-1, d)  # [n, d]
    euclidean, cosine = _Least(len(rows), k), _Least(len(rows), k)
    for ids in _parts(size, d):
        part = table(ids).to("cpu", torch.float64)  # [C, d]
        squares = part.square().sum(-1)  # [C]
        lengths = squares.sqrt().where(squares > 0, torch.inf)
        for place in _parts(len(rows), len(ids)):
            products = rows[place].double() @ part.T  # [R, C]
            # A row's own length changes no order.
            euclidean.offer(place, ids, squares - 2 * products)
            cosine.offer(place, ids, -products / lengths)
    return NearestTokens(
        *(
            Neighbours(ids.reshape(*lead, k), distances.reshape(*lead, k))
            for ids, distances in (
                _measured(rows, euclidean.ids, table, _euclidean),
                _measured(rows, cosine.ids, table, _cosine),
            )
        )
    )


def _parts(count: int, width: int) -> Iterator[Tensor]:
    """The numbers below `count` in parts of so many that their rows have `PART_NUMBERS`."""
    return iter(torch.arange(count).split(max(1, PART_NUMBERS // width)))


class _Least:
    """The ids of the `k` least values offered so far for each row."""

    def __init__(self, n: int, k: int) -> None:
        self.values = torch.full((n, k), torch.inf, dtype=torch.float64)
        self.ids = torch.zeros((n, k), dtype=torch.int64)

    def offer(self, place: Tensor, ids: Tensor, values: Tensor) -> None:
        """Take up the values [R, C] of the rows `place` [R] for `ids` [C]."""
        k = self.ids.shape[1]
        values, columns = values.topk(min(k, len(ids)), largest=False)
        values = torch.cat((self.values[place], values), dim=1)
        known = torch.cat((self.ids[place], ids[columns]), dim=1)
        self.values[place], columns = values.topk(k, largest=False)
        self.ids[place] = known.gather(1, columns)


def _measured(
    rows: Tensor,
    ids: Tensor,
    table: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The ids [n, k] in the order of their distances, and these."""
    ids = ids.sort(dim=1).values
    distances = torch.empty(ids.shape, dtype=torch.float64)
    for place in _parts(len(rows), ids.shape[1] * rows.shape[1]):
        tokens = table(ids[place]).to("cpu", torch.float64)  # [R, k, d]
        distances[place] = distance(rows[place].double().unsqueeze(1), tokens)
    distances, order = distances.sort(dim=1, stable=True)
    return ids.gather(1, order), distances


def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum(-1).sqrt()


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    x_length, y_length = x.norm(dim=-1), y.norm(dim=-1)
    has_angle = (x_length > 0) & (y_length > 0)
    # Half the squared distance of the unit rows keeps the digits of small angles.
    units: Tensor = x / x_length.unsqueeze(-1) - y / y_length.unsqueeze(-1)
    return (units.square().sum(-1) / 2).where(has_angle, 1.0)
