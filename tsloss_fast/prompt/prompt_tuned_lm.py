"""PromptTunedLM: a frozen causal language model with tuned vectors in front of its input."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from tsloss_fast._checks import check_choice
from tsloss_fast._engine.pending import Pending
from tsloss_fast.losses.base import LossAndTerms
from tsloss_fast.losses.started import start_loss
from tsloss_fast.prompt.balance import GradientBalance
from tsloss_fast.prompt.soft_prompt import SoftPrompt

IGNORED_LABEL = -100


class PromptTunedLM(nn.Module):
    """A frozen causal language model with a tuned soft prompt in front of its input.

    The model's parameters get ``requires_grad=False`` and the model stays in eval mode, also when
    this module is put in train mode: the soft prompt is all that is trained.

    Parameters
    ----------
    model : a transformers causal language model
        Whatever ``AutoModelForCausalLM`` returns; changed in place as said above.
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
        self.model = model.requires_grad_(False).eval()
        self.soft_prompt = soft_prompt
        self.ts_loss = ts_loss
        self.balance = None if balance is None else GradientBalance(balance)
        self.log_grad_norms = log_grad_norms
        self.padding_side = padding_side
        self.grad_norms: dict[str, Tensor] = {}
        self.ts_seconds = 0.0
        self._balance_started = False

    def train(self, mode: bool = True) -> PromptTunedLM:
        """As for any module, but the frozen model stays in eval mode (no dropout)."""
        super().train(mode)
        self.model.eval()
        return self

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
            right, for the text to follow the prompt. Default: all text.
        labels : Tensor of shape [B, T], int64, optional
            Targets, -100 where there is none; shifted by the model, as in transformers.

        Returns
        -------
        transformers.utils.ModelOutput
            The model's own output; ``logits`` is [B, n + T, V], prompt first, then the text's
            columns in the order of ``input_ids``. With ``labels``,
            ``loss`` is cross-entropy + TSLoss, and the attributes ``ce_loss``, ``ts_loss`` (as
            weighted in ``loss``; 0 without TSLoss) and ``ts_terms`` (detached) are its parts.

        Raises
        ------
        ValueError
            For a wrong shape, and from TSLoss when the prompt holds NaN or Inf.
        """
        has_padding = attention_mask is not None
        input_ids, attention_mask = _checked_text(input_ids, attention_mask)
        if labels is not None and labels.shape != input_ids.shape:
            raise ValueError(
                f"labels: expected the shape of input_ids {tuple(input_ids.shape)}, "
                f"got {tuple(labels.shape)}"
            )
        # TSLoss comes before the model, so that work it starts elsewhere hides behind the model.
        started = None
        if labels is not None and self.ts_loss is not None:
            started = start_loss(self.ts_loss, self.soft_prompt.weight)
        prompt = self.soft_prompt(len(input_ids))  # [B, n, d]
        order = self._right_padded_order(attention_mask) if has_padding else None  # [B, T]
        if order is not None:
            # The prompt's last row predicts the text's first token, so it must stand next to it.
            # With padding last, positions count from 0 in every architecture.
            input_ids, attention_mask = input_ids.gather(1, order), attention_mask.gather(1, order)
            labels = None if labels is None else labels.gather(1, order)
        out = self.model(
            **self._model_inputs(prompt, input_ids, attention_mask),
            labels=None if labels is None else self._extend(labels, IGNORED_LABEL),
            **{"use_cache": False, "return_dict": True, **kwargs},
        )
        if order is not None:
            out.logits = self._in_input_order(out.logits, order)
        if labels is None:
            return out
        ts, terms, ts_norm = self._ts_loss(started)
        out.ce_loss = out.loss
        if has_padding and order is None and attention_mask.device.type == "cuda":
            out.ce_loss = out.loss.where(_is_right_padded(attention_mask), torch.nan)
        out.ts_terms = terms
        if self._tracks and out.ce_loss.requires_grad:
            self._watch_ce(out.ce_loss, prompt)
        out.ts_loss = torch.zeros_like(out.ce_loss) if ts is None else self._weighted(ts, ts_norm)
        out.loss = out.ce_loss + out.ts_loss
        return out

    def generate(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """Continue the text with the prompt in front of it.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape [B, T]
            As in `forward`. Padding may stand on either side: it is moved to the left first.
        **kwargs
            For the model's own ``generate``, such as ``max_new_tokens`` and ``do_sample``.

        Returns
        -------
        Tensor of shape [B, at most max_new_tokens], int64
            The new tokens alone, without prompt and text; after a sequence's end comes padding.
        """
        input_ids, attention_mask = _checked_text(input_ids, attention_mask)
        # A stable sort of the mask moves padding left and keeps the order of the text.
        order = attention_mask.bool().int().argsort(dim=1, stable=True)  # [B, T]
        input_ids, attention_mask = input_ids.gather(1, order), attention_mask.gather(1, order)
        with torch.no_grad():
            prompt = self.soft_prompt(len(input_ids))  # [B, n, d]
            inputs = self._model_inputs(prompt, input_ids, attention_mask)
            return self.model.generate(**inputs, **kwargs)

    def _in_input_order(self, logits: Tensor, order: Tensor) -> Tensor:
        """Logits [B, n + T, V] whose text columns are put back to where the input had them."""
        prompt, text = logits.split((self.soft_prompt.n_tokens, order.shape[1]), dim=1)
        back = order.argsort(dim=1).unsqueeze(-1).expand_as(text)  # [B, T, V]
        return torch.cat((prompt, text.gather(1, back)), dim=1)

    def _right_padded_order(self, mask: Tensor) -> Tensor | None:
        """The columns [B, T] that put padding right, text in its order; None if it is there."""
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
        return (mask == 0).int().argsort(dim=1, stable=True)

    @property
    def _tracks(self) -> bool:
        return self.log_grad_norms or self.balance is not None

    def _model_inputs(self, prompt: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        text = self.model.get_input_embeddings()(ids)  # [B, T, d]
        return {
            "inputs_embeds": torch.cat((prompt.to(text), text), dim=1),  # [B, n + T, d]
            "attention_mask": self._extend(mask, 1),  # [B, n + T]
        }

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
        began = time.perf_counter()
        norm = None
        if self._tracks and ts.requires_grad:
            norm = torch.autograd.grad(ts, self.soft_prompt.weight, retain_graph=True)[0].norm()
        self.ts_seconds = started.seconds + time.perf_counter() - began
        return ts, terms, norm

    def _watch_ce(self, ce: Tensor, prompt: Tensor) -> None:
        """Have the backward pass record the norm of the cross-entropy's gradient."""
        scale = {}

        def keep_scale(grad: Tensor) -> None:
            scale["ce"] = grad.detach()

        def record(grad: Tensor) -> None:
            norm = grad.detach().sum(dim=0).norm() / scale["ce"]
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


def _check_model(model: nn.Module, soft_prompt: SoftPrompt) -> None:
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
