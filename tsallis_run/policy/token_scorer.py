"""A causal language model as a function from packed trees to the log-probs of their scored tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tsallis_run import ranks
from tsallis_run.complaint import first_line
from tsallis_run.config import ModelConfig
from tsallis_run.packing import MicroBatch
from tsallis_run.policy import packed_attention
from tsallis_run.policy.packed_attention import packed
from tsallis_run.types import UserError

TOKENS_PER_CHUNK = 256
"""Logits exist for this many tokens at a time: 50 MB in float32 at a vocabulary of 49152, small enough for a cache."""


class TokenScorer(nn.Module):
    """Computes logits only where a token is scored, in float32, and never keeps them for the backward."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *, batch: MicroBatch) -> Float[Tensor, " scored"]:
        """log p(target) in nats, float32."""
        decoder, target = self.model.base_model, batch.target
        hidden = decoder(
            input_ids=batch.ids[None], position_ids=batch.positions[None], use_cache=False, packed=packed(batch)
        ).last_hidden_state
        picked = hidden[0].index_select(0, batch.predictor)
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
        log_probs: Tensor = PickedLogProbs.apply(logits, target)  # type: ignore[no-untyped-call]
        return log_probs


class PickedLogProbs(torch.autograd.Function):
    """log softmax(logits)[target]; overwrites the logits, with exponentials and then with their own gradient."""

    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "scored vocabulary"], target: Int[Tensor, " scored"]
    ) -> Float[Tensor, " scored"]:
        largest, picked = logits.amax(-1, keepdim=True), logits.gather(-1, target[:, None])
        exponentials = logits.sub_(largest).exp_()
        total = exponentials.sum(-1, keepdim=True)
        ctx.save_for_backward(exponentials, target, total)
        return (picked - largest - total.log())[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, " scored"]) -> tuple[Float[Tensor, "scored vocabulary"], None]:
        exponentials, target, total = ctx.saved_tensors
        gradient = exponentials.mul_(-upstream[:, None] / total)
        gradient[torch.arange(len(target), device=target.device), target] += upstream
        return gradient, None


def load_scorer(folder: Path, config: ModelConfig) -> TokenScorer:
    """Opens the model in `folder` for training.

    Raises:
        UserError: where it is no whole causal language model, or does what packed trees cannot follow.
    """
    model = _opened(folder, config)
    _refuse_unfollowed(model.config)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return TokenScorer(model.train())


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
            attn_implementation=packed_attention.NAME,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are told below
            output_loading_info=True,
        )
    except Exception as error:  # a broken folder raises whatever its reader happens to meet
        raise _no_model(folder, first_line(error)) from None
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise _no_model(folder, f"{name} has the shape {tuple(found)}, its architecture {tuple(wanted)}")
    if missing := sorted(report["missing_keys"]):
        raise _no_model(folder, f"{len(missing)} weights are missing, {missing[0]} among them")
    return model


def _no_model(folder: Path, reason: str) -> UserError:
    return UserError(f"model.path: must hold a whole causal language model, got {str(folder)!r}: {reason}")


def _refuse_unfollowed(config: Any) -> None:
    """A packed tree has a mask of its own, and scores the output embedding's logits as they are."""
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    special = sorted({kind for kind in getattr(config, "layer_types", None) or () if kind != "full_attention"})
    changed = [
        name
        for name in ("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "logits_scaling")
        if getattr(config, name, None) not in (None, 1, 1.0)
    ]
    unfollowed = [*special, *(["sliding_window"] if windowed and not special else []), *changed]
    if unfollowed:
        raise UserError(
            "model.path: must be a model with full attention in every layer and unscaled logits, "
            f"got {config.model_type} with {', '.join(unfollowed)}; choose another model"
        )
