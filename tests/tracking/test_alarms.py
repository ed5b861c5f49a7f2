"""Each alarm on hand-made rows, and its silence on a healthy run."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.tracking.alarm_rules import RULES, WINDOW_STEPS, Limits
from tsallis_run.tracking.alarms import QUIET_STEPS, Watch, alarms_of

HEALTHY = {
    "split": "train",
    "skipped": 0,
    "grad_norm": 0.5,
    "zero_gradient_fraction": 0.0,
    "p_hat": 1e-6,
    "ess": 7.5,
    "truncated_fraction": 0.7,
    "engine_trainer_difference_mean": 2e-7,
}
GARL, GRPO = run_config("estimator=garl"), run_config("estimator=grpo")


def healthy(step: int, **changes: float) -> dict[str, float | int | str]:
    """A step of a run that learns: log P rises by 0.1 nats a step."""
    return {"step": step, "log_p_hat": -33.0 + 0.1 * step, **HEALTHY, **changes}


def steps(number: int, first: int = 1, **changes: float) -> list[dict[str, float | int | str]]:
    return [healthy(step, **changes) for step in range(first, first + number)]


def names(rows, config=GARL) -> list[tuple[int, str]]:
    return [(alarm.step, alarm.name) for alarm in alarms_of(rows, config)]


def test_a_healthy_run_raises_none():
    rows = [{"step": 0, "split": "validation", "maj@16": 0.0}]
    for step in range(1, 401):
        # Late in a solved task: nothing but full budgets, a small gradient, a validation that wobbles.
        late = {"p_hat": 0.9, "truncated_fraction": 1.0, "grad_norm": 1e-9, "log_p_hat": -0.1} if step > 300 else {}
        rows.append(healthy(step, **late))
        if step % 50 == 0:
            rows.append({"step": step, "split": "validation", "maj@16": min(step / 400, 0.9) - 0.1 * (step == 350)})
    rows.append({"step": 350, "split": "test", "maj@16": 0.1})
    assert names(rows) == []


@pytest.mark.parametrize(
    ("name", "config", "changes"),
    [
        ("engine_drift", GARL, {"engine_trainer_difference_mean": 2e-3}),  # tolerance in float32: 1e-3
        ("zero_gradient", GRPO, {"zero_gradient_fraction": 1.0, "grad_norm": 0.0, "reward": 0.0}),
        ("all_truncated", GARL, {"truncated_fraction": 1.0, "log_p_hat": -30.0}),
        ("all_truncated", GRPO, {"unended_fraction": 1.0, "reward": 0.0}),
        ("lone_rollout", GARL, {"ess": 1.01}),
        ("frozen_gradient", GARL, {"grad_norm": 3e-11}),  # Adam's epsilon: 1e-8
        (
            "distrusted_jackknife",
            run_config("estimator=garl", "estimator.jackknife=true"),
            {"jackknife_distrusted": 0.8},
        ),
    ],
)
def test_an_alarm_is_raised_once_after_a_whole_window_of_it(name, config, changes):
    assert names(steps(WINDOW_STEPS - 1, **changes), config) == []
    assert names(steps(10 * WINDOW_STEPS, **changes), config) == [(WINDOW_STEPS, name)]


@pytest.mark.parametrize(
    "changes",
    [
        {"truncated_fraction": 1.0},  # log P rises
        {"truncated_fraction": 1.0, "log_p_hat": -0.1, "p_hat": 0.9},  # solved
        {"grad_norm": 0.0},  # zero, not frozen: told by zero_gradient where it is so for all groups
        {"grad_norm": 1e-9, "p_hat": 0.999},  # nothing left to learn
        {"zero_gradient_fraction": 0.99},
        {"engine_trainer_difference_mean": 9e-4},
    ],
)
def test_what_only_looks_like_a_fault_raises_none(changes):
    assert names(steps(3 * WINDOW_STEPS, **changes)) == []


def test_one_good_step_within_the_window_is_enough_for_silence():
    rows = steps(2 * WINDOW_STEPS, ess=1.0)
    rows[WINDOW_STEPS - 1]["ess"] = 4.0
    assert names(rows[: 2 * WINDOW_STEPS - 1]) == []
    assert names(rows) == [(2 * WINDOW_STEPS, "lone_rollout")]


def test_the_effective_sample_size_says_nothing_about_one_rollout_or_about_rewards():
    rows = steps(2 * WINDOW_STEPS, ess=1.0)
    assert names(rows, run_config("estimator=iwae", "rollouts_per_prompt=1")) == []
    assert names(rows, GRPO) == []


def test_a_difference_that_grows_is_told_before_it_reaches_the_tolerance():
    rows = [*steps(20, engine_trainer_difference_mean=1e-4), *steps(20, 21, engine_trainer_difference_mean=4.5e-4)]
    # k steps after step 20 the newest 20 have the mean (1 + 0.175 k) 1e-4, three times the first for k > 11.4.
    assert names(rows) == [(32, "engine_drift")]


def test_older_weights_may_differ_by_more_than_rounding():
    rows = steps(2 * WINDOW_STEPS, engine_trainer_difference_mean=0.05)
    ahead = ("rollout=vllm_server", "rollout.max_staleness=1", "rollout.importance_correction=sequence")
    assert names(rows) == [(WINDOW_STEPS, "engine_drift")]
    assert names(rows, run_config("estimator=garl", *ahead)) == []


def test_a_collapse_is_told_with_the_validation_that_shows_it():
    scores = [0.1, 0.306, 0.2, 0.15, 0.0, 0.0]
    rows = [{"step": 50 * i, "split": "validation", "maj@16": score} for i, score in enumerate(scores)]
    assert names(rows) == [(150, "collapse")]  # 0.15 is below half of 0.306
    (alarm,) = alarms_of(rows, GARL)
    assert alarm.seen == "validation maj@n at 0.150; it was 0.306 at its best"


def test_one_skipped_step_is_an_accident_and_two_are_an_alarm():
    rows = steps(40)
    rows[4]["skipped"] = 1
    assert names(rows) == []
    rows[9] = {"step": 10, "split": "train", "skipped": 1, "loss": 0.0}  # what is not finite is left out of its row
    assert names(rows) == [(10, "skipped_steps")]


def test_an_alarm_is_told_again_only_after_a_long_quiet():
    bad = {"ess": 1.0}
    soon = [*steps(20, 1, **bad), *steps(50, 21), *steps(50, 71, **bad)]
    assert names(soon) == [(20, "lone_rollout")]
    late = [*steps(20, 1, **bad), *steps(QUIET_STEPS, 21), *steps(50, 21 + QUIET_STEPS, **bad)]
    assert names(late) == [(20, "lone_rollout"), (40 + QUIET_STEPS, "lone_rollout")]


def test_an_alarm_says_what_it_saw_why_it_matters_and_what_to_try():
    (alarm,) = alarms_of(steps(20, ess=1.0), GARL)
    assert [line.split()[0] for line in alarm.text.splitlines()] == ["ALARM", "seen", "why", "try"]
    assert "of 8 rollouts" in alarm.seen


def test_a_watch_that_has_heard_the_rows_of_an_earlier_start_does_not_repeat_itself():
    watch = Watch(Limits.of(GARL))
    assert [alarm.name for row in steps(30, ess=1.0) for alarm in watch.hear(row)] == ["lone_rollout"]
    assert [alarm.name for row in steps(30, 31, ess=1.0) for alarm in watch.hear(row)] == []


def test_titles_fit_into_an_alert_of_wandb():
    assert max(len(rule.headline) for rule in RULES) < 64
    assert len({rule.name for rule in RULES}) == len(RULES)
