"""The policy under DeepSpeed ZeRO: log-probs, backward and step over ranks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.config import RunConfig
from tsallis_run.loss import policy_loss
from tsallis_run.packing import MicroBatch, empty_micro_batch
from tsallis_run.policy import zero_state
from tsallis_run.policy.optimizer import build_optimizer
from tsallis_run.policy.tensor_files import disk_faults
from tsallis_run.policy.token_scorer import TokenScorer

NEVER = 10**12
"""Steps between DeepSpeed's own progress prints."""


Weigh = Callable[[MicroBatch, Tensor], Tensor]
"""A micro-batch and the log-probs of its scored tokens, on the CPU -> the coefficient of each of them."""


@dataclass(frozen=True)
class Backward:
    """What a backward pass over a batch tells."""

    log_probs: list[Tensor]
    """Of the scored tokens of each of this rank's micro-batches, in nats, on the CPU."""
    loss: float | None
    """The pseudo-loss of the global batch; None, and no gradient, where none of its coefficients is non-zero."""


class ZeroPolicy:
    """Log-probs, backward and step over ranks, and the gathered weights.

    Every method is collective: all ranks call it, in the same order.
    """

    def __init__(self, scorer: TokenScorer, config: RunConfig) -> None:
        # Needed by no collective of ours, and compiled with g++ for a minute at the first start.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        ranks.join()
        self.version = 0
        self._optimizer = build_optimizer(scorer.parameters(), config.optimizer)
        self._engine: Any = deepspeed.initialize(model=scorer, optimizer=self._optimizer, config=_settings(config))[0]
        ranks.check_size(config.launch.num_ranks)

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        return torch.device(self._engine.device)

    @property
    def model(self) -> str:
        """Architecture, number of weights, and a hash of their names and shapes."""
        shapes = {name: tuple(getattr(w, "ds_shape", w.shape)) for name, w in self.named_weights()}
        digest = hashlib.sha256(repr(sorted(shapes.items())).encode()).hexdigest()[:8]
        num_weights = sum(math.prod(shape) for shape in shapes.values())
        return f"{type(self._engine.module.model).__name__} with {num_weights:,} weights, {digest}"

    @torch.no_grad()
    def log_probs(self, batches: Sequence[MicroBatch]) -> list[Tensor]:
        """log p of the scored tokens of each micro-batch, in nats, on the CPU; no gradient."""
        values = [self._forward(batch).cpu() for batch in self._in_step(batches)]
        return values[: len(batches)]

    def backward(
        self,
        batches: Sequence[MicroBatch],
        weigh: Weigh,
        *,
        num_prompts: int,
        phase: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    ) -> Backward:
        """Accumulates the gradient of the global batch; this rank's part of it comes in `batches`.

        Every micro-batch is passed forward once, weighed, and passed backward where any rank's coefficients are
        not all zero.

        Args:
            num_prompts: prompts of the global batch.
            phase: entered with "score" for each forward pass and with "backward" for each backward pass.
        """
        padded, log_probs, loss, awaits_end = self._in_step(batches), [], None, False
        for index, batch in enumerate(padded):
            is_last = index == len(padded) - 1
            with phase("score"):
                attached = self._forward(batch)
                log_probs.append(attached.detach().cpu())
            coefficients = weigh(batch, log_probs[-1])
            if ranks.largest(_largest(coefficients)) == 0.0:
                continue
            with phase("backward"):
                loss = (loss or 0.0) + self._accumulate(attached, coefficients, num_prompts, last=is_last)
            awaits_end = not is_last
        if awaits_end:  # the last micro-batches had nothing to add, but DeepSpeed closes a sum in a backward pass
            self._accumulate(self._forward(empty_micro_batch()), torch.zeros(0), num_prompts, last=True)
        return Backward(log_probs[: len(batches)], None if loss is None else ranks.total(loss))

    def step(self, learning_rate: float) -> float:
        """Takes the optimizer step with the accumulated gradient, and forgets it; returns its norm before clipping.

        A gradient that is not finite on any rank is forgotten without a step: the norm is then not finite, and
        weights, optimizer and `version` are what they were.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        grad_norm = self._norm_at_stage_0()
        if grad_norm is not None and not math.isfinite(grad_norm):
            self._engine.zero_grad()
            return grad_norm
        self._engine.step()
        self.version += int(self._engine.was_step_applied())
        return float(self._engine.get_global_grad_norm()) if grad_norm is None else grad_norm

    @torch.no_grad()
    def is_finite(self) -> bool:
        """True on every rank where no weight is infinite or NaN on any."""
        own = (getattr(weight, "ds_tensor", weight) for _, weight in self.named_weights())
        return ranks.largest(float(not all(bool(part.isfinite().all()) for part in own))) == 0.0

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every distinct weight by its Hugging Face name, as DeepSpeed holds it: at stage 3 a part of it."""
        yield from self._engine.module.model.named_parameters()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every distinct weight by its Hugging Face name, whole on every rank, one at a time."""
        for name, weight in self.named_weights():
            with deepspeed.zero.GatheredParameters([weight], enabled=self._engine.zero_optimization_stage() == 3):
                yield name, weight.detach()

    def save_model(self, folder: Path) -> None:
        """Writes an ordinary Hugging Face folder (safetensors, config) from rank 0, gathered from any stage.

        Raises:
            DiskError: on every rank, where it could not be written.
        """
        state: dict[str, Tensor] = {}
        for name, weight in self.weights():  # all ranks gather, the first keeps
            if ranks.is_first():
                state[name] = weight.cpu().clone()

        def write() -> None:
            if ranks.is_first():
                with disk_faults():
                    self._engine.module.model.save_pretrained(folder, state_dict=state)

        ranks.agreed(write)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight and optimizer moment by name, whole on every rank, one at a time; see `zero_state`."""
        yield from zero_state.gathered(self._engine, self.named_weights(), num_steps=self.version)

    def load_state(self, read: Callable[[str], Tensor], version: int) -> None:
        """Continues behind `version` optimizer steps from what `state` gave at any ZeRO stage and number of ranks.

        Args:
            read: name of a weight or moment -> its value, whole.
        """
        zero_state.restore(self._engine, self.named_weights(), read, num_steps=version)
        self.version = version

    def _in_step(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """All ranks run as many micro-batches as the busiest: ZeRO gathers and reduces inside each."""
        missing = int(ranks.largest(float(len(batches)))) - len(batches)
        return [*batches, *[empty_micro_batch()] * missing]

    def _forward(self, batch: MicroBatch) -> Tensor:
        log_probs: Tensor = self._engine(batch=batch.to(self.device))
        return log_probs

    def _accumulate(self, log_probs: Tensor, coefficients: Tensor, num_prompts: int, *, last: bool) -> float:
        self._engine.set_gradient_accumulation_boundary(last)
        loss = policy_loss(log_probs, coefficients.to(log_probs), num_prompts=num_prompts)
        if not torch.isfinite(loss):
            loss = log_probs.sum() * torch.nan  # the gradient must say so too: it is what stops every rank's step
        self._engine.backward(loss * ranks.size())  # DeepSpeed averages over ranks, the loss is a sum
        return float(loss.detach())

    def _norm_at_stage_0(self) -> float | None:
        """Stage 0 runs the bare optimizer, which keeps no norm; None elsewhere, where DeepSpeed looks at it itself."""
        if self._engine.zero_optimization():
            return None
        gradients = [p.grad for p in self._engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))


def _largest(coefficients: Tensor) -> float:
    return float(coefficients.abs().nan_to_num(torch.inf).max()) if len(coefficients) else 0.0


def _settings(config: RunConfig) -> dict[str, Any]:
    # In bfloat16 the sum over hundreds of micro-batches would lose their small parts.
    accumulation = {"data_types": {"grad_accum_dtype": "fp32"}} if config.zero.stage > 0 else {}
    return {
        **accumulation,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,  # the boundary is set by us, micro-batch by micro-batch
        "zero_optimization": {"stage": config.zero.stage},
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": config.optimizer.max_grad_norm or 0.0,
        "bf16": {"enabled": config.model.dtype == "bfloat16"},
        "steps_per_print": NEVER,
    }
