"""add_tsloss: TSLoss on the virtual tokens of a PEFT model, as a part of ``outputs.loss``."""

from __future__ import annotations

import inspect
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import LossAndTerms
from tsloss_fast.losses.started import start_loss
from tsloss_fast.prompt.backward_check import BackwardCheck
from tsloss_fast.prompt.saved import ROW_KINDS
from tsloss_fast.prompt.trainer_link import TrainerLink, check_trainer

try:
    from peft import PeftModel, PeftType, TaskType
except ModuleNotFoundError as error:
    if error.name != "peft":
        raise
    raise ImportError(
        "tsloss_fast.integrations.peft needs peft, which is not installed; "
        "run: pip install 'tsloss-fast[peft]'"
    ) from error

SUPPORTED = tuple(
    PeftType[name]
    for name in (
        "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "CPT", "CARTRIDGE",
    )
    if name in PeftType.__members__  # PEFT 0.18 has no CARTRIDGE.
)  # fmt: skip
# They give the model keys and values for each of its layers, and no rows of the input.
KEYS_AND_VALUES = ("PREFIX_TUNING", "CARTRIDGE")


def add_tsloss(peft_model: PeftModel, ts_loss: nn.Module, adapter: str | None = None) -> PeftTSLoss:
    """Add TSLoss on a PEFT model's virtual tokens to the loss that the model returns.

    From now on ``peft_model(..., labels=labels)`` returns ``loss`` + TSLoss of the clouds of
    `virtual_tokens`, in the graph of that very pass, so ``transformers.Trainer``, accelerate and a
    plain loop train on it as they are. Nothing else changes: no module is wrapped and none is
    added, so checkpoints, ``save_pretrained`` and ``from_pretrained`` know nothing of it.

    Parameters
    ----------
    peft_model : peft.PeftModel
        The PEFT model itself, before ``DistributedDataParallel``, ``torch.compile`` or accelerate
        wrap it.
    ts_loss : nn.Module
        `TSLoss`, or a module called the same way: ``ts_loss(clouds, return_terms=True)`` returns a
        scalar and a dictionary. If it has `start`, as `TSLoss` has, it is started as soon as the
        virtual tokens are there, and its result is taken after the model's forward pass. Its
        weights may be set between steps.
    adapter : str, optional
        The adapter's name; by default the active one. TSLoss counts while that adapter is active
        and enabled. For several adapters call `add_tsloss` for each.

    Returns
    -------
    PeftTSLoss
        Holds the last values, for logging; ``remove()`` undoes all.

    Raises
    ------
    ImportError
        On import of this module, without peft.
    TypeError, ValueError
        For a model or adapter without virtual tokens (LoRA, say), for one that was loaded for
        inference, and for an adapter that has TSLoss already.

    Notes
    -----
    TSLoss is left out, and the outputs are as they were, in passes without labels, and in passes
    without gradients (``torch.no_grad``), so Trainer's ``eval_loss`` is the cross-entropy alone.

    TSLoss is never left out of training unsaid: a backward pass that reaches the virtual tokens
    through this adapter, but no TSLoss, raises a RuntimeError. TRL's trainers, for one, build their
    loss from log-probabilities and drop ``outputs.loss``; so may a subclass of Trainer with a
    ``compute_loss`` of its own. `PeftTSLoss.attach` serves these.

    Under gradient accumulation the loss of a micro-batch must carry its share of TSLoss. A plain
    loop and accelerate divide the loss by the number of micro-batches, and that is right as it is.
    Trainer passes ``num_items_in_batch`` instead, by which transformers divides the summed
    cross-entropy; TSLoss is then weighed by (targets of this pass) / ``num_items_in_batch``, so
    that over one optimizer step, all micro-batches and processes, it stands beside the
    cross-entropy as it does in one pass over the whole batch. CPT computes a loss of its own, a
    mean over each pass, that no one divides: Trainer's accumulation multiplies it, and TSLoss too.

    Trainer's ``label_smoothing_factor`` and ``compute_loss_func`` compute the loss outside of the
    model, which then gets no labels. Where that can be seen in the forward pass (no labels, but
    ``num_items_in_batch``) it raises a ValueError; `PeftTSLoss.attach` serves these, too.

    PEFT's ``from_pretrained`` loads saved prompts for inference alone. To train on, make the model
    with ``get_peft_model`` and the same configuration, then call
    ``load_adapter(path, "default", is_trainable=True)``, as Trainer does when it resumes. This does
    not go with an encoder (P-tuning, ``prefix_projection``): PEFT saves its output, not its
    weights, and takes them for the embeddings of P-tuning without a word.

    On CUDA the loss begins when PEFT asks its encoder for the virtual tokens. So where H1 of
    ``mode="persistence"`` is computed on the host, it hides behind the base model's forward pass;
    see `TSLoss.start`. A pass that raises leaves nothing of this behind; after Ctrl-C the next pass
    clears it away.

    Deleting the adapter ends its TSLoss. A prompt that holds NaN or Inf raises TSLoss's ValueError.

    Examples
    --------
    >>> import torch, tsloss_fast as tsl
    >>> from peft import PromptTuningConfig, get_peft_model
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> shape = dict(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1)
    >>> base = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, **shape))
    >>> config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    >>> model = get_peft_model(base, config)
    >>> handle = add_tsloss(model, tsl.TSLoss())
    >>> ids = torch.tensor([[1, 2, 3, 4]])
    >>> model(input_ids=ids, labels=ids).loss.backward()
    >>> sorted(handle.terms)
    ['h0', 'h1']
    >>> handle.remove()
    """
    adapter = checked_adapter(peft_model, adapter)
    if not isinstance(ts_loss, nn.Module):
        raise TypeError(f"ts_loss: expected an nn.Module, got {type(ts_loss).__name__}")
    if getattr(ts_loss, "reduction", "mean") != "mean":
        raise ValueError(f"ts_loss: expected reduction='mean', got {ts_loss.reduction!r}")
    if peft_model.peft_config[adapter].inference_mode:
        raise ValueError(
            f"adapter: expected a trainable adapter, got {adapter!r}, which is for inference alone "
            "(inference_mode=True); to train on, make the model with get_peft_model and load the "
            "weights with load_adapter(path, adapter_name, is_trainable=True)"
        )
    hooks = peft_model.prompt_encoder[adapter]._forward_hooks.values()
    if any(isinstance(getattr(hook, "__self__", None), PeftTSLoss) for hook in hooks):
        raise ValueError(
            f"adapter: {adapter!r} has TSLoss already; remove() that first, or change its ts_loss"
        )
    return PeftTSLoss(peft_model, ts_loss, adapter)


