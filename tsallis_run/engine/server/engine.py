"""vLLM's own servers as the engine of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.config import VllmServerRollout
from tsallis_run.engine.server.client import Client
from tsallis_run.engine.server.fleet import Fleet, GivenServers, own_workers
from tsallis_run.engine.vllm_settings import ServedModel, model_settings
from tsallis_run.types import Completion, CompletionRequest, EngineError, UserError


class VllmServerEngine:
    """One rank's end of the servers: its requests go to all of them, whoever keeps them.

    Started on random weights like every engine. `load_weights` and `close` are called by all ranks together, the rest
    by each for itself, from any thread.
    """

    def __init__(
        self, model: ServedModel, config: VllmServerRollout, *, tolerance_nats: float, run_folder: Path
    ) -> None:
        """`tolerance_nats` is how far two servers may differ per token; their logs are kept in `run_folder`.

        Raises:
            EngineError: on every rank, where a server does not come up.
        """
        settings, rank = model_settings(model, config, on_gpu=torch.cuda.is_available()), ranks.rank()
        self.policy_version = -1
        self._tolerance_nats = tolerance_nats
        self._fleet: Fleet = (
            GivenServers(config, is_first=rank == 0)
            if config.urls
            else own_workers(settings, config, run_folder / "workers", os.environ)
        )
        self._client = Client(
            self._fleet.look_up,
            vocabulary=_vocabulary(model),
            first_server=rank,
            timeout_seconds=config.timeout_seconds,
            silence_seconds=config.health_timeout_seconds if config.urls else None,
        )
        try:
            _on_all_ranks(self._fleet.start)
        except BaseException:
            self._fleet.close()
            raise

    @property
    def num_restarts(self) -> int:
        """Workers started again so far, on the rank that keeps them."""
        return self._fleet.num_restarts

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Samples from p itself: temperature 1, no truncation of the distribution, no penalty."""
        return self._client.complete(requests)

    def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t >= 1, by every server; they must agree."""
        first, *others = self._client.score(ids)
        for other in others:
            difference = sum(abs(a - b) for a, b in zip(first, other, strict=True)) / len(first)
            if not difference <= self._tolerance_nats:
                raise EngineError(f"two workers differ by {difference:.3g} nats per token on the same sequence")
        return first

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Brings every weight to every server, forgets cached prefixes, stamps the version."""
        _on_all_ranks(lambda: None)  # from here on no rank samples: what is in flight would mix two policies
        _on_all_ranks(lambda: self._load(weights, version))
        self.policy_version = version

    def _load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Draws all the weights also where bringing them fails midway: under ZeRO-3 the other ranks gather them all."""
        left = iter(weights)
        try:
            self._fleet.load(left, version)
        finally:
            for _ in left:
                pass

    def reset_cache(self) -> None:
        """Forgets cached prefixes, as far as no other rank is using them."""
        self._fleet.reset_cache()

    def sleep(self) -> None:
        """The servers' memory is not the trainer's."""

    def close(self) -> None:
        """Ends the workers that were started here."""
        self._fleet.close()


def _on_all_ranks(call: Callable[[], None]) -> None:
    """Calls, and returns once all ranks have; a fault of one is raised on all, else the others would wait for it."""
    fault: EngineError | UserError | None = None
    try:
        call()
    except (EngineError, UserError) as error:
        fault = error
    except OSError as error:  # no memory for the weights, no room for the addresses
        fault = EngineError(f"the weights could not be shared: {error}")
    for told in ranks.gathered([fault]):
        if told is not None:
            raise told


def _vocabulary(model: ServedModel) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.folder, trust_remote_code=model.trust_remote_code)
    size: int = config.get_text_config().vocab_size
    return size
