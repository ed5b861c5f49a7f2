"""The groups of a step: sampled when the step begins, or one step ahead while the trainer works."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tsallis_run import ranks
from tsallis_run.batch import plan_of
from tsallis_run.config import RunConfig
from tsallis_run.engine.rollouts import sample_groups
from tsallis_run.inputs import Inputs
from tsallis_run.types import Engine, Group, Prompt


class Sampler:
    """Groups of this rank's prompts; every method is collective.

    With rollout.max_staleness=1 the engine samples the batch of step t + 1 with the weights that begin step t, while
    the trainer works on the batch of step t. Called in this order:
    `take(t)`, `look_ahead(t + 1)`, the trainer's work, `settle()`, the weight sync.
    """

    def __init__(self, engine: Engine, inputs: Inputs, config: RunConfig) -> None:
        self._engine, self._inputs, self._config = engine, inputs, config
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampler")
        self._ahead: dict[int, Future[list[Group]]] = {}

    def take(self, step: int) -> list[Group]:
        """The groups of a step (from 0).

        Raises:
            GaveUpError: where the engine of any rank could not sample.
        """
        ahead = self._ahead.pop(step, None)
        return ranks.agreed(ahead.result if ahead else lambda: self._sample_step(step))

    def look_ahead(self, step: int) -> None:
        """Begins to sample the groups of a coming step in the background, where staleness is allowed."""
        if self._config.rollout.max_staleness > 0 and step < self._config.total_steps:
            self._ahead[step] = self._thread.submit(self._sample_step, step)

    def settle(self) -> None:
        """Returns once nothing is being sampled: weights change between batches, never inside one."""
        for batch in self._ahead.values():
            batch.exception()  # waits; `take` tells it

    def sample(self, prompts: Sequence[Prompt], *, num_rollouts: int, answers: bool, stream: str) -> list[Group]:
        """Samples for this rank's share of `prompts`, now; see `sample_groups`. Raises as `take`."""
        return ranks.agreed(lambda: self._sample(prompts, num_rollouts=num_rollouts, answers=answers, stream=stream))

    def close(self) -> None:
        """Returns once nothing is being sampled; nothing will be. At once where the engine was closed before."""
        self._thread.shutdown(cancel_futures=True)

    def _sample_step(self, step: int) -> list[Group]:
        config = self._config
        return self._sample(
            self._inputs.batch(step, config),
            num_rollouts=config.rollouts_per_prompt,
            answers=plan_of(step, config).by_reward,
            stream=f"seed {config.seed}, step {step}",
        )

    def _sample(self, prompts: Sequence[Prompt], *, num_rollouts: int, answers: bool, stream: str) -> list[Group]:
        return sample_groups(
            self._engine,
            ranks.share(prompts),
            self._inputs.format,
            self._config.rollout,
            num_rollouts=num_rollouts,
            answers=answers,
            stream=stream,
        )