def virtual_tokens(peft_model: PeftModel, adapter: str | None = None) -> Tensor:
    """An adapter's virtual tokens as clouds, in the autograd graph.

    Prompt tuning and P-tuning give one cloud [n, d]: the rows that stand in front of the input, for
    P-tuning the encoder's output. Of an encoder-decoder it is the encoder's prompt: PEFT keeps rows
    for the decoder as well, but uses them nowhere. Prefix tuning and cartridges give one cloud a
    layer, [L, n, 2 * token_dim]: a virtual token of a layer is its key and its value side by side,
    for attention uses them as a pair. Multitask prompt tuning gives one cloud a task, [T, n, d], or
    two for an encoder-decoder, [2 * T, n, d]: of all tasks, whichever a batch holds. CPT gives one
    cloud [n, d], its context's embeddings with what is learnt added. Rows that PEFT keeps frozen (a
    cartridge's first ones, labels in CPT's context) are points of the cloud, but do not move.

    Parameters
    ----------
    peft_model : peft.PeftModel
    adapter : str, optional
        By default the active adapter.

    Raises
    ------
    TypeError, ValueError
        As in `add_tsloss`, for a model or adapter without virtual tokens.

    Notes
    -----
    P-tuning's encoder draws its dropout, if it has any, anew in each call in train mode.
    """
    adapter = checked_adapter(peft_model, adapter)
    # Their attributes depend on the kind.
    config: Any = peft_model.peft_config[adapter]
    encoder: Any = peft_model.prompt_encoder[adapter]
    if config.peft_type == PeftType.MULTITASK_PROMPT_TUNING:
        return _clouds_of_tasks(encoder, config)
    if config.inference_mode:
        # Loaded for inference, PEFT keeps the encoder's output in place of its weights.
        return _clouds(encoder.embedding.weight, config)
    tokens = peft_model.prompt_tokens[adapter].to(encoder.embedding.weight.device)
    if config.peft_type in KEYS_AND_VALUES:
        tokens = tokens[: config.num_virtual_tokens]
    return _clouds(encoder(tokens[None])[0], config)


