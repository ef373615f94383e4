"""tune: from settings to a tuned prompt in a folder."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsloss_fast._engine import cuda
from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.prompt.saved import SavedPromptError
from tsloss_fast.tuning import data, models
from tsloss_fast.tuning.answers import Score
from tsloss_fast.tuning.checkpoints import BEST_FILE, RunError, RunFolder
from tsloss_fast.tuning.config import ConfigError, TuneConfig, differences, is_path
from tsloss_fast.tuning.objectives import make_objective
from tsloss_fast.tuning.trainer import Trainer
from tsloss_fast.tuning.warm_start import read_rows

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
    best : Path or None
        The prompt with the highest held-out accuracy, and where that is equal, the lowest held-out
        loss; None if nothing was evaluated.
    """

    prompt: Tensor
    file: Path
    metrics: list[dict[str, Any]]
    best: Path | None = None

    def accuracies(self) -> dict[int, float]:
        """Held-out accuracy by epoch, as far as it was measured."""
        return {r["epoch"]: r["accuracy"] for r in self.metrics if r["kind"] == "eval"}

    def losses(self) -> dict[int, float]:
        """The mean cross-entropy of each epoch's training steps."""
        return {r["epoch"]: r["ce"] for r in self.metrics if r["kind"] == "epoch"}


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
        ``config.json`` and ``trainer_state.pt``; with held-out examples ``soft_prompt_best.pt``.
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
    train, held_out = examples_of(config, progress)
    Score(config.extract, config.compare, config.metric)  # Before anything is loaded.
    source = models.find_model(config.model) if loaded is None else None
    if source is not None:
        models.check_quantize(source, config.quantize)
    _check_tensorboard(config.tensorboard)
    _check_device(config.device, config.loss)
    folder = RunFolder(out)
    description = {
        **config.as_dict(),
        "data_sha256": data.fingerprint(train),
        "eval_sha256": data.fingerprint(held_out),
    }
    _check_folder(folder, description, resume, overwrite)
    start = None if resume else _start(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    folder.prepare()
    try:
        model, tokenizer, encoded = _load(config, source, loaded, (train, held_out), progress)
        trainer = _make_trainer(config, model, tokenizer, encoded, folder, start, progress)
    except BaseException:
        folder.withdraw()
        raise
    if resume:
        _resume(trainer, description)
    else:
        folder.clear()
        folder.save_config(description)
    trainer.run()
    return TuneResult(
        trainer.weight.detach().cpu(),
        folder.prompt_file(trainer.epoch),
        folder.read_metrics(),
        folder.path / BEST_FILE if held_out else None,
    )


def _load(
    config: TuneConfig,
    source: models.ModelSource | None,
    loaded: Any,  # Model and tokenizer, where there is no source.
    examples: tuple[Iterable[data.Example], Iterable[data.Example]],
    progress: bool,
) -> tuple[Any, Any, tuple[data.TokenStore, data.TokenStore]]:
    """Model, tokenizer and encoded examples; the model last, when all else is known to fit."""
    train, held_out = examples
    if source is not None:
        source = models.local_if_unreachable(source)
    tokenizer = loaded[1] if source is None else models.load_tokenizer(source)
    truncate = config.long_examples == "truncate"
    encoder = data.Encoder(tokenizer, config.template, config.max_length, truncate=truncate)
    whole = data.Encoder(tokenizer, config.template, config.max_length)
    encoded = (
        data.encode_all(train, encoder, "data"),
        # Never cut, for it ends as an answer ends, and is compared as a whole.
        data.encode_all(held_out, whole, "held-out data"),
    )
    shape = loaded[0].config if source is None else models.load_config(source)
    _check_positions(shape, config, max(store.longest for store in encoded))
    if source is None:
        return loaded[0], tokenizer, encoded
    model = models.load_model(
        source, config.device, progress, dtype=config.dtype, quantize=config.quantize
    )
    return model, tokenizer, encoded


def _make_trainer(
    config: TuneConfig,
    model: Any,
    tokenizer: Any,
    encoded: tuple[Sequence[data.Encoded], Sequence[data.Encoded]],
    folder: RunFolder,
    start: Tensor | None,
    progress: bool,
) -> Trainer:
    lm = PromptTunedLM(
        model,
        make_prompt(config, model, tokenizer, start),
        make_objective(config.loss, config.lambda_ts),
        balance=config.balance,
        log_grad_norms=config.log_grad_norms,
        # As `data.collate` pads.
        padding_side="right",
    )
    # The model is there already, and a quantised one is not to be moved.
    for part in (lm.soft_prompt, lm.ts_loss, lm.balance):
        if part is not None:
            part.to(config.device)
    return Trainer(config, lm, tokenizer, *encoded, folder, progress=progress)


def _resume(trainer: Trainer, description: dict[str, Any]) -> None:
    trainer.resume()
    if trainer.folder.load_config()["epochs"] != description["epochs"]:
        trainer.folder.save_config(description)
    if trainer.step == trainer.total_steps:
        log.info(
            "the run is finished: %d of %d steps; --epochs trains it longer",
            trainer.step,
            trainer.total_steps,
        )
    else:
        log.info("resuming after step %d of %d", trainer.step, trainer.total_steps)


def _start(config: TuneConfig) -> Tensor | None:
    """The rows of `config.init`, if that is a file or folder."""
    if not is_path(config.init):
        return None
    try:
        rows = read_rows(config.init)
    except SavedPromptError as error:
        raise ConfigError(str(error)) from error
    if len(rows) != config.n_tokens:
        raise ConfigError(
            f"n_tokens: expected {len(rows)}, the rows of {config.init}, got {config.n_tokens}"
        )
    return rows


def make_prompt(
    config: TuneConfig, model: Any, tokenizer: Any, start: Tensor | None = None
) -> SoftPrompt:
    """The prompt that a run starts from; depends on the seed alone, not on what ran before.

    `start` has the rows if ``config.init`` is a file; a resumed run gets its own anyway.
    """
    table = model.get_input_embeddings().weight
    return SoftPrompt(
        config.n_tokens,
        table.shape[1],
        start if start is not None else ("normal" if is_path(config.init) else config.init),
        config.init_std,
        embedding=model,
        token_ids=None if config.init_text is None else text_token_ids(tokenizer, config.init_text),
        generator=torch.Generator().manual_seed(config.seed),
    )


def text_token_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text as it stands, newlines included; of one repeated word, identical tokens.

    Many tokenizers have one token for a word at the start and another for the same word after a
    space. So that "x x x" means identical rows, a repeated word gives the tokens that it has
    inside a sentence, unless these are more: then a space is a token of its own.
    """
    word, _, rest = text.strip(" ").partition(" ")
    times = 1 + len(rest.split())
    if times == 1 or set(rest.split()) != {word} or "\n" in text:
        return _ids(tokenizer, text)
    first, both = _ids(tokenizer, word), _ids(tokenizer, f"{word} {word}")
    inside = both[len(first) :]
    follows = both[: len(first)] == first and 0 < len(inside) <= len(first)
    return (inside if follows else first) * times


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def examples_of(
    config: TuneConfig, progress: bool = True
) -> tuple[Iterable[data.Example], Iterable[data.Example]]:
    """What to train on and what is held out; each is read anew whenever it is iterated over."""
    columns = data.Columns(config.question_column, config.answer_column, config.messages_column)
    examples = data.ExampleFile(config.data, columns, config.split, progress)
    if config.eval_data is not None:
        return examples, data.ExampleFile(config.eval_data, columns, config.eval_split, progress)
    if config.holdout is not None:
        held = data.held_out(sum(1 for _ in examples), config.holdout, config.seed)
        return data.Part(examples, ~held), data.Part(examples, held)
    return examples, ()


def _check_tensorboard(is_wanted: bool) -> None:
    if is_wanted and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard: expected the package tensorboard, which is not installed; "
            "run: pip install tensorboard"
        )


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
    if description["epochs"] < old["epochs"]:
        wrong.append(
            f"epochs: expected at least the {old['epochs']} of the run in the folder, "
            f"got {description['epochs']}"
        )
    if wrong:
        raise RunError("resume: " + "; ".join(wrong))
    if description["epochs"] > old["epochs"]:
        log.warning(
            "epochs was %d and is %d now: the learning rate follows the longer schedule from here "
            "on, so the numbers are not those of one run of %d epochs",
            old["epochs"],
            description["epochs"],
            description["epochs"],
        )
    for name in ("threads", "device"):
        if old.get(name) != description[name]:
            log.warning(
                "%s was %s and is %s now: numbers may differ in the last digits",
                name,
                old.get(name),
                description[name],
            )


def _check_positions(shape: Any, config: TuneConfig, longest: int) -> None:
    limit = getattr(shape, "max_position_embeddings", None)
    if limit is not None and config.n_tokens + longest > limit:
        raise ConfigError(
            f"n_tokens: expected prompt and longest example within the model's {limit} positions, "
            f"got {config.n_tokens + longest}"
        )
