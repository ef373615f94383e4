"""TuneConfig: every setting of a tuning run, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tsloss_fast._checks import MAX_POINTS, check_choice, check_flag, check_number, check_whole
from tsloss_fast.prompt import INITS
from tsloss_fast.tuning.answers import COMPARISONS, Score
from tsloss_fast.tuning.data import LONG_EXAMPLES, TEMPLATES
from tsloss_fast.tuning.models import DEFAULT_MODEL, DTYPES, QUANTIZATIONS
from tsloss_fast.tuning.objectives import LOSSES

# What a resumed run may change, because the numbers it trains to do not depend on it. The data are
# compared by content, not by where they lie. Epochs may become more, which `tune` checks.
FREE_TO_CHANGE = frozenset(
    {
        "data",
        "question_column",
        "answer_column",
        "messages_column",
        "split",
        "eval_split",
        "epochs",
        "eval_data",
        "device",
        "threads",
        "save_every",
        "eval_every",
        "eval_batch_size",
        "early_stopping",
        "tensorboard",
        "max_new_tokens",
        "extract",
        "compare",
        "metric",
        "log_grad_norms",
    }
)


CHOICES = {
    "loss": LOSSES,
    "template": TEMPLATES,
    "long_examples": LONG_EXAMPLES,
    "compare": COMPARISONS,
    "dtype": DTYPES,
    "quantize": (None, *QUANTIZATIONS),
}

# The settings that the paper names: 300 epochs, in which the prompt moves slowly.
PAPER: dict[str, Any] = {
    "init": "normal",
    "init_std": 0.02,
    "loss": "tsloss",
    "lambda_ts": 1.0,
    "epochs": 300,
    "batch_size": 8,
    "lr": 5e-5,
    "weight_decay": 0.01,
    "warmup": 0.1,
}
PROTOCOLS: dict[str, dict[str, Any]] = {"quick": {}, "paper": PAPER}


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, what was expected and what was got."""


