"""SoftPrompt: the tuned rows, and what they start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_number, check_whole
from tsloss_fast.prompt.embedding import vocabulary
from tsloss_fast.prompt.saved import read_rows, write_adapter

INITS = ("normal", "vocab", "text")


class SoftPrompt(nn.Module):
    """The tuned rows that stand in front of a language model's input.

    Parameters
    ----------
    n_tokens : int
        Number of rows, ``n``.
    dim : int
        Dimension of a row, ``d``: the width of the model's embeddings.
    init : {"normal", "vocab", "text"} or Tensor of shape [n, d], default "normal"
        ``"normal"`` draws N(0, std^2), the paper's start. ``"vocab"`` copies ``n`` different rows
        of ``embedding``, drawn at random. ``"text"`` copies the rows of ``embedding`` named by
        ``token_ids``, which are repeated from their start when fewer than ``n`` and cut after ``n``
        when more, so one repeated token gives ``n`` identical rows. A tensor is copied.
    std : float, default 0.02
        Standard deviation of ``"normal"``.
    embedding : nn.Module or Tensor of shape [V, d], optional
        What ``"vocab"`` and ``"text"`` take rows from: the model, its ``get_input_embeddings()``,
        or a table. Some models multiply their table by a factor (Gemma by sqrt(d), BioGPT,
        Falcon-H1); the model gives rows as it multiplies them, so that ``init="text"`` starts
        where the same text as a hard prompt does. So does the module, except for Falcon-H1, which
        multiplies elsewhere. A table is taken as it is.
    token_ids : sequence of int, optional
        What ``"text"`` starts from.
    generator : torch.Generator on the CPU, optional
        Seeds ``"normal"`` and ``"vocab"``; without it the global generator is drawn from.

    Attributes
    ----------
    weight : nn.Parameter of shape [n, d], float32
        Always float32, also beside a half-precision model.

    Raises
    ------
    TypeError, ValueError
        For a wrong argument; the message names it.

    Examples
    --------
    >>> import torch
    >>> prompt = SoftPrompt(4, 8, generator=torch.Generator().manual_seed(0))
    >>> prompt(batch_size=3).shape
    torch.Size([3, 4, 8])
    >>> table = torch.arange(6.0).reshape(3, 2)
    >>> SoftPrompt(3, 2, init="text", embedding=table, token_ids=[2, 0]).weight.tolist()
    [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    """

    def __init__(
        self,
        n_tokens: int,
        dim: int,
        init: str | Tensor = "normal",
        std: float = 0.02,
        *,
        embedding: Tensor | nn.Module | None = None,
        token_ids: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_tokens = check_whole(n_tokens, "n_tokens", least=1)
        dim = check_whole(dim, "dim", least=1)
        if isinstance(init, Tensor):
            rows = _rows_from_tensor(init, n_tokens, dim)
        elif init == "normal":
            rows = _rows_from_normal(n_tokens, dim, std, generator)
        elif init == "vocab":
            size, rows_of = _vocabulary(embedding, dim, init)
            rows = rows_of(_ids_from_vocab(size, n_tokens, generator))
        elif init == "text":
            size, rows_of = _vocabulary(embedding, dim, init)
            rows = rows_of(_ids_from_text(size, n_tokens, token_ids))
        else:
            raise ValueError(f"init: expected one of {INITS} or a tensor [n, d], got {init!r}")
        self.weight = nn.Parameter(rows)  # [n, d]

    @property
    def n_tokens(self) -> int:
        """Number of rows, n."""
        return self.weight.shape[0]

    @property
    def dim(self) -> int:
        """Dimension of a row, d."""
        return self.weight.shape[1]

    def save_pretrained(self, folder: str | Path, *, base_model: str = "") -> None:
        """Save the rows as a PEFT adapter of prompt tuning, which is a safetensors file as well.

        Parameters
        ----------
        folder : str or Path
            Made with its parents. Gets ``adapter_config.json``, and ``adapter_model.safetensors``
            with the rows as ``prompt_embeddings``; both are replaced if they are there.
        base_model : str, optional
            Name of the model that they are for, which PEFT only shows.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_adapter(Path(folder), self.weight, base_model=base_model)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> SoftPrompt:
        """Read rows that were saved, by `save_pretrained`, by PEFT, or as a tensor.

        Parameters
        ----------
        path : str or Path
            A folder with an adapter of PEFT's prompt tuning or P-tuning, or a file with one tensor
            [n, d]: ``.safetensors``, or what ``torch.save`` wrote.

        Raises
        ------
        SavedPromptError
            A ValueError, if there are none.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     SoftPrompt(4, 8).save_pretrained(folder)
        ...     SoftPrompt.from_pretrained(folder)
        SoftPrompt(n_tokens=4, dim=8)
        """
        rows = read_rows(path)
        n, d = rows.shape
        return cls(n, d, rows)

    def forward(self, batch_size: int) -> Tensor:
        """The prompt once for every sequence, shape [B, n, d]; a view, not a copy."""
        batch_size = check_whole(batch_size, "batch_size", least=1)
        return self.weight.expand(batch_size, -1, -1)

    def extra_repr(self) -> str:
        return f"n_tokens={self.n_tokens}, dim={self.dim}"


def _vocabulary(
    embedding: Tensor | nn.Module | None, dim: int, init: str
) -> tuple[int, Callable[[Tensor], Tensor]]:
    if embedding is None:
        raise ValueError(f"embedding: expected the model's embedding table for init={init!r}")
    return vocabulary(embedding, dim)


def _rows_from_tensor(init: Tensor, n_tokens: int, dim: int) -> Tensor:
    if init.shape != (n_tokens, dim):
        raise ValueError(f"init: expected shape [{n_tokens}, {dim}], got {tuple(init.shape)}")
    if not init.is_floating_point():
        raise TypeError(f"init: expected a floating-point tensor, got {init.dtype}")
    if not torch.isfinite(init).all():
        raise ValueError("init: expected finite values, got NaN or Inf")
    return init.detach().to(torch.float32, copy=True)


def _rows_from_normal(
    n_tokens: int, dim: int, std: float, generator: torch.Generator | None
) -> Tensor:
    std = check_number(std, "std", least=0)
    return std * torch.randn(n_tokens, dim, generator=generator)  # [n, d]


def _ids_from_vocab(size: int, n_tokens: int, generator: torch.Generator | None) -> Tensor:
    if n_tokens > size:
        raise ValueError(
            f"n_tokens: expected at most {size}, the rows of the embedding, got {n_tokens}"
        )
    return torch.randperm(size, generator=generator)[:n_tokens]  # [n]


def _ids_from_text(size: int, n_tokens: int, token_ids: Sequence[int] | None) -> Tensor:
    if token_ids is None or len(token_ids) == 0:
        raise ValueError("token_ids: expected at least one token for init='text', got none")
    ids = torch.as_tensor(token_ids, dtype=torch.int64)
    if ids.min() < 0 or ids.max() >= size:
        raise ValueError(
            f"token_ids: expected values in [0, {size}), got {int(ids.min())} to {int(ids.max())}"
        )
    return ids[torch.arange(n_tokens) % len(ids)]  # [n]
