"""PromptTunedLM: a frozen language model with tuned vectors in front of its input."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice, check_flag
from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import LossAndTerms
from tsloss_fast.losses.started import start_loss
from tsloss_fast.prompt.balance import GradientBalance
from tsloss_fast.prompt.checkpointing import checkpointed, checkpointing_layers
from tsloss_fast.prompt.classification import (
    classifies,
    head_parameters,
    looks_at_last_column,
)
from tsloss_fast.prompt.embedding import embedded
from tsloss_fast.prompt.layout import ColumnOrder, left_padded, positions_of
from tsloss_fast.prompt.outputs import PARTS, with_parts
from tsloss_fast.prompt.saved import is_adapter, read_head, write_adapter
from tsloss_fast.prompt.soft_prompt import SoftPrompt

IGNORED_LABEL = -100

# Inputs with a column for each row of the prompt and each token.
COLUMN_INPUTS = frozenset(
    ("inputs_embeds", "attention_mask", "labels", "position_ids", "token_type_ids")
)

# What transformers calls a cache, in its versions and for its models.
CACHES = ("past_key_values", "cache", "cache_params")

# Lengths in a model's generation_config that say nothing: the defaults of transformers.
UNSET_LENGTHS = (None, 0, 20)


class PromptTunedLM(nn.Module):
    """A frozen language model with a tuned soft prompt in front of its input.

    The model's parameters get ``requires_grad=False`` and the model stays in eval mode, also when
    this module is put in train mode: the soft prompt is all that is trained, with the head of a
    model for sequence classification.

    Parameters
    ----------
    model : a transformers language model
        Whatever ``AutoModelForCausalLM`` or ``AutoModelForSequenceClassification`` returns; changed
        in place as said above.
    soft_prompt : SoftPrompt
        Its ``dim`` must equal the width of the model's input embeddings.
    ts_loss : nn.Module, optional
        `TSLoss`, or a module called the same way: ``ts_loss(prompt, return_terms=True)`` returns a
        scalar and a dictionary. If it has `start`, as `TSLoss` has, it is started before the
        model's forward pass. Without it the loss is the cross-entropy alone.
    balance : float, optional
        Weigh TSLoss in each step so that the norm of its gradient on the prompt is ``balance``
        times that of the cross-entropy; see `GradientBalance`. Ours, not the paper's; off by
        default. TSLoss's own ``lambda_ts`` then cancels out, but must not be 0. The cross-entropy's
        norm is taken from the user's own backward pass, so it acts one step later; only the first
        step pays for a backward pass of its own. TSLoss pays one more backward pass in each step,
        which is cheap.
    log_grad_norms : bool, default False
        Keep both norms of the last step in ``grad_norms`` (always done with ``balance``).
    padding_side : {None, "right"}
        ``"right"`` promises that the padding of every batch stands on the right. On CUDA this saves
        the reordering of each batch and a copy of its logits, for to look at a mask would wait for
        the device; a broken promise gives a NaN loss there, and an error on the CPU.
    train_head : bool, default True
        Of a model for sequence classification, train the head (``score`` or ``classifier``) as
        well, as PEFT does. A new head is random. Says nothing for a causal language model.

    Attributes
    ----------
    grad_norms : dict of str to Tensor
        After ``backward``: ``"ce"``, and ``"ts"`` as weighted in the loss. Norms over [n, d], with
        the factor that ``backward`` was given (a gradient scaler's, say) divided out.
    ts_seconds : float
        Seconds that the host spent on TSLoss in the last forward pass; on a GPU, work that was
        only queued is not in it.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> shape = dict(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1)
    >>> model = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, **shape))
    >>> lm = PromptTunedLM(model, SoftPrompt(3, 8))
    >>> ids = torch.tensor([[1, 2, 3, 4]])
    >>> out = lm(ids, labels=ids)
    >>> out.loss.backward()
    >>> out.logits.shape  # the prompt's positions come first
    torch.Size([1, 7, 11])
    """

    def __init__(
        self,
        model: nn.Module,
        soft_prompt: SoftPrompt,
        ts_loss: nn.Module | None = None,
        *,
        balance: float | None = None,
        log_grad_norms: bool = False,
        padding_side: str | None = None,
        train_head: bool = True,
    ) -> None:
        super().__init__()
        check_choice(padding_side, "padding_side", (None, "right"))
        if not isinstance(soft_prompt, SoftPrompt):
            raise TypeError(f"soft_prompt: expected a SoftPrompt, got {type(soft_prompt).__name__}")
        if ts_loss is not None and not isinstance(ts_loss, nn.Module):
            raise TypeError(f"ts_loss: expected an nn.Module, got {type(ts_loss).__name__}")
        if balance is not None and ts_loss is None:
            raise ValueError("balance: expected None without ts_loss, there is nothing to balance")
        if balance is not None and getattr(ts_loss, "lambda_ts", 1.0) == 0:
            raise ValueError("balance: expected ts_loss.lambda_ts > 0, got 0")
        _check_model(model, soft_prompt)
        # An nn.Module, whose methods depend on the architecture.
        self.model: Any = model.requires_grad_(False).eval()
        self._classifies = classifies(model)
        self._looks_at_last = looks_at_last_column(model)
        self._trained_head: tuple[str, ...] = ()
        if check_flag(train_head, "train_head") and self._classifies:
            self._trained_head = tuple(head_parameters(model))
            for parameter in head_parameters(model).values():
                parameter.requires_grad_()
        self.soft_prompt = soft_prompt
        self.ts_loss = ts_loss
        self.balance = None if balance is None else GradientBalance(balance)
        self.log_grad_norms = log_grad_norms
        self.padding_side = padding_side
        self.grad_norms: dict[str, Tensor] = {}
        self.ts_seconds = 0.0
        self._balance_started = False
        parameters = inspect.signature(model.forward).parameters
        self._takes = frozenset(parameters)
        self._takes_any_keyword = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        # torch has no types for these.
        self.register_state_dict_post_hook(_drop_tied)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_restore_tied)  # type: ignore[no-untyped-call]

    @property
    def config(self) -> Any:
        """The model's configuration, which Trainer and DeepSpeed look at."""
        return self.model.config

    @property
    def accepts_loss_kwargs(self) -> bool:
        """Whether the model takes ``num_items_in_batch``; what Trainer asks before it passes it."""
        if self._classifies:
            return False  # Its loss is a mean over the batch, whatever it is given.
        told = getattr(self.model, "accepts_loss_kwargs", None)
        return self._takes_any_keyword if told is None else told

    def train(self, mode: bool = True) -> PromptTunedLM:
        """As for any module, but the frozen model stays in eval mode (no dropout)."""
        super().train(mode)
        self.model.eval()
        return self

    def gradient_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """As the model's own. Trainer's ``gradient_checkpointing=True`` calls it."""
        self.model.gradient_checkpointing_enable(*args, **kwargs)

    def gradient_checkpointing_disable(self) -> None:
        """As the model's own."""
        self.model.gradient_checkpointing_disable()

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """As the model's own, in the versions of transformers that call it so."""
        if hasattr(self.model, "activation_checkpointing_enable"):
            self.model.activation_checkpointing_enable(*args, **kwargs)
        else:
            self.model.gradient_checkpointing_enable(
                kwargs.get("activation_checkpointing_kwargs", *args)
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Save what is trained, as a PEFT adapter that ``PeftModel.from_pretrained`` loads.

        That is the soft prompt, and a trained head. See `SoftPrompt.save_pretrained`.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        own = head_parameters(self.model)
        write_adapter(
            Path(folder),
            self.soft_prompt.weight,
            base_model=getattr(self.config, "_name_or_path", ""),
            task_type="SEQ_CLS" if self._classifies else "CAUSAL_LM",
            head={name: own[name] for name in self._trained_head},
        )

    @classmethod
    def from_pretrained(
        cls,
        model: nn.Module,
        path: str | Path,
        ts_loss: nn.Module | None = None,
        **options: Any,
    ) -> PromptTunedLM:
        """Put a saved prompt in front of a model.

        Parameters
        ----------
        model : a transformers language model
        path : str or Path
            What `save_pretrained` wrote, an adapter of PEFT's, or a file: see
            `SoftPrompt.from_pretrained`. The head that an adapter holds goes into the model.
        ts_loss, **options
            As for `PromptTunedLM`.

        Raises
        ------
        ValueError
            If there is no prompt, or one for another model.
        """
        lm = cls(model, SoftPrompt.from_pretrained(path), ts_loss, **options)
        head = read_head(path) if is_adapter(path) else {}
        own = head_parameters(model)
        for name, value in head.items():
            if name not in own or own[name].shape != value.shape:
                raise ValueError(
                    f"path: expected a model with the parameter {name} {list(value.shape)} that "
                    f"{path} holds, got {type(model).__name__} without"
                )
            own[name].data.copy_(value)
        return lm

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the model on prompt and text.

        Parameters
        ----------
        input_ids : Tensor of shape [B, T], int64
        attention_mask : Tensor of shape [B, T], optional
            1 for text, 0 for padding, which may stand on either side: inside, it is moved to the
            right, for the text to follow the prompt; with ``use_cache=True`` to the left, in front
            of the prompt. Default: all text.
        labels : Tensor of shape [B, T], int64, optional
            Targets, -100 where there is none; shifted by the model, as in transformers. For
            sequence classification those of the model: classes [B], or floats [B] or [B, C].
        **kwargs
            For the model. ``position_ids`` and ``token_type_ids`` [B, T] are those of the text:
            positions are counted on from the prompt's, whose type is 0. With ``past_key_values``
            that hold the prompt, `input_ids` are the new tokens, and `attention_mask` is that of
            all text, as in transformers. ``logits_to_keep`` counts in the order of `input_ids`; in
            a batch whose padding is moved it saves no memory. ``num_items_in_batch`` is what
            Trainer passes: TSLoss then has the weight (targets of this pass) /
            ``num_items_in_batch``, so that it counts once in an optimizer step.

        Returns
        -------
        transformers.utils.ModelOutput
            The model's own output; ``logits`` is [B, n + T, V], prompt first, then the text's
            columns in the order of ``input_ids``, and so are ``hidden_states`` and ``attentions``.
            For sequence classification ``logits`` is [B, C].
            With ``labels``, ``loss`` is cross-entropy + TSLoss, and ``ce_loss``, ``ts_loss`` (as
            weighted in ``loss``; 0 without TSLoss) and ``ts_terms`` (detached) are its parts. In
            passes without gradients TSLoss is left out, as `add_tsloss` does, so that an evaluation
            loss is the cross-entropy alone. With ``return_dict=False`` the model's own tuple.

        Raises
        ------
        ValueError
            For a wrong shape, and from TSLoss when the prompt holds NaN or Inf.
        """
        run = self._forward
        if self._tracks and torch.compiler.is_compiling():
            # Gradients taken inside a forward pass, and hooks on them, are no part of a graph.
            run = torch.compiler.disable(run)
        return run(input_ids, attention_mask, labels, kwargs)

    def _forward(
        self, ids: Tensor, mask: Tensor | None, labels: Tensor | None, kwargs: dict[str, Any]
    ) -> Any:
        if _holds_prompt(kwargs):
            return self._continue(ids, mask, labels, kwargs)
        has_padding = mask is not None
        ids, mask = _checked_text(ids, mask)
        self._check_labels(ids, labels, kwargs)
        # TSLoss comes before the model, so that work it starts elsewhere hides behind the model.
        started = None
        if labels is not None and self.ts_loss is not None and torch.is_grad_enabled():
            started = start_loss(self.ts_loss, self.soft_prompt.weight)
        prompt = self.soft_prompt(len(ids))  # [B, n, d]
        text = embedded(self.model, ids)  # [B, T, d]
        inputs = {
            "inputs_embeds": torch.cat((prompt.to(text), text), dim=1),  # [B, n + T, d]
            "attention_mask": self._extend(mask, 1),  # [B, n + T]
            **self._with_prompt(ids, kwargs),
        }
        if labels is not None:
            is_of_tokens = not self._classifies
            inputs["labels"] = self._extend(labels, IGNORED_LABEL) if is_of_tokens else labels
        order = self._order(mask, inputs.get("use_cache", False)) if has_padding else None
        keep = 0 if order is None else inputs.pop("logits_to_keep", 0)
        if order is not None:
            for name in (COLUMN_INPUTS - self._not_columns) & inputs.keys():
                inputs[name] = order.apply(inputs[name])
            if order.side == "left" and "position_ids" in self._takes:
                inputs.setdefault("position_ids", positions_of(inputs["attention_mask"]))
        out = self._run(inputs)
        if order is not None:
            order.undo_outputs(out, self._not_columns)
            if isinstance(keep, Tensor) or keep:
                out.logits = out.logits[:, keep if isinstance(keep, Tensor) else slice(-keep, None)]
        if labels is not None:
            if has_padding and order is None and mask.device.type == "cuda":
                out.loss = out.loss.where(_is_right_padded(mask), torch.nan)
            out = self._with_ts_loss(out, started, prompt, labels, kwargs)
        return _in_wanted_form(out, kwargs)

    def _continue(
        self, ids: Tensor, mask: Tensor | None, labels: Tensor | None, kwargs: dict[str, Any]
    ) -> Any:
        """The model on new tokens [B, t] alone, after a pass whose cache holds the prompt."""
        if labels is not None:
            raise ValueError("labels: expected none beside a cache that holds the prompt, got some")
        inputs = {"input_ids": ids, **self._with_prompt(ids, kwargs)}
        if mask is not None:
            if mask.ndim != 2 or len(mask) != len(ids) or mask.shape[1] <= ids.shape[1]:
                raise ValueError(
                    "attention_mask: expected the mask of all text, in the cache and new, of shape "
                    f"[{len(ids)}, more than {ids.shape[1]}], got {tuple(mask.shape)}"
                )
            whole = left_padded(mask, self.soft_prompt.n_tokens, ids.shape[1])
            if "position_ids" in self._takes:
                inputs.setdefault("position_ids", positions_of(whole)[:, -ids.shape[1] :])
            # A state-space model has no columns to mask any more.
            cache = next(kwargs[name] for name in CACHES if kwargs.get(name) is not None)
            if isinstance(cache, tuple) or _has_columns(cache):
                inputs["attention_mask"] = whole
        return _in_wanted_form(self._run(inputs), kwargs)

    def generate(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """Continue the text with the prompt in front of it.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape [B, T]
            As in `forward`. Padding may stand on either side: it is moved to the left of the
            prompt, so a sequence's continuation does not depend on the others in its batch.
        **kwargs
            For the model's own ``generate``, such as ``max_new_tokens`` and ``do_sample``.
            ``max_length`` and ``min_length`` count the text, as in transformers, not the prompt.

        Returns
        -------
        Tensor of shape [B, at most max_new_tokens], int64
            The new tokens alone, without prompt and text; after a sequence's end comes padding.
        """
        if not hasattr(self.model, "generate"):
            raise TypeError(
                "model: expected one that generates (AutoModelForCausalLM), "
                f"got {type(self.model).__name__}"
            )
        input_ids, attention_mask = _checked_text(input_ids, attention_mask)
        with torch.no_grad():
            prompt = self.soft_prompt(len(input_ids))  # [B, n, d]
            text = embedded(self.model, input_ids)  # [B, T, d]
            inputs = {
                "inputs_embeds": torch.cat((prompt.to(text), text), dim=1),  # [B, n + T, d]
                "attention_mask": self._extend(attention_mask, 1),  # [B, n + T]
                **self._with_prompt(input_ids, kwargs),
            }
            order = ColumnOrder(inputs["attention_mask"], "left")
            for name in COLUMN_INPUTS & inputs.keys():
                inputs[name] = order.apply(inputs[name])
            ids: Tensor = self.model.generate(**(inputs | self._lengths(kwargs)))
            return ids

    def _lengths(self, kwargs: dict[str, Any]) -> dict[str, int]:
        """Lengths that count the text, as ones that count what the model is given."""
        given = kwargs.get("generation_config")
        own = getattr(self.model, "generation_config", None)
        lengths = {}
        for name, news in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
            length = kwargs.get(name, getattr(given, name, None))
            if length is None and given is None:
                length = getattr(own, name, None)
                if length in UNSET_LENGTHS:
                    continue
            is_overruled = kwargs.get(news, getattr(given, news, None)) is not None
            if length and not is_overruled:
                lengths[name] = length + self.soft_prompt.n_tokens
        return lengths

    def _order(self, mask: Tensor, use_cache: bool) -> ColumnOrder | None:
        """The order of columns for a mask [B, T] of text; None if they stand right."""
        if use_cache or self._looks_at_last:
            # New columns follow the last, or the last is looked at, so that padding has to go left.
            return ColumnOrder(self._extend(mask, 1), "left")
        if mask.device.type == "cuda":
            if self.padding_side == "right":
                return None
        elif bool(_is_right_padded(mask)):
            return None
        elif self.padding_side == "right":
            raise ValueError(
                "attention_mask: expected padding on the right, as padding_side='right' promises, "
                "got it elsewhere"
            )
        # The prompt's last row predicts the text's first token, so it must stand next to it.
        # With padding last, positions count from 0 in every architecture.
        return ColumnOrder(self._extend(mask, 1), "right")

    @property
    def _not_columns(self) -> frozenset[str]:
        """Inputs and outputs that have one row a sequence, and not a column for each token."""
        return frozenset(("labels", "logits")) if self._classifies else frozenset()

    @property
    def _tracks(self) -> bool:
        return self.log_grad_norms or self.balance is not None

    def _run(self, inputs: dict[str, Any]) -> Any:
        if self._takes_any_keyword or "use_cache" in self._takes:
            inputs = {"use_cache": False, **inputs}
        inputs = {**inputs, "return_dict": True}
        layers = checkpointing_layers(self.model) if self.training else []
        if not layers:
            return self.model(**inputs)
        with checkpointed(layers):
            return self.model(**inputs)

    def _with_prompt(self, ids: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keywords, those with a column for each token with columns for the prompt."""
        if kwargs.get("inputs_embeds") is not None:
            raise ValueError("inputs_embeds: expected input_ids alone, got inputs_embeds as well")
        inputs = {name: value for name, value in kwargs.items() if value is not None}
        if not self._takes_any_keyword or self._classifies:
            # No part of the loss of such a model, as for Trainer with that model itself.
            inputs.pop("num_items_in_batch", None)
        for name in inputs.keys() & set(CACHES) - self._takes:
            # A state-space model would pass over a cache by another name than its own.
            own = next((own for own in CACHES if own in self._takes), name)
            inputs[own] = inputs.pop(name)
        n, is_continued = self.soft_prompt.n_tokens, _holds_prompt(kwargs)
        for name in ("position_ids", "token_type_ids"):
            if name not in inputs:
                continue
            value = inputs[name]
            if name not in self._takes:
                raise ValueError(
                    f"{name}: expected none, for {type(self.model).__name__} takes none, got some"
                )
            if value.ndim == 2 and len(value) == 1:
                value = value.expand(len(ids), -1)
            if value.shape != ids.shape:
                raise ValueError(
                    f"{name}: expected the shape of input_ids {tuple(ids.shape)}, "
                    f"got {tuple(inputs[name].shape)}"
                )
            if name == "position_ids":
                value = value + n
            inputs[name] = value if is_continued else self._extend(value, 0)
        if "position_ids" in inputs and not is_continued:
            inputs["position_ids"][:, :n] = torch.arange(n, device=ids.device)
        return inputs

    def _check_labels(self, ids: Tensor, labels: Tensor | None, kwargs: dict[str, Any]) -> None:
        if labels is None:
            is_lost = self.ts_loss is not None and self.training and torch.is_grad_enabled()
            if is_lost and kwargs.get("num_items_in_batch") is not None:
                raise ValueError(
                    "labels: expected them beside num_items_in_batch, got none: Trainer's "
                    "label_smoothing_factor and compute_loss_func compute the loss outside of the "
                    "model, without TSLoss. Leave them out, or add "
                    "ts_loss(model.soft_prompt.weight) in compute_loss_func"
                )
            return
        if self._classifies and len(labels) != len(ids):
            raise ValueError(
                f"labels: expected one for each of {len(ids)} sequences, got {tuple(labels.shape)}"
            )
        if not self._classifies and labels.shape != ids.shape:
            raise ValueError(
                f"labels: expected the shape of input_ids {tuple(ids.shape)}, "
                f"got {tuple(labels.shape)}"
            )
        if "labels" not in self._takes:
            raise ValueError(
                "labels: expected a model that computes a loss from them (AutoModelForCausalLM), "
                f"got {type(self.model).__name__}"
            )

    def _with_ts_loss(
        self,
        out: Any,
        started: Pending[LossAndTerms] | None,
        prompt: Tensor,
        labels: Tensor,
        kwargs: dict[str, Any],
    ) -> Any:
        """The output with TSLoss in its loss, and the parts of that beside it."""
        ce = out.loss
        if not torch.is_grad_enabled():
            out.ce_loss, out.ts_loss, out.ts_terms = ce, torch.zeros_like(ce), {}
            return out
        share = None
        has_items = kwargs.get("num_items_in_batch") is not None
        if has_items and self._takes_any_keyword and not self._classifies:
            share = _share_of_step(labels, kwargs["num_items_in_batch"])
        ts, terms, norm = self._ts_loss(started)
        if self._tracks and ce.requires_grad:
            self._watch_ce(ce, prompt, share)
        weighted = torch.zeros_like(ce)
        if ts is not None:
            weighted = self._weighted(ts, norm)
            weighted = weighted if share is None else weighted * share.to(weighted.device)
        return with_parts(out, ce + weighted, ce_loss=ce, ts_loss=weighted, ts_terms=terms)

    def _extend(self, values: Tensor, fill: int) -> Tensor:
        """[B, T] with n columns of `fill` in front."""
        return torch.cat(
            (values.new_full((len(values), self.soft_prompt.n_tokens), fill), values), 1
        )

    def _ts_loss(
        self, started: Pending[LossAndTerms] | None
    ) -> tuple[Tensor | None, dict[str, Tensor], Tensor | None]:
        """TSLoss before balancing, its terms, and the norm of its gradient if that is wanted."""
        if started is None:
            return None, {}, None
        ts, terms = started.result()
        if not (self._tracks and ts.requires_grad):
            self.ts_seconds = started.seconds
            return ts, terms, None
        began = time.perf_counter()
        norm = torch.autograd.grad(ts, self.soft_prompt.weight, retain_graph=True)[0].norm()
        self.ts_seconds = started.seconds + time.perf_counter() - began
        return ts, terms, norm

    def _watch_ce(self, ce: Tensor, prompt: Tensor, share: Tensor | None) -> None:
        """Have the backward pass record the norm of the cross-entropy's gradient."""
        scale = {}

        def keep_scale(grad: Tensor) -> None:
            scale["ce"] = grad.detach()

        def record(grad: Tensor) -> None:
            norm = grad.detach().sum(dim=0).norm() / scale["ce"]
            if share is not None:
                # Without targets there is no gradient, and no share to divide by.
                norm = norm / torch.where(share > 0, share, 1).to(norm.device)
            self.grad_norms["ce"] = norm
            if self.balance is not None:
                self.balance.observe_ce(norm)

        ce.register_hook(keep_scale)
        prompt.register_hook(record)
        if self.balance is not None and not self._balance_started:
            # Asked once only, for reading a tensor on the host waits for the device.
            self._balance_started = bool(self.balance.average_ce > 0)
            if not self._balance_started:
                # No step has shown a norm yet, so this one pays for a backward pass of its own.
                torch.autograd.grad(ce, prompt, retain_graph=True)
                self._balance_started = True

    def _weighted(self, ts: Tensor, norm: Tensor | None) -> Tensor:
        if self.balance is None:
            weight = torch.ones_like(ts)
        else:
            if norm is not None:
                self.balance.observe_ts(norm)
            weight = self.balance.weight(torch.zeros_like(ts) if norm is None else norm)
        if norm is not None:
            self.grad_norms["ts"] = weight * norm
        return weight * ts


def _check_model(model: Any, soft_prompt: SoftPrompt) -> None:
    if not hasattr(model, "get_input_embeddings") or not hasattr(model, "config"):
        raise TypeError(
            f"model: expected a transformers causal language model, got {type(model).__name__}"
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            "model: expected a decoder-only (causal) model, got an encoder-decoder: "
            f"{type(model).__name__}"
        )
    dim = model.get_input_embeddings().weight.shape[1]
    if soft_prompt.dim != dim:
        raise ValueError(
            f"soft_prompt: expected dim {dim}, the width of the model's embeddings, "
            f"got {soft_prompt.dim}"
        )


def _holds_prompt(kwargs: dict[str, Any]) -> bool:
    """Whether the keywords have a cache that an earlier pass has filled."""
    given = [kwargs[name] for name in CACHES if kwargs.get(name) is not None]
    if not given:
        return False
    cache = given[0]
    if isinstance(cache, tuple):
        return len(cache) > 0
    if _has_columns(cache):
        return int(cache.get_seq_length()) > 0
    states = [getattr(layer, "has_previous_state", True) for layer in getattr(cache, "layers", ())]
    # Without layers it is a cache of an older transformers, which is made when it is filled.
    return not states or any(any(s.values()) if isinstance(s, dict) else s for s in states)


def _has_columns(cache: Any) -> bool:
    """Whether a cache keeps keys and values by column; that of a state-space model does not."""
    try:
        cache.get_seq_length()
    except (AttributeError, ValueError):
        return False
    return True


def _in_wanted_form(out: Any, kwargs: dict[str, Any]) -> Any:
    """The output, or with return_dict=False the tuple that the model itself would give."""
    if kwargs.get("return_dict") is not False:
        return out
    return tuple(value for name, value in out.items() if name not in PARTS)


def _share_of_step(labels: Tensor, items: Tensor | int) -> Tensor:
    """The share of the targets in those of the whole optimizer step, a 0-d tensor.

    The prompt's last row predicts the first token, so every label is a target.
    """
    items = torch.as_tensor(items, device=labels.device).flatten()[0]
    return (labels != IGNORED_LABEL).sum() / items


def _tied_names(lm: nn.Module) -> dict[str, str]:
    """Names of parameters that are another's, and that other's name."""
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in lm.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            tied[name] = known
    return tied


def _drop_tied(lm: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Leave one name for a tied weight; safetensors, and Trainer with it, refuses two."""
    for name in _tied_names(lm):
        state.pop(prefix + name, None)


def _restore_tied(lm: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, known in _tied_names(lm).items():
        if prefix + known in state:
            state.setdefault(prefix + name, state[prefix + known])


def _checked_text(ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    if ids.dim() != 2:
        raise ValueError(f"input_ids: expected shape [B, T], got {tuple(ids.shape)}")
    if mask is None:
        mask = torch.ones_like(ids)
    if mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask: expected the shape of input_ids {tuple(ids.shape)}, "
            f"got {tuple(mask.shape)}"
        )
    return ids, mask


def _is_right_padded(mask: Tensor) -> Tensor:
    """Whether no text stands behind padding in any row of the mask [B, T]; a 0-d bool tensor."""
    return ((mask == 0).int().diff(dim=1) >= 0).all()