@dataclass(frozen=True)
class TuneConfig:
    """Settings of a run; `tsloss-fast tune --help` describes each.

    The defaults are those of a first run, which shows in minutes whether it learns: rows of the
    vocabulary, five epochs at a rate of 3e-3. `paper` has the paper's. Both use AdamW with weight
    decay 0.01 and eps 1e-8, batches of 8, a linear schedule with 10 % warm-up, and lambda_ts 1.
    ``n_tokens`` is ours: the paper gives none.

    Raises
    ------
    ConfigError
        For a value that cannot be used.
    """

    data: str
    model: str = DEFAULT_MODEL
    n_tokens: int = 20
    init: str = "vocab"
    init_text: str | None = None
    init_std: float = 0.02
    loss: str = "tsloss"
    lambda_ts: float = 1.0
    balance: float | None = None
    epochs: int = 5
    batch_size: int = 8
    accumulation: int = 1
    lr: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    seed: int = 0
    template: str = "auto"
    max_length: int = 512
    long_examples: str = "skip"
    question_column: str | None = None
    answer_column: str | None = None
    messages_column: str | None = None
    split: str = "train"
    eval_split: str = "test"
    eval_data: str | None = None
    holdout: float | None = None
    eval_every: int = 0
    eval_batch_size: int = 16
    early_stopping: int | None = None
    max_new_tokens: int | None = None
    extract: str | None = None
    compare: str = "text"
    metric: str | None = None
    save_every: int = 1
    log_grad_norms: bool = False
    tensorboard: bool = False
    threads: int | None = None
    device: str = "cpu"
    dtype: str = "auto"
    quantize: str | None = None

    @classmethod
    def paper(cls, data: str, **settings: Any) -> TuneConfig:
        """The paper's settings where it names one; `settings` go before them.

        300 epochs at 5e-5 from N(0, 0.02^2).

        Examples
        --------
        >>> config = TuneConfig.paper("train.jsonl", epochs=100)
        >>> config.epochs, config.lr
        (100, 5e-05)
        """
        return cls(data, **(PAPER | settings))

    def __post_init__(self) -> None:
        self._check(check_whole, "n_tokens", least=1, most=MAX_POINTS)
        for name in ("epochs", "batch_size", "accumulation", "eval_batch_size", "max_length"):
            self._check(check_whole, name, least=1)
        self._check(check_whole, "save_every", least=1)
        for name in ("eval_every", "seed"):
            self._check(check_whole, name, least=0)
        for name in ("max_new_tokens", "threads", "early_stopping"):
            if getattr(self, name) is not None:
                self._check(check_whole, name, least=1)
        # Anything else that looks like a path is a prompt to start from.
        if not (isinstance(self.init, str) and is_path(self.init)):
            self._check(check_choice, "init", allowed=INITS)
        for name, allowed in CHOICES.items():
            self._check(check_choice, name, allowed=allowed)
        # AdamW divides the rate by 1 - 0.9 in its first step, which must stay within float32.
        self._check(check_number, "lr", least=0, open_below=True, most=3.4e37, open_above=True)
        for name in ("weight_decay", "lambda_ts", "init_std"):
            self._check(check_number, name, least=0)
        for name in ("tensorboard", "log_grad_norms"):
            self._check(check_flag, name)
        self._check(check_number, "warmup", least=0, most=1, open_above=True)
        for field in fields(self):
            value = getattr(self, field.name)
            is_missing = value is None and field.type == "str | None"
            if str(field.type).startswith("str") and not (isinstance(value, str) or is_missing):
                raise ConfigError(f"{field.name}: expected a text, got {value!r}")
        self._check_combinations()

    def _check(self, check: Callable[..., Any], name: str, **bounds: Any) -> None:
        """Keep a setting as `check` returns it, a plain number or a text, which JSON can hold."""
        try:
            # The fields are frozen for everyone else.
            object.__setattr__(self, name, check(getattr(self, name), name, **bounds))
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None

    def _check_combinations(self) -> None:
        if (self.init == "text") != (self.init_text is not None):
            raise ConfigError(
                "init_text: expected a text with init 'text' and none otherwise, "
                f"got {self.init_text!r} with init {self.init!r}"
            )
        if self.init_text is not None and not self.init_text.strip():
            raise ConfigError(f"init_text: expected at least one word, got {self.init_text!r}")
        if self.balance is not None:
            self._check(check_number, "balance", least=0, open_below=True)
            if self.loss == "ce":
                raise ConfigError("balance: expected none with loss 'ce', nothing to balance")
            if self.lambda_ts == 0:
                raise ConfigError("balance: expected lambda_ts > 0 with it, got 0")
        if self.holdout is not None:
            between = {"open_below": True, "most": 1, "open_above": True}
            self._check(check_number, "holdout", least=0, **between)
            if self.eval_data is not None:
                raise ConfigError("holdout: expected none beside eval_data, got both")
        if (self.question_column is None) != (self.answer_column is None):
            raise ConfigError(
                "question_column: expected answer_column with it, or neither, "
                f"got {self.question_column!r} and {self.answer_column!r}"
            )
        if self.messages_column is not None and self.question_column is not None:
            raise ConfigError("messages_column: expected none beside question_column, got both")
        # A metric in a module is imported when the run begins.
        self._check(lambda value, name: Score(extract=value) and value, "extract")
        if self.metric is not None and self.compare != "text":
            raise ConfigError("compare: expected none beside metric, got both")
        if self.eval_every and self.eval_data is None and self.holdout is None:
            raise ConfigError("eval_every: expected eval_data or holdout with it, got neither")
        if self.early_stopping is not None and not self.eval_every:
            raise ConfigError("early_stopping: expected eval_every with it, got none")

    def as_dict(self) -> dict[str, Any]:
        """All settings, by name."""
        return asdict(self)


def is_path(init: str) -> bool:
    """Whether a start is a file or folder, and not one of `INITS`."""
    return init not in INITS and ("/" in init or init.endswith(".pt") or Path(init).exists())


def config_names() -> list[str]:
    """The names of all settings."""
    return [field.name for field in fields(TuneConfig)]


def _of_run(old: Mapping[str, Any], name: str) -> Any:
    """A setting of an earlier run; one that there was not yet had today's default."""
    default = next(field.default for field in fields(TuneConfig) if field.name == name)
    return old.get(name, None if default is MISSING else default)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One message for each setting that a resumed run must not change, but does."""
    return [
        f"{name}: the run in the folder has {_of_run(old, name)!r}, got {new[name]!r}"
        for name in config_names()
        if name not in FREE_TO_CHANGE and _of_run(old, name) != new[name]
    ]
