"""The slow reference engine: sampling written out over a Hugging Face model."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tsallis_run.engine.weights import check_complete
from tsallis_run.types import Completion, CompletionRequest, EngineError

ROWS_PER_BATCH = 64


class TransformersEngine:
    """Samples row by row of a padded batch with a key-value cache; every row has a random stream of its own.

    It starts with random weights, as vLLM does: the first `load_weights` must reach them all.
    """

    def __init__(self, folder: Path, *, dtype: str, trust_remote_code: bool) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        self.policy_version = -1
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
        )
        self._model = model.to(self._device).eval()

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Samples from p itself, in batches of rows of like length."""
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), ROWS_PER_BATCH):
            rows = order[start : start + ROWS_PER_BATCH]
            try:
                done |= zip(rows, self._sample([requests[i] for i in rows]), strict=True)
            except RuntimeError as error:  # out of memory, say
                raise EngineError(f"the model failed: {error}") from error
        return [done[i] for i in range(len(requests))]

    @torch.no_grad()
    def _sample(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        ids: list[list[int]] = [[] for _ in requests]
        log_probs: list[list[float]] = [[] for _ in requests]
        steps = self._next_token_log_probs(requests)
        rows = next(steps)
        while True:
            picks = [int(torch.multinomial(row.exp(), 1, generator=g)) for row, g in zip(rows, generators, strict=True)]
            for i, request in enumerate(requests):
                if not _is_done(ids[i], request):
                    ids[i].append(picks[i])
                    log_probs[i].append(float(rows[i, picks[i]]))
            if all(_is_done(row, request) for row, request in zip(ids, requests, strict=True)):
                break
            rows = steps.send(torch.tensor(picks))
        return [Completion(tuple(row), tuple(values)) for row, values in zip(ids, log_probs, strict=True)]

    def _next_token_log_probs(self, requests: Sequence[CompletionRequest]) -> Generator[Tensor, Tensor, None]:
        """Yields log p of the next token of every row; takes the tokens that were picked by `send`."""
        width = max(len(request.prompt_ids) for request in requests)
        padded = torch.tensor([[0] * (width - len(r.prompt_ids)) + list(r.prompt_ids) for r in requests])
        mask = torch.tensor([[0] * (width - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in requests])
        tokens, cache = padded, None
        while True:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            output = self._model(
                input_ids=tokens.to(self._device),
                attention_mask=mask.to(self._device),
                position_ids=positions.to(self._device),
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            picked = yield output.logits[:, -1].float().log_softmax(-1).cpu()
            tokens = picked[:, None]
            mask = torch.cat([mask, torch.ones(len(requests), 1, dtype=mask.dtype)], dim=1)

    @torch.no_grad()
    def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t >= 1."""
        logits = self._model(input_ids=torch.tensor([list(ids)], device=self._device)).logits[0].float()
        log_probs = logits.log_softmax(-1).cpu()
        return [float(log_probs[t - 1, ids[t]]) for t in range(1, len(ids))]

    @torch.no_grad()
    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copies every weight in place and stamps the version; a tied weight may come under either name."""
        own, loaded = dict(self._model.named_parameters(remove_duplicate=False)), set()
        for name, weight in weights:
            if name in own:  # a checkpoint may carry weights that this architecture leaves out
                own[name].copy_(weight)
                loaded.add(own[name])
        check_complete(
            (name for name, _ in self._model.named_parameters()), (name for name, w in own.items() if w in loaded)
        )
        self.policy_version = version

    def reset_cache(self) -> None:
        """Nothing is cached between calls."""

    def sleep(self) -> None:
        """It keeps its memory: a reference is small."""

    def close(self) -> None:
        """Nothing was started."""


def _is_done(ids: Sequence[int], request: CompletionRequest) -> bool:
    return len(ids) >= request.max_tokens or (bool(ids) and ids[-1] in request.stop_ids)