class PeftTSLoss:
    """What `add_tsloss` returns: the last values of TSLoss, and `remove`.

    As a context manager it ends with the block.

    Attributes
    ----------
    ts_loss : nn.Module
    adapter : str
    loss : Tensor, 0-d, or None before the first pass
        TSLoss in the last pass that counted, detached, before the share of a micro-batch.
    terms : dict of str to Tensor
        Its terms, unweighted and detached: ``{"h0": ..., "h1": ...}``.
    seconds : float
        Seconds that the host spent on it in that pass: to start it, and to wait for its result.
        The backward pass is not in it.
    """

    def __init__(self, peft_model: PeftModel, ts_loss: nn.Module, adapter: str) -> None:
        self.ts_loss = ts_loss
        self.adapter = adapter
        self.loss: Tensor | None = None
        self.terms: dict[str, Tensor] = {}
        self.seconds = 0.0
        self._model = peft_model
        self._encoder = peft_model.prompt_encoder[adapter]
        self._check = BackwardCheck()
        self._link: TrainerLink | None = None
        self._names = list(inspect.signature(type(peft_model).forward).parameters)[1:]
        # One entry a thread, for nn.DataParallel runs its replicas in threads.
        self._passes: dict[int, _Pass] = {}
        self._hooks = [
            peft_model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            self._encoder.register_forward_hook(self._after_encoder),
            # Always, so that a pass that raised is forgotten.
            peft_model.register_forward_hook(
                self._after_forward, with_kwargs=True, always_call=True
            ),
        ]

    def attach(self, trainer: Any) -> PeftTSLoss:
        """Let a trainer train on TSLoss whatever its loss is built from, and log it.

        From now on TSLoss is added to the loss in the trainer's training steps, and no longer to
        ``outputs.loss`` there. The log (``log_history``, TensorBoard and so on) has ``ts_loss`` and
        ``ts_h0``, ``ts_h1`` beside ``loss``, which contains TSLoss: means over the passes since the
        last log, the terms unweighted. Under gradient accumulation each micro-batch carries an
        equal share.

        Parameters
        ----------
        trainer : transformers.Trainer
            Or a subclass, as TRL's ``SFTTrainer`` and ``DPOTrainer``, that trains this model. A
            trainer attached before is let go.

        Returns
        -------
        PeftTSLoss
            This one, so that ``handle = add_tsloss(model, ts_loss).attach(trainer)`` can be said.

        Raises
        ------
        TypeError, ValueError
            For something that is no trainer, and for a trainer of another model.
        """
        check_trainer(trainer)
        if all(module is not self._model for module in trainer.model.modules()):
            raise ValueError(
                f"trainer: expected one that trains the model of add_tsloss, got "
                f"{type(trainer).__name__} of another"
            )
        self._detach()
        self._link = TrainerLink(trainer)
        return self

    def remove(self) -> None:
        """Take TSLoss off the model, and the trainer, again; a second call does nothing."""
        self._detach()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._passes.clear()

    def __enter__(self) -> PeftTSLoss:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the model takes no part in a pass that the original is in, nor in its training.
        return self.__dict__ | {"_passes": {}, "_check": BackwardCheck(), "_link": None}

    # Without this torch.compile would look for graph breaks inside of the hooks and warn of each;
    # torch has no types for it.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _before_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        # What an interrupted pass left; torch calls no hook after a KeyboardInterrupt.
        self._passes.pop(threading.get_ident(), None)
        if not (torch.is_grad_enabled() and self._is_active()):
            return
        current = _Pass(self._link if self._link and self._link.is_training else None)
        if current.link is None:
            given = dict(zip(self._names, args, strict=False)) | kwargs
            current.labels, current.items = given.get("labels"), given.get("num_items_in_batch")
            if current.labels is None:
                # The labels of question answering.
                current.labels = given.get("start_positions")
            if current.labels is None and current.items is not None:
                raise ValueError(_NO_LABELS)
        current.counts = current.link is not None or current.labels is not None
        # An entry means that the encoder's output is wanted: generate and others call it, too.
        self._passes[threading.get_ident()] = current

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after_encoder(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        current = self._passes.get(threading.get_ident())
        if current is None or current.has_tokens:
            return
        current.has_tokens = True
        if output.requires_grad:
            current.watched = self._check.watch_tokens(output)
        if current.counts:
            if self._config.peft_type == PeftType.MULTITASK_PROMPT_TUNING:
                # The output has the tasks of this batch alone.
                clouds = _clouds_of_tasks(module, self._config)
            else:
                # [1 or B, n, width]: the virtual tokens of each sequence, which are the same.
                clouds = _clouds(output[0], self._config)
            current.started = start_loss(self.ts_loss, clouds)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any
    ) -> Any:
        current = self._passes.pop(threading.get_ident(), None)
        if current is None or not current.counts or outputs is None:
            return outputs
        if current.started is None:
            if not any(child is self._encoder for child in self._model.modules()):
                return outputs  # The adapter was deleted.
            raise RuntimeError(
                f"adapter: expected a forward pass that uses the virtual tokens of "
                f"{self.adapter!r}, got one that does not; was task_type set in its configuration?"
            )
        ts = self._result(current.started)
        if ts.requires_grad:
            self._check.watch_tsloss(ts)
        elif current.watched is not None:
            current.watched.remove()
        if current.link is not None:
            current.link.keep(ts, self.terms)
            return outputs
        # CPT's loss is a mean over the pass, whatever Trainer counts.
        if current.items is not None and self._config.peft_type != PeftType.CPT:
            assert current.labels is not None  # Without them _before_forward refuses the items.
            share = _share_of_step(current.labels, current.items, self._config)
            ts = ts * share.to(ts.device)
        return _with_added(outputs, ts)

    def _detach(self) -> None:
        if self._link is not None:
            self._link.remove()
            self._link = None

    @property
    def _config(self) -> Any:
        return self._model.peft_config[self.adapter]

    def _is_active(self) -> bool:
        model = self._model
        return model.active_adapter == self.adapter and model.has_active_enabled_adapter

    def _result(self, started: Pending[LossAndTerms]) -> Tensor:
        ts, terms = started.result()
        self.loss, self.terms, self.seconds = ts.detach(), terms, started.seconds
        return ts


