"""A causal language model as a function from packed trees to the log-probs of their scored tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tsallis_run import ranks
from tsallis_run.config import ModelConfig
from tsallis_run.types import UserError

TOKENS_PER_CHUNK = 1024
"""Logits exist for this many tokens at a time: 200 MB in float32 at a vocabulary of 49152."""


class TokenScorer(nn.Module):
    """Computes logits only where a token is scored, in float32, and never keeps them for the backward."""

    def __init__(self, model: Any, *, additive_mask: bool) -> None:
        super().__init__()
        self.model = model
        self._additive_mask = additive_mask

    def forward(
        self,
        ids: Int[Tensor, "rows tokens"],
        positions: Int[Tensor, "rows tokens"],
        span: Int[Tensor, "rows tokens"],
        ancestors: Bool[Tensor, "rows spans spans"],
        predictor: Int[Tensor, " scored"],
        target: Int[Tensor, " scored"],
    ) -> Float[Tensor, " scored"]:
        """log p(target) in nats, float32."""
        visible = _visible(span, ancestors)
        mask = _additive(visible, self.model.dtype) if self._additive_mask else visible
        decoder = self.model.base_model
        hidden = decoder(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False).last_hidden_state
        picked = hidden.flatten(0, 1)[predictor]
        # Ranks agree on the number: at ZeRO stage 3 every chunk gathers the output embedding, also an empty one.
        num_chunks = max(1, int(ranks.largest(float(-(-len(target) // TOKENS_PER_CHUNK)))))
        chunks = zip(picked.tensor_split(num_chunks), target.tensor_split(num_chunks), strict=True)
        return torch.cat([self._recomputed_log_probs(h, t) for h, t in chunks])

    def _recomputed_log_probs(self, hidden: Tensor, target: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._log_probs(hidden, target)
        log_probs: Tensor = checkpoint(self._log_probs, hidden, target, use_reentrant=False)
        return log_probs

    def _log_probs(self, hidden: Tensor, target: Tensor) -> Tensor:
        logits = self.model.get_output_embeddings()(hidden).float()
        return -F.cross_entropy(logits, target, reduction="none")


def load_scorer(folder: Path, config: ModelConfig) -> TokenScorer:
    """Opens the model in `folder` for training.

    Raises:
        UserError: where it is no whole causal language model, or does what packed trees cannot follow.
    """
    model = _opened(folder, config)
    _refuse_unfollowed(model.config)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return TokenScorer(model.train(), additive_mask=config.attention == "eager")


def _opened(folder: Path, config: ModelConfig) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        architecture = AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
        for name, value in vars(architecture).items():
            if "dropout" in name and isinstance(value, float):
                setattr(architecture, name, 0.0)  # the probabilities that were sampled from are the ones trained
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=architecture,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attention,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are told below
            output_loading_info=True,
        )
    except Exception as error:  # a broken folder raises whatever its reader happens to meet
        raise _no_model(folder, str(error) or type(error).__name__) from None
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise _no_model(folder, f"{name} has the shape {tuple(found)}, its architecture {tuple(wanted)}")
    if missing := sorted(report["missing_keys"]):
        raise _no_model(folder, f"{len(missing)} weights are missing, {missing[0]} among them")
    return model


def _no_model(folder: Path, reason: str) -> UserError:
    first_line = reason.splitlines()[0]
    return UserError(f"model.path: must hold a whole causal language model, got {str(folder)!r}: {first_line}")


def _refuse_unfollowed(config: Any) -> None:
    """A packed tree has a mask of its own, and scores the output embedding's logits as they are."""
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    special = sorted({kind for kind in getattr(config, "layer_types", None) or () if kind != "full_attention"})
    changed = [
        name
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling")
        if getattr(config, name, None) not in (None, 1, 1.0)
    ]
    unfollowed = [*special, *(["sliding_window"] if windowed and not special else []), *changed]
    if unfollowed:
        raise UserError(
            "model.path: must be a model with full attention in every layer and unscaled logits, "
            f"got {config.model_type} with {', '.join(unfollowed)}; choose another model"
        )


def _visible(
    span: Int[Tensor, "rows tokens"], ancestors: Bool[Tensor, "rows spans spans"]
) -> Bool[Tensor, "rows 1 tokens tokens"]:
    """visible[r, 0, i, j]: token i attends to token j, which comes no later, in its span or one that it grows from.

    Made where it is used: a mask over 16k tokens takes 256 MB.
    """
    rows = torch.arange(len(span), device=span.device)[:, None, None]
    related = ancestors[rows, span[:, :, None], span[:, None, :]]
    itself = torch.eye(span.shape[1], dtype=torch.bool, device=span.device)  # padding has no ancestor but itself
    return (related.tril() | itself)[:, None]


def _additive(visible: Bool[Tensor, "rows 1 tokens tokens"], dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)
