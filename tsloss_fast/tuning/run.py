"""tune: from settings to a tuned prompt in a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine import cuda
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.tuning import data, models
from tsloss_fast.tuning.checkpoints import RunError, RunFolder
from tsloss_fast.tuning.config import ConfigError, TuneConfig, differences
from tsloss_fast.tuning.objectives import make_objective
from tsloss_fast.tuning.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneResult:
    """The result of a run.

    Attributes
    ----------
    prompt : Tensor of shape [n, d], float32
    file : Path
        Where it lies.
    metrics : list of dict
        The lines of ``metrics.jsonl``.
    """

    prompt: Tensor
    file: Path
    metrics: list[dict[str, Any]]

    def accuracies(self) -> dict[int, float]:
        """Held-out accuracy by epoch, as far as it was measured."""
        return {r["epoch"]: r["accuracy"] for r in self.metrics if r["kind"] == "eval"}


def tune(
    config: TuneConfig,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    loaded: tuple[Any, Any] | None = None,
) -> TuneResult:
    """Tune a soft prompt as `config` says.

    Parameters
    ----------
    config : TuneConfig
    out : str or Path
        The run's folder: ``soft_prompt_epoch_NNN.pt`` (tensors [n, d]), ``metrics.jsonl``,
        ``config.json`` and ``trainer_state.pt``.
    resume : bool, default False
        Go on with the run in `out`.
    overwrite : bool, default False
        Replace the run in `out`. Its files go once everything else is known to be right.
    progress : bool, default True
        Show a progress bar on stderr.
    loaded : (model, tokenizer), optional
        Use these instead of loading ``config.model``, for several runs in a row.

    Raises
    ------
    ConfigError, DataError, ModelError, RunError
        For wrong settings, before the model is loaded and with `out` as it was.
    Interrupted, TrainingDiverged, OSError
        See `Trainer.run`.
    """
    train, held_out = _read_data(config)
    source = models.find_model(config.model) if loaded is None else None
    _check_device(config.device, config.loss)
    folder = RunFolder(out)
    description = {
        **config.as_dict(),
        "data_sha256": data.fingerprint(train),
        "eval_sha256": data.fingerprint(held_out),
    }
    _check_folder(folder, description, resume, overwrite)
    folder.prepare()
    if config.threads is not None:
        torch.set_num_threads(config.threads)

    tokenizer = models.load_tokenizer(source) if loaded is None else loaded[1]
    encoder = data.Encoder(tokenizer, config.template, config.max_length)
    encoded = [encoder(example) for example in train]
    encoded_held_out = [encoder(example) for example in held_out]
    model = models.load_model(source, config.device) if loaded is None else loaded[0]
    _check_positions(model, config, [*encoded, *encoded_held_out])
    lm = PromptTunedLM(
        model,
        make_prompt(config, model, tokenizer),
        make_objective(config.loss, config.lambda_ts),
        balance=config.balance,
        log_grad_norms=config.log_grad_norms,
        # As `data.collate` pads.
        padding_side="right",
    )
    lm.to(config.device)
    trainer = Trainer(config, lm, tokenizer, encoded, encoded_held_out, folder, progress=progress)
    if resume:
        trainer.resume()
        log.info("resuming after step %d of %d", trainer.step, trainer.total_steps)
    else:
        folder.clear()
        folder.save_config(description)
    trainer.run()
    return TuneResult(
        lm.soft_prompt.weight.detach().cpu(),
        folder.prompt_file(config.epochs),
        folder.read_metrics(),
    )


def make_prompt(config: TuneConfig, model: Any, tokenizer: Any) -> SoftPrompt:
    """The prompt that a run starts from; depends on the seed alone, not on what ran before."""
    table = model.get_input_embeddings().weight
    return SoftPrompt(
        config.n_tokens,
        table.shape[1],
        config.init,
        config.init_std,
        embedding=model,
        token_ids=None if config.init_text is None else text_token_ids(tokenizer, config.init_text),
        generator=torch.Generator().manual_seed(config.seed),
    )


def text_token_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text, each word as it stands inside a sentence.

    Many tokenizers have one token for a word at the start and another for the same word after a
    space. Here a repeated word always gives the same tokens, so "x x x" means identical rows.
    """
    ids: list[int] = []
    for word in text.split():
        first = tokenizer(word, add_special_tokens=False)["input_ids"]
        both = tokenizer(f"{word} {word}", add_special_tokens=False)["input_ids"]
        follows = both[: len(first)] == first and len(both) > len(first)
        ids += both[len(first) :] if follows else first
    return ids


def _read_data(config: TuneConfig) -> tuple[list[data.Example], list[data.Example]]:
    examples = data.read_jsonl(config.data)
    if config.eval_data is not None:
        return examples, data.read_jsonl(config.eval_data)
    if config.holdout is not None:
        return data.split(examples, config.holdout, config.seed)
    return examples, []


def _check_device(name: str, loss: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(
            f"device: expected one that works here, got {name!r}: {reason}"
        ) from error
    if torch.device(name).type == "cuda" and loss in ("tsloss", "surrogate"):
        # Before anything is written: TSLoss would need Triton in the first step.
        try:
            cuda.kernels()
        except ImportError as error:
            raise ConfigError(f"device: {error}") from error


def _check_folder(
    folder: RunFolder, description: dict[str, Any], resume: bool, overwrite: bool
) -> None:
    if resume and overwrite:
        raise RunError("resume: expected one of resume and overwrite, got both")
    if not resume:
        if folder.holds_run and not overwrite:
            raise RunError(
                f"out: {folder.path} holds a run already; --resume goes on with it, --overwrite "
                "replaces it"
            )
        return
    old = folder.load_config()
    folder.load_state()
    wrong = differences(old, description)
    for name, key in (("data", "data_sha256"), ("eval_data", "eval_sha256")):
        if old.get(key) != description[key]:
            wrong.append(f"{name}: the examples are not those of the run in the folder")
    if wrong:
        raise RunError("resume: " + "; ".join(wrong))
    for name in ("threads", "device"):
        if old.get(name) != description[name]:
            log.warning(
                "%s was %s and is %s now: numbers may differ in the last digits",
                name,
                old.get(name),
                description[name],
            )


def _check_positions(model: Any, config: TuneConfig, encoded: Sequence[data.Encoded]) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    longest = config.n_tokens + max(len(example) for example in encoded)
    if limit is not None and longest > limit:
        raise ConfigError(
            f"n_tokens: expected prompt and longest example within the model's {limit} positions, "
            f"got {longest}"
        )
