"""Reading one prompt from a file that anybody may have written; no code in it is ever run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast.prompt.saved import CONFIG_FILE, ROW_KINDS, why_unreadable
from tsloss_fast.prompt.saved import KEY as PEFT_KEY

PREFIX = "PREFIX_TUNING"

# A wrong file, such as a whole table of embeddings, must not fill the memory.
MAX_ROWS = 4096
MAX_COLUMNS = 65536
# Distances of the largest rows stay far below float32's end, and below what a page can draw.
MAX_VALUE = 1e30


class UnreadablePrompt(Exception):
    """A file without a prompt that can be used; the message says why."""


def read_prompt(file: Path, layer: int | None = None) -> Tensor:
    """The rows of the prompt in a file.

    Parameters
    ----------
    file : Path
        From ``torch.save``: a tensor or Parameter [n, d] or [1, n, d] of any floating dtype, or a
        dict that holds one, beside 0-d tensors at most. Or PEFT's ``adapter_model.safetensors``.
    layer : int, optional
        For an adapter with several clouds, which of them: prefix tuning has one a layer, whose rows
        are [key, value] side by side. Of an encoder-decoder's prompt tuning and P-tuning it is the
        encoder's prompt, since PEFT uses no other.

    Returns
    -------
    Tensor, shape [n, d]
        float64 as it is, all others as float32; finite, on the CPU, without a graph.

    Raises
    ------
    UnreadablePrompt
        For anything else. Pickles are read with ``weights_only=True``: one that holds more than
        tensors is refused, unread.
    """
    try:
        rows, is_adapter = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
    except UnreadablePrompt:
        raise
    # A damaged file can make a reader raise anything.
    except Exception as error:
        raise UnreadablePrompt(why_unreadable(error, file)) from error
    clouds = _clouds(_checked(rows), adapter_config(file) if is_adapter else {})
    return _chosen(clouds, layer)


def _pickled(file: Path) -> tuple[Tensor, bool]:
    """The one tensor in the file, and whether PEFT has named it."""
    if file.stat().st_size == 0:
        raise UnreadablePrompt("empty file")
    content = torch.load(file, weights_only=True, map_location="cpu")
    tensors = list(_tensors("", content))
    adapters = [x for name, x in tensors if name == PEFT_KEY]
    if len(adapters) == 1:
        return adapters[0], True
    # A step or a loss beside the prompt is no cloud.
    candidates = [x for _, x in tensors if x.ndim or len(tensors) == 1]
    if len(candidates) != 1:
        got = f"{_a(type(content).__name__)} with {len(candidates) or 'none'}"
        raise UnreadablePrompt(f"expected one tensor, got {got}{' of them' * bool(candidates)}")
    return candidates[0], False


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _tensors(name: str, content: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested dicts, by the name next to them."""
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(str(key), value)


def _safetensors(file: Path) -> tuple[Tensor, bool]:
    from safetensors import safe_open

    if file.stat().st_size == 0:
        raise UnreadablePrompt("empty file")
    with safe_open(file, framework="pt") as content:
        names = list(content.keys())
        if PEFT_KEY not in names:
            shown = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
            raise UnreadablePrompt(f"expected {PEFT_KEY}, got {shown or 'nothing'}")
        return content.get_tensor(PEFT_KEY), True


def _checked(rows: Tensor) -> Tensor:
    """Rows [n, d] of float32 or float64."""
    got = f"{str(rows.dtype).removeprefix('torch.')} {list(rows.shape)}"
    if rows.layout != torch.strided or rows.is_quantized or rows.device.type != "cpu":
        raise UnreadablePrompt(f"expected a plain tensor, got a special one of {got}")
    if rows.ndim == 3 and len(rows) == 1:
        rows = rows[0]
    if not rows.is_floating_point() or rows.ndim != 2 or rows.numel() == 0:
        raise UnreadablePrompt(f"expected floats [n, d] or [1, n, d], got {got}")
    if rows.shape[0] > MAX_ROWS or rows.shape[1] > MAX_COLUMNS:
        limits = f"{MAX_ROWS} rows and {MAX_COLUMNS} columns"
        raise UnreadablePrompt(f"expected a prompt of at most {limits}, got {got}")
    rows = rows.detach()
    if rows.dtype != torch.float64:
        rows = rows.to(torch.float32)
    if not rows.isfinite().all():
        raise UnreadablePrompt("holds NaN or infinity")
    if (largest := rows.abs().amax().item()) > MAX_VALUE:
        raise UnreadablePrompt(f"expected values of at most {MAX_VALUE:g}, got {largest:g}")
    return rows


def adapter_config(file: Path) -> dict[str, Any]:
    """PEFT's configuration beside an adapter; empty if there is none that can be read."""
    try:
        config = json.loads((file.parent / CONFIG_FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _clouds(rows: Tensor, config: dict[str, Any]) -> list[Tensor]:
    """The clouds that an adapter's rows [rows, width] hold, as `virtual_tokens` gives them."""
    if config.get("peft_type") == PREFIX:
        layers = config.get("num_layers")
        if not isinstance(layers, int) or layers < 1 or rows.shape[1] % (2 * layers):
            raise UnreadablePrompt(
                f"a prefix-tuning adapter: expected columns for keys and values of all layers, got "
                f"{rows.shape[1]} columns and num_layers {layers!r}"
            )
        # A row holds layer 0's key and value, then layer 1's, and so on.
        return list(rows.unflatten(1, (layers, -1)).unbind(1))  # L of [n, 2 * token_dim]
    n = config.get("num_virtual_tokens")
    if not isinstance(n, int) or n < 1 or len(rows) % n != 0:
        return [rows]
    if config.get("peft_type") in ROW_KINDS:
        # Of an encoder-decoder's two prompts PEFT uses the encoder's alone, and saves both.
        return [rows[:n]]
    # One under the other, for each task of an encoder and its decoder.
    return list(rows.split(n))


def _chosen(clouds: list[Tensor], layer: int | None) -> Tensor:
    if len(clouds) == 1 and layer is None:
        return clouds[0]
    if len(clouds) == 1 and layer != 0:
        raise UnreadablePrompt(f"holds one cloud: expected no --layer, got {layer}")
    if layer is None or not 0 <= layer < len(clouds):
        got = "none" if layer is None else layer
        raise UnreadablePrompt(
            f"holds {len(clouds)} clouds, one for each layer or task: "
            f"expected --layer from 0 to {len(clouds) - 1}, got {got}"
        )
    return clouds[layer]
