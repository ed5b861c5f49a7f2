"""Policy -> engine, verified: a version stamp, a cache reset, and a probe that compares log-probs.

The engine starts with random weights, so the probe of the first sync proves that it reaches every tensor. Later ones
find weights that have moved by more than the tolerance; the version stamp finds an update that was left out whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tsallis_run import ranks
from tsallis_run.packing import micro_batches
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.tree import IN_RATIONALE, Span, Tree
from tsallis_run.types import Engine, GaveUpError, Prompt

PROBE_TOKENS = 256
"""The end of the probe sequence that is compared, cheap after every step."""


class StaleWeightsError(GaveUpError):
    """The engine does not hold the trainer's weights: what it samples would be another policy's."""


@dataclass
class WeightSync:
    """Called before every batch of samples; collective."""

    policy: ZeroPolicy
    engine: Engine
    probe: tuple[int, ...]
    """A sequence of token ids, the same on every rank: a prompt with its gold answer."""
    tolerance_nats: float
    """Largest mean |engine - trainer| log-prob per token."""
    _difference: float = field(default=math.inf, init=False)
    """Of the weights that the engine holds."""

    def __call__(self) -> float:
        """Hands the weights over where the engine has older ones; returns the probe's mean difference, nats per token.

        Raises:
            StaleWeightsError: where version or log-probs disagree.
            GaveUpError: where an engine could not take them.
        """
        if ranks.largest(float(self.engine.policy_version != self.policy.version)) > 0:  # all ranks gather, or none
            ranks.agreed(lambda: self.engine.load_weights(self.policy.weights(), self.policy.version))
            self._difference = self.check()
        return self._difference

    def check(self) -> float:
        """Compares engine and trainer on the probe; see `__call__`."""
        if self.engine.policy_version != self.policy.version:
            raise StaleWeightsError(
                f"the engine holds weights of version {self.engine.policy_version}, "
                f"the trainer of {self.policy.version}"
            )
        theirs, ours = ranks.agreed(lambda: self.engine.score(self.probe)), self._trainer_log_probs()
        own = sum(abs(a - b) for a, b in zip(theirs, ours, strict=True)) / len(ours)
        difference = ranks.largest(own if math.isfinite(own) else math.inf)  # all ranks stop, or none
        if not difference <= self.tolerance_nats:
            raise StaleWeightsError(
                f"after the weight sync of version {self.policy.version} engine and trainer differ by {difference:.3g} "
                f"nats per token on the probe, rollout.probe_tolerance_nats allows {self.tolerance_nats:g}: the engine "
                "holds stale weights, or its precision is lower than the trainer's (then raise the tolerance)"
            )
        return difference

    def _trainer_log_probs(self) -> list[float]:
        """Of the probe as the second branch of a tree: a model that sees across branches is found out as well."""
        head = Span(self.probe[:1], -1, -1, IN_RATIONALE, 0)
        decoy = Span(self.probe[:0:-1], 0, 0, IN_RATIONALE, 0)
        rest = Span(self.probe[1:], 0, 0, IN_RATIONALE, len(self.probe) - 1)
        (log_probs,) = self.policy.log_probs(micro_batches([Tree(0, (head, decoy, rest))], max_tokens=1))
        return [float(value) for value in log_probs]


def probe_ids(prompt: Prompt) -> tuple[int, ...]:
    """The end of a prompt with its gold answer: text that the model knows something about."""
    return (*prompt.ids, *prompt.gold_ids[0])[-PROBE_TOKENS:]
