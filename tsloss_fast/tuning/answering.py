"""A tuned prompt answers questions, put as they were in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tsloss_fast.prompt import PromptTunedLM, SoftPrompt
from tsloss_fast.tuning import models
from tsloss_fast.tuning.data import Encoder, Example
from tsloss_fast.tuning.decoding import decode, stop_tokens
from tsloss_fast.tuning.finished import FinishedRun


class Answering:
    """Answers questions by the model of a run with its tuned prompt in front.

    Parameters
    ----------
    run : FinishedRun
        Its settings say which model and which template.
    device : str, optional
        Where; default the run's.
    loaded : (model, tokenizer), optional
        Use these instead of loading the run's model.
    progress : bool, default True
        Show transformers' bars while the model is loaded.

    Attributes
    ----------
    lm : PromptTunedLM
    tokenizer
    encoder : Encoder
        Puts questions as they were put in training: ``encoder.prefix(Example(question, ""))``.

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    """

    def __init__(
        self,
        run: FinishedRun,
        *,
        device: str | None = None,
        loaded: tuple[Any, Any] | None = None,
        progress: bool = True,
    ) -> None:
        device = device or run.config.device
        if loaded is None:
            source = models.local_if_unreachable(models.find_model(run.config.model))
            models.check_quantize(source, run.config.quantize)
            tokenizer = models.load_tokenizer(source)
            dtype, quantize = run.config.dtype, run.config.quantize
            model = models.load_model(source, device, progress, dtype=dtype, quantize=quantize)
            loaded = model, tokenizer
        model, self.tokenizer = loaded
        n, d = run.prompt.shape
        self.lm = PromptTunedLM(model, SoftPrompt(n, d, run.prompt)).eval()
        self.lm.soft_prompt.to(device)
        self.encoder = Encoder(self.tokenizer, run.config.template)
        self._stops = stop_tokens(self.lm, self.tokenizer, [self.encoder.end_token])

    def __call__(self, questions: Sequence[str], *, max_new_tokens: int = 128) -> list[str]:
        """The answers, decoded greedily as one batch, without white space around them."""
        prefixes = [self.encoder.prefix(Example(question, "")) for question in questions]
        texts = decode(self.lm, self.tokenizer, prefixes, self._stops, max_new_tokens)
        return [text.strip() for text in texts]
