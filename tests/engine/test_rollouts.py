"""Two exact calls of a scripted engine: the rationale, then the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from small import prompt, run_config
from torch import Tensor

from tsallis_run.engine.rollouts import sample_groups
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.prompts import ChatFormat, chat_format
from tsallis_run.types import Completion, CompletionRequest, EngineError, Group, RationaleEnd


class ScriptedEngine:
    """Answers every call with the next list of completions and remembers what it was asked."""

    policy_version = 7

    def __init__(self, *calls: Sequence[tuple[int, ...]]) -> None:
        self.asked: list[list[CompletionRequest]] = []
        self.num_resets = 0
        self._calls = list(calls)

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        self.asked.append(list(requests))
        return [Completion(ids, (-1.0,) * len(ids)) for ids in self._calls.pop(0)]

    def score(self, ids: Sequence[int]) -> list[float]:
        raise NotImplementedError

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        raise NotImplementedError

    def reset_cache(self) -> None:
        self.num_resets += 1

    def sleep(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def format() -> ChatFormat:
    model = run_config().model
    return chat_format(model_folder(model, seed=0), model)


PROMPTS = [prompt((5, 6), (7, 1), id="a"), prompt((8,), (9, 1), id="b")]


def sample(engine: ScriptedEngine, format: ChatFormat, *, answers: bool, stream: str = "s") -> list[Group]:
    config = run_config("rollout.max_rationale_tokens=3", "rollout.max_answer_tokens=2").rollout
    return sample_groups(engine, PROMPTS, format, config, num_rollouts=2, answers=answers, stream=stream)


def test_what_was_sampled_is_kept_and_what_was_not_is_forced(format: ChatFormat) -> None:
    marker, end = format.marker_id, format.end_id
    assert marker is not None
    engine = ScriptedEngine([(10, marker), (10, end), (10, 11, 12), (marker,)])
    rollouts = [r for g in sample(engine, format, answers=False) for r in g.rollouts]
    assert [r.rationale for r in rollouts] == [(10, marker), (10, end), (10, 11, 12), (marker,)]
    ends = [RationaleEnd.MARKER, RationaleEnd.END_OF_TURN, RationaleEnd.BUDGET, RationaleEnd.MARKER]
    assert [r.end for r in rollouts] == ends
    assert [r.bridge for r in rollouts] == [(), (marker,), (marker,), ()]
    assert {r.policy_version for r in rollouts} == {7}
    assert all(r.answer is None for r in rollouts)
    assert len(engine.asked) == 1  # verifier-free training samples no answer


def test_the_answer_follows_prompt_rationale_and_bridge(format: ChatFormat) -> None:
    marker, end = format.marker_id, format.end_id
    assert marker is not None
    engine = ScriptedEngine([(10, marker), (10, 11, 12)] * 2, [(6, end), (6, 7), (end,), (6, end)])
    groups = sample(engine, format, answers=True)
    assert [r.prompt_ids for r in engine.asked[1][:2]] == [(5, 6, 10, marker), (5, 6, 10, 11, 12, marker)]
    assert {(r.max_tokens, r.stop_ids) for r in engine.asked[1]} == {(2, (end,))}
    answers = [r.answer for g in groups for r in g.rollouts]
    assert [a.ended for a in answers if a] == [True, False, True, True]
    assert [a.text for a in answers if a] == ["1", "12", "", "1"]


def test_every_rollout_has_a_random_stream_of_its_own(format: ChatFormat) -> None:
    engine = ScriptedEngine([(10,)] * 4, [(1,)] * 4, [(10,)] * 4, [(1,)] * 4)
    for stream in ("seed 0, step 0", "seed 0, step 1"):
        sample(engine, format, answers=True, stream=stream)
    seeds = [request.seed for call in engine.asked for request in call]
    assert len(set(seeds)) == len(seeds) == 16


def test_the_same_stream_gives_the_same_seeds(format: ChatFormat) -> None:
    engine = ScriptedEngine([(10,)] * 4, [(10,)] * 4)
    for _ in range(2):
        sample(engine, format, answers=False)
    assert engine.asked[0] == engine.asked[1]


WHOLE = [(10,), (11,), (12,), (13,)]


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(WHOLE[:3], id="one completion is missing"),
        pytest.param([*WHOLE[:3], ()], id="one is empty"),
        pytest.param([*WHOLE[:3], (10, 11, 12, 13)], id="one is longer than was asked for"),
    ],
)
def test_an_engine_that_returns_nonsense_is_asked_once_more(
    format: ChatFormat, nonsense: list[tuple[int, ...]]
) -> None:
    engine = ScriptedEngine(nonsense, WHOLE)
    rollouts = [r for g in sample(engine, format, answers=False) for r in g.rollouts]
    assert [r.rationale for r in rollouts] == WHOLE
    assert engine.num_resets == 1
    assert engine.asked[0] == engine.asked[1]
    with pytest.raises(EngineError, match="the engine returned"):
        sample(ScriptedEngine(nonsense, nonsense), format, answers=False)


@pytest.mark.parametrize("log_prob", [float("nan"), float("-inf"), 0.5])
def test_log_probs_that_are_none_are_nonsense(format: ChatFormat, log_prob: float) -> None:
    class Broken(ScriptedEngine):
        def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
            return [Completion(c.ids, (log_prob,)) for c in super().complete(requests)]

    with pytest.raises(EngineError, match="no log-probs"):
        sample(Broken(WHOLE, WHOLE), format, answers=False)