@dataclass
class _Pass:
    """A forward pass under way that may be trained on."""

    link: TrainerLink | None
    labels: Tensor | None = None
    items: Tensor | int | None = None
    # Whether TSLoss is added, to its loss or to the trainer's.
    counts: bool = False
    has_tokens: bool = False
    watched: torch.utils.hooks.RemovableHandle | None = None
    started: Pending[LossAndTerms] | None = None


# Of kinds whose name promises virtual tokens.
_PROMPTS_ELSEWHERE: dict[Any, str] = {
    PeftType.ADAPTION_PROMPT: (
        " and has its prompts inside of the attention layers; add ts_loss(prompt) of the "
        "parameters named adaption_prompt to a loss of your own"
    ),
}

_NO_LABELS = (
    "labels: expected them beside num_items_in_batch, got none: Trainer's label_smoothing_factor "
    "and compute_loss_func compute the loss outside of the model, where add_tsloss does not reach. "
    "Write add_tsloss(peft_model, ts_loss).attach(trainer)"
)


def _clouds(rows: Tensor, config: Any) -> Tensor:
    """An encoder's output [rows, width] as clouds [n, d] or [C, n, d]; see `virtual_tokens`."""
    n = config.num_virtual_tokens
    if config.peft_type in KEYS_AND_VALUES:
        # A row holds layer 0's key and value, then layer 1's, and so on.
        return rows.view(n, config.num_layers, -1).transpose(0, 1)  # [L, n, 2 * token_dim]
    if config.peft_type in ROW_KINDS:
        # Of an encoder-decoder's two prompts PEFT puts the encoder's alone in front of an input.
        return rows[:n]
    return rows if len(rows) == n else rows.view(-1, n, rows.shape[-1])


