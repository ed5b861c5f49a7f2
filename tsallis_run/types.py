"""The nouns that the rooms hand to each other.

Axes, always in this order: `prompts` (B), `rollouts` (M, the samples of one prompt), `tokens` (T).
The latent rationale is z, the gold answer y*, the prompt x; a group is the M rollouts of one prompt.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class UserError(ValueError):
    """A mistake that the user can mend: shown as a message without a traceback, exit status 2."""


class EngineError(RuntimeError):
    """The engine died, did not answer in time, or returned nonsense: what it sampled is lost, the weights are not."""


class GaveUpError(RuntimeError):
    """The run cannot go on, but its weights are whole: it is saved before it ends. Raised on every rank alike."""


class DiskError(OSError):
    """What a run must write could not be written: it ends, and goes on from its newest checkpoint. On every rank."""


class ExitStatus(IntEnum):
    """How a command ends."""

    FINISHED = 0
    FAILED = 1
    USER_ERROR = 2
    STOPPED = 75
    """Told to stop by a signal; saved, and can be resumed."""


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""What tells a run to save and stop: the user, the machine, or the cluster ahead of a time limit."""


def q_label(*, kind: str, **settings: float | int) -> str:
    """A q that is no number in a few words, such as `1->0 step at 200` or `per example, floor 0.1`.

    Here, so that the report needs no validation.
    """
    if kind == "per_example":
        return f"per example, floor {settings['floor']:g}"
    when = "at" if kind == "step" else "over"
    return f"{settings['start']:g}->{settings['end']:g} {kind} {when} {settings['num_steps']}"


@dataclass(frozen=True)
class Example:
    """One row of a dataset, already cleaned: what is asked and what counts as right."""

    id: str
    """Stable and unique within its dataset."""
    context: str
    """Linearised passages and tables; "" where the task has none."""
    question: str
    answer: str
    """The gold answer y*, never empty."""
    aliases: tuple[str, ...] = ()
    """Other gold answers, `answer` not among them."""

    @property
    def golds(self) -> tuple[str, ...]:
        """Every answer that counts as right, the main one first."""
        return (self.answer, *self.aliases)


@dataclass(frozen=True)
class Splits:
    """The examples of a dataset, disjoint by id."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: dict[str, int]
    """Reason -> number of rows left out, for example {"train: empty gold answer": 3}."""


@dataclass(frozen=True)
class Prompt:
    """An example as the model reads it."""

    example: Example
    ids: tuple[int, ...]
    """x, the chat template and the opening of the rationale included."""
    gold_ids: tuple[tuple[int, ...], ...]
    """Every distinct gold answer as ids, each closed by the end token."""


class RationaleEnd(StrEnum):
    """How a rationale came to its end."""

    MARKER = "marker"
    """The model sampled the end-of-thinking token."""
    END_OF_TURN = "end_of_turn"
    """The model sampled the end-of-turn token."""
    BUDGET = "budget"
    """The token budget was used up; the end was forced."""


@dataclass(frozen=True)
class Answer:
    """A sampled answer."""

    ids: tuple[int, ...]
    """Sampled ids, the end token included where it was sampled."""
    log_probs: tuple[float, ...]
    """The engine's log p of each of them, in nats."""
    text: str
    """Decoded, the end token left out."""
    ended: bool
    """False where `max_answer_tokens` cut it off."""


@dataclass(frozen=True)
class Rollout:
    """One sampled rationale, with its answer where one was sampled."""

    rationale: tuple[int, ...]
    """z exactly as it was sampled, the sampled end token included."""
    log_probs: tuple[float, ...]
    """The engine's log p of each rationale token, in nats; compared with the trainer's, never trained on."""
    end: RationaleEnd
    bridge: tuple[int, ...]
    """Forced ids between rationale and answer; they carry no gradient."""
    answer: Answer | None
    """None where the estimator needs no sampled answer."""
    policy_version: int
    """Which weights wrote it: the number of optimizer steps behind them."""


@dataclass(frozen=True)
class Group:
    """The M rollouts of one prompt."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True)
class Coefficients:
    """What an estimator returns: constants to the autograd, both shaped [prompts, rollouts].

    The gradient of the loss of one example is
    - sum_m (rationale_m grad log p(z_m|x) + answer_m grad log p(answer_m|x,z_m)).
    """

    rationale: Tensor
    answer: Tensor


@dataclass(frozen=True)
class CompletionRequest:
    """Token ids in: one sequence to be continued by sampling from p itself."""

    prompt_ids: tuple[int, ...]
    max_tokens: int
    stop_ids: tuple[int, ...]
    """Sampling ends behind the first of these; no other token ends it."""
    seed: int


@dataclass(frozen=True)
class Completion:
    """Token ids out."""

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    """log p of each sampled id at temperature 1, in nats."""


@runtime_checkable
class Engine(Protocol):
    """Samples from the policy. Token ids in, token ids out; it knows no template and no estimator."""

    policy_version: int
    """Version of the weights it holds; -1 where it holds none: before the first `load_weights`, and asleep."""

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Samples one completion per request, in the order of the requests.

        Raises:
            EngineError: where it cannot.
        """
        ...

    def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t = 1 ... len(ids) - 1, in nats, past any prefix cache."""
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Takes every weight by its Hugging Face name, forgets cached prefixes, stamps the version."""
        ...

    def reset_cache(self) -> None:
        """Forgets cached prefixes, so that what follows does not depend on what was sampled before."""
        ...

    def sleep(self) -> None:
        """Gives its memory back until the next `load_weights`, where that helps the trainer."""
        ...

    def close(self) -> None:
        """Ends whatever it started; it is not used again."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Writes what happened. A row is flat: names to numbers or strings."""

    def log(self, row: dict[str, float | int | str]) -> None:
        """Records one row; `step` and `split` are among its keys."""
        ...