def _clouds_of_tasks(encoder: Any, config: Any) -> Tensor:
    """Multitask prompt tuning's rows of every task, [T, n, d]; see `virtual_tokens`."""
    shared: Tensor = encoder.embedding.weight
    of_tasks: Tensor = encoder.prefix_task_cols @ encoder.prefix_task_rows
    return (shared * of_tasks).view(-1, config.num_virtual_tokens, shared.shape[-1])


def _share_of_step(labels: Tensor, items: Tensor | int, config: Any) -> Tensor:
    """The share of this pass's targets in those of the whole optimizer step, a 0-d tensor.

    Counted are the targets that the model's own loss sums. The virtual tokens of a prefix are no
    positions of the input, so there nothing predicts the first token.
    """
    if config.peft_type in KEYS_AND_VALUES and config.task_type == TaskType.CAUSAL_LM:
        labels = labels[..., 1:]
    items = torch.as_tensor(items, device=labels.device).flatten()[0]
    return (labels != -100).sum() / items


def _with_added(outputs: Any, ts: Tensor) -> Any:
    """The outputs, a mapping or a tuple, with `ts` added to their loss."""
    is_mapping = isinstance(outputs, dict)
    loss = outputs.get("loss") if is_mapping else outputs[0]
    if not isinstance(loss, Tensor) or loss.ndim:
        raise ValueError(f"peft_model: expected a scalar loss among its outputs, got {type(loss)}")
    total = loss + ts.to(loss.device)
    if not is_mapping:
        return (total, *outputs[1:])
    outputs["loss"] = total
    return outputs


def checked_adapter(peft_model: object, adapter: str | None = None) -> str:
    """The name of the adapter, the active one by default; raise unless it has virtual tokens."""
    if not isinstance(peft_model, PeftModel):
        raise TypeError(
            f"peft_model: expected a peft.PeftModel, got {type(peft_model).__name__}; pass the "
            "PEFT model itself, before anything wraps it"
        )
    adapters = peft_model.peft_config
    if adapter is None:
        adapter = peft_model.active_adapter
    if not isinstance(adapter, str):
        raise TypeError(f"adapter: expected a str or None, got {type(adapter).__name__}")
    if adapter not in adapters:
        raise ValueError(f"adapter: expected one of {sorted(adapters)}, got {adapter!r}")
    kind = adapters[adapter].peft_type
    if kind not in SUPPORTED:
        expected = ", ".join(PeftType(kind).value for kind in SUPPORTED)
        raise ValueError(
            f"adapter: expected one with virtual tokens ({expected}), "
            f"got {adapter!r}, which is {PeftType(kind).value}{_PROMPTS_ELSEWHERE.get(kind, '')}"
        )
    return adapter
